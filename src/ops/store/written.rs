//! A file of the user's that is written as a stream and is there whole or not at all.

use std::io::{BufWriter, Write};
use std::path::Path;

use oci_cas::{Algorithm, Digest, Hasher};

use crate::error::{Result, ResultExt};
use crate::fs::names::split_path;
use crate::fs::{Access, Dir, atomic};

/// Bytes that are written at a time.
const BUFFER_SIZE: usize = 256 << 10;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of it.
    pub size: u64,
    /// Its SHA-256.
    pub digest: Digest,
}

/// Writes a file, in place of the one that is there.
///
/// # Errors
///
/// Those of `write` and of writing; the file is then as it was.
pub fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Written> {
    let (parent, name) = split_path(path)?;
    let parent = Dir::open(parent, Access::Plain)?;
    atomic::replace_with(&parent, name, 0o644, |file| {
        let mut out = Counted {
            inner: BufWriter::with_capacity(BUFFER_SIZE, file),
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        };
        write(&mut out)?;
        let flushed = out.inner.flush();
        flushed.context(|| format!("write {}", path.display()))?;
        Ok(Written {
            size: out.size,
            digest: out.hasher.finish(),
        })
    })
}

/// Hashes and counts what passes.
struct Counted<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(data)?;
        self.hasher.update(&data[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
