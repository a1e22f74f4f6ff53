//! What nothing needs any more.
//!
//! Roots are the images, the containers, the committed snapshots and what is mounted. What they do not lead to moves to the
//! trash while nobody else uses the store, which takes as long as a few renames do; deleting comes after.
//!
//! A layer that a root names stays, even where nothing but a variant of it is stacked: who lays another layer on that image
//! needs it, and the blob may be gone by then.

use std::collections::BTreeSet;

use super::form::LayerForm;
use super::id::{Key, LayerId};
use super::patch::PatchId;
use super::place::Store;
use super::trash::TrashEntry;
use crate::error::Result;
use crate::fs::usage::usage;
use crate::fs::{atomic, failpoint, mount};
use crate::image::{ChainId, DiffId};
use oci_cas::Digest;

/// What `gc` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Whether it only says what it would take.
    pub dry_run: bool,
    /// Whether images go, too, that no container and no mount uses.
    pub unused_images: bool,
    /// Whether containers go, too, whose bundle is gone although something was changed in them.
    pub abandoned: bool,
}

/// What was taken, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Layers.
    pub layers: Vec<LayerId>,
    /// Records of chains.
    pub chains: Vec<Option<ChainId>>,
    /// Patches.
    pub patches: Vec<PatchId>,
    /// Images, by the digests of their manifests.
    pub images: Vec<Digest>,
    /// Containers whose bundle is gone.
    pub containers: Vec<Key>,
    /// Containers whose bundle is gone, and which were kept because something was changed in them.
    pub kept: Vec<Key>,
    /// Bytes on disk that layers and containers took.
    pub bytes: u64,
    /// Records of mounts that are gone, and leftovers of killed processes.
    pub leftovers: usize,
}

