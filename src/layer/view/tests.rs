//! Views against the disk: what a view says of generated layers is what unpacking them makes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_cas::Algorithm;
use proptest::prelude::*;

use super::*;
use crate::archive::EntryKind;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::tree::{InodeIndex, NodeId, Tree};
use crate::fs::{Access, IdMap, IdRange, InodeKind, MapOptions, Root};
use crate::layer::pipeline::Unverified;
use crate::layer::{ApplyOptions, unpack_layer};
use crate::progress::Silent;

/// An entry of a generated layer.
#[derive(Clone, Debug)]
struct Item {
    path: String,
    kind: tar::EntryType,
    mode: u32,
    mtime: u64,
    link: String,
    content: String,
}

impl Item {
    fn new(path: &str, kind: tar::EntryType) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            mode: 0o755,
            mtime: 1,
            link: String::new(),
            content: String::new(),
        }
    }

    fn file(path: &str, content: &str) -> Self {
        let content = content.to_owned();
        Self {
            content,
            ..Self::new(path, tar::EntryType::Regular)
        }
    }

    fn dir(path: &str) -> Self {
        Self::new(path, tar::EntryType::Directory)
    }

    fn link(path: &str, kind: tar::EntryType, link: &str) -> Self {
        let link = link.to_owned();
        Self {
            link,
            ..Self::new(path, kind)
        }
    }
}

fn symlink(path: &str, target: &str) -> Item {
    Item::link(path, tar::EntryType::Symlink, target)
}

fn hard_link(path: &str, target: &str) -> Item {
    Item::link(path, tar::EntryType::Link, target)
}

