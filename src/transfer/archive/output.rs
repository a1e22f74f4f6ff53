//! An archive being written: a counted tar stream of members that are the same whoever writes them when.

use std::io::{self, BufWriter, Read, Write};

use filetime::FileTime;
use oci_cas::{Digest, Store, StoreExt};

use super::{CHUNK_SIZE, ExportReport};
use crate::archive::{Entry, EntryKind, Writer};
use crate::{Error, ErrorKind, Result, ResultExt};

/// An archive being written.
pub(super) struct Output<'a> {
    blobs: &'a dyn Store,
    tar: Writer<BufWriter<Counted<'a>>>,
    member_count: usize,
}

impl<'a> Output<'a> {
    /// Begins an archive.
    pub(super) fn new(blobs: &'a dyn Store, out: &'a mut dyn Write) -> Self {
        let counted = Counted { out, size: 0 };
        Self {
            blobs,
            tar: Writer::new(BufWriter::with_capacity(CHUNK_SIZE, counted)),
            member_count: 0,
        }
    }

    /// The store that blobs come from.
    pub(super) fn blobs(&self) -> &'a dyn Store {
        self.blobs
    }

    /// Writes a directory; the name has no trailing slash.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(EntryKind::Directory, &format!("{name}/"), 0o755, 0)
    }

    /// Writes a file of this content.
    pub(super) fn document(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(EntryKind::File, name, 0o644, content.len() as u64)?;
        self.tar.data(content)
    }

    /// Copies a blob, verified.
    pub(super) fn blob(&mut self, name: &str, digest: &Digest, size: u64) -> Result<()> {
        let mut reader = self
            .blobs
            .open_verified(digest, size)
            .context(|| format!("export blob {digest}"))?;
        self.stream(name, size, &mut reader)
            .context(|| format!("export blob {digest}"))
    }

    /// Writes a file of the bytes of a reader, which must be this many.
    pub(super) fn stream(&mut self, name: &str, size: u64, reader: &mut dyn Read) -> Result<()> {
        self.entry(EntryKind::File, name, 0o644, size)?;
        let (mut buffer, mut written) = (vec![0; CHUNK_SIZE], 0);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) if written == size => return Ok(()),
                Ok(0) => {
                    let message = format!("{written} bytes where {size} were promised");
                    return Err(Error::new(ErrorKind::Verification, message));
                }
                Ok(count) => {
                    written += count as u64;
                    self.tar.data(&buffer[..count])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "read"),
            }
        }
    }

    /// Ends the archive.
    pub(super) fn finish(self, unnamed: Vec<String>) -> Result<ExportReport> {
        let counted = self
            .tar
            .finish()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        let mut counted = counted.context(|| "write archive")?;
        counted.flush().context(|| "write archive")?;
        Ok(ExportReport {
            member_count: self.member_count,
            size: counted.size,
            unnamed,
        })
    }

    fn entry(&mut self, kind: EntryKind, name: &str, mode: u32, size: u64) -> Result<()> {
        self.member_count += 1;
        self.tar.entry(&Entry {
            path: name.as_bytes().to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime: FileTime::zero(),
            atime: None,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            pieces: None,
        })
    }
}

/// Counts what passes.
struct Counted<'a> {
    out: &'a mut dyn Write,
    size: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
