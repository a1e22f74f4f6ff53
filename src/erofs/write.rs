//! The metadata of an image, out of its plan: in ascending order, with zeros where contents go.

use super::directory::{encode, names, spread};
use super::format::{
    CHUNK_INDEX_SIZE, DEVICE_SLOT_SIZE, DataLayout, INCOMPAT_CHUNKED_FILE, INCOMPAT_DEVICE_TABLE,
    RawInode, SUPER_OFFSET, Superblock, chunk_format, chunk_index, device_number, device_slot,
};
use super::plan::{Data, Plan, Shape};
use super::xattrs::area_count;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::InodeKind;
use crate::fs::tree::{NodeId, Tree};

/// Bytes that are handed over at once.
const CHUNK_SIZE: usize = 1 << 20;

/// Takes bytes of the image: where, and what.
type Output<'o> = &'o mut dyn FnMut(u64, &[u8]) -> Result<()>;

/// Bytes of a region that grow from its beginning to its end.
struct Region<'o> {
    out: Output<'o>,
    /// Where the bytes that are held begin.
    start: u64,
    held: Vec<u8>,
}

impl<'o> Region<'o> {
    fn new(out: Output<'o>, start: u64) -> Self {
        let held = Vec::new();
        Self { out, start, held }
    }

    /// Fills up with zeros to this place.
    fn pad_to(&mut self, offset: u64) -> Result<()> {
        loop {
            let end = self.start + self.held.len() as u64;
            let missing = offset.saturating_sub(end);
            if missing == 0 {
                return Ok(());
            }
            let piece = usize::try_from(missing).map_or(CHUNK_SIZE, |size| size.min(CHUNK_SIZE));
            self.held.resize(self.held.len() + piece, 0);
            self.flush(CHUNK_SIZE)?;
        }
    }

    /// Hands over what is held, if it is at least this much.
    fn flush(&mut self, least: usize) -> Result<()> {
        if self.held.len() >= least && !self.held.is_empty() {
            (self.out)(self.start, &self.held)?;
            self.start += self.held.len() as u64;
            self.held.clear();
        }
        Ok(())
    }
}

