//! The same with owners mapped, and in a user namespace.

use crate::image::{Image, Layer};
use crate::machine::{Bounded, Scratch};

use super::pair::Pair;

/// An image without devices, which nobody makes in a user namespace, and with owners from several ranges.
fn image() -> Image {
    let first = Layer::new()
        .directory("./", 0o755)
        .file("f", 0o644, b"f")
        .directory("d/", 0o755)
        .file("d/a", 0o644, b"a")
        .file("h1", 0o644, b"links")
        .hard_link("d/h2", "h1")
        .owner(33, 44)
        .file("owned", 0o640, b"o")
        .directory("owned.d/", 0o2750)
        .fifo("owned.d/fifo")
        .symlink("owned.d/link", "x");
    let second = Layer::new()
        .file("d/b", 0o644, b"b")
        .hard_link("d/h3", "h1")
        .owner(33, 44)
        .file("owned.d/later", 0o600, b"l");
    Image::new().layer(first).layer(second)
}

const EDIT: &str = "
    echo more >>f; rm d/a; mv d e; chmod 700 owned.d; chmod 2750 owned.d; : >>owned; ln h1 h4; mkdir -p n/m; mkfifo n/p;
    cp -a owned n/owned; mv owned.d/later n/; ln -s y n/l
";

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn with_mapped_owners_both_shapes_give_one_image() {
    let flags = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536"];
    for pair in [
        Pair::new(image(), &flags),
        Pair::with_copies(image(), &flags),
    ] {
        let tag = pair.repack("mapped, unchanged", &[]);
        assert_eq!(pair.added(&tag), 0);
        for rootfs in pair.rootfs() {
            crate::edit::sh(&rootfs, EDIT);
            // As a program of the container would: its owners are in the ranges.
            crate::edit::sh(&rootfs, "find . -uid 0 -exec chown -h 100007:200008 {} +");
            crate::edit::settle(&rootfs);
        }
        let tag = pair.repack("mapped", &["--refresh-bundle"]);
        assert_eq!(pair.added(&tag), 1);
        let names = crate::edit::top_names(&pair.layout(), &tag);
        assert!(!names.contains(&"owned".to_owned()), "{names:?}");
        let tag = pair.repack("mapped, refreshed", &[]);
        assert_eq!(pair.added(&tag), 1);
        pair.set_mounted(false);
        pair.set_mounted(true);
        let tag = pair.repack("mapped, mounted again", &[]);
        assert_eq!(pair.added(&tag), 1);
    }
}

/// Runs its second argument as root of a user namespace; the first is the file that counts as `/etc/subuid` meanwhile.
const ENTER: &str = r#"
    set -e; mount --bind "$1" /etc/subuid; mount --bind "$1" /etc/subgid
    exec unshare --user --mount --map-users=100000,0,65536 --map-groups=100000,0,65536 --setuid=0 --setgid=0 sh -c "$2"
"#;

/// Unpacks, edits and repacks all in one script: the mounts are seen nowhere else.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn in_a_user_namespace_both_shapes_give_one_image() {
    let scratch = Scratch::new(&["unshare", "newuidmap"]);
    let home = scratch.path("home");
    std::fs::create_dir(&home).unwrap();
    image().write(&home.join("layout"));
    Bounded::new("chown", 10)
        .args(&["-R", "100000:100000"])
        .arg(&home)
        .succeed();
    let ranges = scratch.path("ranges");
    std::fs::write(&ranges, "root:100000:65536\n").unwrap();
    let script = format!(
        "set -e
        unpack() {{ \"$BUNDLE\" unpack --image layout:latest \"$@\"; }}
        settle() {{ find . -newermt @1760000000 -exec touch -h -d @$1 {{}} +; }}
        repack() {{ \"$BUNDLE\" repack --image layout:$1.$2 $3 $1; }}
        unpack flat; unpack --overlay --store store overlay
        for b in flat overlay; do
            repack $b unchanged
            (cd $b/rootfs; {EDIT}
            settle 1700000000)
            repack $b edited --refresh-bundle
            repack $b again
            (cd $b/rootfs; rm -r n; echo o >owned; settle 1710000000)
            repack $b twice --refresh-bundle
        done
        \"$BUNDLE\" umount overlay
        \"$BUNDLE\" mount overlay
        repack overlay mounted; repack flat mounted
        \"$BUNDLE\" remove-bundle overlay"
    );
    Bounded::new("env", 120)
        .arg("SOURCE_DATE_EPOCH=2000000000")
        .arg(format!("BUNDLE={}", scratch.binary().display()))
        .args(&[
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            ENTER,
        ])
        .args(&["sh", ranges.to_str().unwrap(), &script])
        .current_dir(&home)
        .succeed();
    let layout = home.join("layout");
    let digest = |tag: &str| crate::edit::index_entry(&layout, tag)["digest"].clone();
    let count = |tag: &str| crate::edit::diff_ids(&layout, tag).len();
    for (what, layers) in [
        ("unchanged", 2),
        ("edited", 3),
        ("again", 3),
        ("twice", 4),
        ("mounted", 4),
    ] {
        let (flat, overlay) = (format!("flat.{what}"), format!("overlay.{what}"));
        assert_eq!(count(&flat), layers, "{flat}");
        assert_eq!(
            crate::edit::diff_ids(&layout, &flat),
            crate::edit::diff_ids(&layout, &overlay),
            "{what}"
        );
        assert_eq!(digest(&flat), digest(&overlay), "{what}");
    }
}
