//! An ordinary user's overlays, in a user namespace with the ids of `/etc/subuid`: they are the flat unpack there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use super::matrix;
use super::recipe::{Entry, What, tar_of};
use crate::image::{Image, layers_of};
use crate::machine::{Bounded, NOBODY, Scratch, names_in, said};
use crate::mount::namespace::{STEP, own_program, step};
use crate::tree::Tree;

/// What `/etc/subuid` says where the user has ids.
const RANGES: &str = "nobody:100000:65536\n";

/// Owners from the first id to the last, modes that keep the owner out, attributes.
fn image() -> Vec<Vec<Entry>> {
    let owned = |path: &str, what, mode, id| Entry::new(path, what).with(mode, id, id + 1);
    vec![
        vec![
            Entry::new("", What::Directory).with(0o751, 7, 8),
            owned("d", What::Directory, 0o2750, 1),
            owned("d/f", What::File(3), 0o4711, 33).xattr("user.x", b"1"),
            owned("d/closed", What::Directory, 0, 40),
            owned("d/closed/f", What::File(4), 0, 65534),
            owned("p", What::Fifo, 0o640, 5),
            owned("s", What::Symlink("d".into()), 0o777, 1000),
        ],
        vec![
            owned("d/g", What::File(5), 0o600, 9),
            owned("l", What::Link("d/f".into()), 0o600, 0),
            Entry::new("p", What::Whiteout),
            owned("s/through", What::File(6), 0o644, 10),
        ],
    ]
}

/// Writes an image for nobody.
fn write_image(layers: &[Vec<Entry>], layout: &Path) {
    let tars = layers.iter().map(|layer| tar_of(layer));
    tars.fold(Image::new(), Image::tar_layer).write(layout);
    Bounded::new("chown", 10)
        .args(&["-R", &format!("{NOBODY}:{NOBODY}")])
        .arg(layout)
        .succeed();
}

/// Runs a script as nobody, with these ranges, in which `bundle` is the tested binary.
fn script(scratch: &Scratch, ranges: &str, script: &str) -> Output {
    let binary = scratch.binary();
    let functions = format!(
        "bundle() {{ {b} \"$@\"; }}; inside() {{ {b} unshare -- \"$@\"; }}; B={b}; {script}",
        b = binary.display()
    );
    let command = scratch.command_by_nobody(ranges);
    command.args(&["sh", "-ec", &functions]).output()
}

/// In the namespace: a command of the tested binary, in the user's home.
fn tool(arguments: &[&str]) -> Bounded {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let binary = home.parent().unwrap().join("bin/bundle");
    Bounded::new(binary, 60).args(arguments)
}

/// In the namespace: unpacks an image in both shapes, and compares them; the bundles are `flat` and `over`.
fn unpack_both(layout: &str, flags: &[&str]) -> Tree {
    let image = format!("{layout}:latest");
    let unpack = |shape: &[&str]| {
        let command = tool(&["unpack", "--image", &image]).args(flags);
        command.args(shape).succeed();
    };
    unpack(&["flat"]);
    unpack(&["--overlay", "over"]);
    let flat = Tree::read(Path::new("flat/rootfs"));
    flat.assert_same(&Tree::read(Path::new("over/rootfs")), layout);
    flat
}

