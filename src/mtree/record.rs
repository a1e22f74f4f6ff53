//! What a tree is like, in memory, on its way to a manifest and its stat index.
//!
//! A [`Recorder`] is told of every inode in the order of a manifest, by an extraction or by the walk of
//! [`diff`](super::diff()), and holds the body of the index: about 65 bytes a file. A [`Record`] is that body, finished.
//! Digests may come late: the walk does not read what is going to be packed anyway, and whoever packs it hands the
//! digest to [`Record::packed`]. So a record never costs a second walk, and no file is read twice.

use super::index::{self, Reference};
use super::node::{self, Nodes, Stamp};
use super::{Attributes, Header, UMOCI_KEYWORDS, Writer};
use crate::fs::tree::StatStamp;
use crate::fs::{InodeId, InodeKind};
use crate::{Error, ErrorKind, Result, ResultExt};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

/// Bytes of the buffer in front of a manifest's output: large enough that it is hashed at full speed.
const BUFFER_SIZE: usize = 64 * 1024;

/// Takes down a tree, in the order of a manifest: the root is entered as `.`; in a directory first its non-directories
/// sorted by bytes, then its subdirectories, each from `enter` to `leave`.
#[derive(Debug)]
pub struct Recorder {
    body: Vec<u8>,
    /// Where the lengths of the open directories begin.
    open: Vec<usize>,
    /// The device on which inodes can be proven to be unchanged.
    device: u64,
    /// What times are counted from, in nanoseconds since 1970.
    base: Option<i64>,
    pending: Vec<Pending>,
}

/// A regular file whose digest is still to come.
#[derive(Debug)]
struct Pending {
    path: Vec<u8>,
    /// Where the digest begins.
    place: usize,
    /// If it has other names, which may be the ones that are read.
    shared: Option<InodeId>,
    is_known: bool,
}

impl Recorder {
    /// Begins a record of what lies on a device.
    pub fn new(device: u64) -> Self {
        Self {
            body: Vec::new(),
            open: Vec::new(),
            device,
            base: None,
            pending: Vec::new(),
        }
    }

    /// Opens a directory. Without a stat stamp it is recorded, but never known to be unchanged.
    pub fn enter(
        &mut self,
        name: &[u8],
        attributes: &Attributes<'_>,
        stat_stamp: Option<&StatStamp>,
    ) {
        let place = self.append(name, attributes, stat_stamp);
        self.open.push(place);
    }

    /// Takes anything but a directory, as [`enter`](Self::enter) does.
    pub fn leaf(
        &mut self,
        name: &[u8],
        attributes: &Attributes<'_>,
        stat_stamp: Option<&StatStamp>,
    ) {
        self.append(name, attributes, stat_stamp);
    }

    /// Takes a regular file at a path whose digest is told later, to [`Record::packed`].
    pub(super) fn pending_leaf(
        &mut self,
        path: &[u8],
        name: &[u8],
        attributes: &Attributes<'_>,
        stat_stamp: &StatStamp,
    ) {
        let place = self.append(name, attributes, Some(stat_stamp));
        self.pending.push(Pending {
            path: path.to_vec(),
            place,
            shared: (attributes.nlink > 1).then_some(stat_stamp.id),
            is_known: false,
        });
    }

    /// Closes the directory that was entered last.
    pub fn leave(&mut self) {
        if let Some(place) = self.open.pop() {
            node::end_directory(&mut self.body, place);
        }
    }

    /// Ends the record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] while a directory is open.
    pub fn finish(mut self) -> Result<Record> {
        if !self.open.is_empty() {
            let message = "end record of a tree: a directory is still open";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.pending.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Record {
            body: self.body,
            device: self.device,
            base: self.base.unwrap_or(0),
            pending: self.pending,
        })
    }

    fn append(
        &mut self,
        name: &[u8],
        attributes: &Attributes<'_>,
        stat_stamp: Option<&StatStamp>,
    ) -> usize {
        let stamp = stat_stamp.and_then(|known| Stamp::new(known.id, known.ctime, self.device));
        if let (None, Some(stamp)) = (self.base, stamp) {
            self.base = Some(stamp.ctime);
        }
        let rdev = stat_stamp.map_or((0, 0), |known| known.rdev);
        let base = self.base.unwrap_or(0);
        node::append(&mut self.body, name, attributes, stamp, rdev, base)
    }
}

