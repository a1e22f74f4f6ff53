//! A layer on disk: found, brought out of what a death left it in, committed.

use super::incoming::Adopted;
use super::overlay::{NoStreams, OverlayDriver};
use super::shifting;
use super::state::State;
use super::users::Users;
use crate::error::Result;
use crate::fs::copy::{CopyOptions, copy_tree};
use crate::fs::lock::LockFile;
use crate::fs::{Dir, MapOptions, Owners, failpoint, probe};
use crate::image::{ChainId, DiffId};
use crate::progress::Silent;
use crate::store::layer::CONTENT;
use crate::store::patch::Attributes;
use crate::store::{Chain, CommitOptions, Container, Key, Reason, UnpackLimits};

impl OverlayDriver {
    /// One process at a time for a key.
    pub(super) fn lock(&self, key: &Key) -> Result<LockFile> {
        self.store.lock_name(&format!("driver-{key}"))
    }

    /// A layer.
    pub(super) fn find(&self, key: &Key) -> Result<(Container, State)> {
        let (container, state) = self.look(key)?;
        if state.remapping {
            // Which of its directories counts is for who holds the lock to say.
            let _one_at_a_time = self.lock(key)?;
            return self.settled(key);
        }
        Ok((container, state))
    }

    /// A layer, as its record is.
    fn look(&self, key: &Key) -> Result<(Container, State)> {
        let container = self.store.container(key)?;
        let state = State::of(&container)?.ok_or_else(|| {
            let message = format!("layer {key}: a container that was not made by the driver");
            Reason::KeyUnknown.error(message)
        })?;
        Ok((container, state))
    }

    /// A layer, with what a killed process has begun brought to an end. The lock of the key is held.
    pub(super) fn settled(&self, key: &Key) -> Result<(Container, State)> {
        let (mut container, mut state) = self.look(key)?;
        if state.remapping {
            shifting::settle(self, &mut container, &mut state)?;
        }
        // Also of an open layer whose content was just being exchanged for another.
        if state.is_committed() || container.dir().try_stat(CONTENT)?.is_none() {
            self.settle_upper(&container)?;
        }
        Ok((container, state))
    }

    /// Gives a layer its upper directory: empty, with the attributes of the root.
    pub(super) fn settle_upper(&self, container: &Container) -> Result<()> {
        let chain = self.store.chain(container.meta().chain.as_ref())?;
        let root = self.root_of(&chain, &container.meta().maps)?;
        let upper = container.dir().open_dir_if_any(CONTENT)?;
        if let Some(upper) = &upper
            && upper.names()?.is_empty()
        {
            if Attributes::of_dir(upper, self.store.marks())? != root {
                root.apply(upper, self.store.marks())?;
            }
            return Ok(());
        }
        let staging = self.store.staging()?;
        root.apply(
            &staging.dir().create_new_dir(CONTENT, 0o700)?,
            self.store.marks(),
        )?;
        if upper.is_some() {
            self.store.throw_away(container.dir(), CONTENT)?.empty()?;
        }
        failpoint::hit("driver-upper-gone");
        staging.publish_entry_into(CONTENT, container.dir(), CONTENT)
    }

    /// The attributes that the root of a chain has, as on disk.
    pub(super) fn root_of(&self, chain: &Chain, maps: &MapOptions) -> Result<Attributes> {
        let mut root = Attributes::of_dir(&self.store.patch(&chain.patch)?, self.store.marks())?;
        (root.uid, root.gid) = maps.to_host(root.uid, root.gid)?;
        maps.xattrs_to_host(&mut root.xattrs)?;
        Ok(root)
    }

    /// The chain of these layers, which are there.
    pub(super) fn chain_of(&self, diff_ids: &[DiffId]) -> Result<Chain> {
        let id = ChainId::of(diff_ids);
        if let Some(chain) = self.store.find_chain(id.as_ref())? {
            return Ok(chain);
        }
        if diff_ids.is_empty() {
            let limits = UnpackLimits::default();
            return self.store.unpack(diff_ids, &NoStreams, &limits, &Silent);
        }
        self.store.register(diff_ids, &NoStreams, &Silent)
    }

    /// The chain that a layer is laid on if it has this parent.
    pub(super) fn chain_on(&self, parent: Option<&Key>) -> Result<Chain> {
        let Some(parent) = parent else {
            return self.chain_of(&[]);
        };
        let (container, state) = self.find(parent)?;
        if !state.is_committed() {
            let message = format!("layer {parent}: not committed, so nothing can be laid on it");
            return Err(Reason::ParentNotCommitted
                .error(message)
                .with_hint("commit it first"));
        }
        self.store.chain(container.meta().chain.as_ref())
    }

    /// Unmounts a layer that is mounted and that nobody uses.
    pub(super) fn release(&self, container: &Container) -> Result<()> {
        let key = container.key();
        let users = Users::read(container.dir())?;
        if !users.is_empty() {
            let message = format!("layer {key}: mounted, used by {}", users.describe());
            return Err(Reason::InUse.error(message).with_hint("put it first"));
        }
        match self.store.live_mount_of(key)? {
            Some(mount) if mount.is_here() && mount.target == self.merged(key)? => {
                self.unmount(&mount.target)
            }
            Some(mount) => {
                let message = format!("layer {key}: mounted on {}", mount.target.display());
                Err(Reason::InUse.error(message).with_hint("unmount it first"))
            }
            None => Ok(()),
        }
    }

    /// Copies what is in the upper directory of one layer to that of another.
    pub(super) fn copy_upper(&self, from: &Container, to: &Dir, maps: &MapOptions) -> Result<()> {
        let marks = self.store.marks();
        let own = &from.meta().maps;
        let user = |id| maps.uid.to_host(own.uid.to_container(id)?);
        let group = |id| maps.gid.to_host(own.gid.to_container(id)?);
        let wanted = |name: &[u8]| marks.mark(name).is_none_or(|mark| mark == b"opaque");
        let owners = Owners {
            user: &user,
            group: &group,
        };
        let options = CopyOptions {
            owners: (own != maps).then_some(owners),
            xattrs: Some(&wanted),
        };
        copy_tree(&from.upper()?, to, options).map(drop)
    }

    /// Commits an open layer. The lock of the key is held.
    pub(super) fn commit_open(&self, container: &mut Container, state: &State) -> Result<DiffId> {
        let key = container.key().clone();
        self.release(container)?;
        let meta = container.meta().clone();
        let boot = probe::boot_id()?;
        if meta.volatile.as_ref().is_some_and(|then| *then != boot) {
            let message = format!(
                "layer {key}: it was mounted volatile, and the machine has been started again since"
            );
            return Err(Reason::Dirty.error(message));
        }
        let options = CommitOptions::default();
        let committed = self.store.commit_container(&key, &options, &Silent)?;
        let adopted = Adopted::new(&self.store, committed.chain, committed.diff_id)?;
        self.make_committed(container, state, &adopted)?;
        Ok(adopted.diff_id)
    }

    /// Records that a layer is committed, and empties its upper directory.
    pub(super) fn make_committed(
        &self,
        container: &mut Container,
        state: &State,
        adopted: &Adopted,
    ) -> Result<()> {
        let state = State {
            diff_id: Some(adopted.diff_id.clone()),
            size: adopted.size,
            project: None,
            ..state.clone()
        };
        let mut meta = container.meta().clone();
        meta.chain.clone_from(&adopted.chain.id);
        meta.view = true;
        meta.volatile = None;
        meta.is_fuse = false;
        state.put(&mut meta);
        container.set_meta(meta)?;
        failpoint::hit("driver-committed");
        self.settle_upper(container)
    }
}