fn archive(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        let mut header = tar::Header::new_ustar();
        // Not `set_path`, which refuses what hostile archives have.
        header.as_old_mut().name[..item.path.len()].copy_from_slice(item.path.as_bytes());
        header.as_old_mut().linkname[..item.link.len()].copy_from_slice(item.link.as_bytes());
        header.set_entry_type(item.kind);
        header.set_mode(item.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(item.mtime);
        header.set_size(item.content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(item.content.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Paths out of so few names that they meet all the time.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => "[abc]",
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
    ];
    let prefix = prop_oneof![4 => Just(""), 1 => Just("/"), 1 => Just("./")];
    (prefix, prop::collection::vec(name, 1..4))
        .prop_map(|(prefix, names)| format!("{prefix}{}", names.join("/")))
}

fn whiteout_path() -> impl Strategy<Value = String> {
    let hidden = prop_oneof![
        6 => "\\.wh\\.[abc]",
        4 => Just(".wh..wh..opq".to_owned()),
    ];
    (prop::option::of(path()), hidden).prop_map(|(dir, hidden)| match dir {
        Some(dir) => format!("{dir}/{hidden}"),
        None => hidden,
    })
}

fn item() -> impl Strategy<Value = Item> {
    use tar::EntryType;
    let kind = prop_oneof![
        6 => Just(EntryType::Regular),
        5 => Just(EntryType::Directory),
        2 => Just(EntryType::Symlink),
        2 => Just(EntryType::Link),
        1 => Just(EntryType::Fifo),
    ];
    let mode = prop::sample::select(vec![0o755, 0o700, 0o4711, 0o644]);
    let named = (path(), kind, mode, 0_u64..4, path(), "[xy]{0,3}").prop_map(
        |(path, kind, mode, mtime, link, content)| Item {
            path,
            // The root of a layer is a directory, or the layer is refused: one such case is enough.
            kind,
            mode: if kind == EntryType::Directory {
                mode | 0o700
            } else {
                mode
            },
            mtime,
            link,
            content: if kind == EntryType::Regular {
                content
            } else {
                String::new()
            },
        },
    );
    prop_oneof![
        5 => named,
        1 => whiteout_path().prop_map(|path| Item::file(&path, "")),
    ]
}

fn layers() -> impl Strategy<Value = Vec<Vec<Item>>> {
    prop::collection::vec(prop::collection::vec(item(), 0..12), 1..5)
}

/// All that is compared of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    link: Vec<u8>,
    digest: Option<String>,
    /// The first path of its hard-link set.
    first: Vec<u8>,
}

type Listing = BTreeMap<Vec<u8>, Facts>;

fn hex_digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// What is on disk below a directory; the caller's own ids are 0.
fn on_disk(directory: &Path) -> Listing {
    let own = fs::metadata(directory).unwrap();
    let mut firsts = HashMap::new();
    let walk = walkdir::WalkDir::new(directory).sort_by_file_name();
    let facts = walk.into_iter().map(|found| {
        let found = found.unwrap();
        let path = found.path().strip_prefix(directory).unwrap();
        let path = path.as_os_str().as_bytes().to_vec();
        let stat = fs::symlink_metadata(found.path()).unwrap();
        let first = if stat.is_dir() {
            path.clone()
        } else {
            firsts.entry(stat.ino()).or_insert(path.clone()).clone()
        };
        let (kind, link, digest) = if stat.is_dir() {
            (InodeKind::Directory, Vec::new(), None)
        } else if stat.is_symlink() {
            let target = fs::read_link(found.path()).unwrap();
            (
                InodeKind::Symlink,
                target.as_os_str().as_bytes().to_vec(),
                None,
            )
        } else if stat.file_type().is_fifo() {
            (InodeKind::Fifo, Vec::new(), None)
        } else {
            let digest = hex_digest(&fs::read(found.path()).unwrap());
            (InodeKind::File, Vec::new(), Some(digest))
        };
        let facts = Facts {
            kind: format!("{kind:?}"),
            mode: stat.mode() & 0o7777,
            owner: (stat.uid() - own.uid(), stat.gid() - own.gid()),
            mtime: (stat.mtime(), stat.mtime_nsec()),
            link,
            digest,
            first,
        };
        (path, facts)
    });
    facts.collect()
}

/// What is in a view.
fn in_view(view: &View) -> Listing {
    let mut listing = Listing::new();
    let mut firsts: HashMap<InodeIndex, Vec<u8>> = HashMap::new();
    let mut stack: Vec<(Vec<u8>, NodeId)> = vec![(Vec::new(), Tree::ROOT)];
    while let Some((path, node)) = stack.pop() {
        let tree = view.tree();
        let inode = tree.inode(node);
        let mut children: Vec<_> = tree.children(node).collect();
        children.reverse();
        for (name, child) in children {
            let path = if path.is_empty() {
                name.to_vec()
            } else {
                [&path, &b"/"[..], name].concat()
            };
            stack.push((path, child));
        }
        let first = firsts.entry(tree.inode_index(node)).or_insert(path.clone());
        let facts = Facts {
            kind: format!("{:?}", inode.kind),
            mode: inode.mode,
            owner: (inode.uid, inode.gid),
            mtime: (inode.mtime.unix_seconds(), inode.mtime.nanoseconds().into()),
            link: inode.link.to_vec(),
            digest: inode.sha256.map(hex::encode),
            first: first.clone(),
        };
        listing.insert(path, facts);
    }
    listing
}

/// A directory as unpack has it before the first layer, and options by which the caller owns everything.
fn empty_root() -> (tempfile::TempDir, ApplyOptions) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    filetime::set_file_mtime(dir.path(), filetime::FileTime::zero()).unwrap();
    let stat = fs::metadata(dir.path()).unwrap();
    let own = |host| {
        let (container, size) = (0, 1);
        IdMap(vec![IdRange {
            container,
            host,
            size,
        }])
    };
    let maps = MapOptions {
        uid: own(stat.uid()),
        gid: own(stat.gid()),
        rootless: false,
    };
    (dir, ApplyOptions::new(maps))
}

fn unpack(archives: &[Vec<u8>]) -> Result<Listing> {
    let (dir, options) = empty_root();
    let root = Root::open(dir.path(), Access::Plain).unwrap();
    for archive in archives {
        unpack_layer(&archive[..], &root, &options, &Silent)?;
    }
    Ok(on_disk(dir.path()))
}

fn options() -> ViewOptions {
    ViewOptions {
        file_digests: true,
        ..ViewOptions::default()
    }
}

fn view(archives: &[Vec<u8>]) -> Result<View> {
    let mut view = View::new();
    for archive in archives {
        view.add_layer(&archive[..], &options())?;
    }
    Ok(view)
}

fn archives(layers: &[Vec<Item>]) -> Vec<Vec<u8>> {
    layers.iter().map(|items| archive(items)).collect()
}

fn kind_of<T>(result: &Result<T>) -> Option<ErrorKind> {
    result.as_ref().err().map(Error::kind)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_view_is_what_unpacking_makes(layers in layers()) {
        let archives = archives(&layers);
        // One by one, so that a layer that is refused ends the comparison and not the case.
        for count in 1..=archives.len() {
            let (disk, view) = (unpack(&archives[..count]), view(&archives[..count]));
            prop_assert_eq!(kind_of(&disk), kind_of(&view), "{:?} {:?}", disk.err(), view.err());
            let (Ok(disk), Ok(view)) = (disk, view) else { break };
            prop_assert_eq!(disk, in_view(&view));
        }
    }
}

