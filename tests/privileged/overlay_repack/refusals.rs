//! What cannot be packed is refused in both shapes with the same words, and what only an overlay can have is refused with
//! the reason; nothing is lost.

use std::fs;
use std::os::unix::net::UnixListener;

use crate::edit::{blob_path, document, index_entry, set_xattr, sh};
use crate::machine::{names_in, said};
use crate::tree::Tree;

use super::pair::{Pair, image};

/// Repacks both, which must fail and say all of these words; what was edited stays, and no tag comes into being.
#[track_caller]
fn assert_refused(pair: &Pair, what: &str, words: &[&str]) {
    for bundle in [&pair.flat, &pair.overlay] {
        assert_one_refused(pair, bundle, what, words);
    }
}

#[track_caller]
fn assert_one_refused(pair: &Pair, bundle: &std::path::Path, what: &str, words: &[&str]) {
    let shown = bundle.display();
    let before = Tree::read(&bundle.join("rootfs"));
    let blobs = || names_in(&pair.layout().join("blobs/sha256"));
    let (blobs_before, index) = (blobs(), fs::read(pair.layout().join("index.json")).unwrap());
    for flags in [&[][..], &["--refresh-bundle"]] {
        let output = pair.run_repack(bundle, "refused", flags, "2000000000");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{what}: {shown}: {said}");
        for word in words {
            assert!(
                said.contains(word),
                "{what}: {shown}: no {word:?} in {said}"
            );
        }
    }
    Tree::read(&bundle.join("rootfs")).assert_same(&before, what);
    assert_eq!(blobs(), blobs_before, "{what}");
    assert_eq!(fs::read(pair.layout().join("index.json")).unwrap(), index);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_socket_is_refused_in_both_shapes() {
    let pair = Pair::new(image(), &[]);
    for rootfs in pair.rootfs() {
        drop(UnixListener::bind(rootfs.join("d/socket")).unwrap());
    }
    assert_refused(&pair, "a socket", &["d/socket", "socket"]);
    pair.edit("rm d/socket; echo x >f");
    pair.repack("without the socket", &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn names_of_whiteouts_are_refused_in_both_shapes() {
    let pair = Pair::new(image(), &[]);
    for name in [".wh.x", ".wh..wh..opq", "d/.wh.f", ".wh."] {
        for rootfs in pair.rootfs() {
            sh(&rootfs, &format!("echo x >{name}"));
        }
        assert_refused(&pair, name, &[name]);
        for rootfs in pair.rootfs() {
            sh(&rootfs, &format!("rm {name}"));
        }
    }
    pair.edit("touch -d @1600000000 . d");
    let tag = pair.repack("without the names", &[]);
    assert_eq!(pair.added(&tag), 0);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_image_that_is_gone_is_missed_in_both_shapes() {
    let pair = Pair::new(image(), &[]);
    pair.edit("echo x >f");
    let layout = pair.layout();
    let entry = index_entry(&layout, "latest");
    let manifest = document(&layout, &entry);
    let aside = pair.scratch.path("aside");
    for descriptor in [&entry, &manifest["config"], &manifest["layers"][0]] {
        let path = blob_path(&layout, descriptor);
        fs::rename(&path, &aside).unwrap();
        let digest = descriptor["digest"].as_str().unwrap();
        let mut words = vec![digest];
        // The configuration is read as part of the image.
        if descriptor != &manifest["config"] {
            words.push("the bundle was unpacked from is not in the layout");
        }
        assert_refused(&pair, digest, &words);
        fs::rename(&aside, &path).unwrap();
    }
    pair.repack("there again", &[]);
}

/// Directories that lie elsewhere, files whose content does: the upper directory alone does not say what has changed.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_upper_directory_that_is_not_whole_is_refused_with_the_reason() {
    let pair = Pair::new(image(), &[]);
    pair.edit("echo x >f; echo y >d/a; mkdir new");
    pair.set_mounted(false);
    for (path, attribute, value) in [
        ("new", "trusted.overlay.redirect", &b"/s"[..]),
        ("d", "trusted.overlay.redirect", b"s"),
        (".", "trusted.overlay.redirect", b"/s"),
        ("d/a", "trusted.overlay.metacopy", b""),
        ("f", "trusted.overlay.metacopy", b"\0\x08\0\x01"),
    ] {
        let at = pair.upper().join(path);
        set_xattr(&at, attribute, value);
        let mark = attribute.rsplit('.').next().unwrap();
        let before = Tree::read(&pair.upper());
        let overlay = pair.overlay.clone();
        assert_one_refused(&pair, &overlay, path, &[mark]);
        Tree::read(&pair.upper()).assert_same(&before, path);
        rustix::fs::removexattr(&at, attribute).unwrap();
    }
    pair.repack("whole again", &[]);
}
