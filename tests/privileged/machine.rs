//! What a test asks of the machine: root, peers, commands that end, a temporary directory, mounts that
//! go away.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Why these tests are ignored by default; the attribute itself takes literals only.
const HOW: &str = "with -- --include-ignored";

/// What the names of tests begin with that need device nodes, `trusted` attributes, loop devices, id-mapped mounts,
/// control groups or other users, which root of a user namespace has not.
const ROOT_OF_THE_MACHINE: &[&str] = &[
    "archives::podman_loads",
    "containers::",
    "crash::points::a_first_unpack_into_tar_files",
    "crash::points::an_unpack_that_copies",
    "crash::power::",
    "export::an_image_of_the_root_is_mounted",
    "insert::",
    "interop::layout_of_buildah",
    "mount::attached::what_nobody_is_seen_to_use",
    "mount::features::probes_agree",
    "mount::mapped::",
    "mount::methods::",
    "mount::namespace::",
    "overlay::limits::hundreds_of_layers",
    "overlay::maps::",
    "overlay::matrix::layers_as_tar_files",
    "overlay::property::an_overlay_on_an_image_of_tar_files",
    "overlay::rootless::",
    "overlay::tars::",
    "overlay_changes::edits::",
    "overlay_changes::marks::",
    "overlay_changes::property::",
    "overlay_repack::",
    "recipes::callers_of_umoci",
    "recipes::debian",
    "recipes::nspawn",
    "recipes::runtimes",
    "repack::",
    "serve::containerd::",
    "serve::reuse::owners_are_mapped",
    "stat_index::another_device_number",
    "store_cli::content::an_image_becomes_a_mount_stack",
    "store_cli::listing::an_image_is_listed",
    "store_cli::repair::a_copy_with_other_owners",
    "store_cli::unshare::an_ordinary_user",
    "store_content::",
    "store_driver::contract::of_the_naive_driver::a_quota",
    "store_driver::contract::of_the_overlay_driver::a_quota",
    "store_driver::differences::of_the_naive_driver::attributes_survive",
    "store_driver::differences::of_the_overlay_driver::attributes_survive",
    "store_driver::overlay::a_quota_stops",
    "store_driver::overlay::mounts_show_the_owners",
    "store_snapshots::by_full_copies::owners_are_changed",
    "store_snapshots::in_the_store::owners_are_changed",
    "store_snapshots::through_a_server::owners_are_changed",
];

/// Debian's `nobody`: an ordinary user that exists everywhere and owns nothing.
pub const NOBODY: u32 = 65534;

/// A temporary directory, open to other users, with the tested binary in it.
///
/// On drop it is removed, and the test fails when something is still mounted below it.
pub struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// Makes the directory, after making sure that the test can run at all.
    ///
    /// Fails the test when it isn't run by root, which may be that of a user namespace, or when one of `peers` isn't
    /// installed.
    #[track_caller]
    pub fn new(peers: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test was asked for ({HOW}) and needs root"
        );
        leave_out_in_a_namespace();
        for peer in peers {
            if !installed(peer) {
                leave_out(&format!("needs the program {peer}"));
            }
        }
        let directory = tempfile::Builder::new()
            .prefix("bundle-test-")
            .tempdir()
            .unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let scratch = Self { directory };
        // An ordinary user may be unable to reach the build directory. Were this process to write the file, children that
        // other tests start at this moment would have it open for writing, and then it could not be run.
        fs::create_dir(scratch.path("bin")).unwrap();
        if fs::hard_link(tested_binary(), scratch.binary()).is_err() {
            Bounded::new("cp", 60)
                .arg(tested_binary())
                .arg(scratch.binary())
                .succeed();
        }
        scratch
    }

    /// Path of `name` in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A directory in it for one of many cases, removed on drop: a scratch directory each may mean a copy of the binary
    /// each.
    pub fn place(&self) -> TempDir {
        tempfile::tempdir_in(self.directory.path()).unwrap()
    }

    /// The tested binary.
    pub fn binary(&self) -> PathBuf {
        self.path("bin/bundle")
    }

    /// A command that runs the tested binary, ended after a minute.
    pub fn tool(&self, arguments: &[&str]) -> Bounded {
        Bounded::new(self.binary(), 60).args(arguments)
    }

    /// Unpacks `layout:latest` into `bundle` with the tested binary; both are names in the directory.
    #[track_caller]
    pub fn unpack(&self, layout: &str, bundle: &str) -> PathBuf {
        let image = format!("{}:latest", self.path(layout).display());
        let target = self.path(bundle);
        self.tool(&["unpack", "--image", &image])
            .arg(&target)
            .succeed();
        target
    }

    /// The same with Debian's umoci.
    #[track_caller]
    pub fn unpack_with_umoci(&self, layout: &str, bundle: &str) -> PathBuf {
        let image = format!("{}:latest", self.path(layout).display());
        let target = self.path(bundle);
        Bounded::new("umoci", 60)
            .args(&["unpack", "--image", &image])
            .arg(&target)
            .succeed();
        target
    }

    /// Makes a directory that belongs to [`NOBODY`].
    pub fn home_of_nobody(&self) -> PathBuf {
        let home = self.path("home");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
        home
    }

    /// Starts to describe a command of [`NOBODY`], in its home, with these lines in `/etc/subuid` and `/etc/subgid`, as
    /// nobody else sees them; what to run is for the caller to append.
    pub fn command_by_nobody(&self, ranges: &str) -> Bounded {
        /// Its arguments: the lines, a FUSE device that an ordinary user can open, the home, the command.
        const AS_NOBODY: &str = r#"
            set -e; mount --bind "$1" /etc/subuid; mount --bind "$1" /etc/subgid; mount --bind "$2" /dev/fuse
            export HOME="$3" XDG_RUNTIME_DIR="$3" TMPDIR="$3"; shift 3
            exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
        "#;
        let home = self.path("home");
        fs::write(self.path("ranges"), ranges).unwrap();
        // Machines without udev leave /dev/fuse to root alone.
        if !self.path("fuse").exists() {
            Bounded::new("mknod", 10)
                .args(&["--mode=666"])
                .arg(self.path("fuse"))
                .args(&["c", "10", "229"])
                .succeed();
        }
        Bounded::new("unshare", 120)
            .args(&["--mount", "--propagation", "private"])
            .args(&["sh", "-c", AS_NOBODY, "sh"])
            .arg(self.path("ranges"))
            .arg(self.path("fuse"))
            .arg(&home)
            .current_dir(&home)
    }

    /// Copies the sample image to `layout` here, readable by all.
    pub fn sample_image(&self, layout: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sample-image");
        Bounded::new("cp", 60)
            .args(&["-r", "--no-preserve=mode,ownership"])
            .arg(&source)
            .arg(self.path(layout))
            .succeed();
        Bounded::new("chmod", 60)
            .args(&["-R", "a+rX"])
            .arg(self.path(layout))
            .succeed();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mounted = mounts_below(self.directory.path());
        for mount in mounted.iter().rev() {
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
        if !std::thread::panicking() {
            assert!(mounted.is_empty(), "still mounted: {mounted:?}");
        }
    }
}

