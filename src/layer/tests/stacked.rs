//! Layers without those below them: what is on disk, and what is said about the rest.

use std::os::unix::fs::FileTypeExt;

use oci_cas::Algorithm;

use super::*;
use crate::fs::XattrNamespace;
use crate::layer::pipeline::Unverified;

pub(super) const MARKS: XattrNamespace = XattrNamespace::User;

/// A layer on disk.
pub(super) struct Layer {
    pub fixture: Fixture,
    pub unpacked: UnpackedLayer,
}

pub(super) fn try_unpack(fixture: &Fixture, archive: Archive) -> Result<UnpackedLayer> {
    let root = Root::open(fixture.dir.path(), Access::Plain)?;
    let bytes = archive.end();
    let source = Unverified(&bytes[..]);
    unpack_changeset(
        source,
        Algorithm::Sha256,
        &root,
        &fixture.options,
        MARKS,
        &Silent,
    )
}

pub(super) fn unpack(archive: Archive) -> Layer {
    let fixture = Fixture::new();
    let unpacked = try_unpack(&fixture, archive).unwrap();
    Layer { fixture, unpacked }
}

impl Layer {
    pub fn changeset(&self) -> &LowerDependencies {
        &self.unpacked.changeset
    }

    /// All paths, with `!` behind those that are a whiteout and `=` behind those that are marked.
    pub fn shown(&self) -> String {
        let shown = self.fixture.names().into_iter().map(|name| {
            let path = self.fixture.path(&name);
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mark = if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
                "!"
            } else if metadata.is_dir() && self.is_marked(&name) {
                "="
            } else {
                ""
            };
            format!("{name}{mark}")
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn is_marked(&self, path: &str) -> bool {
        let root = Root::open(&self.fixture.path(path), Access::Plain).unwrap();
        root.dir().is_opaque(MARKS).unwrap()
    }

    /// Implied directories, with `d` behind those that have an entry later and `m` behind those that have only marks.
    fn implied(&self) -> String {
        let implied = self.changeset().implied.iter().map(|dir| {
            let described = if dir.described { ":d" } else { "" };
            let only_marks = if dir.only_marks { ":m" } else { "" };
            format!("{}{described}{only_marks}", text(&dir.path))
        });
        implied.collect::<Vec<_>>().join(" ")
    }

    fn links_below(&self) -> String {
        let links = self.changeset().links_below.iter();
        let links = links.map(|link| format!("{}->{}", text(&link.path), text(&link.target)));
        links.collect::<Vec<_>>().join(" ")
    }
}

pub(super) fn text(path: &[u8]) -> &str {
    std::str::from_utf8(path).unwrap()
}

fn texts(paths: &[Vec<u8>]) -> String {
    let paths: Vec<&str> = paths.iter().map(|path| text(path)).collect();
    paths.join(" ")
}

/// One row a rule: the entries of a layer, one letter and a path each, and what comes of them.
///
/// `f` file, `d` directory, `w` whiteout of the path, `o` opaque whiteout in the path.
pub(super) fn layer_of(entries: &str) -> Archive {
    let entries = entries.split_whitespace();
    entries.fold(Archive::default(), |archive, entry| {
        let (kind, path) = entry.split_at(1);
        let (dir, name) = match path.rsplit_once('/') {
            Some((dir, name)) => (format!("{dir}/"), name),
            None => (String::new(), path),
        };
        match kind {
            "f" => archive.file(path, path),
            "d" => archive.dir(path, 0o750),
            "w" => archive.file(&format!("{dir}.wh.{name}"), ""),
            "o" => archive.file(format!("{path}/.wh..wh..opq").trim_start_matches('/'), ""),
            "l" => {
                let (path, target) = path.split_once('>').unwrap();
                archive.link(path, target)
            }
            "s" => {
                let (path, target) = path.split_once('>').unwrap();
                archive.symlink(path, target)
            }
            _ => unreachable!("{entry}"),
        }
    })
}

#[test]
fn what_is_hidden_depends_on_the_order_as_in_a_plain_unpack() {
    for (entries, shown, opaque, fresh) in [
        // Nothing of the layer has the name.
        ("wx", "x!", "", ""),
        ("wd/x", "d d/x!", "", ""),
        // The layer's own file, before and after.
        ("fx wx", "x", "", ""),
        ("wx fx", "x", "", ""),
        ("wd/x fd/x", "d d/x", "", ""),
        // The layer's own directory: the same as below if it came first.
        ("dx wx", "x=", "x", ""),
        ("fx/f wx", "x= x/f", "x", ""),
        ("wx dx", "x=", "", "x"),
        ("wx fx/f", "x= x/f", "", "x"),
        ("wx fx/f wx", "x= x/f", "", "x"),
        ("wx dx ox", "x=", "", "x"),
        ("od", "d=", "d", ""),
        ("fd/f od", "d= d/f", "d", ""),
        ("od fd/f", "d= d/f", "d", ""),
        // A directory that comes where a file was.
        ("fx dx", "x=", "", "x"),
        ("fx fx/f", "x= x/f", "", "x"),
        ("dx fx dx", "x=", "", "x"),
        ("wx fx dx", "x=", "", "x"),
        ("sx>none fx wx dx", "x=", "", "x"),
        // Whiteouts in what is hidden as a whole hide nothing.
        ("wd/x od", "d=", "d", ""),
        ("od wd/x", "d=", "d", ""),
        ("wd/x fd/f wd", "d= d/f", "d", ""),
        ("wd dd wd/x", "d=", "", "d"),
        ("fd dd wd/x", "d=", "", "d"),
        ("wd/e/x fd/f wd", "d= d/f", "d", ""),
        // A file in the way of a whiteout, or coming there later.
        ("fd wd/x", "d", "", ""),
        ("wd/x fd", "d", "", ""),
        ("wd/x fd dd", "d=", "", "d"),
        // What was made for a whiteout alone is not the layer's.
        ("wd/x wd", "d!", "", ""),
        ("od wd", "d!", "", ""),
        ("wd/e/x wd", "d!", "", ""),
        ("wd wd/x", "d!", "", ""),
        ("wd/x wd fd/f", "d= d/f", "", "d"),
        ("wd wd/x fd/f", "d= d/f", "", "d"),
        // What is made below a directory that has lost its children is another than below.
        ("od fd/e/f", "d= d/e= d/e/f", "d", "d/e"),
        ("fd/e/f od", "d= d/e d/e/f", "d", ""),
        ("od fd/e/f/g", "d= d/e= d/e/f d/e/f/g", "d", "d/e"),
        (
            "fd/e/f od fd/e/g/h",
            "d= d/e d/e/f d/e/g= d/e/g/h",
            "d",
            "d/e/g",
        ),
        ("wd/e/x fd/f od fd/e/g", "d= d/e= d/e/g d/f", "d", "d/e"),
        ("wd fd/e/f", "d= d/e d/e/f", "", "d"),
        // The root.
        ("fa/f o fb/f wc", "a a/f b= b/f", "", "b"),
        // By another way to the directory.
        ("dd ss>d fs/f ws/x", "d d/f d/x! s", "", ""),
        ("ss>d ws/x", "d d/x! s", "", ""),
    ] {
        let layer = unpack(layer_of(entries));
        let changeset = layer.changeset();
        assert_eq!(layer.shown(), shown, "{entries}");
        assert_eq!(texts(&changeset.opaque), opaque, "{entries}");
        assert_eq!(texts(&changeset.fresh), fresh, "{entries}");
        let names = layer.fixture.names();
        let whiteouts = shown.split(' ').filter_map(|name| name.strip_suffix('!'));
        let whiteouts: Vec<&str> = whiteouts.collect();
        assert_eq!(
            texts(&changeset.whiteouts),
            whiteouts.join(" "),
            "{entries}"
        );
        assert_eq!(changeset.files, names.len() as u64 + 1, "{entries}");
        for name in &names {
            let in_tree = layer.unpacked.tree.find(name.as_bytes()).is_some();
            assert_eq!(in_tree, !whiteouts.contains(&&**name), "{entries}: {name}");
        }
    }
}

#[test]
fn directories_without_entries_are_listed_with_what_is_in_them() {
    for (entries, implied) in [
        ("fa/b/f", "a a/b"),
        ("da fa/b/f", "a/b"),
        ("fa/f da", "a:d"),
        ("wa/b/x", "a:m a/b:m"),
        ("wa/b/x fa/f", "a a/b:m"),
        ("wa/b/x da", "a:d a/b:m"),
        ("oa", "a:m"),
        ("oa fa/f", "a"),
        ("fa/f fa da", ""),
        ("fa/f wa", "a"),
        ("wa/x wa", ""),
        ("la/l>below", "a"),
        ("wa/x la/l>below", "a"),
        ("ss>u fs/f", "u"),
    ] {
        let layer = unpack(layer_of(entries));
        assert_eq!(layer.implied(), implied, "{entries}");
    }
}

#[test]
fn links_without_targets_are_listed_and_those_to_later_targets_made() {
    for (entries, shown, links) in [
        ("la>t", "", "a->t"),
        ("ld/a>./t/../u", "d", "d/a->u"),
        ("la>t ft", "a t", "a->t"),
        ("ft la>t", "a t", ""),
        // What had the name of the link has it no more, what came later does.
        ("fa la>t", "", "a->t"),
        ("la>t fa", "a", ""),
        ("la>t da fa/f", "a= a/f", ""),
        ("la>t fa/f", "a= a/f", ""),
        ("la>t wa/x", "", "a->t"),
        ("la>t ft la>t", "a t", ""),
        ("la>t ft la>u", "t", "a->t a->u"),
        ("ld/a>t fd", "d", ""),
        ("ld/a>t fd dd", "d=", ""),
        ("la>t ft/f", "t t/f", "a->t"),
        // A name that a link takes needs no whiteout; the directory of the link has been written.
        ("wa la>t", "", "a->t"),
        ("la>t wa", "", "a->t"),
        ("wd/x ld/a>t wd", "d=", "d/a->t"),
        // What only whiteouts made may be a file below.
        ("wt/x la>t", "t t/x!", "a->t"),
        ("wa/x la>a", "", "a->a"),
    ] {
        let layer = unpack(layer_of(entries));
        assert_eq!(layer.shown(), shown, "{entries}");
        assert_eq!(layer.links_below(), links, "{entries}");
    }
    let layer = unpack(layer_of("la>t lb>t ft fx ly>x"));
    assert_eq!(layer.links_below(), "a->t b->t");
    let groups: Vec<String> = (layer.changeset().link_groups.iter())
        .map(|names| texts(names))
        .collect();
    assert_eq!(groups, ["a b t", "x y"]);
    let ino = |name| fs::metadata(layer.fixture.path(name)).unwrap().ino();
    assert!(ino("a") == ino("t") && ino("b") == ino("t") && ino("x") != ino("t"));
}

#[test]
fn what_the_layer_itself_has_hidden_is_no_target_of_links() {
    for entries in ["wt la>t", "wd la>d/t", "od la>d/t", "fd la>d/t"] {
        // There is none, unless a directory on the way is a link below.
        let layer = unpack(layer_of(entries));
        assert!(layer.changeset().needs_below, "{entries}");
        assert_eq!(layer.links_below(), "", "{entries}");
    }
}

#[test]
fn paths_through_a_loop_of_links_are_left_to_the_layers_below() {
    for entries in [
        "sc>d/../c fc/f",
        "sa>a wa/x",
        "sa>b sb>a lx>a/f",
        "lx>c/f sc>c",
    ] {
        let layer = unpack(layer_of(entries));
        assert!(layer.changeset().needs_below, "{entries}");
    }
    // A loop that nothing leads through is one link more.
    assert!(!unpack(layer_of("sa>a fb")).changeset().needs_below);
}

#[test]
fn a_link_whose_name_has_another_meaning_in_the_same_layer_is_left_to_those_below() {
    for entries in [
        "la>t lb>a",
        "ss>d ls/a>s/t",
        "la>t fa",
        "la>t ft la>t",
        "fa/f ll>a",
        "la>t fa ft",
        "la>l fa ll>t",
        "ld/a>t fd dd ft",
        "fa/f la>t",
        "la>t da ft",
    ] {
        assert!(
            unpack(layer_of(entries)).changeset().needs_below,
            "{entries}"
        );
    }
    for entries in ["la>t ft", "ft la>t fa", "fa la>t"] {
        assert!(
            !unpack(layer_of(entries)).changeset().needs_below,
            "{entries}"
        );
    }
}

#[test]
fn the_root_says_whether_it_has_an_entry_and_hides_all() {
    let of = |entries: &str| unpack(layer_of(entries)).unpacked.changeset;
    let root = |entries| (of(entries).root, of(entries).root_opaque);
    assert_eq!(root("fa"), (false, false));
    assert_eq!(root("d./ fa"), (true, false));
    assert_eq!(root("o"), (false, true));
    let layer = unpack(layer_of("fa d./ o"));
    assert!(layer.changeset().root && layer.changeset().root_opaque);
    assert!(layer.changeset().opaque.is_empty() && !layer.is_marked(""));
}

#[test]
fn a_device_that_looks_like_a_whiteout_is_refused() {
    let device = |kind| Archive::default().entry("dev/null", kind, 0o600, "", b"");
    if crate::fs::probe::in_user_namespace() {
        unpack(device(tar::EntryType::Char));
        return;
    }
    let error = try_unpack(&Fixture::new(), device(tar::EntryType::Char)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.hints(), ["unpack the image without --overlay"]);
    assert!(
        error.chain().contains("entry dev/null"),
        "{}",
        error.chain()
    );
}

#[test]
fn attributes_of_the_image_never_act_as_marks_and_marks_outlast_them() {
    let name = "user.overlay.opaque";
    let archive = Archive::default()
        .xattrs(&[(name, "y"), ("user.a", "1")])
        .dir("plain", 0o755)
        .file("plain/f", "")
        .xattrs(&[(name, "n"), ("user.overlay.whiteout", "")])
        .file("f", "")
        .file("hides/.wh..wh..opq", "")
        .xattrs(&[(name, "z"), ("user.b", "2")])
        .dir("hides", 0o555);
    let layer = unpack(archive);
    assert_eq!(layer.shown(), "f hides= plain plain/f");
    let root = Root::open(layer.fixture.dir.path(), Access::Plain).unwrap();
    let pairs = |path: &str| {
        let xattrs = root.dir().xattrs(path.as_bytes()).unwrap();
        let record = layer.unpacked.tree.find(path.as_bytes());
        let recorded = record.map(|node| layer.unpacked.tree.inode(node).xattrs.clone());
        assert_eq!(recorded.as_ref(), Some(&xattrs), "{path}");
        let pairs = xattrs.iter().map(|(name, value)| (text(name), text(value)));
        let pairs = pairs.filter(|(name, _)| name.starts_with("user."));
        pairs
            .map(|(name, value)| format!("{}={value}", &name[5..]))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(pairs("plain"), "a=1 overlay.overlay.opaque=y");
    assert_eq!(
        pairs("f"),
        "overlay.overlay.opaque=n overlay.overlay.whiteout="
    );
    assert_eq!(
        pairs("hides"),
        "b=2 overlay.opaque=y overlay.overlay.opaque=z"
    );
}

#[test]
fn directories_keep_their_times_and_modes_whatever_is_marked_in_them() {
    let layer = unpack(layer_of("dd dd/e wd/x wd/e od/e fd/f wi/x"));
    for (name, mtime, mode) in [("d", MTIME, 0o750), ("d/e", MTIME, 0o750), ("i", 0, 0o755)] {
        let metadata = fs::metadata(layer.fixture.path(name)).unwrap();
        assert_eq!(metadata.mtime(), i64::try_from(mtime).unwrap(), "{name}");
        assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
        let node = layer.unpacked.tree.find(name.as_bytes()).unwrap();
        let inode = layer.unpacked.tree.inode(node);
        assert_eq!(inode.mode, mode, "{name}");
        let stat_stamp = inode.stat_stamp.unwrap();
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let noted = (
            stat_stamp.ctime.unix_seconds(),
            stat_stamp.ctime.nanoseconds(),
        );
        assert_eq!((noted.0, i64::from(noted.1)), changed, "{name}");
    }
}

#[test]
fn what_is_there_is_counted_once() {
    let archive = Archive::default()
        .file("a", "four")
        .link("b", "a")
        .file("c", "seven77")
        .symlink("s", "somewhere");
    let layer = unpack(archive);
    let changeset = layer.changeset();
    assert_eq!((changeset.files, changeset.size), (4, 11));
    let root = fs::metadata(layer.fixture.path("")).unwrap();
    assert_eq!(
        (&changeset.uids[..], &changeset.gids[..]),
        (&[root.uid()][..], &[root.gid()][..])
    );
}

#[test]
fn it_needs_an_empty_directory_and_no_links_of_lower_layers() {
    let mut fixture = Fixture::new();
    fixture.options.keep_dirlinks = true;
    let error = try_unpack(&fixture, layer_of("fa")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    fixture.options.keep_dirlinks = false;
    fs::write(fixture.path("there"), "").unwrap();
    let error = try_unpack(&fixture, layer_of("fa")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(fixture.names(), ["there"]);
}
