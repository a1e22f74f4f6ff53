//! containerd itself on a server: Debian 12's 1.6 with the snapshotter alone, Debian unstable's 2.1 with the differ, too.
//!
//! Each has its own root, state and socket in the scratch directory. The second one's package is fetched by a source of apt
//! of its own, made from the machine's mirror, and unpacked into a folder; `BUNDLE_TEST_CONTAINERD` names one that is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::server::{Program, Server};
use crate::machine::{Bounded, Scratch, names_in};

/// Fetches a package of Debian unstable into a directory, without the machine's apt knowing.
const FETCH: &str = r#"
    set -e; cd "$1"
    mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 | tr -d ' ')
    mkdir -p lists/partial cache/archives/partial etc/parts
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?apt has no mirror of Debian} sid main" > etc/list
    printf 'Package: *\nPin: release n=sid\nPin-Priority: 1\n' > etc/preferences
    set -- -o Dir::Etc::sourcelist="$PWD/etc/list" -o Dir::Etc::sourceparts="$PWD/etc/parts" \
        -o Dir::Etc::preferences="$PWD/etc/preferences" -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache"
    for attempt in 1 2 3; do
        if apt-get "$@" -qq update >&2 && apt-get "$@" -qq download containerd/sid >&2; then break; fi
        sleep $((attempt * 3))
    done
    dpkg-deb -x containerd_*.deb root
"#;

/// How long things may take that happen behind.
const PATIENCE: Duration = Duration::from_secs(60);

/// A containerd with a server of ours.
struct Engine {
    _containerd: Program,
    server: Server,
    directory: PathBuf,
    programs: PathBuf,
}

impl Engine {
    fn start(scratch: &Scratch, programs: &Path, major: &str) -> Self {
        let directory = scratch.path("containerd");
        fs::create_dir(&directory).unwrap();
        let server = Server::start(scratch);
        let snippet = scratch
            .tool(&["serve", "--print-config", major, "--socket"])
            .arg(&server.socket)
            .arg("--store")
            .arg(&server.store)
            .succeed();
        let (version, rest) = snippet.split_once('\n').unwrap();
        let socket = scratch.path("containerd.sock");
        let places = format!(
            "root = \"{0}/root\"\nstate = \"{0}/state\"\n[grpc]\naddress = \"{1}\"\n",
            directory.display(),
            socket.display()
        );
        let disabled = "disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
                        \"io.containerd.cri.v1.runtime\"]";
        // What is for Kubernetes configures what is switched off here.
        let rest = rest.split("# for Kubernetes").next().unwrap();
        let config = directory.join("config.toml");
        fs::write(&config, format!("{version}\n{disabled}\n{places}{rest}")).unwrap();
        let mut command = Command::new(programs.join("containerd"));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .arg("--config")
            .arg(&config)
            .env("PATH", format!("{}:{path}", programs.display()));
        let mut containerd = Program::start(&mut command, scratch.path("containerd.log"));
        containerd.wait_for(&socket);
        Self {
            _containerd: containerd,
            server,
            directory,
            programs: programs.to_owned(),
        }
    }

    #[track_caller]
    fn ctr(&self, arguments: &[&str]) -> String {
        let socket = self.directory.with_file_name("containerd.sock");
        Bounded::new(self.programs.join("ctr"), 120)
            .arg("--address")
            .arg(socket)
            .args(arguments)
            .succeed()
    }

    /// Runs a container to its end. On a machine with much to do, runc was seen to fail before it had any state: then once
    /// more, under the same name.
    fn run_once(&self, rest: &[&str]) -> String {
        let line = [&["run", "--snapshotter", "bundle"], rest].concat();
        let socket = self.directory.with_file_name("containerd.sock");
        let first = Bounded::new(self.programs.join("ctr"), 120)
            .arg("--address")
            .arg(socket)
            .args(&line)
            .output();
        if first.status.success() {
            return String::from_utf8_lossy(&first.stdout).into_owned();
        }
        self.ctr(&line)
    }

