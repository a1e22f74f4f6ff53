//! What the probes find on a machine that has everything the other tests need.

use oci_bundle::fs::XattrNamespace;
use oci_bundle::fs::mount::{self, Features, MountMethod};

use super::{made, opened};
use crate::machine::{Scratch, Tmpfs, names_in};

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn probes_agree_with_what_the_other_tests_do_and_leave_nothing() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    let store = made(&scratch, "store");
    let found = Features::probe_all(&store, XattrNamespace::Trusted).unwrap();
    for (method, answer) in &found.methods {
        assert!(answer.is_yes(), "{method}: {answer}");
    }
    let (_, fuse) = Features::probe(&store, XattrNamespace::Trusted)
        .unwrap()
        .methods
        .pop()
        .unwrap();
    assert_eq!(
        fuse.to_string(),
        "no: not tried, as the kernel mounts overlays"
    );
    for (what, answer) in [
        ("overlay", &found.kernel_overlay()),
        ("user marks", &found.user_marks),
        ("marks", &found.marks_writable),
        ("volatile", &found.volatile),
        ("entry types", &found.entry_types),
        ("id-mapped", &found.id_mapped_lowers),
        ("detached", &found.detached_lowers),
    ] {
        assert!(answer.is_yes(), "{what}: {answer}");
    }
    assert_eq!(found.max_lowers, Some(mount::MAX_LOWERS));
    assert!(names_in(&scratch.path("store")).is_empty());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_no_says_why() {
    let scratch = Scratch::new(&[]);
    let tmpfs = Tmpfs::mount(scratch.path("tmpfs"), "size=8m");
    let found = Features::probe(&opened(tmpfs.path()), XattrNamespace::Trusted).unwrap();
    assert_eq!(found.file_system.name, "tmpfs");
    assert!(
        found
            .reflinks
            .to_string()
            .starts_with("no: share the content")
    );
    // On an overlay itself there is no upper directory.
    let stack = super::Stack::of(&scratch, 2).with_upper("upper");
    let root = stack.mount(Some(MountMethod::Fd)).unwrap().root().unwrap();
    let found = Features::probe(&root, XattrNamespace::Trusted).unwrap();
    assert_eq!(found.file_system.name, "overlayfs");
    let answer = found.kernel_overlay().to_string();
    assert!(answer.contains("upperdir"), "{answer}");
}
