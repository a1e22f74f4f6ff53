//! The structures on disk, little endian. Names in backquotes are the fields of `fs/erofs/erofs_fs.h` in Linux 6.12.

use crate::fs::InodeKind;

/// Where the superblock is, in bytes (`EROFS_SUPER_OFFSET`).
pub(super) const SUPER_OFFSET: u64 = 1024;
/// Bytes of the superblock (`struct erofs_super_block`).
pub(super) const SUPER_SIZE: u64 = 128;
/// `EROFS_SUPER_MAGIC_V1`.
pub(super) const MAGIC: u32 = 0xE0F5_E1E2;
/// `EROFS_FEATURE_COMPAT_MTIME`: times are those of modification.
const COMPAT_MTIME: u32 = 2;
/// `EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`.
pub(super) const INCOMPAT_CHUNKED_FILE: u32 = 4;
/// `EROFS_FEATURE_INCOMPAT_DEVICE_TABLE`.
pub(super) const INCOMPAT_DEVICE_TABLE: u32 = 8;

/// Bytes of a device slot (`struct erofs_deviceslot`), which is also the unit of `devt_slotoff`.
pub(super) const DEVICE_SLOT_SIZE: u64 = 128;
/// Unit of inode numbers, and alignment of inodes, in bytes (`EROFS_ISLOTBITS`).
pub(super) const SLOT_SIZE: u64 = 32;
/// Bytes of an extended inode (`struct erofs_inode_extended`).
pub(super) const INODE_SIZE: u64 = 64;
/// Bytes of a chunk index (`struct erofs_inode_chunk_index`), and its alignment.
pub(super) const CHUNK_INDEX_SIZE: u64 = 8;
/// `EROFS_CHUNK_FORMAT_INDEXES`.
const CHUNK_FORMAT_INDEXES: u32 = 0x20;
/// The largest value of `EROFS_CHUNK_FORMAT_BLKBITS_MASK`.
pub(super) const MAX_CHUNK_BITS: u32 = 31;
/// Bytes of a directory entry without its name (`struct erofs_dirent`).
pub(super) const DIRENT_SIZE: usize = 12;

/// How the data of an inode is laid out (`EROFS_INODE_*`, `i_format` bits 1 to 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// Whole blocks (`EROFS_INODE_FLAT_PLAIN`).
    Plain = 0,
    /// Whole blocks, and the rest behind the inode (`EROFS_INODE_FLAT_INLINE`).
    Inline = 2,
    /// Chunks, perhaps on other devices (`EROFS_INODE_CHUNK_BASED`).
    Chunks = 4,
}

/// What the superblock says that differs from image to image.
pub(super) struct Superblock {
    pub block_bits: u8,
    pub root_nid: u16,
    pub inode_count: u64,
    pub block_count: u32,
    pub xattr_block: u32,
    pub uuid: [u8; 16],
    pub features: u32,
    pub device_count: u16,
    /// In units of slots.
    pub device_table: u16,
}

impl Superblock {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend(MAGIC.to_le_bytes());
        out.extend([0; 4]); // checksum: feature not set
        out.extend(COMPAT_MTIME.to_le_bytes());
        out.extend([self.block_bits, 0]); // blkszbits, sb_extslots
        out.extend(self.root_nid.to_le_bytes());
        out.extend(self.inode_count.to_le_bytes());
        out.extend([0; 12]); // epoch and its nanoseconds, for compact inodes
        out.extend(self.block_count.to_le_bytes());
        out.extend([0; 4]); // meta_blkaddr
        out.extend(self.xattr_block.to_le_bytes());
        out.extend(self.uuid);
        out.extend([0; 16]); // volume_name
        out.extend(self.features.to_le_bytes()); // feature_incompat
        out.extend([0; 2]); // lz4_max_distance
        out.extend(self.device_count.to_le_bytes()); // extra_devices
        out.extend(self.device_table.to_le_bytes()); // devt_slotoff
        out.resize(128, 0); // no long prefixes, no packed inode, no filter
        out
    }
}

/// A device slot: `tag`, `blocks`, and `mapped_blkaddr` 0, because devices are always given.
pub(super) fn device_slot(tag: &[u8], blocks: u32) -> [u8; 128] {
    let mut out = [0; 128];
    let length = tag.len().min(64);
    out[..length].copy_from_slice(&tag[..length]);
    out[64..68].copy_from_slice(&blocks.to_le_bytes());
    out
}

/// An extended inode.
pub(super) struct RawInode {
    pub layout: DataLayout,
    /// `i_xattr_icount`.
    pub xattr_count: u16,
    pub kind: InodeKind,
    /// 12 bits.
    pub mode: u32,
    pub size: u64,
    /// `i_u`: the first block, a device number, or the format of chunks.
    pub word: u32,
    /// `i_ino`.
    pub number: u32,
    pub uid: u32,
    pub gid: u32,
    pub seconds: i64,
    pub nanoseconds: u32,
    pub nlink: u32,
}

impl RawInode {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let format = 1 | (self.layout as u16) << 1;
        out.extend(format.to_le_bytes());
        out.extend(self.xattr_count.to_le_bytes());
        let mode = type_bits(self.kind) | (self.mode & 0o7777);
        out.extend(mode.to_le_bytes()[..2].iter());
        out.extend([0; 2]);
        out.extend(self.size.to_le_bytes());
        out.extend(self.word.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        out.extend(self.uid.to_le_bytes());
        out.extend(self.gid.to_le_bytes());
        out.extend(self.seconds.to_le_bytes());
        out.extend(self.nanoseconds.to_le_bytes());
        out.extend(self.nlink.to_le_bytes());
        out.extend([0; 16]);
    }
}

/// `S_IFMT` of a type (`inode(7)`).
fn type_bits(kind: InodeKind) -> u32 {
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

/// `file_type` of a directory entry: `FT_*` of `fs_types.h`, which EROFS takes over.
pub(super) fn entry_type(kind: InodeKind) -> u8 {
    match kind {
        InodeKind::File => 1,
        InodeKind::Directory => 2,
        InodeKind::CharDevice => 3,
        InodeKind::BlockDevice => 4,
        InodeKind::Fifo => 5,
        InodeKind::Socket => 6,
        InodeKind::Symlink => 7,
    }
}

/// A device number as the kernel decodes it (`new_decode_dev` of `kdev_t.h`).
pub(super) fn device_number((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

/// The format word of a file in one chunk of `2^bits` blocks.
pub(super) fn chunk_format(bits: u32) -> u32 {
    CHUNK_FORMAT_INDEXES | bits
}

/// A chunk index: `startblk_hi` (0), `device_id`, `startblk_lo`.
pub(super) fn chunk_index(device: u16, block: u32) -> [u8; 8] {
    let mut out = [0; 8];
    out[2..4].copy_from_slice(&device.to_le_bytes());
    out[4..].copy_from_slice(&block.to_le_bytes());
    out
}
