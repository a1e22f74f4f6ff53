//! Records of trees, read back, and what no record is.

use filetime::FileTime;
use proptest::prelude::*;

use super::*;
use crate::error::{ErrorKind, Result};
use crate::fs::tree::{Inode, StatStamp, Tree};
use crate::fs::{InodeId, InodeKind, XattrNamespace};

fn inode(kind: InodeKind) -> Inode {
    Inode {
        kind,
        mode: 0o755,
        uid: 1,
        gid: 2,
        size: 3,
        nlink: 1,
        mtime: FileTime::from_unix_time(-5, 999_999_999),
        link: Box::default(),
        sha256: None,
        xattrs: Vec::new(),
        stat_stamp: None,
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>> {
    let mut reader = RecordReader::new(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn written(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = RecordWriter::new(&mut out, XattrNamespace::User)?;
    for entry in entries {
        writer.append(entry)?;
    }
    writer.finish()?;
    Ok(out)
}

fn root() -> Entry {
    let content = Content::Directory { opaque: false };
    Entry {
        content,
        ..Entry::whiteout(Vec::new())
    }
}

fn file(path: &str) -> Entry {
    let content = Content::File {
        size: 0,
        sha256: None,
    };
    Entry {
        content,
        ..Entry::whiteout(path.into())
    }
}

fn dir(path: &str) -> Entry {
    Entry {
        path: path.into(),
        ..root()
    }
}

fn sample() -> Tree {
    let mut tree = Tree::new(inode(InodeKind::Directory));
    let dir = tree.insert(Tree::ROOT, b"d", inode(InodeKind::Directory));
    let file = Inode {
        sha256: Some([7; 32]),
        xattrs: vec![(b"user.a".to_vec(), vec![0, 255])],
        ..inode(InodeKind::File)
    };
    let file = tree.insert(dir, b"file", file);
    tree.insert_link(Tree::ROOT, b"again", file);
    let link = Inode {
        link: b"target"[..].into(),
        ..inode(InodeKind::Symlink)
    };
    tree.insert(dir, b"link", link);
    let device = Inode {
        stat_stamp: Some(StatStamp {
            id: InodeId { dev: 1, ino: 2 },
            ctime: FileTime::zero(),
            rdev: (8, 1),
        }),
        ..inode(InodeKind::BlockDevice)
    };
    tree.insert(Tree::ROOT, b"disk", device);
    tree.insert(Tree::ROOT, b"unknown", inode(InodeKind::CharDevice));
    tree.insert(Tree::ROOT, b"d.", inode(InodeKind::Fifo));
    tree
}

fn record(tree: &Tree) -> Record<'_> {
    Record {
        tree,
        whiteouts: vec![b"d/gone", b"away"],
        opaques: vec![b"d"],
        marks: XattrNamespace::Trusted,
    }
}

#[test]
fn a_tree_is_read_back_in_order_with_all_that_it_says() {
    let tree = sample();
    let mut bytes = Vec::new();
    record(&tree).write(&mut bytes).unwrap();
    assert_eq!(
        RecordReader::new(&bytes[..]).unwrap().marks(),
        XattrNamespace::Trusted
    );
    let entries = read(&bytes).unwrap();
    let paths: Vec<_> = entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path))
        .collect();
    let expected = [
        "", "again", "away", "d", "d/file", "d/gone", "d/link", "d.", "disk", "unknown",
    ];
    assert_eq!(paths, expected);
    let at = |path: &str| {
        entries
            .iter()
            .find(|entry| entry.path == path.as_bytes())
            .unwrap()
    };
    let links = Some(LinkSet { set: 0, count: 2 });
    let expected = Entry {
        path: b"again".to_vec(),
        content: Content::File {
            size: 3,
            sha256: Some([7; 32]),
        },
        mode: 0o755,
        uid: 1,
        gid: 2,
        mtime: FileTime::from_unix_time(-5, 999_999_999),
        xattrs: vec![(b"user.a".to_vec(), vec![0, 255])],
        links,
    };
    assert_eq!(*at("again"), expected);
    assert_eq!(at("d/file").links, links);
    assert_eq!(at("d").content, Content::Directory { opaque: true });
    assert_eq!(at("").content, Content::Directory { opaque: false });
    assert_eq!(at("away").content, Content::Whiteout);
    let target = b"target".to_vec();
    assert_eq!(at("d/link").content, Content::Symlink { target });
    let number = Some((8, 1));
    assert_eq!(
        at("disk").content,
        Content::Device {
            block: true,
            number
        }
    );
    let number = None;
    assert_eq!(
        at("unknown").content,
        Content::Device {
            block: false,
            number
        }
    );
    assert_eq!(
        written(&entries).and_then(|bytes| read(&bytes)).unwrap(),
        entries
    );
}

#[test]
fn marks_and_attributes_of_the_host_are_not_attributes_of_the_layer() {
    let mut tree = sample();
    let marked = tree.find(b"d").unwrap();
    tree.inode_mut(marked).xattrs = [
        (&b"security.selinux"[..], &b"label"[..]),
        (b"trusted.overlay.opaque", b"y"),
        (b"trusted.overlay.overlay.opaque", b"y"),
    ]
    .map(|(name, value)| (name.to_vec(), value.to_vec()))
    .to_vec();
    let mut bytes = Vec::new();
    record(&tree).write(&mut bytes).unwrap();
    let entries = read(&bytes).unwrap();
    let names: Vec<_> = entries[3]
        .xattrs
        .iter()
        .map(|(name, _)| &name[..])
        .collect();
    assert_eq!(names, [b"trusted.overlay.overlay.opaque"]);
}

#[test]
fn what_has_no_place_in_the_tree_is_refused() {
    let tree = sample();
    let kind = |change: &dyn Fn(&mut Record<'_>)| {
        let mut record = record(&tree);
        change(&mut record);
        record.write(std::io::sink()).unwrap_err().kind()
    };
    let invalid = ErrorKind::InvalidInput;
    assert_eq!(kind(&|record| record.whiteouts.push(b"none/x")), invalid);
    assert_eq!(kind(&|record| record.whiteouts.push(b"d/file")), invalid);
    assert_eq!(kind(&|record| record.whiteouts.push(b"d/file/x")), invalid);
    assert_eq!(kind(&|record| record.whiteouts.push(b"d/..")), invalid);
    assert_eq!(kind(&|record| record.opaques.push(b"d/file")), invalid);
}

#[test]
fn entries_out_of_order_are_not_written() {
    for entries in [
        vec![],
        vec![file("a")],
        vec![root(), root()],
        vec![root(), file("b"), file("a")],
        vec![root(), file("a"), file("a")],
        vec![root(), file("a"), file("a/b")],
        vec![root(), file("d/a")],
        vec![root(), dir("d"), file("e/a")],
        vec![root(), dir("d"), dir("d/e"), file("d/a")],
        vec![root(), file("..")],
        vec![root(), file("/a")],
        vec![root(), file("a\0")],
    ] {
        assert!(written(&entries).is_err(), "{entries:?}");
    }
    let deep = [
        root(),
        dir("d"),
        dir("d/e"),
        file("d/e/f"),
        file("d/f"),
        file("d."),
    ];
    assert_eq!(read(&written(&deep).unwrap()).unwrap(), deep);
}

#[test]
fn an_inode_with_too_many_attributes_is_refused() {
    let mut large = file("a");
    large.xattrs = (0..300)
        .map(|number| (format!("user.{number:03}").into_bytes(), vec![0; 60_000]))
        .collect();
    let error = written(&[root(), large]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let mut bytes = Vec::new();
    record(&sample()).write(&mut bytes).unwrap();
    for at in 0..bytes.len() {
        let error = read(&bytes[..at]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(read(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
    bytes.push(0);
    assert!(read(&bytes).is_err(), "something behind it");
}

#[test]
fn another_version_is_told_apart_from_damage() {
    let mut bytes = written(&[root()]).unwrap();
    bytes[7] = 2;
    assert_eq!(read(&bytes).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_file_takes_about_a_hundred_bytes_and_its_name() {
    let mut bytes = written(&[root()]).unwrap();
    let empty = bytes.len();
    let mut entry = file("name");
    entry.content = Content::File {
        size: 1 << 30,
        sha256: Some([1; 32]),
    };
    entry.mtime = FileTime::from_unix_time(1_700_000_000, 999_999_999);
    (entry.uid, entry.gid) = (100_000, 100_000);
    bytes = written(&[root(), entry]).unwrap();
    assert!(bytes.len() - empty < 100, "{}", bytes.len() - empty);
}

/// Bytes with the checksum of a record: what somebody writes who wants to be believed.
fn sealed(body: &[u8], count: u64) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut bytes = [&MAGIC[..], &[0], body, &[0], &count.to_le_bytes()].concat();
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(body: Vec<u8>, count: u64) {
        let _ = read(&body);
        let _ = read(&sealed(&body, count));
    }

    /// Entries with sound lengths, so that their insides are reached.
    #[test]
    fn no_entries_break_the_reader(entries in prop::collection::vec(prop::collection::vec(0_u8..64, 1..60), 0..4)) {
        let mut body = Vec::new();
        for entry in &entries {
            wire::put_bytes(&mut body, entry);
        }
        let _ = read(&sealed(&body, entries.len() as u64));
    }

    #[test]
    fn entries_are_read_as_they_were_written(
        mode in 0_u32..=0o7777, uid: u32, gid: u32, seconds: i64, nanoseconds in 0_u32..1_000_000_000,
        size: u64, sha256: Option<[u8; 32]>, links: Option<(u64, u64)>,
        xattrs: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
        name in "[^/\0.]{1,20}",
    ) {
        let entry = Entry {
            path: name.into_bytes(),
            content: Content::File { size, sha256 },
            mode,
            uid,
            gid,
            mtime: FileTime::from_unix_time(seconds, nanoseconds),
            xattrs: xattrs.into_iter().collect(),
            links: links.map(|(set, count)| LinkSet { set, count }),
        };
        let entries = [root(), entry];
        prop_assert_eq!(read(&written(&entries).unwrap()).unwrap(), entries);
    }
}

#[test]
fn a_claimed_size_is_not_allocated() {
    let mut body = Vec::new();
    wire::put_number(&mut body, MAX_ENTRY_SIZE);
    assert_eq!(
        read(&sealed(&body, 1)).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    body.clear();
    wire::put_number(&mut body, u64::MAX);
    assert_eq!(
        read(&sealed(&body, 1)).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}