fn remove_both() {
    tool(&["remove-bundle", "over"]).succeed();
    assert!(!Path::new("over").exists());
    fs::remove_dir_all("flat").unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_ordinary_users_overlays_are_as_its_flat_unpacks_with_all_owners() {
    const TEST: &str =
        "overlay::rootless::an_ordinary_users_overlays_are_as_its_flat_unpacks_with_all_owners";
    if step().is_some() {
        return compare_inside();
    }
    let scratch = Scratch::new(&["unshare", "setpriv", "newuidmap"]);
    let home = scratch.home_of_nobody();
    for (name, layers, ..) in matrix::cases() {
        write_image(&layers, &home.join(format!("matrix-{name}")));
    }
    write_image(&image(), &home.join("owners"));
    let program = own_program(&scratch);
    let output = scratch
        .command_by_nobody(RANGES)
        .arg(scratch.binary())
        .args(&["unshare", "--", "env", &format!("{STEP}=inside")])
        .arg(&program)
        .args(&["--include-ignored", "--exact", "--nocapture", TEST])
        .succeed();
    assert!(output.contains("1 passed"), "{output}");
    assert_eq!(
        layers_of(&home.join("owners"), "flat"),
        layers_of(&home.join("owners"), "over")
    );
    assert_eq!(layers_of(&home.join("owners"), "over").len(), 3);
    let config = fs::read_to_string(home.join(".local/share/bundle/store.json")).unwrap();
    assert!(config.contains("\"user\""), "{config}");
}

/// The step of the test above that is run by root of the namespace.
fn compare_inside() {
    // Here the kernel has no id-mapped mounts for this user.
    let maps = ["--uid-map", "0:1000:100", "--gid-map", "0:2000:100"];
    for name in names_in(Path::new(".")) {
        if name.starts_with("matrix-") {
            for flags in [&[][..], &maps] {
                unpack_both(&name, flags);
                remove_both();
            }
        }
    }
    let flat = unpack_both("owners", &[]);
    let owner = fs::symlink_metadata("over/rootfs/d/closed/f").unwrap();
    assert_eq!((owner.uid(), owner.gid()), (65534, 65535));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains("/over/rootfs "));
    assert!(mount.unwrap().contains("userxattr"), "{mounts}");
    // Twice, whatever it was before.
    for verb in ["umount", "mount"] {
        tool(&[verb, "over"]).succeed();
        tool(&[verb, "over"]).succeed();
        let is_mounted = verb == "mount";
        assert_eq!(names_in(Path::new("over/rootfs")).is_empty(), !is_mounted);
    }
    flat.assert_same(&Tree::read(Path::new("over/rootfs")), "mounted again");
    for shape in ["flat", "over"] {
        let edit = "set -e; echo n >n; chown 5:6 n; rm -r d/closed; chmod 700 d; ln d/g d/h; chown 7:9 s -h; mv l m
                    touch -h -d @1700000000 . d n";
        Bounded::new("sh", 10)
            .args(&["-c", edit])
            .current_dir(&Path::new(shape).join("rootfs"))
            .succeed();
        tool(&["repack", "--image", &format!("owners:{shape}"), shape]).succeed();
    }
    remove_both();
    for tag in ["latest", "over"] {
        let _ = tool(&["store", "untag", &format!("owners:{tag}")]).output();
    }
    tool(&["store", "gc"]).succeed();
    assert!(names_in(Path::new(".local/share/bundle/active")).is_empty());
    tool(&["store", "check"]).succeed();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_ordinary_user_outside_of_a_namespace_is_told_where_to_mount_before_anything_is_unpacked() {
    let scratch = Scratch::new(&["unshare", "setpriv", "newuidmap"]);
    write_image(&image(), &scratch.home_of_nobody().join("layout"));
    for command in [
        "unpack --overlay --image layout:latest b",
        "mount --image layout:latest layout",
        "mount --rw --image layout:latest layout",
    ] {
        let output = script(&scratch, RANGES, &format!("bundle {command}"));
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = said(&output);
        assert!(said.contains("`bundle unshare -- COMMAND`"), "{said}");
        assert!(!said.contains("--rootless"), "{said}");
        assert!(!scratch.path("home/b").exists());
        let layers = scratch.path("home/.local/share/bundle/layers/sha256");
        assert!(
            !layers.exists() || names_in(&layers).is_empty(),
            "{command}"
        );
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_user_without_ranges_is_told_which_owner_has_no_id_and_has_overlays_of_its_own_files() {
    let scratch = Scratch::new(&["unshare", "setpriv"]);
    let home = scratch.home_of_nobody();
    write_image(&image(), &home.join("owners"));
    let own = vec![
        vec![
            Entry::new("d", What::Directory),
            Entry::new("d/f", What::File(3)),
        ],
        vec![Entry::new("d/g", What::File(4))],
    ];
    write_image(&own, &home.join("own"));
    for shape in ["", "--overlay"] {
        let command = format!("inside $B unpack {shape} --image owners:latest b");
        let output = script(&scratch, "", &command);
        assert_eq!(output.status.code(), Some(1), "{shape}");
        let said = said(&output);
        assert!(said.contains("/etc/subuid"), "{said}");
        assert!(said.contains("no id in this user namespace"), "{said}");
        assert!(!home.join("b").exists());
    }
    let both = "$B unpack --image own:latest flat; $B unpack --overlay --image own:latest over
                diff -r flat/rootfs over/rootfs; stat -c %u:%g over/rootfs/d/g; $B remove-bundle over";
    let output = script(
        &scratch,
        "",
        &format!("export B; inside sh -ec '{both}'; test ! -e over"),
    );
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(output.stdout, b"0:0\n", "{}", said(&output));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn roots_stores_and_those_of_user_namespaces_are_not_mixed() {
    let scratch = Scratch::new(&["unshare", "setpriv", "newuidmap"]);
    let home = scratch.home_of_nobody();
    write_image(&image(), &home.join("layout"));
    let refused = |output: &Output, why: &str| {
        let said = said(output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("keeps the marks of overlayfs as"), "{said}");
        assert!(said.contains(why), "{said}");
    };
    // The user's, in the hands of root.
    let made = script(
        &scratch,
        RANGES,
        "inside $B unpack --overlay --store user --image layout:latest b",
    );
    assert!(made.status.success(), "{}", said(&made));
    let store = home.join("user").display().to_string();
    let image = format!("{}:latest", home.join("layout").display());
    let unpack = ["unpack", "--overlay", "--image", &image, "--store"];
    let target = scratch.path("b").display().to_string();
    let bundle = home.join("b").display().to_string();
    let other = scratch.path("other").display().to_string();
    let in_namespace = "it was made in a user namespace";
    for arguments in [
        &[&unpack[..], &[&store, &target]].concat()[..],
        &["mount", &bundle],
        &["remove-bundle", &bundle],
        &["repack", "--image", &image, &bundle],
        &["store", "gc", "--store", &store],
        &[
            &unpack[..],
            &[&other, "--additional-store", &store, &target],
        ]
        .concat(),
    ] {
        refused(&scratch.tool(arguments).output(), in_namespace);
    }
    // Root's, where the user can look into it.
    let store = scratch.path("root").display().to_string();
    scratch
        .tool(&[&unpack[..], &[&store, &target]].concat())
        .succeed();
    let open = |name: &str, mode| {
        let path = scratch.path("root").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open("", 0o755);
    let output = script(
        &scratch,
        RANGES,
        &format!("bundle store ls --store {store}"),
    );
    let closed = said(&output);
    assert!(closed.contains("for the user who made it"), "{closed}");
    assert!(!closed.contains("--rootless"), "{closed}");
    open("store.json", 0o644);
    for command in [
        "bundle store ls --store STORE",
        "inside $B store ls --store STORE",
        "inside $B unpack --overlay --store STORE --image layout:latest c",
        "inside $B mount --additional-store STORE --image layout:latest layout",
    ] {
        let output = script(&scratch, RANGES, &command.replace("STORE", &store));
        refused(&output, "it was made by root");
    }
    assert!(!home.join("c").exists());
    scratch.tool(&["remove-bundle", &target]).succeed();
    let removed = script(&scratch, RANGES, "inside $B remove-bundle b");
    assert!(removed.status.success(), "{}", said(&removed));
}
