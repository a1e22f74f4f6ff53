//! Layers that are meant to take more than they give: depth, repetition, attributes that nothing can hold.

use std::io::{Cursor, Read};

use oci_cas::Algorithm;

use super::*;
use crate::archive::{Entry, EntryKind};
use crate::fs::InodeKind;
use crate::fs::XattrNamespace;
use crate::fs::tree::Tree;
use crate::layer::apply::Applier;
use crate::layer::consumer::Consumer;
use crate::layer::frame::Step;
use crate::layer::view::{View, ViewOptions};

/// Applies a layer to an empty root, with a record of it or without one.
fn tree(fixture: &Fixture, archive: Archive, record: bool) -> Tree {
    struct Layer(Cursor<Vec<u8>>);
    impl Read for Layer {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl LayerSource for Layer {
        fn verdict(&mut self) -> Result<()> {
            Ok(())
        }
    }
    let mut options = fixture.options.clone();
    (options.fresh, options.file_digests) = (true, record);
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    let layer = Layer(Cursor::new(archive.end()));
    let layers = std::iter::once(Ok((Algorithm::Sha256, layer)));
    apply_layers(layers, &root, &options, &Silent, |_| Ok(())).unwrap()
}

#[test]
fn a_whiteout_spares_what_the_layer_wrote_however_deep() {
    let fixture = Fixture::new();
    let deep = "d/".repeat(100);
    let mut lower = Archive::default();
    let mut upper = Archive::default();
    for depth in (10..=100).step_by(10) {
        lower = lower.long(
            &format!("{}old", "d/".repeat(depth)),
            tar::EntryType::Regular,
            "",
        );
        upper = upper.long(
            &format!("{}new", "d/".repeat(depth)),
            tar::EntryType::Regular,
            "",
        );
    }
    fixture.unpack(lower).unwrap();
    fixture.unpack(upper.file("d/.wh..wh..opq", "")).unwrap();
    let files: Vec<String> = fixture.names();
    let files: Vec<&String> = files.iter().filter(|name| !name.ends_with('d')).collect();
    assert_eq!(files.len(), 10, "{files:?}");
    assert!(files.iter().all(|name| name.ends_with("new")), "{files:?}");
    assert!(fixture.path(&deep).join("new").is_file());
}

#[test]
fn what_a_layer_has_hidden_once_is_not_looked_at_again() {
    for whiteout in ["d/.wh..wh..opq", ".wh.d", "d/e/.wh..wh..opq", "d/.wh.e"] {
        let fixture = Fixture::new();
        let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
        let mut applier = Applier::new(&root, &fixture.options, &Silent).unwrap();
        let mut apply = |path: &str| {
            applier.step(Step::Entry(file(path)), b"").unwrap();
            applier.step(Step::End(None), b"").unwrap();
        };
        apply("d/e/f");
        apply("d/.wh..wh..opq");
        // Somebody else's file tells whether the directory is gone through.
        fs::write(fixture.path("d/e/stranger"), "").unwrap();
        apply(whiteout);
        assert!(fixture.path("d/e/stranger").exists(), "{whiteout}");
        applier.finish_layer().unwrap();
        let mut apply = |path: &str| applier.step(Step::Entry(file(path)), b"");
        apply(whiteout).unwrap();
        assert!(!fixture.path("d/e/f").exists(), "{whiteout}");
    }
}

/// An empty file.
fn file(path: &str) -> Box<Entry> {
    let mtime = filetime::FileTime::zero();
    Box::new(Entry {
        path: path.as_bytes().to_vec(),
        kind: EntryKind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        mtime,
        atime: None,
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    })
}

#[test]
fn what_was_hidden_in_one_layer_is_hidden_again_in_the_next() {
    let fixture = Fixture::new();
    let hide = |name: &str| Archive::default().file("d/.wh..wh..opq", "").file(name, "");
    for name in ["d/a", "d/b"] {
        fixture.unpack(hide(name)).unwrap();
        assert_eq!(fixture.names(), ["d", name]);
    }
    // What comes to a name after it was hidden is no lower layer's, and hiding it once more changes nothing.
    let replaced = hide("d/c")
        .dir("x", 0o755)
        .file("x/.wh..wh..opq", "")
        .file("x", "")
        .file("d/.wh.c", "");
    fixture.unpack(replaced).unwrap();
    assert_eq!(fixture.names(), ["d", "d/c", "x"]);
}

#[test]
fn hard_links_that_wait_for_their_targets_have_a_limit() {
    let fixture = Fixture::new();
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    let mut applier = Applier::new(&root, &fixture.options, &Silent).unwrap();
    let entry = Entry {
        kind: EntryKind::HardLink,
        link: b"t/".repeat(2000),
        // These are not the link's, and not kept.
        xattrs: vec![(b"user.a".to_vec(), vec![b'x'; 60_000])],
        ..*file("x")
    };
    let count = (0..20_000)
        .take_while(|_| {
            let step = Step::Entry(Box::new(entry.clone()));
            match applier.step(step, b"") {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:?}");
                    false
                }
            }
        })
        .count();
    assert_eq!(count, (64 << 20) / 4001);
}