impl Store {
    /// Takes away what nothing needs: layers, chains and patches of no image, container, committed snapshot or mount;
    /// containers whose bundle is gone and in which nothing was changed; leftovers of killed processes.
    ///
    /// A death on the way leaves less to take.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if others use the store for longer than the lock may be waited for, and
    /// whatever keeps the store from being read or written.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport> {
        let mut report = GcReport::default();
        // Measured and deleted when others may use the store again.
        let mut thrown = Vec::new();
        {
            let _alone = self.exclusive()?;
            self.collect_containers(options, &mut report, &mut thrown)?;
            self.collect_images(options, &mut report)?;
            self.collect_layers(options, &mut report, &mut thrown)?;
            if !options.dry_run {
                report.leftovers += self.forget_dead_mounts()?;
                report.leftovers += self.forget_temporaries()?;
                self.unmount_idle_images()?;
                self.forget_locks()?;
            }
        }
        if !options.dry_run {
            failpoint::hit("gc-marked");
            for thrown in &thrown {
                report.bytes += thrown.bytes()?;
            }
            // Making a staging directory sweeps up those of the dead.
            drop(self.staging()?);
            let staging = self.sub("staging")?;
            report.leftovers += mount::sweep(&staging)? + mount::sweep_probes(&staging)?;
            report.leftovers += self.empty_trash()?;
        }
        Ok(report)
    }

    fn collect_containers(
        &self,
        options: GcOptions,
        report: &mut GcReport,
        thrown: &mut Vec<TrashEntry>,
    ) -> Result<()> {
        let active = self.sub("active")?;
        for container in self.containers()? {
            let key = container.key().clone();
            if !container.is_abandoned() || self.live_mount_of(&key)?.is_some() {
                continue;
            }
            if !container.upper()?.names()?.is_empty() && !options.abandoned {
                report.kept.push(key);
                continue;
            }
            if options.dry_run {
                report.bytes += usage(container.dir())?.bytes;
            } else {
                thrown.push(self.throw_away(&active, key.as_str().as_bytes())?);
                failpoint::hit("gc-container");
            }
            report.containers.push(key);
        }
        Ok(())
    }

    fn collect_images(&self, options: GcOptions, report: &mut GcReport) -> Result<()> {
        if !options.unused_images {
            return Ok(());
        }
        let used = self.chains_in_use(report)?;
        for image in self.images()? {
            if used.contains(&image.chain_id()) {
                continue;
            }
            if !options.dry_run {
                self.remove_image(image.digest())?;
                failpoint::hit("gc-image");
            }
            report.images.push(image.digest().clone());
        }
        Ok(())
    }

    /// The chains of containers that stay, of committed snapshots, and of mounts that are there.
    fn chains_in_use(&self, report: &GcReport) -> Result<BTreeSet<Option<ChainId>>> {
        let mut used = BTreeSet::new();
        for container in self.containers()? {
            if !report.containers.contains(container.key()) {
                let meta = container.meta();
                used.insert(meta.chain.clone());
                used.extend(meta.applied.as_ref().map(|layer| {
                    Some(match &meta.chain {
                        Some(below) => below.with_layer(layer),
                        None => ChainId::bottom(layer),
                    })
                }));
            }
        }
        let snapshots = self.committed_snapshots()?.into_iter();
        used.extend(snapshots.map(|snapshot| snapshot.chain));
        for mount in self.mounts()? {
            if mount.is_live()? {
                used.insert(mount.chain);
            }
        }
        Ok(used)
    }

    fn collect_layers(
        &self,
        options: GcOptions,
        report: &mut GcReport,
        thrown: &mut Vec<TrashEntry>,
    ) -> Result<()> {
        let mut used = self.chains_in_use(report)?;
        let (mut layers, mut patches) = (BTreeSet::new(), BTreeSet::new());
        for image in self.images()? {
            if !report.images.contains(image.digest()) {
                used.insert(image.chain_id());
                layers.extend(self.layers_named_by(image.chain_id().as_ref(), &image.diff_ids)?);
            }
        }
        for container in self.containers()? {
            // Also where its chain is not recorded.
            layers.extend(container.meta().applied.as_ref().map(LayerId::of));
        }
        for snapshot in self.committed_snapshots()? {
            let chain = snapshot.chain.as_ref();
            layers.extend(self.layers_named_by(chain, &snapshot.diff_ids)?);
        }
        for chain in used
            .iter()
            .filter_map(|id| self.recorded_chain(id.as_ref()).transpose())
        {
            let chain = chain?;
            layers.extend(chain.needs());
            patches.insert(chain.patch);
        }
        for mount in self.mounts()? {
            if mount.is_live()? {
                patches.extend(mount.patch);
            }
        }
        // First what leads to others, so that a death never leaves a chain without its layers.
        for id in self.chains()? {
            if !used.contains(&id) {
                if !options.dry_run {
                    self.remove_chain(id.as_ref())?;
                    failpoint::hit("gc-chain");
                }
                report.chains.push(id);
            }
        }
        for id in self.layers()? {
            if layers.contains(&id) || is_copy_of_used(&id, &layers) {
                continue;
            }
            if options.dry_run {
                report.bytes += usage(self.layer(&id)?.dir())?.bytes;
            } else {
                self.unmount_erofs(&id)?;
                let parent = self.layer_parent(&id)?;
                thrown.push(self.throw_away(&parent, id.place().1.as_bytes())?);
                failpoint::hit("gc-layer");
            }
            report.layers.push(id);
        }
        let dir = self.sub("patches")?;
        for id in self.patches()? {
            if patches.contains(&id) {
                continue;
            }
            if !options.dry_run {
                let _ = self.throw_away(&dir, id.to_string().as_bytes())?;
                failpoint::hit("gc-patch");
            }
            report.patches.push(id);
        }
        Ok(())
    }

    /// The layers that a root names, in the form of its chain; in every form, where that is not recorded.
    fn layers_named_by(
        &self,
        chain: Option<&ChainId>,
        diff_ids: &[DiffId],
    ) -> Result<BTreeSet<LayerId>> {
        Ok(match self.recorded_chain(chain)? {
            Some(chain) => chain.needs(),
            None => diff_ids.iter().flat_map(LayerForm::all).collect(),
        })
    }

    /// Removes records that were being written when their processes died. Whoever writes one has a lease.
    fn forget_temporaries(&self) -> Result<usize> {
        let mut forgotten = atomic::sweep(self.dir())?;
        for name in ["chains", "images", "mounts", "names"] {
            forgotten += atomic::sweep(&self.sub(name)?)?;
        }
        if let Some(snapshots) = self.dir().open_dir_if_any(b"snapshots")? {
            forgotten += atomic::sweep(&snapshots)?;
        }
        for container in self.containers()? {
            forgotten += atomic::sweep(container.dir())?;
        }
        Ok(forgotten)
    }

    /// Removes the files by which processes have waited for each other: nobody does, as long as the store is ours alone.
    fn forget_locks(&self) -> Result<()> {
        let locks = self.sub("locks")?;
        for name in locks.names()? {
            locks.remove_all(&name)?;
        }
        Ok(())
    }
}

/// Whether a layer is a copy, with other owners, of one that is used.
fn is_copy_of_used(id: &LayerId, used: &BTreeSet<LayerId>) -> bool {
    id.before_map().is_some_and(|plain| used.contains(&plain))
}
