//! Layers as tar files: how they come in, and how directories are made of them.

use std::io::BufWriter;

use serde::{Deserialize, Serialize};

use super::{INDEX, KEPT_RECORD, ODD, STREAM, digest_of};
use crate::error::{Error, Result, ResultExt};
use crate::fs::{Dir, failpoint};
use crate::image::DiffId;
use crate::layer::{KeepTo, LayerSource, LowerDependencies, keep_layer};
use crate::progress::Progress;
use crate::store::id::LayerId;
use crate::store::json;
use crate::store::layer::{LAYER, LayerMeta, now, write_meta};
use crate::store::place::Store;
use crate::store::reason::Reason;
use crate::store::unpack::{UnpackLimits, lock_of};

/// The digests of a layer's files that are made of its stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptRecord {
    pub index: String,
    pub odd: String,
}

/// A tar file of the store.
struct TarFile(std::fs::File);

impl std::io::Read for TarFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl LayerSource for TarFile {
    fn verdict(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Store {
    /// Writes a stream into a staged layer, and makes sure that it is the one that was promised.
    pub(crate) fn stage_tar(
        dir: &Dir,
        source: impl LayerSource,
        diff_id: &DiffId,
        limits: &UnpackLimits,
    ) -> Result<()> {
        let mut stream = dir.create_new_file(STREAM.as_bytes(), 0o600)?;
        let mut odd = dir.create_new_file(ODD.as_bytes(), 0o600)?;
        let index = dir.create_new_file(INDEX.as_bytes(), 0o600)?;
        let mut index = BufWriter::new(index.into_file());
        let to = KeepTo {
            stream: &mut stream,
            odd: &mut odd,
            index: &mut index,
        };
        let algorithm = diff_id.0.algorithm();
        let (applied, sizes) = keep_layer(source, algorithm, &limits.archive, limits.max_size, to)?;
        let written = index
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        drop(written.context(|| "write index of a layer")?);
        let got = DiffId(applied.digest);
        if got != *diff_id {
            let message = format!("diffid mismatch: expected {diff_id}, got {got}");
            return Err(Reason::WrongDiffId.error(message));
        }
        let meta = LayerMeta {
            stream_size: applied.size,
            created: now(),
            changeset: LowerDependencies {
                files: sizes.files,
                size: sizes.size,
                ..LowerDependencies::default()
            },
        };
        write_meta(dir, &meta)?;
        let record = KeptRecord {
            index: digest_of(dir, INDEX)?,
            odd: digest_of(dir, ODD)?,
        };
        json::replace(dir, KEPT_RECORD, &record)?;
        failpoint::hit("layer-staged");
        Ok(())
    }

    /// Makes the directory of a layer, if it is missing, out of the tar file, if that is there: for chains of the other
    /// form on top of one of this.
    pub(crate) fn unpack_from_tar(&self, diff_id: &DiffId, progress: &dyn Progress) -> Result<()> {
        let plain = LayerId::of(diff_id);
        if self.has_layer(&plain)? {
            return Ok(());
        }
        let Some(kept) = LayerId::tar(diff_id).map(|id| self.find_layer(&id)) else {
            return Ok(());
        };
        let Some(kept) = kept? else {
            return Ok(());
        };
        let _once = self.lock_name(&lock_of(&plain))?;
        if self.has_layer(&plain)? {
            return Ok(());
        }
        let source = TarFile(kept.dir().open_file(STREAM.as_bytes())?);
        let staging = self.staging()?;
        let made = staging.dir().create_new_dir(LAYER, 0o700)?;
        let limits = UnpackLimits::default();
        self.stage_layer(&made, source, diff_id, &limits, progress)
            .map_err(|error| Error::context(error, format!("unpack layer {diff_id}")))?;
        self.sync()?;
        self.publish_layer(&plain, &staging, LAYER)
    }
}
