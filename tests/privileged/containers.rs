//! Our bundles run, flat and overlay ones: under runc and crun as root, under runc as an ordinary user,
//! with one id and with many.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::image::{Image, layers_of};
use crate::machine::{Bounded, Scratch, said};

/// What it takes to run a container here: `unshare --mount sh -ec THIS sh STATE ID`.
///
/// A mount namespace of its own, so that nothing stays mounted whatever happens. crun 1.8 refuses a
/// machine with both cgroup hierarchies ("hybrid"), so there it is shown version 2 only, and its limits
/// need a capability that root in a container may lack; cgroups are not what these tests are about.
fn launcher(runtime: &str) -> &'static str {
    match runtime {
        "crun" => {
            "if test -d /sys/fs/cgroup/unified; then
                umount -R /sys/fs/cgroup
                mount -t cgroup2 cgroup2 /sys/fs/cgroup
            fi
            exec crun --cgroup-manager=disabled --root \"$1\" run \"$2\""
        }
        _ => "exec runc --root \"$1\" run \"$2\"",
    }
}

/// Rewrites the bundle's `config.json` so that the container runs `arguments` without a terminal.
fn set_arguments(bundle: &Path, arguments: &[&str]) {
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(arguments);
    fs::write(&path, config.to_string()).unwrap();
}

/// Deletes a container whatever became of it, also when the test fails.
struct Container<'a> {
    runtime: &'static str,
    id: &'a str,
    state: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = Command::new(self.runtime)
            .args(["--root", &self.state, "delete", "--force", self.id])
            .output();
    }
}

/// Runs the bundle as root and returns what the container wrote to stdout.
#[track_caller]
fn run(scratch: &Scratch, runtime: &'static str, bundle: &Path, id: &str) -> String {
    let container = Container {
        runtime,
        id,
        state: scratch.path("state").display().to_string(),
    };
    Bounded::new("unshare", 60)
        .args(&["--mount", "sh", "-ec", launcher(runtime)])
        .args(&["sh", &container.state, id])
        .current_dir(bundle)
        .succeed()
}

