//! containerd itself on a server: Debian 12's 1.6 and Debian 13's 1.7 with the snapshotter alone, Debian unstable's 2.1 with
//! the differ, too.
//!
//! Each has its own root, state and socket in the scratch directory. The packages of other suites than the machine's are
//! fetched by a source of apt of its own, made from the machine's mirror, and unpacked into a folder.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::server::{Program, Server};
use crate::image::layers_of;
use crate::machine::{Bounded, Scratch, names_in};

/// Fetches the package of another suite of Debian's into a directory, without the machine's apt knowing.
const FETCH: &str = r#"
    set -e; cd "$1"; suite=$2
    mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 | tr -d ' ')
    mkdir -p lists/partial cache/archives/partial etc/parts
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?apt has no mirror of Debian} $suite main" > etc/list
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 1\n' "$suite" > etc/preferences
    set -- -o Dir::Etc::sourcelist="$PWD/etc/list" -o Dir::Etc::sourceparts="$PWD/etc/parts" \
        -o Dir::Etc::preferences="$PWD/etc/preferences" -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache"
    for attempt in 1 2 3; do
        if apt-get "$@" -qq update >&2 && apt-get "$@" -qq download "containerd/$suite" >&2; then break; fi
        sleep $((attempt * 3))
    done
    dpkg-deb -x containerd_*.deb root
"#;

/// How long things may take that happen behind.
const PATIENCE: Duration = Duration::from_secs(60);

/// A containerd with a server of ours.
struct Engine {
    containerd: Program,
    server: Server,
    directory: PathBuf,
    programs: PathBuf,
    /// Where the server counts.
    metrics: String,
}

impl Engine {
    fn start(scratch: &Scratch, programs: &Path, major: &str) -> Self {
        let directory = scratch.path("containerd");
        fs::create_dir(&directory).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let metrics = free.local_addr().unwrap().to_string();
        drop(free);
        let server = Server::start_with(scratch, &["--metrics", &metrics], &[]);
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
        Self {
            containerd: Self::containerd(scratch, programs),
            server,
            directory,
            programs: programs.to_owned(),
            metrics,
        }
    }

    /// Starts containerd, as it has been configured.
    fn containerd(scratch: &Scratch, programs: &Path) -> Program {
        let mut command = Command::new(programs.join("containerd"));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .arg("--config")
            .arg(scratch.path("containerd/config.toml"))
            .env("PATH", format!("{}:{path}", programs.display()));
        let mut containerd = Program::start(&mut command, scratch.path("containerd.log"));
        containerd.wait_for(&scratch.path("containerd.sock"));
        containerd
    }

    /// Imports an archive under a name, by a command that may fail.
    fn import(&self, archive: &str, name: &str) -> Bounded {
        let socket = self.directory.with_file_name("containerd.sock");
        Bounded::new(self.programs.join("ctr"), 120)
            .arg("--address")
            .arg(socket)
            .args(&["image", "import", "--snapshotter", "bundle", "--base-name"])
            .args(&[name, archive])
    }