/// A tmpfs that is unmounted on drop.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts a tmpfs at `path`, which is made, with mount options such as `size=8m`.
    pub fn mount(path: PathBuf, options: &str) -> Self {
        fs::create_dir(&path).unwrap();
        Bounded::new("mount", 10)
            .args(&["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .succeed();
        Self(path)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A process that another test has just started may hold a copy of a descriptor for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A command that is ended after a number of seconds, reads nothing, and whose output is kept.
pub struct Bounded(Command);

impl Bounded {
    /// Starts to describe a command.
    pub fn new(program: impl AsRef<OsStr>, seconds: u32) -> Self {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", &seconds.to_string()])
            .arg(program)
            .stdin(Stdio::null());
        Self(command)
    }

    /// Appends arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.0.args(arguments);
        self
    }

    /// Appends an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, path: &Path) -> Self {
        self.0.current_dir(path);
        self
    }

    /// Makes it a command of [`NOBODY`], who has no groups, no capabilities, and `home`.
    pub fn run_by_nobody(self, home: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={NOBODY}"))
            .arg(format!("--regid={NOBODY}"))
            .arg("--clear-groups")
            .arg(self.0.get_program())
            .args(self.0.get_args())
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("TMPDIR", home)
            .current_dir(self.0.get_current_dir().unwrap_or(home))
            .stdin(Stdio::null());
        Self(command)
    }

    /// Runs it to its end.
    pub fn output(mut self) -> Output {
        self.0
            .output()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.0))
    }

    /// Runs it, fails the test unless it exits with 0, and returns what it wrote to stdout.
    #[track_caller]
    pub fn succeed(self) -> String {
        let line = format!("{:?}", self.0);
        let output = self.output();
        assert!(
            output.status.success(),
            "{line}: {}\n{}",
            output.status,
            said(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Both streams of a command, for messages.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Whether a program of that name is in the search path.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Leaves a test out that needs what a user namespace does not allow, if this is one.
#[track_caller]
fn leave_out_in_a_namespace() {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let map: Vec<&str> = map.split_whitespace().collect();
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    if map != ["0", "0", "4294967295"]
        && ROOT_OF_THE_MACHINE
            .iter()
            .any(|prefix| name.starts_with(prefix))
    {
        leave_out("needs root of the machine, not of a user namespace");
    }
}

/// Ends a test that cannot run here: it fails, unless `tests/all` runs it, which reports the reason once for all
/// tests that are left out for it. Without a panic message, because there would be one for each of them.
#[track_caller]
fn leave_out(why: &str) -> ! {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    if let (Some(file), Some(name)) = (std::env::var_os("BUNDLE_TEST_LEFT_OUT"), name) {
        let line = format!("{name}\t{why}\n");
        let file = fs::File::options().append(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap();
        std::panic::resume_unwind(Box::new(()));
    }
    panic!("this test was asked for ({HOW}) and {why}: tests/all installs what is missing");
}

/// The names in a directory, sorted.
pub fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn tested_binary() -> PathBuf {
    let other = std::env::var_os("BUNDLE_TEST_BINARY");
    other.map_or_else(|| env!("CARGO_BIN_EXE_bundle").into(), PathBuf::from)
}

/// Mount points below `path`, outermost first.
fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|mount| mount.starts_with(path))
        .collect()
}
