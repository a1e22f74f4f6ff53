//! The stat index: a file beside a manifest, by which repack knows what nobody has touched without reading it.
//!
//! ```text
//! magic and version: 8 bytes    base time: 8 bytes
//! the root's entry, and in it all others (node.rs)
//! device, reference time: 8 bytes each    SHA-256 of the manifest: 32 bytes    SHA-256 of all before: 32 bytes
//! ```
//!
//! The index says all that the manifest says, in a form that is read ten times as fast, and of each inode what proves
//! that it is still the same: its number and its ctime, which no call can set. An entry is *proven* when both, and all
//! else that `statx` tells, are what they were, **and** when its ctime lies before the index's reference time by more
//! than [`GRANULARITY`]: a file changed twice within one tick of the clock has the same ctime after both changes, so
//! what was recorded in the tick of its last change may have changed again unseen (git calls that *racily clean*). The
//! reference time is the file system's own, the ctime of a file made there, and so has the same skew and precision as
//! those that it is compared with.
//!
//! What is not proven is not changed either: it is compared, and hashed if need be. So an index can be old, copied, of
//! a bundle that was moved or copied, or lie beside a rootfs that is mounted from elsewhere: that costs time, and no
//! more. One that is damaged, of another version, or made for another manifest (or this one before somebody edited it)
//! is ignored.
//!
//! The proof is as good as ctime. Linux leaves it alone in one case: a program that keeps a shared, writable memory
//! mapping of a file may go on writing to pages that were dirty when the file was recorded. On tmpfs, which never
//! writes them back, it may write to all pages that it has read. `repack --verify` is for those who do that.

use super::node::{self, Node, Nodes};
use crate::fs::names::unique_name;
use crate::fs::{Dir, InodeKind};
use crate::{Result, ResultExt};
use sha2::{Digest, Sha256};
use std::io::{ErrorKind as IoErrorKind, Read};

/// The last byte is the version.
const MAGIC: &[u8; 8] = b"ocistat\x01";
const HEADER_SIZE: usize = 16;
const TRAILER_SIZE: usize = 48;
const CHECKSUM_SIZE: usize = 32;

/// How far apart the ticks of a file system's clock may be, in nanoseconds: twice the 10 ms of a kernel with the slowest
/// timer. Where a file system keeps coarser times, the reference time is coarse too.
pub(super) const GRANULARITY: i64 = 20_000_000;

/// Largest index, in bytes: ten million files and more.
const MAX_SIZE: u64 = 1 << 30;

/// What times are on a file system, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its device, as in [`InodeId`](crate::fs::InodeId).
    pub(super) device: u64,
    /// Nanoseconds since 1970.
    pub(super) time: i64,
}

impl Reference {
    /// The ctime of a file that was just made, and the device it was made on.
    ///
    /// # Errors
    ///
    /// Fails if there is no such file.
    pub fn of(dir: &Dir, name: &[u8]) -> Result<Self> {
        let stat = dir.stat(name)?;
        Ok(Self {
            device: stat.id.dev,
            // A clock that is centuries off proves nothing.
            time: node::nanoseconds(stat.ctime).unwrap_or(i64::MIN),
        })
    }

    /// Makes a file in a directory, and removes it, to see what time it is there.
    ///
    /// # Errors
    ///
    /// Fails if no file can be made.
    pub fn now(dir: &Dir) -> Result<Self> {
        let name = unique_name(".bundle-clock-");
        drop(dir.create_new_file(name.as_bytes(), 0o600)?);
        let reference = Self::of(dir, name.as_bytes());
        dir.remove_all(name.as_bytes())?;
        reference
    }
}

/// What comes before the entries.
pub(super) fn header(base: i64) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..].copy_from_slice(&base.to_le_bytes());
    bytes
}

/// What comes behind them, without the checksum.
pub(super) fn trailer(manifest_sha256: [u8; 32], reference: &Reference) -> [u8; TRAILER_SIZE] {
    let mut bytes = [0; TRAILER_SIZE];
    bytes[..8].copy_from_slice(&reference.device.to_le_bytes());
    bytes[8..16].copy_from_slice(&reference.time.to_le_bytes());
    bytes[16..].copy_from_slice(&manifest_sha256);
    bytes
}

