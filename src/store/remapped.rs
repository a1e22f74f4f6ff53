//! Chains with other owners on disk, where the kernel has no id-mapped mounts: copies of layers, made once for each map.

use std::fmt::Write as _;
use std::io::{BufReader, BufWriter};

use oci_cas::{Algorithm, Digest};

use super::chain::Chain;
use super::form::LayerForm;
use super::id::LayerId;
use super::layer::{CONTENT, LAYER, LayerMeta, RECORD, now, write_meta};
use super::mounting::ChainLowers;
use super::patch::{Attributes, Patch, PatchId};
use super::place::Store;
use super::remap::{remap_layer, remap_record};
use super::unpack::lock_of;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::descent::Descent;
use crate::fs::{Dir, MapOptions, failpoint};

impl Store {
    /// The directories of a chain with the owners that maps give them, and the name of the patch that is the first.
    pub(crate) fn remapped_lowers(
        &self,
        chain: &Chain,
        maps: &MapOptions,
    ) -> Result<(PatchId, ChainLowers)> {
        if chain.form() == LayerForm::Tar {
            let message = "layers that are kept as tar files have no copies with other owners";
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("unpack the image into a store with --layers dir"));
        }
        let patch = self.remapped_patch(&self.patch(&chain.patch)?, maps)?;
        let layers = chain.layers.iter().map(|id| self.remapped_layer(id, maps));
        let layers: Vec<_> = layers.collect::<Result<_>>()?;
        let lowers = ChainLowers::new(self, Some(&patch), &layers)?;
        Ok((patch, lowers))
    }

    fn remapped_layer(&self, id: &LayerId, maps: &MapOptions) -> Result<LayerId> {
        let mapped = id.remapped(&digest_of(maps));
        if self.has_layer(&mapped)? {
            return Ok(mapped);
        }
        let _once = self.lock_name(&lock_of(&mapped))?;
        if self.has_layer(&mapped)? {
            return Ok(mapped);
        }
        let layer = self.layer(id)?;
        let staging = self.staging()?;
        let made = staging.dir().create_new_dir(LAYER, 0o700)?;
        remap_layer(
            &layer.content()?,
            &made.create_new_dir(CONTENT, 0o700)?,
            maps,
        )?;
        let record = BufReader::new(layer.dir().open_file(RECORD.as_bytes())?);
        remap_record(
            record,
            BufWriter::new(made.create_new_file(RECORD.as_bytes(), 0o600)?),
            maps,
        )?;
        let mut meta = layer.meta()?;
        let host = |ids: &[u32], map: &crate::fs::IdMap| -> Result<Vec<u32>> {
            ids.iter().map(|&id| map.to_host(id)).collect()
        };
        meta.changeset.uids = host(&meta.changeset.uids, &maps.uid)?;
        meta.changeset.gids = host(&meta.changeset.gids, &maps.gid)?;
        let meta = LayerMeta {
            created: now(),
            ..meta
        };
        write_meta(&made, &meta)?;
        self.sync()?;
        failpoint::hit("layer-remapped");
        self.publish_layer(&mapped, &staging, LAYER)?;
        Ok(mapped)
    }

    /// A patch is small enough to be read and written anew.
    fn remapped_patch(&self, patch: &Dir, maps: &MapOptions) -> Result<PatchId> {
        let mut entries = std::collections::BTreeMap::new();
        let mut descent = Descent::new(patch)?;
        let mut way = Vec::new();
        let mut levels = vec![(0, descent.dir().names()?)];
        let mapped = |dir: &Dir| -> Result<Attributes> {
            let mut attributes = Attributes::of_dir(dir, self.marks())?;
            (attributes.uid, attributes.gid) = maps.to_host(attributes.uid, attributes.gid)?;
            maps.xattrs_to_host(&mut attributes.xattrs)?;
            Ok(attributes)
        };
        entries.insert(Vec::new(), mapped(descent.dir())?);
        while let Some((length, names)) = levels.last_mut() {
            way.truncate(*length);
            let Some(name) = names.pop() else {
                levels.pop();
                descent.leave()?;
                continue;
            };
            if !way.is_empty() {
                way.push(b'/');
            }
            way.extend_from_slice(&name);
            descent.enter(&name)?;
            entries.insert(way.clone(), mapped(descent.dir())?);
            levels.push((way.len(), descent.dir().names()?));
        }
        self.write_patch(&Patch(entries))
    }
}

/// What tells maps apart.
fn digest_of(maps: &MapOptions) -> Digest {
    let mut text = String::new();
    for (kind, map) in [("uid", &maps.uid), ("gid", &maps.gid)] {
        for range in &map.0 {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{kind} {range}");
        }
    }
    Digest::of(Algorithm::Sha256, text.as_bytes())
}