#[test]
fn a_path_through_links_of_thousands_of_names_is_refused() {
    let target = |next: &str| format!("{}{next}", "d/../".repeat(800));
    let mut archive = Archive::default().dir("d", 0o755);
    for index in 0..10 {
        let next = format!("l{}", index + 1);
        archive = archive.long(
            &format!("l{index}"),
            tar::EntryType::Symlink,
            &target(&next),
        );
    }
    let archive = archive.symlink("l10", "d");
    let through = |link: &str| Archive(archive.0.clone()).file(&format!("{link}/f"), "");
    for (link, allowed) in [("l6", true), ("l0", false)] {
        let disk = Fixture::new().unpack(through(link)).map(|_| ());
        let mut view = View::new();
        let seen = view.add_layer(&through(link).end()[..], &ViewOptions::default());
        let expected = (!allowed).then_some(ErrorKind::InvalidData);
        assert_eq!(disk.err().map(|error| error.kind()), expected, "{link}");
        assert_eq!(seen.err().map(|error| error.kind()), expected, "{link}");
    }
}

#[test]
fn user_attributes_of_links_and_pipes_are_left_out_with_one_warning() {
    let fixture = Fixture::new();
    let xattrs = [("user.a", "1")];
    let archive = Archive::default()
        .xattrs(&xattrs)
        .symlink("l", "f")
        .xattrs(&xattrs)
        .entry("p", tar::EntryType::Fifo, 0o644, "", b"")
        .file("f", "1");
    let bytes = archive.end();
    let warnings = Warnings(Mutex::default());
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    unpack_layer(&bytes[..], &root, &fixture.options, &warnings).unwrap();
    let told = warnings.0.into_inner().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("user.a"), "{told:?}");
    assert_eq!(fixture.names(), ["f", "l", "p"]);
    let mut view = View::new();
    view.add_layer(&bytes[..], &ViewOptions::default()).unwrap();
    for name in [b"l", b"p"] {
        let node = view.tree().find(name).unwrap();
        assert!(view.tree().inode(node).xattrs.is_empty());
    }
}

#[test]
fn ever_new_attributes_cause_only_so_many_warnings() {
    let fixture = Fixture::new();
    let mut archive = Archive::default();
    for index in 0..1500 {
        archive = archive
            .xattrs(&[(&format!("user.a{index}"), "1")])
            .symlink("l", "f");
    }
    let warnings = Warnings(Mutex::default());
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    unpack_layer(&archive.end()[..], &root, &fixture.options, &warnings).unwrap();
    assert_eq!(warnings.0.into_inner().unwrap().len(), 1001);
}

#[test]
fn without_a_record_nothing_is_hashed_or_looked_at_for_one() {
    let archive = || Archive::default().dir("d", 0o755).file("d/f", "1");
    for record in [true, false] {
        let fixture = Fixture::new();
        let tree = tree(&fixture, archive(), record);
        for path in [&b"d"[..], b"d/f"] {
            let inode = tree.inode(tree.find(path).unwrap());
            assert_eq!(inode.stat_stamp.is_some(), record, "{inode:?}");
            let hashed = record && inode.kind == InodeKind::File;
            assert_eq!(inode.sha256.is_some(), hashed, "{inode:?}");
        }
        assert_eq!(fixture.read("d/f"), "1");
    }
}

#[test]
fn messages_name_the_root_once_and_cut_long_paths() {
    let fixture = Fixture::new();
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    let again = root.open_self().unwrap();
    assert_eq!(again.path_of(b"l"), fixture.path("l"));
    assert_eq!(again.path_of(b""), fixture.dir.path());
    let long = crate::fs::escape_name("ä/".repeat(2000).as_bytes());
    assert_eq!(long.chars().count(), 301);
    assert!(long.starts_with("ä/ä") && long.ends_with("ä/"), "{long}");
    assert_eq!(crate::fs::escape_name(&[b'n'; 255]).len(), 255);
}

/// Gives the applier of a layer by itself an empty file, whose name may be that of a whiteout.
fn apply(applier: &mut Applier<'_>, path: &str) -> Result<()> {
    applier.step(Step::Entry(file(path)), b"")?;
    applier.step(Step::End(None), b"")
}

