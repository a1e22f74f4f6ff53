//! What cannot be packed is refused in both shapes with the same words, and what only an overlay can have is refused with
//! the reason; nothing is lost.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::edit::{blob_path, diff_ids, document, index_entry, set_xattr, sh, top_names};
use crate::machine::{Bounded, names_in, said};
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
fn assert_one_refused(pair: &Pair, bundle: &Path, what: &str, words: &[&str]) {
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
fn sockets_are_left_out_in_both_shapes() {
    let pair = Pair::new(image(), &[]);
    // New, in the place of a file, and in that of a directory with something in it.
    pair.edit("rm -r f top; touch -d @1600000000 . d");
    for rootfs in pair.rootfs() {
        for name in ["d/socket", "f", "top"] {
            drop(UnixListener::bind(rootfs.join(name)).unwrap());
        }
    }
    pair.edit("touch -d @1600000000 . d");
    let tag = pair.repack("without the sockets", &[]);
    let names = top_names(&pair.layout(), &tag);
    for gone in [".wh.f", ".wh.top"] {
        assert!(names.iter().any(|name| name == gone), "{gone} in {names:?}");
    }
    assert!(
        !names
            .iter()
            .any(|name| name.contains("socket") || name.starts_with("top")),
        "{names:?}"
    );
    for bundle in [&pair.flat, &pair.overlay] {
        let output = pair.run_repack(bundle, "again", &[], "2000000000");
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        for socket in [
            "/d/socket is a socket",
            "/f is a socket",
            "/top is a socket",
        ] {
            assert!(said.contains(socket), "no {socket} in {said}");
        }
    }
}

/// What is mounted in a root file system is neither packed, nor does it hide what lies beneath.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn mounts_are_left_out_in_both_shapes_and_named() {
    let pair = Pair::new(image(), &[]);
    pair.edit("echo x >new; echo beneath >d/beneath; touch -d @1600000000 . d new d/beneath");
    let expected = pair.repack("without mounts", &[]);
    let expected = diff_ids(&pair.layout(), &expected);
    let host = pair.scratch.path("host");
    sh(
        &pair.scratch.path(""),
        "mkdir -p host/sub; echo secret >host/secret; echo other >file",
    );
    let file = pair.scratch.path("file");
    for (index, bundle) in [&pair.flat, &pair.overlay].into_iter().enumerate() {
        let rootfs = bundle.join("rootfs");
        let _mounts = [
            Bind::mount(&host, &rootfs.join("d")),
            Bind::mount(&file, &rootfs.join("new")),
        ];
        // One on top of another is not seen, and not told.
        let _nested = Bind::mount(&host, &rootfs.join("d/sub"));
        for flags in [&[][..], &["--verify"], &["--refresh-bundle"]] {
            let tag = format!("mounted-{index}-{}", flags.len());
            let output = pair.run_repack(bundle, &tag, flags, "2000000000");
            let said = said(&output);
            assert!(output.status.success(), "{said}");
            assert_eq!(
                diff_ids(&pair.layout(), &tag),
                expected,
                "{bundle:?} {flags:?}"
            );
            assert!(
                said.contains("/d is a mount") && said.contains("/new is a mount"),
                "{said}"
            );
            assert!(!said.contains("/d/sub"), "{said}");
        }
    }
    // Refreshed beneath the mounts, nothing has changed.
    let tag = pair.repack("afterwards", &[]);
    assert_eq!(diff_ids(&pair.layout(), &tag), expected);
}

/// A bind mount that is gone when the test ends.
struct Bind(PathBuf);

impl Bind {
    fn mount(source: &Path, target: &Path) -> Self {
        Bounded::new("mount", 60)
            .args(&["--bind"])
            .arg(source)
            .arg(target)
            .succeed();
        Self(target.to_owned())
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
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