impl Plan<'_> {
    /// Writes all but the contents of files, each byte once: the inodes in ascending order, then what is in blocks of
    /// its own. Contents may be written before or afterwards but for those behind inodes, over which zeros are written.
    ///
    /// # Errors
    ///
    /// Fails if the output does, or if the source is another than the one that was planned for.
    pub(crate) fn write(&mut self, out: Output<'_>) -> Result<()> {
        self.write_inodes(out)?;
        let bits = self.options.block_size.bits();
        let mut blocks = Region::new(out, self.inode_blocks << bits);
        self.each(&mut |plan, node| {
            let shape = plan.shape(node)?;
            if shape.data != Data::Meta || shape.blocks == 0 {
                return Ok(());
            }
            blocks.pad_to(plan.block(node, shape) << bits)?;
            let size = shape.blocks << bits;
            let bytes = plan.meta_bytes(node)?;
            let size = usize::try_from(size).map_or(bytes.len(), |size| size.min(bytes.len()));
            blocks.held.extend(&bytes[..size]);
            blocks.flush(CHUNK_SIZE)
        })?;
        blocks.pad_to(self.meta_end << bits)?;
        blocks.held.extend(self.shared.area());
        blocks.pad_to(self.xattr_end << bits)?;
        blocks.flush(0)
    }

    fn write_inodes(&mut self, out: Output<'_>) -> Result<()> {
        let mut region = Region::new(out, 0);
        region.pad_to(SUPER_OFFSET)?;
        region.held.extend(self.superblock()?);
        let block_size = self.options.block_size.bytes();
        for device in &self.options.devices {
            let blocks = u32::try_from(device.size.div_ceil(block_size)).map_err(|_| {
                let message = format!("a layer of {} bytes in an EROFS image", device.size);
                Error::new(ErrorKind::LimitExceeded, message)
            })?;
            region.held.extend(device_slot(&device.tag, blocks));
        }
        let (mut number, mut bytes) = (0, Vec::new());
        self.each(&mut |plan, node| {
            number += 1;
            region.pad_to(plan.offset(node))?;
            bytes.clear();
            plan.inode(node, number, &mut bytes)?;
            region.held.extend(&bytes);
            region.flush(CHUNK_SIZE)
        })?;
        region.pad_to(self.inode_blocks * block_size)?;
        region.flush(0)
    }

    /// Calls with each inode once, in the order of their places.
    fn each(&mut self, visit: &mut dyn FnMut(&Self, NodeId) -> Result<()>) -> Result<()> {
        let tree = self.source.tree();
        let mut last = 0;
        let mut pending = vec![Tree::ROOT];
        visit(self, Tree::ROOT)?;
        while let Some(dir) = pending.pop() {
            let first = pending.len();
            for (_, node) in tree.children(dir) {
                // Places ascend in this order; a further name of an inode has the place of the first one.
                if self.nid(node) > last {
                    last = self.nid(node);
                    visit(self, node)?;
                }
                if tree.inode(node).kind == InodeKind::Directory {
                    pending.push(node);
                }
            }
            pending[first..].reverse();
        }
        Ok(())
    }

    fn superblock(&self) -> Result<Vec<u8>> {
        let devices = self.options.devices.len();
        let device_count = u16::try_from(devices).map_err(|_| too_many_devices())?;
        let features = match device_count {
            0 => 0,
            _ => INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE,
        };
        let table = match device_count {
            0 => 0,
            _ => Self::device_table() / DEVICE_SLOT_SIZE,
        };
        let superblock = Superblock {
            block_bits: self.options.block_size.bits(),
            root_nid: u16::try_from(self.nid(Tree::ROOT)).map_err(|_| too_many_devices())?,
            inode_count: u64::from(self.inode_count),
            block_count: self.end,
            xattr_block: u32::try_from(self.meta_end).unwrap_or_default(),
            uuid: self.options.uuid,
            features,
            device_count,
            device_table: u16::try_from(table).unwrap_or_default(),
        };
        Ok(superblock.encode())
    }

    /// An inode with all that is behind it but a file's content.
    fn inode(&self, node: NodeId, number: u32, out: &mut Vec<u8>) -> Result<()> {
        let tree = self.source.tree();
        let inode = tree.inode(node);
        let shape = self.shape(node)?;
        let xattrs = self.shared.encode(&inode.xattrs)?;
        let (size, nlink) = match inode.kind {
            InodeKind::Directory => {
                let size = (shape.blocks << self.options.block_size.bits()) + shape.tail;
                // A last block of its own is shorter than it could be.
                let exact = match shape.tail {
                    0 => self.meta_bytes(node)?.len() as u64,
                    _ => size,
                };
                (exact, 2 + subdirectories(tree, node))
            }
            InodeKind::File => (inode.size, inode.nlink),
            InodeKind::Symlink => (inode.link.len() as u64, inode.nlink),
            _ => (0, inode.nlink),
        };
        let (layout, word) = self.layout(node, shape)?;
        RawInode {
            layout,
            xattr_count: area_count(xattrs.len())?,
            kind: inode.kind,
            mode: inode.mode,
            size,
            word,
            number,
            uid: inode.uid,
            gid: inode.gid,
            seconds: inode.mtime.unix_seconds(),
            nanoseconds: inode.mtime.nanoseconds(),
            nlink: u32::try_from(nlink).map_err(|_| {
                Error::new(ErrorKind::LimitExceeded, "a file with 2^32 names or more")
            })?,
        }
        .encode(out);
        out.extend(xattrs);
        match shape.data {
            Data::Meta if shape.tail > 0 => {
                let bytes = self.meta_bytes(node)?;
                let tail = usize::try_from(shape.tail).map_or(0, |tail| bytes.len() - tail);
                out.extend(&bytes[tail..]);
            }
            Data::Chunk { device, block } => {
                out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
                out.extend(chunk_index(device, block));
            }
            _ => {}
        }
        Ok(())
    }

    /// The layout of an inode's data, and the word that says where it is.
    fn layout(&self, node: NodeId, shape: Shape) -> Result<(DataLayout, u32)> {
        let inode = self.source.tree().inode(node);
        if matches!(inode.kind, InodeKind::CharDevice | InodeKind::BlockDevice) {
            let number = device_number(self.source.device(node));
            return Ok((DataLayout::Plain, number));
        }
        let block = || u32::try_from(self.block(node, shape)).unwrap_or_default();
        Ok(match shape.data {
            Data::Nothing => (DataLayout::Plain, 0),
            Data::Chunk { .. } => (
                DataLayout::Chunks,
                chunk_format(self.chunk_bits(inode.size)?),
            ),
            _ if shape.tail > 0 => (DataLayout::Inline, block()),
            _ => (DataLayout::Plain, block()),
        })
    }

    /// The data of a directory or a symbolic link.
    fn meta_bytes(&self, node: NodeId) -> Result<Vec<u8>> {
        let tree = self.source.tree();
        let inode = tree.inode(node);
        if inode.kind != InodeKind::Directory {
            return Ok(inode.link.to_vec());
        }
        let names = names(tree, node)?;
        let block_size = usize::try_from(self.options.block_size.bytes()).unwrap_or_default();
        let (mut starts, _) = spread(&names, block_size);
        starts.push(names.len());
        let mut out = Vec::new();
        for range in starts.windows(2) {
            out.resize(out.len().next_multiple_of(block_size), 0);
            let entries = names[range[0]..range[1]].iter();
            let entries =
                entries.map(|&(name, node)| (name, self.nid(node), tree.inode(node).kind));
            encode(entries, &mut out);
        }
        Ok(out)
    }
}

/// Chunk indexes are aligned, as inodes are.
#[expect(clippy::cast_possible_truncation, reason = "it is 8")]
const ALIGNMENT: usize = CHUNK_INDEX_SIZE as usize;

fn subdirectories(tree: &Tree, dir: NodeId) -> u64 {
    let children = tree.children(dir);
    children
        .filter(|(_, node)| tree.inode(*node).kind == InodeKind::Directory)
        .count() as u64
}

fn too_many_devices() -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        "more layers than an EROFS image can have devices",
    )
}