/// Works with the applier of a layer by itself.
fn stacked<T>(
    fixture: &Fixture,
    work: impl FnOnce(&mut Applier<'_>) -> T,
) -> (T, LowerDependencies) {
    let mut options = fixture.options.clone();
    options.fresh = true;
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    let mut applier = Applier::stacked(&root, &options, XattrNamespace::User, &Silent).unwrap();
    let result = work(&mut applier);
    applier.finish_layer().unwrap();
    (result, applier.into_changeset().unwrap().1)
}

#[test]
fn whiteouts_of_a_layer_by_itself_have_a_limit() {
    let fixture = Fixture::new();
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    let mut applier =
        Applier::stacked(&root, &fixture.options, XattrNamespace::User, &Silent).unwrap();
    let name = "n".repeat(3995);
    let failed = (0..20_000).find_map(|index| {
        let error = apply(&mut applier, &format!(".wh.{index:05}{name}")).err()?;
        Some((index, error.kind()))
    });
    assert_eq!(failed, Some(((64 << 20) / 4000, ErrorKind::LimitExceeded)));
}

#[test]
fn hiding_the_same_things_again_and_again_takes_no_room() {
    let fixture = Fixture::new();
    let ((), changeset) = stacked(&fixture, |applier| {
        for _ in 0..20_000 {
            for path in ["d/.wh.x", ".wh.d", ".wh.f", "o/.wh..wh..opq", "o/.wh.x"] {
                apply(applier, path).unwrap();
            }
        }
    });
    assert_eq!(changeset.whiteouts, [b"d", b"f"]);
    assert_eq!(changeset.opaque, [b"o"]);
    assert_eq!(fixture.names(), ["d", "f", "o"]);
}

#[test]
fn what_a_layer_by_itself_has_hidden_once_is_not_looked_at_again() {
    for whiteout in ["d/.wh..wh..opq", ".wh.d", "d/e/.wh..wh..opq", "d/.wh.e"] {
        let fixture = Fixture::new();
        let ((), changeset) = stacked(&fixture, |applier| {
            for path in ["d/e/f", "d/m/.wh.x", "d/.wh..wh..opq"] {
                apply(applier, path).unwrap();
            }
            // Somebody else's file tells whether the directory is gone through.
            fs::write(fixture.path("d/e/stranger"), "").unwrap();
            fs::create_dir(fixture.path("d/m")).unwrap();
            apply(applier, whiteout).unwrap();
        });
        assert!(fixture.path("d/m").exists(), "{whiteout}");
        assert!(fixture.path("d/e/stranger").exists(), "{whiteout}");
        assert_eq!(changeset.opaque, [b"d"], "{whiteout}");
    }
}

#[test]
fn owners_of_a_layer_by_itself_have_a_limit() {
    let node = |uid| {
        let mut tree = Tree::new(inode(0));
        for id in 0..uid {
            tree.insert(Tree::ROOT, id.to_string().as_bytes(), inode(id));
        }
        LowerDependencies::of(&tree, Vec::new(), Vec::new())
    };
    assert_eq!(node(65_536).unwrap().uids.len(), 65_536);
    assert_eq!(node(65_537).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

/// A pipe in a record.
fn inode(uid: u32) -> crate::fs::tree::Inode {
    crate::fs::tree::Inode {
        kind: InodeKind::Fifo,
        mode: 0o644,
        uid,
        gid: 0,
        size: 0,
        nlink: 1,
        mtime: filetime::FileTime::zero(),
        link: Box::default(),
        sha256: None,
        xattrs: Vec::new(),
        stat_stamp: None,
    }
}

#[test]
fn whiteouts_may_be_as_deep_as_directories_get() {
    let deep = |depth: usize, name: &str| format!("{}{name}", "d/".repeat(depth));
    let fixture = Fixture::new();
    let paths = [
        deep(1900, ".wh.x"),
        deep(1000, "f"),
        deep(500, ".wh..wh..opq"),
    ];
    let ((), changeset) = stacked(&fixture, |applier| {
        for path in &paths {
            apply(applier, path).unwrap();
        }
    });
    // Nothing of the layer is below its file, and what is hidden above needs no whiteout.
    assert_eq!(
        (changeset.whiteouts.len(), changeset.implied.len()),
        (0, 1000)
    );
    assert_eq!(changeset.files, 1002);
    let (_, changeset) = stacked(&Fixture::new(), |applier| apply(applier, &paths[0]));
    assert_eq!(changeset.implied.len(), 1900);
    assert!(changeset.implied.iter().all(|dir| dir.only_marks));
    assert_eq!(changeset.whiteouts, [deep(1900, "x").into_bytes()]);
}
