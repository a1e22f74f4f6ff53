//! Edits by name: those that overlays are known to get wrong.

use crate::edit::top_names;
use crate::image::{Image, Layer};

use super::pair::{Pair, image};

/// Edits that only rename a part of a set of links: to a record, nothing has happened to the other names, so the layer does
/// not say that they still are one file.
const SPLIT: &[&str] = &[
    "a lower directory renamed",
    "a name of links renamed",
    "a directory with names of links renamed",
];

/// What is done, how, and how many layers that makes.
const EDITS: &[(&str, &str, usize)] = &[
    ("nothing", ":", 0),
    ("a lower directory renamed", "mv d moved", 1),
    (
        "a directory of two layers renamed",
        "mv s/e top/e; mv s x",
        1,
    ),
    (
        "renamed there and back",
        "mv s x; mv x s; touch -d @1600000000 .",
        0,
    ),
    (
        "copied, removed and moved back",
        "cp -a s y; rm -r s; mv y s; touch -d @1600000000 .",
        0,
    ),
    (
        "chmod and back",
        "for f in f d top/one h1 setuid; do chmod o+t $f; chmod o-t $f; done; chmod 4755 setuid",
        0,
    ),
    (
        "owner there and back",
        "chown 7:7 f top; chown 0:0 f top",
        0,
    ),
    (
        "opened and nothing written",
        "for f in f d/a h2 top/two s/e/f; do : >>$f; done",
        0,
    ),
    (
        "touched to the same time",
        "touch -d @1600000000 f d top/coloured",
        0,
    ),
    (
        "a tree deleted and made again",
        "rm -r d s; mkdir -p d/sub/x s/e; echo n >d/sub/n",
        1,
    ),
    ("deleted and made again", "rm -r d; mkdir d; echo a >d/a", 1),
    (
        "a file deleted and made again with another content",
        "rm f; echo other >f",
        1,
    ),
    (
        "a file deleted and made again as it was",
        "cp -a f ../aside; rm f; mv ../aside f; touch -d @1600000000 .",
        0,
    ),
    ("a whole tree removed", "rm -r d s", 1),
    ("all removed", "rm -r * .[!.]* 2>/dev/null || :", 1),
    (
        "emptied and filled",
        "rm -r d/*; mkdir -p d/sub/new; echo n >d/sub/new/n",
        1,
    ),
    ("a directory becomes a file", "rm -r d; echo d >d", 1),
    (
        "a file becomes a directory",
        "rm f h1; mkdir f h1; echo 1 >f/1; echo 2 >h1/2",
        1,
    ),
    (
        "types replaced",
        "rm f g link fifo null; ln -s d f; mkfifo g; mkdir link; mknod fifo c 5 1; echo n >null",
        1,
    ),
    (
        "a directory becomes a symbolic link to what it was",
        "mv s real; ln -s real s",
        1,
    ),
    ("a name added to links", "ln h1 top/h6; ln top/one one", 1),
    ("names of links removed", "rm h2 top/two", 1),
    ("all but one name removed", "rm h1 h2 d/h5", 1),
    ("all names removed", "rm h1 h2 d/h3 d/h5", 1),
    (
        "a name of links renamed",
        "mv h1 h9; mv top/one top/three",
        1,
    ),
    ("a directory with names of links renamed", "mv d e", 1),
    (
        "links copied up, then linked",
        ": >>h1; ln h2 h7; : >>top/one; ln top/two top/three",
        1,
    ),
    (
        "a link broken and changed",
        "cp -a h2 t; echo more >>t; mv t h2",
        1,
    ),
    (
        "new links",
        "echo n >n1; ln n1 d/n2; ln n1 top/n3; ln s/e/f s/f2",
        1,
    ),
    (
        "links and whiteouts of one set",
        "rm h1; ln d/h3 h1; rm top/one; ln h2 top/one",
        1,
    ),
    (
        "special files made",
        "mkfifo p; mknod c c 1 3; mknod b b 7 300; mkdir -m 1777 t; ln c c2; ln p p2",
        1,
    ),
    ("special files removed", "rm fifo null", 1),
    (
        "special files touched",
        "chmod 640 fifo; chmod 640 null; chown -h 5:5 link",
        1,
    ),
    (
        "owners and modes",
        "chown 12:34 f; chmod 4711 g; chown -R 5:5 s; chmod 3777 empty",
        1,
    ),
    (
        "capabilities",
        "setcap cap_net_raw+ep setuid; setcap cap_chown+ep f",
        1,
    ),
    ("times", "touch -d @12345 f d top; touch -h -d @99 link", 1),
    (
        "names that need an escape",
        "echo x >'a b'; printf 1 >$(printf 'tab\\tnl\\nx'); mkdir \u{e9}",
        1,
    ),
    (
        "long names",
        "n=$(printf %0200d 7); mkdir -p $n/$n; echo l >$n/$n/$n",
        1,
    ),
    ("the root itself", "chmod 700 .; chown 3:4 .", 1),
    (
        "a file of large holes",
        "truncate -s 40M large; printf x | dd of=large bs=1 seek=20M conv=notrunc status=none; truncate -s 3M one-hole",
        1,
    ),
    (
        "a file of holes",
        "truncate -s 10M hole; printf x | dd of=hole bs=1 seek=5000000 conv=notrunc status=none",
        1,
    ),
    (
        "a later layer's part only",
        "rm empty/.keep d/later; rm s/e/g",
        1,
    ),
    (
        "made again what a layer took away",
        "echo again >d/b; echo again >s/gone",
        1,
    ),
];

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn edits_that_overlays_are_known_to_get_wrong_give_one_image_in_both_shapes() {
    let pair = Pair::new(image(), &[]);
    for (what, script, layers) in EDITS {
        pair.renew();
        pair.edit(script);
        let tag = pair.repack(what, &[]);
        assert_eq!(
            pair.added(&tag),
            *layers,
            "{what}: {:?}",
            top_names(&pair.layout(), &tag)
        );
        if !SPLIT.contains(what) {
            pair.assert_unpacks(&tag, what);
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn xattrs_give_one_image_in_both_shapes() {
    let pair = Pair::new(image(), &[]);
    for rootfs in pair.rootfs() {
        use crate::edit::set_xattr;
        set_xattr(&rootfs.join("f"), "user.new", b"1");
        set_xattr(&rootfs.join("coloured"), "user.colour", b"black");
        set_xattr(&rootfs.join("d"), "user.of-directory", b"\0\xff");
        set_xattr(&rootfs.join("setuid"), "trusted.x", b"t");
        // There and back.
        set_xattr(&rootfs.join("top/coloured"), "user.colour", b"x");
        set_xattr(&rootfs.join("top/coloured"), "user.colour", b"green");
        rustix::fs::removexattr(rootfs.join("coloured.d"), "user.colour").unwrap();
    }
    pair.edit(":");
    let tag = pair.repack("attributes", &[]);
    let names = top_names(&pair.layout(), &tag);
    assert_eq!(names, ["coloured", "coloured.d/", "d/", "f", "setuid"]);
    pair.assert_unpacks(&tag, "attributes");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_is_repacked_mounted_and_not_mounted() {
    let pair = Pair::new(image(), &[]);
    pair.edit("echo more >>f; rm -r s; mv top t; ln h1 h8");
    pair.repack("mounted", &[]);
    pair.set_mounted(false);
    let tag = pair.repack("not mounted", &[]);
    pair.set_mounted(true);
    pair.repack("mounted again", &[]);
    pair.assert_unpacks(&tag, "not mounted");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn times_above_the_epoch_are_lowered_in_both_shapes() {
    let pair = Pair::new(image(), &[]);
    for rootfs in pair.rootfs() {
        // Not at the same moment: only the epoch makes it one time.
        crate::edit::sh(
            &rootfs,
            "echo n >new; mkdir -p x/y; echo more >>f; ln h1 h8; rm s/e/g",
        );
    }
    let tag = pair.repack_at("lowered", &[], "1650000000");
    assert_eq!(pair.added(&tag), 1);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn masks_and_volumes_keep_changes_out_in_both_shapes() {
    let pair = Pair::of_layout(&[], |layout| {
        image().write(layout);
        let latest = format!("{}:latest", layout.display());
        crate::machine::Bounded::new(env!("CARGO_BIN_EXE_bundle"), 60)
            .args(&["config", "--image", &latest, "--config.volume", "/s/e/"])
            .succeed();
    });
    pair.edit("rm s/e/f; echo n >s/e/new; echo n >s/new; mkdir -p a/b a/c; echo 1 >a/b/1; echo 2 >a/c/2; rm -r top; rm h2");
    for flags in [
        &[][..],
        &["--no-mask-volumes"],
        &["--mask-path", "/a/b", "--mask-path", "f"],
        &["--mask-path", "/top", "--mask-path", "h2/"],
        &["--mask-path", "h1"],
        &[
            "--mask-path",
            "/s",
            "--mask-path",
            "/a",
            "--mask-path",
            "/top",
            "--mask-path=d",
            "--mask-path=h1",
            "--mask-path=h2",
        ],
    ] {
        pair.repack(&format!("{flags:?}"), flags);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn bundles_are_refreshed_alike_twice_and_after_a_mount() {
    let pair = Pair::new(image(), &[]);
    let steps = [
        "echo 1 >one; rm d/a; chmod 700 empty; ln h1 h4; mv s moved",
        "echo 2 >empty/two; rm one; ln h4 h10; rm -r moved/e; mkdir moved/e; echo 3 >moved/e/3",
        "echo 22 >empty/two; rm h2 h10; mv top t",
    ];
    for (number, script) in steps.iter().enumerate() {
        let what = format!("refreshed {number}");
        pair.edit(script);
        let tag = pair.repack(&what, &["--refresh-bundle"]);
        assert_eq!(pair.added(&tag), number + 1, "{what}");
        pair.assert_unpacks(&tag, &what);
        let tag = pair.repack("nothing since", &[]);
        assert_eq!(pair.added(&tag), number + 1, "{what}: nothing since");
        if number != 1 {
            // From here on the layers below are those of the new image.
            pair.set_mounted(false);
            pair.set_mounted(true);
        }
        let tag = pair.repack("nothing since the mount", &["--refresh-bundle"]);
        assert_eq!(
            pair.added(&tag),
            number + 1,
            "{what}: nothing since the mount"
        );
        pair.assert_unpacks(&tag, &what);
    }
}

/// A layer on top whose directories say nothing new: what is seen comes from the layers and from the patch.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn implied_directories_that_are_touched_are_no_change() {
    let lower = Layer::new()
        .directory("./", 0o755)
        .owner(5, 6)
        .xattr("user.x", b"y")
        .directory("a/", 0o2710)
        .directory("a/b/", 0o700);
    let upper = Layer::new()
        .file("a/b/f", 0o644, b"f")
        .file("i/j/k", 0o644, b"k");
    let pair = Pair::new(Image::new().layer(lower).layer(upper), &[]);
    pair.edit("chmod 755 a a/b; chmod 2710 a; chmod 700 a/b; : >>a/b/f; : >>i/j/k; chmod 700 i; chmod 755 i");
    let tag = pair.repack("touched", &[]);
    assert_eq!(pair.added(&tag), 0, "{:?}", top_names(&pair.layout(), &tag));
    pair.edit("echo n >a/b/n; rm i/j/k");
    let tag = pair.repack("changed", &[]);
    let names = top_names(&pair.layout(), &tag);
    assert_eq!(names, ["a/b/", "a/b/n", "i/j/", "i/j/.wh.k"]);
    pair.assert_unpacks(&tag, "changed");
}