    /// Waits until nothing is left of snapshots and layers.
    fn wait_until_empty(&self) {
        let left = || {
            let mut left = names_in(&self.server.store.join("layers/sha256"));
            left.extend(names_in(&self.server.store.join("active")));
            left.retain(|name| name != "lock");
            left
        };
        let start = Instant::now();
        while !left().is_empty() {
            assert!(start.elapsed() < PATIENCE, "left: {:?}", left());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How often a method was called so far and answered.
    fn answered(&self, method: &str) -> usize {
        let line = format!("answered method=\"{method}\"");
        self.server.program.said().matches(&line).count()
    }
}

fn archive_of_sample(scratch: &Scratch) -> String {
    scratch.sample_image("layout");
    let archive = scratch.path("sample.tar");
    Bounded::new("tar", 60)
        .args(&["-C"])
        .arg(scratch.path("layout"))
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .succeed();
    archive.display().to_string()
}

/// Import, run, exec, the changes as a layer, and all of it gone.
fn whole_life(scratch: &Scratch, engine: &Engine) {
    let archive = archive_of_sample(scratch);
    let import = [
        "image",
        "import",
        "--snapshotter",
        "bundle",
        "--base-name",
        "test/sample",
        &archive,
    ];
    engine.ctr(&import);
    let image = "test/sample:latest";
    let run = |rest: &[&str]| {
        let begin = ["run", "--snapshotter", "bundle"];
        engine.ctr(&[&begin[..], rest].concat())
    };
    let script = "cat /etc/motd; ls /etc; echo $((6 * 7))";
    let said = engine.run_once(&["--rm", image, "first", "/bin/sh", "-c", script]);
    let motd = scratch.unpack("layout", "flat").join("rootfs/etc/motd");
    let motd = fs::read_to_string(motd).unwrap();
    assert!(said.starts_with(&motd) && said.ends_with("42\n"), "{said}");
    assert!(!said.contains("draft"), "{said}");
    let script = "echo changed > /new; rm /etc/motd; sleep 300";
    run(&["--detach", image, "second", "/bin/sh", "-c", script]);
    let start = Instant::now();
    let mut number = 0;
    loop {
        number += 1;
        let id = number.to_string();
        let show = "cat /new 2>&1; ls /etc/motd 2>&1; true";
        let exec = [
            "task",
            "exec",
            "--exec-id",
            &id,
            "second",
            "/bin/sh",
            "-c",
            show,
        ];
        let shown = engine.ctr(&exec);
        if shown.starts_with("changed") && shown.contains("No such file") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{shown}");
    }
    engine.ctr(&["task", "kill", "--signal", "9", "second"]);
    let layer = scratch.path("layer.tar.gz");
    let socket = scratch.path("containerd.sock");
    let make = "\"$1\" --address \"$2\" snapshots --snapshotter bundle diff second > \"$3\"";
    Bounded::new("sh", 60)
        .args(&["-c", make, "sh"])
        .arg(engine.programs.join("ctr"))
        .arg(&socket)
        .arg(&layer)
        .succeed();
    let names = Bounded::new("tar", 60)
        .args(&["-tzf"])
        .arg(&layer)
        .succeed();
    for name in ["new", "etc/.wh.motd"] {
        assert!(
            names
                .lines()
                .any(|line| line.trim_start_matches("./") == name),
            "{names}"
        );
    }
    while engine.ctr(&["task", "list", "--quiet"]).contains("second") {
        assert!(start.elapsed() < PATIENCE);
        let _ = Bounded::new(engine.programs.join("ctr"), 20)
            .arg("--address")
            .arg(&socket)
            .args(&["task", "rm", "second"])
            .output();
    }
    engine.ctr(&["container", "rm", "second"]);
    engine.ctr(&["image", "rm", "--sync", image]);
    engine.wait_until_empty();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn containerd_1_6_uses_the_snapshotter() {
    let scratch = Scratch::new(&["containerd", "ctr", "runc"]);
    let engine = Engine::start(&scratch, Path::new("/usr/bin"), "1");
    whole_life(&scratch, &engine);
    assert_eq!(engine.answered("Apply"), 0);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn containerd_2_uses_the_snapshotter_and_the_differ() {
    let scratch = Scratch::new(&["apt-get", "dpkg-deb", "runc"]);
    let given = std::env::var_os("BUNDLE_TEST_CONTAINERD").map(PathBuf::from);
    let programs = given.unwrap_or_else(|| {
        let folder = scratch.path("fetched");
        fs::create_dir(&folder).unwrap();
        Bounded::new("sh", 400)
            .args(&["-c", FETCH, "sh"])
            .arg(&folder)
            .succeed();
        folder.join("root/usr/bin")
    });
    let engine = Engine::start(&scratch, &programs, "2");
    whole_life(&scratch, &engine);
    assert_eq!((engine.answered("Apply"), engine.answered("Diff")), (2, 1));
    // The command has brought the image: nothing is applied again.
    let image = format!("{}:latest", scratch.path("layout").display());
    scratch
        .tool(&["unpack", "--overlay", "--image", &image, "--store"])
        .arg(&engine.server.store)
        .arg(scratch.path("bundle"))
        .succeed();
    let archive = scratch.path("sample.tar").display().to_string();
    let import = [
        "image",
        "import",
        "--snapshotter",
        "bundle",
        "--base-name",
        "test/again",
        &archive,
    ];
    engine.ctr(&import);
    assert_eq!(engine.answered("Apply"), 2);
    let run = [
        "run",
        "--rm",
        "--snapshotter",
        "bundle",
        "test/again:latest",
        "third",
    ];
    let said = engine.ctr(&[&run[..], &["/bin/sh", "-c", "echo from the store"]].concat());
    assert_eq!(said, "from the store\n");
    engine.ctr(&["image", "rm", "--sync", "test/again:latest"]);
    // What the bundle needs has stayed.
    let motd = scratch.path("bundle/rootfs/etc/motd");
    assert!(!fs::read_to_string(motd).unwrap().is_empty());
    scratch
        .tool(&["remove-bundle"])
        .arg(scratch.path("bundle"))
        .succeed();
}