/// What a tree was like.
#[derive(Debug)]
pub struct Record {
    body: Vec<u8>,
    device: u64,
    base: i64,
    /// Sorted by path.
    pending: Vec<Pending>,
}

impl Record {
    /// Takes the digest of a path that was packed. What is not waited for is passed over.
    pub fn packed(&mut self, path: &[u8], sha256: Option<[u8; 32]>) {
        let found = self
            .pending
            .binary_search_by(|pending| pending.path.as_slice().cmp(path));
        if let (Ok(found), Some(sha256)) = (found, sha256) {
            let pending = &mut self.pending[found];
            self.body[pending.place..pending.place + sha256.len()].copy_from_slice(&sha256);
            pending.is_known = true;
        }
    }

    /// Gives the names of one inode the digest that one of them has got: a layer holds the content once.
    fn share_digests(&mut self) {
        let known: HashMap<InodeId, usize> = self
            .pending
            .iter()
            .filter(|pending| pending.is_known)
            .filter_map(|pending| Some((pending.shared?, pending.place)))
            .collect();
        for pending in self.pending.iter_mut().filter(|pending| !pending.is_known) {
            if let Some(place) = pending.shared.and_then(|id| known.get(&id)) {
                self.body.copy_within(*place..place + 32, pending.place);
                pending.is_known = true;
            }
        }
    }

    /// Writes the manifest and returns its SHA-256. A file whose digest was never told is recorded without one, and
    /// will count as changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LimitExceeded`] for a path that no reader of manifests would accept, and those of the output, which
    /// then holds a part.
    pub fn write_manifest(&mut self, out: impl Write, header: &Header) -> Result<[u8; 32]> {
        self.share_digests();
        let out = Hashing {
            out,
            hasher: Sha256::new(),
        };
        let out = BufWriter::with_capacity(BUFFER_SIZE, out);
        let mut writer = Writer::new(out, UMOCI_KEYWORDS, header)?;
        let mut levels = vec![Nodes::new(&self.body, self.base)];
        while let Some(level) = levels.last_mut() {
            let Some(node) = level.next() else {
                levels.pop();
                // The outermost level holds the root, which no directory is around.
                if !levels.is_empty() {
                    writer.leave()?;
                }
                continue;
            };
            let xattrs = node.xattrs();
            if node.kind == InodeKind::Directory {
                writer.enter(node.name, &node.attributes(&xattrs))?;
                levels.push(node.children());
            } else {
                writer.leaf(node.name, &node.attributes(&xattrs))?;
            }
        }
        let out = writer.finish()?;
        Ok(out.get_ref().hasher.clone().finalize().into())
    }

    /// Writes the stat index that belongs to the manifest with this SHA-256, from
    /// [`write_manifest`](Self::write_manifest).
    ///
    /// `reference` is a time at which nobody could have changed the tree unseen any more: for a tree that this process
    /// has just made, when it is through; for one that was walked, before the walk.
    ///
    /// # Errors
    ///
    /// Those of the output, which then holds a part: a reader ignores it.
    pub fn write_index(
        &self,
        out: impl Write,
        manifest_sha256: [u8; 32],
        reference: &Reference,
    ) -> Result<()> {
        let mut out = Hashing {
            out,
            hasher: Sha256::new(),
        };
        // On another device, the clock of the reference says nothing of these inodes.
        let time = if reference.device == self.device {
            reference.time
        } else {
            i64::MIN
        };
        let reference = Reference {
            device: self.device,
            time,
        };
        let write = |out: &mut Hashing<_>, bytes: &[u8]| {
            out.write_all(bytes).context(|| "write stat index")
        };
        write(&mut out, &index::header(self.base))?;
        write(&mut out, &self.body)?;
        write(&mut out, &index::trailer(manifest_sha256, &reference))?;
        let checksum: [u8; 32] = out.hasher.clone().finalize().into();
        write(&mut out, &checksum)?;
        out.flush().context(|| "write stat index")
    }
}

/// Hashes what is written.
#[derive(Debug)]
struct Hashing<W> {
    out: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
