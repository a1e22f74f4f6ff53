//! Where everything in an image is going to be.

use super::directory::{names, spread};
use super::format::{
    CHUNK_INDEX_SIZE, DEVICE_SLOT_SIZE, INODE_SIZE, MAX_CHUNK_BITS, SLOT_SIZE, SUPER_OFFSET,
    SUPER_SIZE,
};
use super::xattrs::Shared;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::tree::{Inode, NodeId, Tree};
use crate::fs::{InodeKind, escape_name};

/// Bytes of the target of a symbolic link at most: more are cut by the kernel without an error.
const MAX_LINK: usize = 4095;

/// What an image is made of.
pub(crate) trait Source {
    /// Names and inodes.
    fn tree(&self) -> &Tree;

    /// Major and minor number of a device.
    fn device(&self, node: NodeId) -> (u32, u32);

    /// Where the content of a regular file of at least one byte is.
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to say.
    fn place(&self, node: NodeId) -> Result<DataPlace>;
}

/// Where the content of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataPlace {
    /// In the image: the caller writes it to its [`Extent`].
    Inside,
    /// On an extra device, counted from 1, from this block on.
    Device { device: u16, block: u32 },
}

/// Bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockSize {
    /// 512: what tar archives are cut in. Linux 6.4 and later.
    B512,
    /// 4096: all kernels with EROFS, where pages have as many.
    B4096,
}

impl BlockSize {
    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::B512 => 9,
            Self::B4096 => 12,
        }
    }

    pub(crate) fn bytes(self) -> u64 {
        1 << self.bits()
    }
}

/// An extra device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// Free text, of which 64 bytes are kept.
    pub tag: Vec<u8>,
    /// In bytes.
    pub size: u64,
}

/// What is to be said of an image beside its content.
#[derive(Clone, Debug)]
pub(crate) struct ImageOptions {
    pub block_size: BlockSize,
    pub uuid: [u8; 16],
    pub devices: Vec<Device>,
}

/// Where the content of a file is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where whole blocks begin, in bytes.
    pub start: u64,
    /// Bytes from there on.
    pub length: u64,
    /// Where the rest begins.
    pub tail: u64,
}

/// The place of an inode.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// In slots; 0 is none.
    slot: u32,
    /// Its first block, counted from the first of its region.
    block: u32,
}

/// Which blocks an inode has, beside what is behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub xattr_size: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// Bytes behind the attributes.
    pub tail: u64,
    pub data: Data,
}

/// What kind of data an inode has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Data {
    /// None.
    #[default]
    Nothing,
    /// A directory or a link: in the region of metadata.
    Meta,
    /// The content of a file, in the image.
    Content,
    /// The content of a file, on a device.
    Chunk { device: u16, block: u32 },
}

/// An image that is to be written.
pub(crate) struct Plan<'s> {
    pub(super) source: &'s dyn Source,
    pub(super) options: ImageOptions,
    pub(super) shared: Shared<'s>,
    /// By the number of the inode.
    places: Vec<Place>,
    pub(super) inode_count: u32,
    /// Ends of regions, in blocks.
    pub(super) inode_blocks: u64,
    pub(super) meta_end: u64,
    pub(super) xattr_end: u64,
    pub(super) end: u32,
}

impl<'s> Plan<'s> {
    /// Finds a place for everything.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LimitExceeded`] for names of more than 255 bytes, targets of links of more than 4095, attributes of
    /// more than 65535, and images of more than 2^32 blocks; [`ErrorKind::Unsupported`] for attributes whose names EROFS
    /// has no prefix for. The message says which file it is.
    pub(crate) fn new(source: &'s dyn Source, options: ImageOptions) -> Result<Self> {
        let mut plan = Self {
            source,
            options,
            shared: Shared::default(),
            places: Vec::new(),
            inode_count: 0,
            inode_blocks: 0,
            meta_end: 0,
            xattr_end: 0,
            end: 0,
        };
        plan.walk(&mut |plan, node, _| plan.shared.count(&source.tree().inode(node).xattrs))?;
        plan.places.clear();
        plan.set_places()?;
        Ok(plan)
    }