/// The view of the archives from the top one down to this place, if it holds whatever is below.
fn upper_view(archives: &[Vec<u8>], lowest: usize) -> Result<Option<View>> {
    let mut upper = UpperLayers::new(options());
    for archive in archives[lowest..].iter().rev() {
        upper.add_below(Algorithm::Sha256, Unverified(&archive[..]))?;
    }
    upper.view()
}

proptest! {
    #[test]
    fn what_upper_layers_say_for_certain_is_what_all_layers_say(layers in layers()) {
        let archives = archives(&layers);
        let Ok(all) = view(&archives) else { return Ok(()) };
        let all = in_view(&all);
        for lowest in 0..archives.len() {
            let Some(upper) = upper_view(&archives, lowest).unwrap() else { continue };
            // The root is always there; what it is, only its own entry says.
            for (path, facts) in in_view(&upper).into_iter().filter(|(path, _)| !path.is_empty()) {
                prop_assert_eq!(all.get(&path), Some(&facts), "{}", path.escape_ascii());
            }
        }
    }

    #[test]
    fn layers_read_from_the_top_down_make_the_same_view(layers in layers()) {
        let archives = archives(&layers);
        let mut upper = UpperLayers::new(options());
        for archive in archives.iter().rev() {
            upper.add_below(Algorithm::Sha256, Unverified(&archive[..])).unwrap();
        }
        let (upward, downward) = (view(&archives), upper.into_view());
        prop_assert_eq!(kind_of(&upward), kind_of(&downward));
        if let (Ok(upward), Ok(downward)) = (upward, downward) {
            prop_assert_eq!(in_view(&upward), in_view(&downward));
        }
    }
}

#[test]
fn upper_layers_are_certain_while_no_name_is_missing() {
    let certain = |items: &[Item]| upper_view(&[archive(&[]), archive(items)], 1).unwrap();
    for items in [
        vec![Item::file("a", "x")],
        vec![Item::dir("a"), Item::file("a/b", "x")],
        // Removes whatever is below at names that are known.
        vec![Item::file(".wh.a", "")],
        vec![Item::dir("a"), Item::file("a/.wh..wh..opq", "")],
        vec![Item::dir("a"), symlink("b", "a"), Item::file("b/c", "x")],
        vec![Item::file("a", "x"), hard_link("b", "a")],
        vec![Item::file("a", "x"), Item::file("a/b", "x")],
    ] {
        assert!(certain(&items).is_some(), "{items:?}");
    }
    for items in [
        vec![Item::file("a/b", "x")],
        vec![Item::file("a/.wh.b", "")],
        vec![Item::file("a/.wh..wh..opq", "")],
        vec![hard_link("b", "a")],
        // The lower layer's `a` is linked, if there is one.
        vec![hard_link("b", "a"), Item::file("a", "x")],
        vec![symlink("b", "a"), Item::file("b/c", "x")],
        vec![Item::dir("a/b"), Item::dir("a")],
    ] {
        assert!(certain(&items).is_none(), "{items:?}");
    }
}

#[test]
fn entries_of_upper_layers_count_as_memory() {
    let options = ViewOptions {
        memory_size: 1000,
        ..options()
    };
    let mut upper = UpperLayers::new(options);
    let layer = archive(&[Item::file("a", ""), Item::file("b", "")]);
    let mut add = || upper.add_below(Algorithm::Sha256, Unverified(&layer[..]));
    add().unwrap();
    let error = add().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:?}");
}