    /// How many layers the server has unpacked since it began.
    fn unpacked(&self) -> usize {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix("bundle_serve_layers_unpacked_total "));
        count.unwrap().parse().unwrap()
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

/// The programs of containerd as a suite of Debian's has it. `BUNDLE_TEST_CONTAINERD_SID` (or of another suite) names the
/// directory of ones that are there.
fn fetched(scratch: &Scratch, suite: &str) -> PathBuf {
    let given = format!("BUNDLE_TEST_CONTAINERD_{}", suite.to_uppercase());
    if let Some(given) = std::env::var_os(given) {
        return given.into();
    }
    let folder = scratch.path("fetched");
    fs::create_dir(&folder).unwrap();
    Bounded::new("sh", 400)
        .args(&["-c", FETCH, "sh"])
        .arg(&folder)
        .arg(suite)
        .succeed();
    folder.join("root/usr/bin")
}

/// The sample image as an archive of ours.
fn archive_of_sample(scratch: &Scratch) -> String {
    scratch.sample_image("layout");
    let archive = scratch.path("sample.tar").display().to_string();
    scratch
        .tool(&["copy", &layout_of_sample(scratch)])
        .arg(format!("oci-archive:{archive}:latest"))
        .succeed();
    archive
}

fn layout_of_sample(scratch: &Scratch) -> String {
    format!("{}:latest", scratch.path("layout").display())
}

/// Import, run, exec, the changes as a layer, and all of it gone.
fn whole_life(scratch: &Scratch, engine: &Engine) {
    let archive = archive_of_sample(scratch);
    engine.import(&archive, "test/sample").succeed();
    let image = "test/sample:latest";
    // What it exports, we read.
    let exported = scratch.path("exported.tar");
    engine.ctr(&["image", "export", &exported.display().to_string(), image]);
    let back = format!("{}:latest", scratch.path("back").display());
    scratch
        .tool(&["copy"])
        .arg(format!("oci-archive:{}", exported.display()))
        .arg(&back)
        .succeed();
    let layers = |layout: &str| layers_of(&scratch.path(layout), "latest");
    assert_eq!(layers("back"), layers("layout"));
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
fn containerd_1_7_uses_the_snapshotter() {
    let scratch = Scratch::new(&["apt-get", "dpkg-deb", "runc"]);
    let engine = Engine::start(&scratch, &fetched(&scratch, "trixie"), "1");
    whole_life(&scratch, &engine);
    assert_eq!(engine.answered("Apply"), 0);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn containerd_2_uses_the_snapshotter_and_the_differ() {
    let scratch = Scratch::new(&["apt-get", "dpkg-deb", "runc"]);
    let engine = Engine::start(&scratch, &fetched(&scratch, "sid"), "2");
    whole_life(&scratch, &engine);
    // containerd's own snapshotter is there as before.
    let archive = scratch.path("sample.tar").display().to_string();
    engine.ctr(&[
        "image",
        "import",
        "--snapshotter",
        "overlayfs",
        "--base-name",
        "test/own",
        &archive,
    ]);
    engine.ctr(&["image", "rm", "--sync", "test/own:latest"]);
    assert_eq!((engine.answered("Apply"), engine.answered("Diff")), (2, 1));
    // The command has brought the image: nothing is applied again.
    let image = format!("{}:latest", scratch.path("layout").display());
    scratch
        .tool(&["unpack", "--overlay", "--image", &image, "--store"])
        .arg(&engine.server.store)
        .arg(scratch.path("bundle"))
        .succeed();
    engine.import(&archive, "test/again").succeed();
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

/// Runs a container of an image that was imported, and takes the image away.
fn run_and_remove(engine: &Engine, name: &str) {
    let image = format!("{name}:latest");
    let said = engine.run_once(&["--rm", &image, "box", "/bin/sh", "-c", "echo it runs"]);
    assert_eq!(said, "it runs\n");
    engine.ctr(&["image", "rm", "--sync", &image]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn of_eight_pulls_at_once_one_unpacks_each_layer() {
    let scratch = Scratch::new(&["apt-get", "dpkg-deb", "runc"]);
    let engine = Engine::start(&scratch, &fetched(&scratch, "sid"), "2");
    let archive = archive_of_sample(&scratch);
    let names: Vec<String> = (0..8).map(|number| format!("test/{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let (engine, archive) = (&engine, &archive);
            scope.spawn(move || engine.import(archive, name).succeed());
        }
    });
    assert_eq!(engine.unpacked(), 2);
    for name in &names {
        run_and_remove(&engine, name);
    }
    engine.wait_until_empty();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_pull_that_a_death_of_the_server_broke_works_when_it_is_repeated() {
    let scratch = Scratch::new(&["apt-get", "dpkg-deb", "runc"]);
    let mut engine = Engine::start(&scratch, &fetched(&scratch, "sid"), "2");
    let archive = archive_of_sample(&scratch);
    for point in [
        "serve-prepared",
        "layer-staged",
        "layer-synced",
        "layer-applied",
        "snapshot-becoming",
        "snapshot-committed",
        "snapshot-forgotten",
    ] {
        assert!(engine.server.program.end().success(), "{point}");
        engine.server = Server::start_with(&scratch, &[], &[("BUNDLE_FAULT", point)]);
        let broken = engine.import(&archive, "test/sample").output();
        assert!(!broken.status.success(), "nothing has passed {point}");
        assert!(!engine.server.program.child.wait().unwrap().success());
        let metrics = ["--metrics", &engine.metrics];
        engine.server = Server::start_with(&scratch, &metrics, &[]);
        // containerd's connection comes back after a pause.
        let start = Instant::now();
        while !engine
            .import(&archive, "test/sample")
            .output()
            .status
            .success()
        {
            assert!(start.elapsed() < PATIENCE, "{point}");
            std::thread::sleep(Duration::from_millis(200));
        }
        run_and_remove(&engine, "test/sample");
        engine.wait_until_empty();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_pull_that_a_death_of_containerd_broke_works_when_it_is_repeated() {
    let scratch = Scratch::new(&["apt-get", "dpkg-deb", "runc"]);
    let mut engine = Engine::start(&scratch, &fetched(&scratch, "sid"), "2");
    let archive = archive_of_sample(&scratch);
    for answered in ["Prepare", "Apply", "Commit"] {
        let before = engine.answered(answered);
        std::thread::scope(|scope| {
            let import = engine.import(&archive, "test/sample");
            let import = scope.spawn(move || import.output());
            let start = Instant::now();
            while engine.answered(answered) == before {
                assert!(start.elapsed() < PATIENCE, "no {answered}");
                std::thread::sleep(Duration::from_millis(1));
            }
            let pid = rustix::process::Pid::from_child(&engine.containerd.child);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            // It may just have been done.
            let _ = import.join().unwrap();
        });
        engine.containerd.child.wait().unwrap();
        engine.containerd = Engine::containerd(&scratch, &engine.programs);
        // Leases of clients that were cut off hold what they had for a day.
        for lease in engine.ctr(&["leases", "list", "--quiet"]).lines() {
            engine.ctr(&["leases", "delete", lease]);
        }
        engine.import(&archive, "test/sample").succeed();
        run_and_remove(&engine, "test/sample");
        engine.wait_until_empty();
    }
}
