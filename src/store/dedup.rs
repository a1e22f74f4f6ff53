//! Files of equal content share their blocks, where the file system can do that.
//!
//! The records of the layers say which files are equal; the kernel compares them once more, byte by byte, and joins their
//! blocks without touching anything else: inode, times and attributes stay. So a layer is what it was, at every moment.

use std::collections::HashMap;
use std::io::BufReader;

use super::id::LayerId;
use super::layer::RECORD;
use super::place::Store;
use super::record::{Content, RecordReader};
use super::status::StoreFeature;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::Dir;
use crate::fs::dedupe::{Deduped, dedupe};
use crate::fs::mount::Support;
use crate::fs::names::split;

/// Files smaller than this have no block of their own worth sharing, in bytes.
const MIN_SIZE: u64 = 4096;

/// What was shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DedupReport {
    /// Files that were looked at.
    pub files: u64,
    /// Files whose blocks are now those of another one.
    pub shared: u64,
    /// Bytes of these: with those that were shared before.
    pub bytes: u64,
}

/// The first file of its content.
struct First {
    layer: usize,
    path: Vec<u8>,
}

impl Store {
    /// Has the files of equal content in these layers, or in all, share their blocks. Memory is taken by the number of
    /// files.
    ///
    /// Whoever reads the layers meanwhile notices nothing; a death leaves fewer files shared.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the file system cannot share blocks, and if a layer cannot be read.
    pub fn dedup(&self, layers: &[LayerId]) -> Result<DedupReport> {
        let _in_use = self.shared()?;
        if let Support::No(why) = self.features()?.answer(StoreFeature::Reflink) {
            let message = format!("share blocks in {}: {why}", self.path().display());
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("btrfs can, and XFS that was made with reflink=1"));
        }
        let all = self.layers()?;
        let layers = if layers.is_empty() { &all } else { layers };
        let mut contents: Vec<Dir> = Vec::new();
        let (mut firsts, mut report) = (HashMap::new(), DedupReport::default());
        for id in layers {
            if id.is_tar() || id.is_erofs() {
                continue;
            }
            let layer = self.layer(id)?;
            contents.push(layer.content()?);
            let mut record =
                RecordReader::new(BufReader::new(layer.dir().open_file(RECORD.as_bytes())?))?;
            while let Some(entry) = record.next()? {
                let Content::File {
                    size,
                    sha256: Some(digest),
                } = entry.content
                else {
                    continue;
                };
                // Of an inode with several names one is enough, and the others do no harm.
                if size < MIN_SIZE {
                    continue;
                }
                report.files += 1;
                let Some(first) = firsts.get(&(digest, size)) else {
                    let path = entry.path;
                    firsts.insert(
                        (digest, size),
                        First {
                            layer: contents.len() - 1,
                            path,
                        },
                    );
                    continue;
                };
                let First { layer, path } = first;
                let places = [
                    (&contents[*layer], &path[..]),
                    (&contents[contents.len() - 1], &entry.path[..]),
                ];
                let saved =
                    share(places, size).context(|| format!("share blocks of layer {id}"))?;
                report.shared += u64::from(saved > 0);
                report.bytes += saved;
            }
        }
        Ok(report)
    }
}

/// Has the second file take the blocks of the first one; how many bytes that are.
fn share(places: [(&Dir, &[u8]); 2], size: u64) -> Result<u64> {
    let [from, to] = places.map(|(root, path)| {
        let (parent, name) = split(path);
        match parent {
            b"" => root.open_dir(b"."),
            parent => root.open_below(parent),
        }
        .and_then(|dir| Ok((dir.stat(name)?, dir.open_file(name)?)))
    });
    let ((from_stat, from), (to_stat, to)) = (from?, to?);
    if from_stat.id == to_stat.id {
        return Ok(0);
    }
    match dedupe(&from, &to, size)? {
        Deduped::Bytes(bytes) => Ok(bytes),
        // Not what its record says: for `check` to tell.
        Deduped::Differs => Ok(0),
    }
}
