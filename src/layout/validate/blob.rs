//! One blob: it exists, has its size and its digest; and for a layer, what its diff ID is, in the same pass.

use std::io::{self, Read};

use oci_cas::{Algorithm, Digest, Hasher};

use super::{Validator, code};
use crate::archive::{Compression, Decoder};
use crate::image::{Descriptor, LayerCompression};
use crate::progress::{Event, Progress};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Bytes that are hashed at a time.
const BUFFER_SIZE: usize = 128 << 10;

impl Validator<'_> {
    /// Whether a blob is there with the size that its descriptor says.
    pub(super) fn check_presence(&mut self, name: &str, descriptor: &Descriptor) -> bool {
        if descriptor.data().is_some() {
            return true;
        }
        match self.layout.store().stat(descriptor.digest()) {
            Ok(Some(size)) if size == descriptor.size() => return true,
            Ok(Some(size)) => {
                let message = format!(
                    "the blob has {size} bytes, its descriptor says {}",
                    descriptor.size()
                );
                self.find(name, code::SIZE_MISMATCH, message);
            }
            Ok(None) => self.find(name, code::MISSING_BLOB, "the blob does not exist"),
            Err(error) => self.find(name, code::UNREADABLE_BLOB, Error::from(error).chain()),
        }
        false
    }

    /// The bytes of a document, verified. What is wrong with the blob is found here.
    pub(super) fn read_document(&mut self, name: &str, descriptor: &Descriptor) -> Option<Vec<u8>> {
        if !self.check_presence(name, descriptor) {
            return None;
        }
        let read = self.layout.read_document(descriptor);
        match &read {
            Ok(_) => self.note(descriptor, true),
            Err(error) if error.kind() == ErrorKind::Verification => {
                self.mismatch(name, descriptor, error);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::LimitExceeded | ErrorKind::InvalidData
                ) =>
            {
                self.find_error(name, error);
            }
            Err(error) => self.find(name, code::UNREADABLE_BLOB, error.chain()),
        }
        read.ok()
    }

    /// Reads a blob of any type to see whether it is what its descriptor says, unless that is known.
    pub(super) fn verify_blob(&mut self, name: &str, descriptor: &Descriptor) {
        if !self.check_presence(name, descriptor) || descriptor.data().is_some() {
            return;
        }
        match self.blobs.get(descriptor.digest()) {
            Some(true) => {}
            Some(false) => self.find(name, code::DIGEST_MISMATCH, "the blob has another digest"),
            None => {
                let read = self
                    .layout
                    .open_blob(descriptor)
                    .and_then(|mut reader| Ok(reader.finish()?));
                match read {
                    Ok(_) => self.note(descriptor, true),
                    Err(error) if error.kind() == ErrorKind::Verification => {
                        self.mismatch(name, descriptor, &error);
                    }
                    Err(error) => self.find(name, code::UNREADABLE_BLOB, error.chain()),
                }
            }
        }
    }

    fn note(&mut self, descriptor: &Descriptor, intact: bool) {
        if descriptor.data().is_none() {
            self.blobs.insert(descriptor.digest().clone(), intact);
        }
    }

    /// The size was right when the blob was looked at, hence it is the digest, or the blob changes while it is read.
    fn mismatch(&mut self, name: &str, descriptor: &Descriptor, error: &Error) {
        self.note(descriptor, false);
        self.find(name, code::DIGEST_MISMATCH, error.chain());
    }

    /// Verifies a layer's blob and returns the digest of its uncompressed content, if there is one.
    pub(super) fn layer(
        &mut self,
        name: &str,
        descriptor: &Descriptor,
        compression: LayerCompression,
        algorithm: Algorithm,
        (index, count): (usize, usize),
    ) -> Option<Digest> {
        if !self.check_presence(name, descriptor) {
            return None;
        }
        let key = (descriptor.digest().clone(), compression, algorithm);
        if let Some(known) = self.layers.get(&key).cloned() {
            // What was wrong with the blob or its compression holds here as well.
            if known.is_none() {
                self.find(name, code::MALFORMED_LAYER, "the layer is not intact");
            }
            return known;
        }
        let progress = self.progress;
        progress.event(Event::LayerStarted {
            index,
            count,
            digest: descriptor.digest(),
            size: descriptor.size(),
        });
        let content = self.decompress(name, descriptor, compression, algorithm, index);
        progress.event(Event::LayerFinished { index });
        self.layers.insert(key, content.clone());
        content
    }

    fn decompress(
        &mut self,
        name: &str,
        descriptor: &Descriptor,
        compression: LayerCompression,
        algorithm: Algorithm,
        index: usize,
    ) -> Option<Digest> {
        let mut blob = match self.layout.open_blob(descriptor) {
            Ok(blob) => blob,
            Err(error) => {
                self.find(name, code::UNREADABLE_BLOB, error.chain());
                return None;
            }
        };
        let reader = Reporting {
            inner: &mut blob,
            progress: self.progress,
            index,
            position: 0,
        };
        let content = hash_content(reader, compression, algorithm);
        // The blob's own verdict comes first: content that is not what was promised need not decompress.
        match blob.finish() {
            Ok(_) => self.note(descriptor, true),
            Err(error) => {
                let error = Error::from(error);
                if error.kind() == ErrorKind::Verification {
                    self.mismatch(name, descriptor, &error);
                } else {
                    self.find(name, code::UNREADABLE_BLOB, error.chain());
                }
                return None;
            }
        }
        match content {
            Ok(content) => Some(content),
            Err(error) => {
                self.find(name, code::MALFORMED_LAYER, error.chain());
                None
            }
        }
    }

    /// Blobs that nothing names must still have the digest that is their name.
    pub(super) fn unreferenced_blobs(&mut self) {
        match self.layout.foreign() {
            Ok(names) => {
                for name in names {
                    self.find(
                        name,
                        code::FOREIGN_FILE,
                        "it lies among the blobs and is none",
                    );
                }
            }
            Err(error) => self.find("blobs", code::UNREADABLE_BLOB, error.chain()),
        }
        let digests = match self.layout.store().list() {
            Ok(digests) => digests,
            Err(error) => {
                self.find("blobs", code::UNREADABLE_BLOB, Error::from(error).chain());
                return;
            }
        };
        for digest in digests
            .into_iter()
            .filter(|digest| !self.blobs.contains_key(digest))
            .collect::<Vec<_>>()
        {
            let name = format!("blobs > {digest}");
            match self.layout.store().stat(&digest) {
                Ok(Some(size)) => self.verify_blob(
                    &name,
                    &Descriptor::new("application/octet-stream", digest, size),
                ),
                Ok(None) => {}
                Err(error) => self.find(name, code::UNREADABLE_BLOB, Error::from(error).chain()),
            }
        }
    }
}

fn hash_content(
    reader: impl Read + Send,
    compression: LayerCompression,
    algorithm: Algorithm,
) -> Result<Digest> {
    let compression = match compression {
        LayerCompression::None => Compression::None,
        LayerCompression::Gzip => Compression::Gzip,
        LayerCompression::Zstd => Compression::Zstd,
    };
    let mut decoder = Decoder::new(reader, compression)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(|| "decompress layer"),
        }
    }
}

/// Tells how much of a layer's blob has been read.
struct Reporting<'a, R> {
    inner: R,
    progress: &'a dyn Progress,
    index: usize,
    position: u64,
}

impl<R: Read> Read for Reporting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.position += length as u64;
        self.progress.event(Event::LayerAdvanced {
            index: self.index,
            position: self.position,
        });
        Ok(length)
    }
}
