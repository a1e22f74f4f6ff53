//! Layers that are tar files, and images that refer to them: their digests.

use super::layer::Level;
use crate::error::Result;
use crate::store::erofs::{
    IMAGE, IMAGE_RECORD, INDEX, ImageRecord, KEPT_RECORD, KeptRecord, ODD, STREAM, digest_of,
};
use crate::store::layer::Layer;
use crate::store::{Store, json};

impl Store {
    /// What is wrong with a layer that is a tar file or an image, if anything is.
    pub(super) fn check_kept(layer: &Layer, level: Level) -> Result<Option<String>> {
        let dir = layer.dir();
        let mut expected = Vec::new();
        let (file, size) = if layer.id().is_tar() {
            let record: KeptRecord = json::read(dir, KEPT_RECORD)?;
            let promised = layer.id().diff_id().map(|diff_id| diff_id.to_string());
            expected.push((STREAM, promised.unwrap_or_default()));
            expected.push((INDEX, record.index));
            expected.push((ODD, record.odd));
            (STREAM, layer.meta()?.stream_size)
        } else {
            let record: ImageRecord = json::read(dir, IMAGE_RECORD)?;
            expected.push((IMAGE, record.digest));
            (IMAGE, record.size)
        };
        let found = dir.stat(file.as_bytes())?.size;
        if found != size {
            return Ok(Some(format!("{file} has {found} bytes, and had {size}")));
        }
        if level == Level::Quick {
            return Ok(None);
        }
        for (file, expected) in expected {
            let found = digest_of(dir, file)?;
            if found != expected {
                return Ok(Some(format!(
                    "{file} has the digest {found}, and had {expected}"
                )));
            }
        }
        Ok(None)
    }
}
