//! Content that something else than one tar stream brings: first to a directory that nobody sees, then into a layer.

use super::overlay::OverlayDriver;
use super::traits::{Differ, DifferOutput, Driver, StagedApply};
use crate::error::{ErrorKind, Result};
use crate::fs::staging::Staging;
use crate::fs::{Dir, MapOptions, failpoint};
use crate::image::DiffId;
use crate::store::layer::CONTENT;
use crate::store::patch::Attributes;
use crate::store::{Key, Reason};

/// Content that is no layer yet. It is where nobody can name it, so that nothing but this value leads to it; dropped, it
/// goes.
#[derive(Debug)]
pub struct StagedLayer {
    staging: Staging,
    output: DifferOutput,
}

impl StagedLayer {
    /// What the differ said of it.
    pub fn output(&self) -> &DifferOutput {
        &self.output
    }

    /// The directory with the content.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be opened.
    pub fn dir(&self) -> Result<Dir> {
        self.staging.dir().open_dir(CONTENT)
    }
}

impl StagedApply for OverlayDriver {
    fn stage(&self, differ: &mut dyn Differ) -> Result<StagedLayer> {
        let staging = self.store.staging()?;
        let content = staging.dir().create_new_dir(CONTENT, 0o700)?;
        Attributes::implied().apply(&content, self.store.marks())?;
        let output = differ.populate(&content)?;
        failpoint::hit("driver-populated");
        Ok(StagedLayer { staging, output })
    }

    fn commit_staged(&self, key: &Key, staged: StagedLayer) -> Result<DiffId> {
        let _in_use = self.store.shared()?;
        {
            let _one_at_a_time = self.lock(key)?;
            let (container, state) = self.settled(key)?;
            let upper = container.upper()?;
            let is_open = !state.is_committed() && state.project.is_none();
            if !is_open || container.meta().maps != MapOptions::default() {
                let message = format!(
                    "layer {key}: staged content is for open layers without maps and quota"
                );
                return Err(Reason::LayerExists.error(message));
            }
            if !upper.names()?.is_empty() {
                let message = format!("layer {key}: it has something in it already");
                return Err(Reason::LayerExists.error(message));
            }
            self.release(&container)?;
            let content = staged.dir()?;
            if !staged.output.has_root {
                let root = Attributes::of_dir(&upper, self.store.marks())?;
                root.apply(&content, self.store.marks())?;
            }
            self.store.sync()?;
            self.store.throw_away(container.dir(), CONTENT)?.empty()?;
            failpoint::hit("driver-staged-gone");
            let moved = staged
                .staging
                .publish_entry_into(CONTENT, container.dir(), CONTENT);
            moved.map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => Reason::LayerExists.of_error(error),
                _ => error,
            })?;
            failpoint::hit("driver-staged-moved");
        }
        self.commit(key)
    }

    fn abort(&self, staged: StagedLayer) -> Result<()> {
        staged.staging.dir().remove_all(CONTENT)
    }
}
