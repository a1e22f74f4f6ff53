//! Unpacking as an ordinary user: nothing of an image's ownership and modes is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::image::{Image, Layer, layers_of};
use crate::machine::{Bounded, Scratch};
use crate::tree::xattrs;

/// The attribute in which rootless tools record an owner.
const OWNER: &str = "user.rootlesscontainers";

/// The record of 992:123 (protobuf: field 1 and 2, varints).
const OWNER_992_123: &[u8] = b"\x08\xe0\x07\x10\x7b";

/// Fails the test where the temporary directory can't hold what the tests look at.
#[track_caller]
fn needs_user_xattrs(scratch: &Scratch) {
    let probe = scratch.path("probe");
    fs::write(&probe, "").unwrap();
    let set = rustix::fs::lsetxattr(&probe, "user.probe", b"1", rustix::fs::XattrFlags::empty());
    set.expect("TMPDIR is on a filesystem with user xattrs");
}

/// Unpacks the image as nobody; returns the home directory and the bundle.
#[track_caller]
fn unpack_as_nobody(scratch: &Scratch, image: Image) -> (PathBuf, PathBuf) {
    needs_user_xattrs(scratch);
    let home = scratch.home_of_nobody();
    image.write(&home.join("layout"));
    Bounded::new("chown", 10)
        .args(&["-R", "65534:65534"])
        .arg(home.join("layout"))
        .succeed();
    let bundle = home.join("b");
    let name = format!("{}:latest", home.join("layout").display());
    scratch
        .tool(&["unpack", "--rootless", "--image", &name])
        .arg(&bundle)
        .run_by_nobody(&home)
        .succeed();
    (home, bundle)
}

fn image_with_closed_files(uid: u64, gid: u64) -> Image {
    let layer = Layer::new()
        .directory("./", 0o755)
        .owner(uid, gid)
        .file("read-only", 0o444, b"r")
        .file("none", 0o000, b"n")
        .directory("closed/", 0o000)
        .file("closed/inside", 0o400, b"i")
        .directory("closed/deeper/", 0o555)
        .file("closed/deeper/file", 0o600, b"f")
        .owner(0, 0)
        .file("of-root", 0o444, b"0");
    // The second layer has to go into the closed directory again.
    let second =
        Layer::new()
            .file("closed/deeper/later", 0o644, b"l")
            .file("closed/.wh.inside", 0o644, b"");
    Image::new().layer(layer).layer(second)
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owners_of_files_without_write_permission_are_recorded() {
    let scratch = Scratch::new(&["setpriv"]);
    let (_, bundle) = unpack_as_nobody(&scratch, image_with_closed_files(992, 123));
    let rootfs = bundle.join("rootfs");
    for name in ["read-only", "none", "closed", "closed/deeper"] {
        let found = xattrs(&rootfs.join(name));
        assert_eq!(
            found.get(OWNER).map(Vec::as_slice),
            Some(OWNER_992_123),
            "{name}: {found:?}"
        );
    }
    assert_eq!(xattrs(&rootfs.join("of-root")).get(OWNER), None);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn directories_of_mode_0_are_unpacked_and_can_be_read_again() {
    let scratch = Scratch::new(&["setpriv", "umoci"]);
    // Owned by root: umoci cannot read `user.*` attributes of what is closed to its owner, and would see a change.
    let (home, bundle) = unpack_as_nobody(&scratch, image_with_closed_files(0, 0));
    let rootfs = bundle.join("rootfs");
    let mode = |name: &str| {
        fs::symlink_metadata(rootfs.join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("closed") & 0o7777, 0o000);
    assert_eq!(mode("closed/deeper") & 0o7777, 0o555);
    assert_eq!(mode("none") & 0o7777, 0o000);
    assert_eq!(fs::read(rootfs.join("closed/deeper/later")).unwrap(), b"l");
    assert!(!rootfs.join("closed/inside").exists());
    // umoci, as the same user, reads it all and finds what our manifest says.
    let layout = home.join("layout");
    Bounded::new("umoci", 60)
        .args(&["repack", "--image"])
        .arg(format!("{}:again", layout.display()))
        .arg(&bundle)
        .run_by_nobody(&home)
        .succeed();
    assert_eq!(layers_of(&layout, "latest"), layers_of(&layout, "again"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn devices_are_empty_files_for_an_ordinary_user() {
    let scratch = Scratch::new(&["setpriv"]);
    let layer = Layer::new()
        .directory("./", 0o755)
        .directory("dev/", 0o755)
        .null_device("dev/null")
        .fifo("dev/fifo");
    let (_, bundle) = unpack_as_nobody(&scratch, Image::new().layer(layer));
    let null = fs::symlink_metadata(bundle.join("rootfs/dev/null")).unwrap();
    assert!(null.is_file() && null.len() == 0);
    assert_eq!(null.permissions().mode() & 0o7777, 0o666);
}