/// A stat index that was read, and found to be sound and to belong to its manifest.
pub struct StatIndex {
    bytes: Vec<u8>,
    base: i64,
    reference: Reference,
}

impl StatIndex {
    /// The name of the index of a manifest: that of the manifest with the ending `.stat` for `.mtree`.
    pub fn file_name(manifest_name: &str) -> String {
        let stem = manifest_name.strip_suffix(".mtree");
        format!("{}.stat", stem.unwrap_or(manifest_name))
    }

    /// Reads the index that lies beside a manifest. `None` if there is none that could be used, whatever the reason.
    ///
    /// # Errors
    ///
    /// Fails if there is one, but the manifest cannot be read.
    pub fn load(dir: &Dir, manifest_name: &str) -> Result<Option<Self>> {
        let name = Self::file_name(manifest_name);
        let Ok(bytes) = dir.read_file(name.as_bytes(), MAX_SIZE) else {
            return Ok(None);
        };
        let manifest = dir.open_file(manifest_name.as_bytes())?;
        let sha256 = sha256_of(manifest).context(|| format!("read {manifest_name}"))?;
        Ok(Self::parse(bytes, &sha256))
    }

    /// Reads an index of the manifest with this SHA-256. `None` if it is truncated, damaged, of another version or of
    /// another manifest.
    pub fn parse(bytes: Vec<u8>, manifest_sha256: &[u8; 32]) -> Option<Self> {
        let (checked, checksum) = bytes.split_last_chunk::<CHECKSUM_SIZE>()?;
        if bytes.first_chunk() != Some(MAGIC)
            || checked.len() < HEADER_SIZE + TRAILER_SIZE
            || Sha256::digest(checked)[..] != *checksum
        {
            return None;
        }
        let (_, trailer) = checked.split_last_chunk::<TRAILER_SIZE>()?;
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).ok();
        if trailer[16..] != *manifest_sha256 {
            return None;
        }
        let index = Self {
            base: number(&bytes[8..HEADER_SIZE])?,
            reference: Reference {
                device: number(&trailer[..8])?.cast_unsigned(),
                time: number(&trailer[8..16])?,
            },
            bytes,
        };
        index.is_sound().then_some(index)
    }

    /// The root's entry.
    pub(super) fn root(&self) -> Option<Node<'_>> {
        self.nodes().next()
    }

    /// The device on which inodes can be proven.
    pub(super) fn device(&self) -> u64 {
        self.reference.device
    }

    /// The time before which an inode must have changed last to be proven, in nanoseconds since 1970.
    pub(super) fn proven_before(&self) -> i64 {
        self.reference.time.saturating_sub(GRANULARITY)
    }

    fn nodes(&self) -> Nodes<'_> {
        let end = self.bytes.len() - CHECKSUM_SIZE - TRAILER_SIZE;
        Nodes::new(&self.bytes[HEADER_SIZE..end], self.base)
    }

    /// Whether every entry can be read and they are in the order in which they are looked for. The checksum does not
    /// say that: whoever can write the file can write a checksum.
    fn is_sound(&self) -> bool {
        let mut top = self.nodes();
        let Some(root) = top.next() else {
            return false;
        };
        if root.name != b"." || root.kind != InodeKind::Directory || !top.is_through() {
            return false;
        }
        let mut levels = vec![(root.children(), None::<(bool, &[u8])>)];
        while let Some((nodes, last)) = levels.last_mut() {
            let Some(node) = nodes.next() else {
                if !nodes.is_through() {
                    return false;
                }
                levels.pop();
                continue;
            };
            let is_name = !matches!(node.name, b"" | b"." | b"..")
                && !node.name.iter().any(|byte| matches!(byte, b'/' | 0));
            let key = (node.kind == InodeKind::Directory, node.name);
            if !is_name || last.is_some_and(|last| last >= key) {
                return false;
            }
            *last = Some(key);
            if key.0 {
                levels.push((node.children(), None));
            }
        }
        true
    }
}

impl std::fmt::Debug for StatIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.bytes.len();
        write!(f, "StatIndex({size} bytes, {:?})", self.reference)
    }
}

fn sha256_of(mut reader: impl Read) -> std::io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == IoErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
