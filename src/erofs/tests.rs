use std::collections::BTreeMap;

use filetime::FileTime;
use proptest::prelude::*;

use super::reader::{Found, Image};
use super::*;
use crate::error::{ErrorKind, Result};
use crate::fs::InodeKind;
use crate::fs::tree::{Inode, NodeId, Tree};

/// A tree, the contents of its files, and where they are.
struct Sample {
    tree: Tree,
    contents: BTreeMap<NodeId, Vec<u8>>,
    devices: BTreeMap<NodeId, (u32, u32)>,
    /// With what is on the devices, if contents are there.
    places: Option<BTreeMap<NodeId, (u16, u32)>>,
}

impl Source for Sample {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn device(&self, node: NodeId) -> (u32, u32) {
        self.devices[&node]
    }

    fn place(&self, node: NodeId) -> Result<DataPlace> {
        Ok(match &self.places {
            None => DataPlace::Inside,
            Some(places) => {
                let (device, block) = places[&node];
                DataPlace::Device { device, block }
            }
        })
    }
}

fn inode(kind: InodeKind, link: &[u8]) -> Inode {
    Inode {
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: link.len() as u64,
        nlink: 1,
        mtime: FileTime::zero(),
        link: link.into(),
        sha256: None,
        xattrs: Vec::new(),
        stat_stamp: None,
    }
}

impl Sample {
    fn new() -> Self {
        Self {
            tree: Tree::new(inode(InodeKind::Directory, b"")),
            contents: BTreeMap::new(),
            devices: BTreeMap::new(),
            places: None,
        }
    }

    fn dir(&mut self, dir: NodeId, name: &[u8]) -> NodeId {
        self.tree
            .insert(dir, name, inode(InodeKind::Directory, b""))
    }

    fn file(&mut self, dir: NodeId, name: &[u8], content: &[u8]) -> NodeId {
        let mut file = inode(InodeKind::File, b"");
        file.size = content.len() as u64;
        let node = self.tree.insert(dir, name, file);
        self.contents.insert(node, content.to_vec());
        node
    }

    fn options(block_size: BlockSize, devices: &[&[u8]]) -> ImageOptions {
        let device = |bytes: &&[u8]| Device {
            tag: b"layer".to_vec(),
            size: bytes.len() as u64,
        };
        ImageOptions {
            block_size,
            uuid: [7; 16],
            devices: devices.iter().map(device).collect(),
        }
    }