/// The layer that makes all archives out of the first `keep` ones.
fn squashed(archives: &[Vec<u8>], keep: usize) -> Result<Vec<u8>> {
    let base = view(&archives[..keep])?;
    let mut merged = base.clone();
    for archive in &archives[keep..] {
        merged.add_layer(&archive[..], &options())?;
    }
    write_layer(Vec::new(), &base, &merged, &mut |index, sink| {
        copy_contents(&archives[index][..], &options().limits, sink)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_squashed_image_unpacks_to_the_same(layers in layers()) {
        let mut archives = archives(&layers);
        while !archives.is_empty() && view(&archives).is_err() {
            archives.pop();
        }
        let (disk, all) = (unpack(&archives).unwrap(), view(&archives).unwrap());
        for keep in 0..archives.len() {
            let layer = squashed(&archives, keep).unwrap();
            prop_assert_eq!(&layer, &squashed(&archives, keep).unwrap());
            let mut archives = archives[..keep].to_vec();
            archives.push(layer);
            prop_assert_eq!(in_view(&view(&archives).unwrap()), in_view(&all), "keep {}", keep);
            prop_assert_eq!(&unpack(&archives).unwrap(), &disk, "keep {}", keep);
        }
    }

    #[test]
    fn comparing_finds_what_differs(old in layers(), new in layers()) {
        let (Ok(old), Ok(new)) = (view(&archives(&old)), view(&archives(&new))) else {
            return Ok(());
        };
        let (old_facts, new_facts) = (in_view(&old), in_view(&new));
        let mut found: BTreeMap<Vec<u8>, Vec<Aspect>> = BTreeMap::new();
        compare(&old, &new, &mut |difference| {
            let (path, aspects) = (difference.path.to_vec(), difference.aspects.to_vec());
            assert_eq!(difference.old.is_some(), old_facts.contains_key(&path));
            assert_eq!(difference.new.is_some(), new_facts.contains_key(&path));
            assert!(found.insert(path, aspects).is_none());
            Ok(())
        })
        .unwrap();
        for path in old_facts.keys().chain(new_facts.keys()) {
            let same = old_facts.get(path) == new_facts.get(path);
            match found.get(path) {
                None => prop_assert!(same, "{}", path.escape_ascii()),
                // Of two names one has gone: the facts of the other know nothing of it.
                Some(aspects) => prop_assert!(!same || aspects == &[Aspect::HardLinks]),
            }
        }
        compare(&old, &old.clone(), &mut |_| panic!("differs from itself")).unwrap();
    }
}

/// What is in a layer, in its order.
fn listed(layer: &[u8]) -> Vec<String> {
    use crate::archive::{Event, Limits, Parser};
    let (mut parser, mut events) = (Parser::new(Limits::default()), Vec::new());
    parser.feed(layer, &mut events).unwrap();
    let paths = events.into_iter().filter_map(|event| match event {
        Event::Entry(entry) => Some(String::from_utf8(entry.path).unwrap()),
        _ => None,
    });
    paths.collect()
}

#[test]
fn a_squashed_layer_has_only_what_the_layers_below_lack() {
    let layers = [
        vec![
            Item::dir("d"),
            Item::file("d/old", "1"),
            Item::file("d/gone", "1"),
            Item::dir("e"),
            Item::file("e/below", "1"),
            Item::file("kept", "1"),
            hard_link("kept2", "kept"),
        ],
        vec![
            Item::file("d/new", "2"),
            Item::file("d/passing", "2"),
            Item::file("d/.wh.gone", ""),
            hard_link("kept3", "kept2"),
        ],
        vec![
            Item::file("d/.wh.passing", ""),
            Item::file("d/.wh.never", ""),
            Item::file("e/.wh..wh..opq", ""),
            symlink("s", "d"),
            hard_link("moved", "d/old"),
            Item::file("d/.wh.old", ""),
        ],
    ];
    let layer = squashed(&archives(&layers), 1).unwrap();
    // The lower layer's own file has lost its old name: its content comes along.
    let expected = [
        "d/.wh.gone",
        "d/.wh.old",
        "e/.wh.below",
        "s",
        "moved",
        "d/new",
        "kept3",
    ];
    assert_eq!(listed(&layer), expected);
}

#[test]
fn all_of_a_squashed_image_is_in_one_layer_in_the_order_of_the_sources() {
    let layers = [
        vec![
            Item::file("z", "1"),
            Item::file("a", "1"),
            Item::file("x/y/deep", "1"),
        ],
        vec![Item::dir("./"), Item::file("a", "2"), hard_link("b", "z")],
    ];
    let layer = squashed(&archives(&layers), 0).unwrap();
    // Of the set that `b` and `z` make, `b` is the first name.
    let expected = [".", "x/", "x/y/", "b", "x/y/deep", "a", "z"];
    assert_eq!(listed(&layer), expected);
}

#[test]
fn what_a_layer_says_of_a_directory_replaces_what_was_said_before() {
    let attribute = |value: &str| {
        let mut bytes = Vec::new();
        let record = format!("SCHILY.xattr.user.{value}=1\n");
        let record = format!("{} {record}", record.len() + 3);
        let mut item = Item::file("x", &record);
        item.kind = tar::EntryType::XHeader;
        bytes.extend_from_slice(&archive(&[item])[..1024]);
        bytes.extend(archive(&[Item::dir("d")]));
        bytes
    };
    let view = view(&[attribute("a"), attribute("b")]).unwrap();
    let d = view.resolve(b"d").unwrap().unwrap();
    let expected = [(b"user.b".to_vec(), b"1".to_vec())];
    assert_eq!(view.tree().inode(d).xattrs, expected);
}

#[test]
fn devices_stay_devices() {
    let mut bytes = archive(&[Item::link("null", tar::EntryType::Char, "")]);
    let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    let all = view(&[bytes.clone()]).unwrap();
    let null = all.resolve(b"/null").unwrap().unwrap();
    assert_eq!(all.tree().inode(null).kind, InodeKind::CharDevice);
    assert_eq!(all.device(null), (1, 3));
    let layer = squashed(&[bytes], 0).unwrap();
    let again = view(&[layer]).unwrap();
    let null = again.resolve(b"null").unwrap().unwrap();
    assert_eq!(again.device(null), (1, 3));
}

#[test]
fn names_and_attributes_have_a_budget() {
    let many: Vec<Item> = (0..100)
        .map(|index| Item::file(&format!("f{index}"), ""))
        .collect();
    let mut options = options();
    options.memory_size = 30_000;
    let mut view = View::new();
    view.add_layer(&archive(&many)[..], &options).unwrap();
    // What is replaced has been counted.
    let error = view.add_layer(&archive(&many)[..], &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let mut view = View::new();
    let deep = [Item::file(&"d/".repeat(49), "")];
    for (memory_size, fits) in [(20_000, true), (10_000, false)] {
        options.memory_size = memory_size;
        assert_eq!(view.add_layer(&archive(&deep)[..], &options).is_ok(), fits);
        view = View::new();
    }
}

#[test]
fn a_sparse_file_is_read_with_its_holes() {
    struct All(Vec<u8>);
    impl ContentSink for All {
        fn begin(&mut self, entry: u64, size: u64) -> Result<bool> {
            assert_eq!(size, 20_000);
            Ok(entry == 0)
        }
        fn data(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn end(&mut self) -> Result<()> {
            self.0.push(b'.');
            Ok(())
        }
    }
    // The form of PAX 0.1: two bytes of data at 10000.
    let records = ["GNU.sparse.size=20000", "GNU.sparse.map=10000,2"];
    let records = records.map(|record| format!("{} {record}\n", record.len() + 4));
    let mut header = Item::file("x", &records.concat());
    header.kind = tar::EntryType::XHeader;
    let mut bytes = archive(&[header])[..1024].to_vec();
    bytes.extend(archive(&[Item::file("f", "ab")]));
    let mut all = All(Vec::new());
    copy_contents(&bytes[..], &options().limits, &mut all).unwrap();
    let mut expected = vec![0; 20_000];
    expected[10_000..10_002].copy_from_slice(b"ab");
    expected.push(b'.');
    assert_eq!(all.0, expected);
}

#[test]
fn squashing_keeps_times_of_access() {
    let entry = |path: &str, kind, atime: i64| crate::archive::Entry {
        path: path.into(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: filetime::FileTime::from_unix_time(1, 0),
        atime: Some(filetime::FileTime::from_unix_time(atime, 500)),
        link: if kind == EntryKind::Symlink {
            b"x".to_vec()
        } else {
            Vec::new()
        },
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    };
    let archive = |entries: &[crate::archive::Entry]| {
        let mut writer = crate::archive::Writer::new(Vec::new());
        for entry in entries {
            writer.entry(entry).unwrap();
        }
        writer.finish().unwrap()
    };
    let archives = [
        archive(&[
            entry("d/", EntryKind::Directory, 1000),
            entry("d/file", EntryKind::File, 2000),
            entry("link", EntryKind::Symlink, 3000),
        ]),
        // Nothing else of the directory is new.
        archive(&[entry("d/", EntryKind::Directory, 4000)]),
    ];
    let times = |archives: &[&[u8]]| {
        let (directory, options) = empty_root();
        let root = Root::open(directory.path(), Access::Plain).unwrap();
        for archive in archives {
            unpack_layer(*archive, &root, &options, &Silent).unwrap();
        }
        ["d", "d/file", "link"].map(|path| {
            let stat = fs::symlink_metadata(directory.path().join(path)).unwrap();
            (stat.atime(), stat.atime_nsec())
        })
    };
    let [lower, upper] = &archives;
    assert_eq!(
        times(&[lower, upper]),
        [(4000, 500), (2000, 500), (3000, 500)]
    );
    let all = squashed(&archives, 0).unwrap();
    assert_eq!(times(&[&all]), times(&[lower, upper]));
    let last = squashed(&archives, 1).unwrap();
    assert_eq!(times(&[lower, &last]), times(&[lower, upper]));
}
