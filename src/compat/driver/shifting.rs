//! Layers with other owners.
//!
//! What has been written to an open layer is copied with its new owners, beside the old one. The record then says, in
//! one, that the new maps hold and that the exchange is due; whoever comes next brings it to an end.

use super::overlay::OverlayDriver;
use super::state::State;
use super::traits::IdMapUpdater;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::mount::Support;
use crate::fs::{MapOptions, failpoint};
use crate::store::layer::CONTENT;
use crate::store::{Chain, Container, Key, StoreFeature};

/// The copy, in the directory of the layer.
const COPY: &[u8] = b"fs.new";

impl IdMapUpdater for OverlayDriver {
    fn supports_shifting(&self, maps: Option<&MapOptions>) -> Result<Support> {
        if !self.store.options().id_mapped_mounts {
            return Ok(Support::No("the store was opened without".to_owned()));
        }
        if maps.is_some_and(|maps| maps.rootless) {
            let why = "a rootless tree has one owner only";
            return Ok(Support::No(why.to_owned()));
        }
        let features = self.store.features()?;
        Ok(features.answer(StoreFeature::IdMappedMounts))
    }

    fn remap(&self, key: &Key, maps: &MapOptions) -> Result<()> {
        if maps.rootless {
            let message = format!("remap layer {key}: a rootless tree has one owner only");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let _in_use = self.store.shared()?;
        let _one_at_a_time = self.lock(key)?;
        let (mut container, state) = self.settled(key)?;
        if container.meta().maps == *maps {
            return Ok(());
        }
        self.release(&container)?;
        let chain = self.store.chain(container.meta().chain.as_ref())?;
        check(&chain, maps)?;
        if !self.supports_shifting(Some(maps))?.is_yes() {
            self.store.remapped_lowers(&chain, maps)?;
        }
        let mut meta = container.meta().clone();
        meta.maps = maps.clone();
        if state.is_committed() {
            container.set_meta(meta)?;
            return self.settle_upper(&container);
        }
        container.dir().remove_all(COPY)?;
        let staging = self.store.staging()?;
        let content = staging.dir().create_new_dir(CONTENT, 0o700)?;
        if let Some(project) = &state.project {
            super::limits::join(&content, project)?;
        }
        self.copy_upper(&container, &content, maps)?;
        self.store.sync()?;
        staging.publish_entry_into(CONTENT, container.dir(), COPY)?;
        failpoint::hit("driver-remap-copied");
        let mut state = State {
            remapping: true,
            ..state
        };
        state.put(&mut meta);
        container.set_meta(meta)?;
        failpoint::hit("driver-remap-recorded");
        settle(self, &mut container, &mut state)
    }
}

/// Puts the copy in the place of the original, as the record says. The lock of the key is held.
pub(super) fn settle(
    driver: &OverlayDriver,
    container: &mut Container,
    state: &mut State,
) -> Result<()> {
    let dir = container.dir();
    if dir.try_stat(COPY)?.is_some() {
        if dir.try_stat(CONTENT)?.is_some() {
            driver.store.throw_away(dir, CONTENT)?.empty()?;
            failpoint::hit("driver-remap-gone");
        }
        dir.rename_new(COPY, dir, CONTENT)?;
        dir.sync_names()?;
        failpoint::hit("driver-remap-exchanged");
    }
    state.remapping = false;
    let mut meta = container.meta().clone();
    state.put(&mut meta);
    container.set_meta(meta)
}

/// Makes sure that all owners have others.
fn check(chain: &Chain, maps: &MapOptions) -> Result<()> {
    for &uid in &chain.uids {
        maps.uid.to_host(uid)?;
    }
    for &gid in &chain.gids {
        maps.gid.to_host(gid)?;
    }
    Ok(())
}