#[track_caller]
fn sample_image_says_hello_under(runtime: &'static str) {
    let scratch = Scratch::new(&[runtime]);
    scratch.sample_image("layout");
    let bundle = scratch.unpack("layout", "b");
    set_arguments(
        &bundle,
        &[
            "/bin/sh",
            "-c",
            "cat /etc/motd; ls -nd /home/guest; ls /etc; echo $HOME",
        ],
    );
    let id = format!("bundle-test-sample-{}", std::process::id());
    let said = run(&scratch, runtime, &bundle, &id);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "Hello from the sample image.", "{said}");
    assert!(lines[1].contains("1000     1000"), "{said}");
    // The second layer deletes etc/draft; the runtime may add files.
    assert!(
        lines.contains(&"passwd") && !lines.contains(&"draft"),
        "{said}"
    );
    assert_eq!(lines.last(), Some(&"/root"), "{said}");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn sample_image_runs_under_runc() {
    sample_image_says_hello_under("runc");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn sample_image_runs_under_crun() {
    sample_image_says_hello_under("crun");
}

/// What the container of an image does to its root file system; times are those of no clock.
const EDIT: &str = "cd /; echo hi >root/f; rm etc/passwd; mkdir var/new; mv etc/motd var/motd; chmod 700 var; \
                    ln root/f root/g; touch -d @1700000000 root/f root/g var/new var/motd root etc var";

/// Runs a bundle of the sample image in each shape, in the container of each runtime, which edits it; both shapes then
/// repack to the same layers.
#[track_caller]
fn both_shapes_run_and_repack_alike(runtime: &'static str, flags: &[&str], environment: &[&str]) {
    let scratch = Scratch::new(&[runtime]);
    scratch.sample_image("layout");
    let layout = scratch.path("layout");
    let store = scratch.path("store").display().to_string();
    for (shape, options) in [
        ("flat", &[][..]),
        ("overlay", &["--overlay", "--store", &store]),
    ] {
        let bundle = scratch.path(shape);
        Bounded::new("env", 60)
            .args(environment)
            .arg(scratch.binary())
            .args(&["unpack", "--image"])
            .arg(format!("{}:latest", layout.display()))
            .args(flags)
            .args(options)
            .arg(&bundle)
            .succeed();
        // The root of a user namespace has to get to the root file system.
        fs::set_permissions(&bundle, fs::Permissions::from_mode(0o711)).unwrap();
        let script = format!("cat /etc/motd; id -u; {EDIT}");
        set_arguments(&bundle, &["/bin/sh", "-ec", &script]);
        let id = format!("bundle-test-{shape}-{}", std::process::id());
        let said = run(&scratch, runtime, &bundle, &id);
        assert_eq!(said, "Hello from the sample image.\n0\n", "{shape}");
        let image = format!("{}:{shape}", layout.display());
        scratch
            .tool(&["repack", "--image", &image])
            .arg(&bundle)
            .succeed();
    }
    assert_eq!(layers_of(&layout, "flat").len(), 3);
    assert_eq!(layers_of(&layout, "flat"), layers_of(&layout, "overlay"));
    scratch
        .tool(&["remove-bundle"])
        .arg(scratch.path("overlay"))
        .succeed();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_bundle_runs_under_runc_and_repacks_as_the_flat_one() {
    both_shapes_run_and_repack_alike("runc", &[], &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_bundle_runs_under_crun_and_repacks_as_the_flat_one() {
    both_shapes_run_and_repack_alike("crun", &[], &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_bundle_with_mapped_owners_runs_in_a_user_namespace_and_repacks_as_the_flat_one() {
    let maps = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536"];
    both_shapes_run_and_repack_alike("runc", &maps, &[]);
    both_shapes_run_and_repack_alike("crun", &maps, &[]);
    // Owners changed on disk, where the kernel does not show others.
    both_shapes_run_and_repack_alike("runc", &maps, &["BUNDLE_NO_IDMAP=1"]);
}

/// The mirror and the code name of Debian that this machine's apt uses.
pub fn debian_mirror() -> (String, String) {
    let targets = Bounded::new("apt-get", 60)
        .args(&["indextargets", "--format"])
        .arg("$(ORIGIN) $(COMPONENT) $(REPO_URI) $(CODENAME)")
        .arg("Created-By: Packages")
        .succeed();
    targets
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| matches!(words[..], ["Debian" | "Ubuntu", "main", _, name] if !name.contains('-')))
        .map(|words| (words[2].to_owned(), words[3].to_owned()))
        .expect("apt knows a Debian mirror")
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn debian_made_by_debootstrap_runs_under_runc_and_crun() {
    let scratch = Scratch::new(&["debootstrap", "runc", "crun"]);
    let (mirror, codename) = debian_mirror();
    let debian = scratch.path("debian");
    Bounded::new("debootstrap", 600)
        .args(&["--variant=minbase", &codename])
        .arg(&debian)
        .arg(&mirror)
        .succeed();
    let tar = scratch.path("debian.tar");
    Bounded::new("tar", 120)
        .args(&["--numeric-owner", "--xattrs", "--one-file-system", "-C"])
        .arg(&debian)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .succeed();
    let image = Image::new().tar_layer(fs::read(&tar).unwrap());
    image.write(&scratch.path("layout"));
    let bundle = scratch.unpack("layout", "b");
    // dpkg says nothing about an intact installation.
    let script = "dpkg --audit && dpkg --verify base-files && perl -e 'print 6 * 7' && id -un";
    set_arguments(&bundle, &["/bin/sh", "-c", script]);
    for runtime in ["runc", "crun"] {
        let id = format!("bundle-test-debian-{}", std::process::id());
        assert_eq!(
            run(&scratch, runtime, &bundle, &id),
            "42root\n",
            "{runtime}"
        );
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn sample_image_runs_rootless_under_runc_as_an_ordinary_user() {
    let scratch = Scratch::new(&["runc", "setpriv"]);
    scratch.sample_image("layout");
    let home = scratch.home_of_nobody();
    let image = format!("{}:latest", scratch.path("layout").display());
    let bundle = home.join("b");
    scratch
        .tool(&["unpack", "--rootless", "--image", &image])
        .arg(&bundle)
        .run_by_nobody(&home)
        .succeed();
    set_arguments(&bundle, &["/bin/sh", "-c", "cat /etc/motd; id -u"]);
    let id = format!("bundle-test-rootless-{}", std::process::id());
    let container = Container {
        runtime: "runc",
        id: &id,
        state: home.join("state").display().to_string(),
    };
    let output = Bounded::new("runc", 60)
        .args(&["--root", &container.state, "run", &id])
        .current_dir(&bundle)
        .run_by_nobody(&home)
        .output();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Hello from the sample image.\n0\n",
        "{}",
        said(&output)
    );
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn overlay_bundles_of_an_ordinary_user_run_under_runc_in_its_namespace_and_repack_as_flat_ones() {
    /// Run by the root of the namespace, with the tested binary and the start of an ID.
    const SCRIPT: &str = "for shape in flat over; do
            option=; if test $shape = over; then option=--overlay; fi
            $1 unpack $option --image layout:latest $shape
            cp config-$shape.json $shape/config.json
            (cd $shape; runc --root ../state run $2-$shape)
            $1 repack --image layout:$shape $shape
        done
        $1 remove-bundle over";
    let scratch = Scratch::new(&["runc", "setpriv", "newuidmap"]);
    let home = scratch.home_of_nobody();
    scratch.sample_image("layout");
    fs::rename(scratch.path("layout"), home.join("layout")).unwrap();
    // The shapes have the same.
    let bundle = scratch.path("b");
    let image = format!("{}:latest", home.join("layout").display());
    scratch
        .tool(&["unpack", "--image", &image])
        .arg(&bundle)
        .succeed();
    let script = format!("cat /etc/motd; id -u; stat -c %u:%g /home/guest/note; {EDIT}");
    set_arguments(&bundle, &["/bin/sh", "-ec", &script]);
    for shape in ["flat", "over"] {
        let config = home.join(format!("config-{shape}.json"));
        fs::copy(bundle.join("config.json"), config).unwrap();
    }
    Bounded::new("chown", 60)
        .args(&["-R", "65534:65534"])
        .arg(&home)
        .succeed();
    let id = format!("bundle-test-namespace-{}", std::process::id());
    let said = scratch
        .command_by_nobody("nobody:100000:65536\n")
        .arg(scratch.binary())
        .args(&["unshare", "--", "sh", "-ec", SCRIPT, "sh"])
        .arg(scratch.binary())
        .arg(&id)
        .succeed();
    let one = "Hello from the sample image.\n0\n1000:1000\n";
    assert_eq!(said, one.repeat(2));
    let layout = home.join("layout");
    assert_eq!(layers_of(&layout, "flat").len(), 3);
    assert_eq!(layers_of(&layout, "flat"), layers_of(&layout, "over"));
}