    /// Size of the image in bytes.
    pub(crate) fn size(&self) -> u64 {
        u64::from(self.end) << self.options.block_size.bits()
    }

    /// Where the content of a file goes; `None` for everything that has none in the image.
    ///
    /// # Errors
    ///
    /// Those of [`Source::place`].
    pub(crate) fn extent(&self, node: NodeId) -> Result<Option<Extent>> {
        let shape = self.shape(node)?;
        Ok((shape.data == Data::Content).then(|| Extent {
            start: self.block(node, shape) << self.options.block_size.bits(),
            length: shape.blocks << self.options.block_size.bits(),
            tail: self.offset(node) + INODE_SIZE + shape.xattr_size,
        }))
    }

    /// The number of an inode.
    pub(super) fn nid(&self, node: NodeId) -> u64 {
        u64::from(self.place(node).slot)
    }

    /// Where an inode begins, in bytes.
    pub(super) fn offset(&self, node: NodeId) -> u64 {
        self.nid(node) * SLOT_SIZE
    }

    /// The first block of an inode's data.
    pub(super) fn block(&self, node: NodeId, shape: Shape) -> u64 {
        let first = match shape.data {
            Data::Content => self.xattr_end,
            _ => self.inode_blocks,
        };
        first + u64::from(self.place(node).block)
    }

    fn place(&self, node: NodeId) -> Place {
        let index = self.source.tree().inode_index(node).get();
        self.places.get(index).copied().unwrap_or_default()
    }

    /// Where the device table begins.
    pub(super) fn device_table() -> u64 {
        SUPER_OFFSET + SUPER_SIZE
    }

