//! Diff IDs: whether the layers that are there are those that a config means.

use std::collections::BTreeMap;
use std::io::Read;

use oci_cas::{Algorithm, Digest, Hasher, Store, StoreExt};

use super::CHUNK_SIZE;
use super::members::StoredBlob;
use crate::archive::{Compression, Decoder};
use crate::image::DiffId;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Diff IDs of blobs, each computed once. Those of uncompressed layers are known; a compressed one is read back.
pub(super) struct DiffIds<'a> {
    blobs: &'a dyn Store,
    known: BTreeMap<(Digest, Algorithm), Digest>,
}

impl<'a> DiffIds<'a> {
    pub(super) fn new(blobs: &'a dyn Store) -> Self {
        Self {
            blobs,
            known: BTreeMap::new(),
        }
    }

    pub(super) fn of(&mut self, layer: &StoredBlob, algorithm: Algorithm) -> Result<Digest> {
        let compression = layer.compression()?;
        if compression == Compression::None && layer.digest.algorithm() == algorithm {
            return Ok(layer.digest.clone());
        }
        let key = (layer.digest.clone(), algorithm);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let blob = self.blobs.open_verified(&layer.digest, layer.size)?;
        let (digest, _) = digest_of(&mut Decoder::new(blob, compression)?, algorithm)?;
        self.known.insert(key, digest.clone());
        Ok(digest)
    }
}

/// Reads a stream to its end: its digest, and its size in bytes.
pub(super) fn digest_of(reader: &mut dyn Read, algorithm: Algorithm) -> Result<(Digest, u64)> {
    let (mut hasher, mut size) = (Hasher::new(algorithm), 0);
    let mut buffer = vec![0; CHUNK_SIZE];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(|| "read"),
        }
    }
}

/// Refuses a layer that is not the one that the config means.
pub(crate) fn check_diff_id(found: &Digest, expected: &DiffId) -> Result<()> {
    if *found == expected.0 {
        return Ok(());
    }
    let message = format!("its diff ID is {found}, the config says {expected}");
    Err(Error::new(ErrorKind::Verification, message))
}

/// Refuses an image of which it is not clear what layers it has.
pub(crate) fn check_counts(layers: usize, diff_ids: usize) -> Result<()> {
    if layers == diff_ids {
        return Ok(());
    }
    let message = format!("{layers} layers, but {diff_ids} diff IDs in the config");
    Err(Error::new(ErrorKind::InvalidData, message))
}