    fn image(&self, block_size: BlockSize, devices: &[&[u8]]) -> Result<Vec<u8>> {
        let mut plan = Plan::new(self, Self::options(block_size, devices))?;
        let mut out = vec![0xAA; usize::try_from(plan.size()).unwrap()];
        plan.write(&mut |offset, bytes| {
            let offset = usize::try_from(offset).unwrap();
            out[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })?;
        for (&node, content) in &self.contents {
            if content.is_empty() {
                continue;
            }
            let Some(extent) = plan.extent(node)? else {
                continue;
            };
            let whole = content.len().min(usize::try_from(extent.length).unwrap());
            for (at, bytes) in [
                (extent.start, &content[..whole]),
                (extent.tail, &content[whole..]),
            ] {
                let at = usize::try_from(at).unwrap();
                out[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        Ok(out)
    }

    /// What must be in the image.
    fn expected(&self) -> BTreeMap<Vec<u8>, Found> {
        let mut out = BTreeMap::new();
        let mut pending = vec![(Vec::new(), Tree::ROOT)];
        while let Some((path, node)) = pending.pop() {
            let inode = self.tree.inode(node);
            let (mut dirs, bits) = (0, bits(inode.kind));
            for (name, child) in self.tree.children(node) {
                dirs += u32::from(self.tree.inode(child).kind == InodeKind::Directory);
                pending.push(([path.as_slice(), b"/", name].concat(), child));
            }
            let is_dir = inode.kind == InodeKind::Directory;
            let first = self
                .contents
                .iter()
                .find(|(other, _)| self.tree.inode_index(**other) == self.tree.inode_index(node));
            let data = match inode.kind {
                InodeKind::File => first.map(|(_, data)| data.clone()).unwrap_or_default(),
                _ => inode.link.to_vec(),
            };
            let found = Found {
                nid: 0,
                mode: bits | u16::try_from(inode.mode).unwrap(),
                uid: inode.uid,
                gid: inode.gid,
                mtime: (inode.mtime.unix_seconds(), inode.mtime.nanoseconds()),
                nlink: if is_dir {
                    2 + dirs
                } else {
                    u32::try_from(inode.nlink).unwrap()
                },
                size: if is_dir { 0 } else { inode.size },
                rdev: self.devices.get(&node).map_or(0, |&(major, minor)| {
                    (minor & 0xff) | major << 8 | (minor >> 8) << 20
                }),
                xattrs: inode.xattrs.iter().cloned().collect(),
                data,
            };
            out.insert(path, found);
        }
        out
    }

    fn check_both(&self) {
        for block_size in [BlockSize::B512, BlockSize::B4096] {
            self.check(block_size, &[]);
        }
    }

    fn check(&self, block_size: BlockSize, devices: &[&[u8]]) {
        let image = self.image(block_size, devices).unwrap();
        assert_eq!(image, self.image(block_size, devices).unwrap());
        let mut found = Image::open(&image, devices).list();
        for found in found.values_mut() {
            found.nid = 0;
            if found.mode & 0o170_000 == 0o040_000 {
                found.size = 0;
            }
        }
        assert_eq!(found, self.expected());
    }
}

fn bits(kind: InodeKind) -> u16 {
    match kind {
        InodeKind::Fifo => 0o010_000,
        InodeKind::CharDevice => 0o020_000,
        InodeKind::Directory => 0o040_000,
        InodeKind::BlockDevice => 0o060_000,
        InodeKind::File => 0o100_000,
        InodeKind::Symlink => 0o120_000,
        InodeKind::Socket => 0o140_000,
    }
}

#[test]
fn every_type_comes_back_with_all_that_it_has() {
    let mut sample = Sample::new();
    let etc = sample.dir(Tree::ROOT, b"etc");
    let motd = sample.file(etc, b"motd", b"hello");
    let root = sample.tree.inode_mut(Tree::ROOT);
    (root.mode, root.uid, root.gid) = (0o1777, u32::MAX - 1, 70_000);
    let file = sample.tree.inode_mut(motd);
    file.mode = 0o4711;
    file.mtime = FileTime::from_unix_time(-1, 999_999_999);
    file.xattrs = vec![
        (b"security.capability".to_vec(), vec![1, 0, 0, 2]),
        (b"system.posix_acl_access".to_vec(), vec![2, 0, 0, 0]),
        (b"trusted.x".to_vec(), Vec::new()),
        (b"user.long".to_vec(), vec![5; 65_535]),
    ];
    sample.tree.insert_link(Tree::ROOT, b"also-motd", motd);
    for (name, kind) in [
        (&b"char"[..], InodeKind::CharDevice),
        (b"block", InodeKind::BlockDevice),
        (b"fifo", InodeKind::Fifo),
        (b"socket", InodeKind::Socket),
    ] {
        let node = sample.tree.insert(etc, name, inode(kind, b""));
        if kind == InodeKind::CharDevice || kind == InodeKind::BlockDevice {
            sample.devices.insert(node, (0xabc, 0xf_4321));
        }
    }
    for length in [1, 300, 447, 448, 449, 4030, 4032, 4033, 4095] {
        let name = format!("link-{length}");
        let link = inode(InodeKind::Symlink, &vec![b'l'; length]);
        sample.tree.insert(etc, name.as_bytes(), link);
    }
    for length in [0, 1, 511, 512, 513, 4031, 4032, 4033, 4096, 10_000] {
        let name = format!("file-{length}");
        sample.file(etc, name.as_bytes(), &vec![b'f'; length]);
    }
    sample.check_both();
}

#[test]
fn dots_are_in_their_place_among_the_names() {
    let mut sample = Sample::new();
    for name in [&b"!a"[..], b"-b", b".c", b"...", b"A", b"\xff"] {
        sample.file(Tree::ROOT, name, b"");
    }
    sample.check_both();
}

#[test]
fn directories_of_any_size_are_whole() {
    // From one block's worth of names to many, and all sizes of the last block.
    for count in (0..90).chain([5_000]) {
        let mut sample = Sample::new();
        let dir = sample.dir(Tree::ROOT, b"d");
        for place in 0..count {
            let name = format!("{place:08}{}", "n".repeat(place % 50));
            sample.file(dir, name.as_bytes(), b"");
        }
        sample.file(dir, &[b'x'; 255], b"");
        sample.check_both();
    }
}

#[test]
fn attributes_of_many_are_kept_once() {
    let mut sample = Sample::new();
    let value = vec![9; 2_000];
    for place in 0..100 {
        let name = format!("file-{place}");
        let node = sample.file(Tree::ROOT, name.as_bytes(), b"");
        let own = (b"user.own".to_vec(), name.into_bytes());
        sample.tree.inode_mut(node).xattrs = vec![own, (b"user.same".to_vec(), value.clone())];
    }
    // More than an inode can have shared ones.
    for name in [&b"many"[..], b"too"] {
        let node = sample.file(Tree::ROOT, name, b"");
        let many = (0..300).map(|place| (format!("user.{place:03}").into_bytes(), b"v".to_vec()));
        sample.tree.inode_mut(node).xattrs = many.collect();
    }
    sample.check_both();
    assert!(sample.image(BlockSize::B512, &[]).unwrap().len() < 40_000);
}

#[test]
fn contents_may_be_on_devices() {
    let mut sample = Sample::new();
    let first = sample.file(Tree::ROOT, b"first", &[1; 700]);
    let second = sample.file(Tree::ROOT, b"second", &[2; 5]);
    sample.file(Tree::ROOT, b"empty", b"");
    sample.tree.inode_mut(second).xattrs = vec![(b"user.a".to_vec(), b"12345".to_vec())];
    let lower = [&[0; 512][..], &[1; 700], &[0; 324]].concat();
    let upper = [&[0; 1024][..], &[2; 5]].concat();
    sample.places = Some(BTreeMap::from([(first, (1, 1)), (second, (2, 2))]));
    sample.check(BlockSize::B512, &[&lower, &upper]);
    let image = sample.image(BlockSize::B512, &[&lower, &upper]).unwrap();
    assert_eq!(&image[1152..1157], b"layer");
}

#[test]
fn what_erofs_cannot_hold_is_refused_with_its_path() {
    let refused = |change: &dyn Fn(&mut Sample, NodeId), kind: ErrorKind, what: &str| {
        let mut sample = Sample::new();
        let dir = sample.dir(Tree::ROOT, b"dir");
        let node = sample.file(dir, b"odd", b"");
        change(&mut sample, node);
        let error = sample.image(BlockSize::B512, &[]).unwrap_err();
        assert_eq!(error.kind(), kind);
        let chain = format!("{error:#} {error:?}");
        assert!(chain.contains("/dir"), "{chain}");
        assert!(chain.contains(what), "{chain}");
    };
    let xattr = |name: &'static [u8], length: usize| {
        move |sample: &mut Sample, node| {
            sample.tree.inode_mut(node).xattrs = vec![(name.to_vec(), vec![0; length])];
        }
    };
    let limit = ErrorKind::LimitExceeded;
    refused(&xattr(b"user.v", 65_536), limit, "65535");
    refused(&xattr(b"nobody.v", 1), ErrorKind::Unsupported, "nobody.v");
    refused(&xattr(b"user.", 1), ErrorKind::Unsupported, "user.");
    refused(
        &|sample, node| {
            let name = |place| format!("user.{place}").into_bytes();
            let xattrs = (0..5).map(|place| (name(place), vec![0; 65_535]));
            sample.tree.inode_mut(node).xattrs = xattrs.collect();
        },
        limit,
        "262148",
    );
    refused(
        &|sample, node| {
            let dir = sample.tree.parent(node);
            sample.file(dir, &[b'n'; 256], b"");
        },
        limit,
        "255",
    );
    refused(
        &|sample, node| {
            let dir = sample.tree.parent(node);
            let link = inode(InodeKind::Symlink, &[b'l'; 4096]);
            sample.tree.insert(dir, b"link", link);
        },
        limit,
        "4095",
    );
}

proptest! {
    #[test]
    fn any_tree_comes_back(
        shape in proptest::collection::vec((0usize..20, "[!-~]{1,40}", 0usize..9_000, 0u8..5), 0..60)
    ) {
        let mut sample = Sample::new();
        let mut dirs = vec![Tree::ROOT];
        let mut files: Vec<NodeId> = Vec::new();
        for (place, name, size, kind) in shape {
            let dir = dirs[place % dirs.len()];
            let name = name.replace('/', "_").into_bytes();
            if name == b"." || name == b".." || sample.tree.child(dir, &name).is_some() {
                continue;
            }
            match kind {
                0 => dirs.push(sample.dir(dir, &name)),
                1 => {
                    let link = inode(InodeKind::Symlink, &vec![b'l'; size.clamp(1, 4095)]);
                    sample.tree.insert(dir, &name, link);
                }
                2 if !files.is_empty() => {
                    sample.tree.insert_link(dir, &name, files[place % files.len()]);
                }
                _ => {
                    let node = sample.file(dir, &name, &vec![kind; size]);
                    let value = vec![kind; size % 700];
                    let xattr = (format!("user.{}", size % 3).into_bytes(), value);
                    sample.tree.inode_mut(node).xattrs = vec![xattr];
                    files.push(node);
                }
            }
        }
        sample.check_both();
    }
}