    fn set_places(&mut self) -> Result<()> {
        let block_size = self.options.block_size.bytes();
        let mut at = Self::device_table() + self.options.devices.len() as u64 * DEVICE_SLOT_SIZE;
        let (mut meta, mut content) = (0u64, 0u64);
        self.walk(&mut |plan, node, index| {
            let shape = plan.shape(node)?;
            let size = INODE_SIZE + shape.xattr_size + shape.tail;
            at = at.next_multiple_of(SLOT_SIZE);
            // What is inline must be in one block, and the kernel wants a link there with its inode.
            if shape.tail > 0 && at % block_size + size > block_size {
                at = at.next_multiple_of(block_size);
            }
            let region = match shape.data {
                Data::Content => &mut content,
                _ => &mut meta,
            };
            plan.places[index] = Place {
                slot: u32::try_from(at / SLOT_SIZE).map_err(|_| too_large())?,
                block: u32::try_from(*region).map_err(|_| too_large())?,
            };
            *region += shape.blocks;
            at += size;
            if matches!(shape.data, Data::Chunk { .. }) {
                at = at.next_multiple_of(CHUNK_INDEX_SIZE) + CHUNK_INDEX_SIZE;
            }
            Ok(())
        })?;
        self.inode_blocks = at.div_ceil(block_size);
        self.meta_end = self.inode_blocks + meta;
        self.xattr_end = self.meta_end + (self.shared.area().len() as u64).div_ceil(block_size);
        self.end = u32::try_from(self.xattr_end + content).map_err(|_| too_large())?;
        if u16::try_from(self.nid(Tree::ROOT)).is_err() {
            let message = "more devices than an EROFS image can have";
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }

    /// Calls with each inode once, in the order in which they are written: the names of a directory one after the other.
    pub(super) fn walk(
        &mut self,
        visit: &mut dyn FnMut(&mut Self, NodeId, usize) -> Result<()>,
    ) -> Result<()> {
        let tree = self.source.tree();
        self.inode_count = 0;
        let mut pending = vec![Tree::ROOT];
        self.visit_new(Tree::ROOT, visit)?;
        while let Some(dir) = pending.pop() {
            let first = pending.len();
            for (_, node) in tree.children(dir) {
                self.visit_new(node, visit)?;
                if tree.inode(node).kind == InodeKind::Directory {
                    pending.push(node);
                }
            }
            pending[first..].reverse();
        }
        Ok(())
    }

    fn visit_new(
        &mut self,
        node: NodeId,
        visit: &mut dyn FnMut(&mut Self, NodeId, usize) -> Result<()>,
    ) -> Result<()> {
        let index = self.source.tree().inode_index(node).get();
        if self.places.len() <= index {
            self.places.resize(index + 1, Place::default());
        }
        if self.places[index].slot != 0 {
            return Ok(());
        }
        // Until it has a place: seen.
        self.places[index].slot = u32::MAX;
        self.inode_count += 1;
        visit(self, node, index).context(|| {
            let path = path_of(self.source.tree(), node);
            format!("put {} into an EROFS image", escape_name(&path))
        })
    }

    /// What an inode needs.
    pub(super) fn shape(&self, node: NodeId) -> Result<Shape> {
        let inode = self.source.tree().inode(node);
        let xattr_size = self.shared.area_size(&inode.xattrs)?;
        let (data, size) = self.data(node, inode)?;
        let block_size = self.options.block_size.bytes();
        let shape = match data {
            Data::Nothing | Data::Chunk { .. } => (0, 0),
            Data::Meta | Data::Content => {
                let (blocks, tail) = (size / block_size, size % block_size);
                if INODE_SIZE + xattr_size + tail <= block_size {
                    (blocks, tail)
                } else {
                    (blocks + 1, 0)
                }
            }
        };
        Ok(Shape {
            xattr_size,
            blocks: shape.0,
            tail: shape.1,
            data,
        })
    }

    /// The kind of data of an inode, and its size in the image.
    fn data(&self, node: NodeId, inode: &Inode) -> Result<(Data, u64)> {
        match inode.kind {
            InodeKind::Directory => {
                let block_size = self.options.block_size.bytes();
                let size = usize::try_from(block_size).unwrap_or_default();
                let (starts, last) = spread(&names(self.source.tree(), node)?, size);
                Ok((
                    Data::Meta,
                    (starts.len() as u64 - 1) * block_size + last as u64,
                ))
            }
            InodeKind::Symlink if inode.link.len() > MAX_LINK => {
                let length = inode.link.len();
                let message =
                    format!("the target of the link has {length} bytes; the limit is {MAX_LINK}");
                Err(Error::new(ErrorKind::LimitExceeded, message))
            }
            InodeKind::Symlink => Ok((Data::Meta, inode.link.len() as u64)),
            InodeKind::File if inode.size > 0 => match self.source.place(node)? {
                DataPlace::Inside => Ok((Data::Content, inode.size)),
                DataPlace::Device { device, block } => {
                    self.chunk_bits(inode.size)?;
                    Ok((Data::Chunk { device, block }, inode.size))
                }
            },
            _ => Ok((Data::Nothing, 0)),
        }
    }

    /// Of the one chunk that holds a file: the logarithm of its number of blocks.
    pub(super) fn chunk_bits(&self, size: u64) -> Result<u32> {
        let blocks = size.div_ceil(self.options.block_size.bytes());
        let bits = blocks.max(1).next_power_of_two().trailing_zeros();
        if bits > MAX_CHUNK_BITS {
            let message = format!("a file of {size} bytes; the limit is one chunk of 1 TiB");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(bits)
    }
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        "the image has more blocks than EROFS can count",
    )
}

/// The path of a name, for messages.
fn path_of(tree: &Tree, node: NodeId) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = node;
    while at != Tree::ROOT {
        let parent = tree.parent(at);
        let name = tree.children(parent).find(|(_, child)| *child == at);
        names.push(name.map_or(&b""[..], |(name, _)| name));
        at = parent;
    }
    names.push(b"");
    names.reverse();
    names.join(&b'/')
}
