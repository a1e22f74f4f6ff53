//! Get and put: one mount for all who use a layer in the same way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::overlay::OverlayDriver;
use super::traits::GetOptions;
use super::users::{self, Users};
use crate::error::{ErrorKind, Result};
use crate::fs::names::canonical;
use crate::store::{Key, MountOptions, MountRecord, Reason};

/// Where a layer is mounted, in its directory.
const MERGED: &[u8] = b"merged";

/// How often an unmount is tried, and the time in between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// One user of a mount. It is not put when it is dropped: the mount stays as long as the process lives, or, if it is held
/// by a name, until that is put.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the mount stays until the handle is put"]
pub struct MountHandle {
    key: Key,
    path: PathBuf,
    token: String,
}

impl MountHandle {
    /// The layer.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl OverlayDriver {
    /// The handle of a user who is known by name, perhaps from another process.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if there is no such layer.
    pub fn held(&self, key: &Key, name: &str) -> Result<MountHandle> {
        self.find(key)?;
        Ok(MountHandle {
            key: key.clone(),
            path: self.merged(key)?,
            token: users::held(name),
        })
    }

    /// How many use the mount of a layer.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if there is no such layer.
    pub fn users(&self, key: &Key) -> Result<usize> {
        let (container, _) = self.find(key)?;
        Ok(Users::read(container.dir())?.count())
    }

    /// Where a layer is mounted, or would be: the one path of it.
    pub(super) fn merged(&self, key: &Key) -> Result<PathBuf> {
        let store = self.store.path();
        let path = store.join("active").join(key.as_str()).join("merged");
        // Resolved as far as it exists: nothing is mounted where no directory is.
        match canonical(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
            other => other,
        }
    }

    /// Unmounts a layer. A process that another thread is just starting has all open that this one has, until it runs its
    /// program: so what is in use is tried again a few times.
    pub(super) fn unmount(&self, path: &Path) -> Result<()> {
        for _ in 1..TRIES {
            match self.store.unmount(path, false) {
                Err(error) if error.kind() == ErrorKind::Busy => std::thread::sleep(PAUSE),
                other => return other,
            }
        }
        self.store.unmount(path, false)
    }

    pub(super) fn get_mount(&self, key: &Key, options: &GetOptions) -> Result<MountHandle> {
        let _in_use = self.store.shared()?;
        let _one_at_a_time = self.lock(key)?;
        let (container, state) = self.settled(key)?;
        let wanted = MountOptions {
            read_only: options.mount.read_only || state.is_committed(),
            ..options.mount.clone()
        };
        let dir = container.dir();
        drop(dir.create_dir(MERGED, 0o700)?);
        let path = self.merged(key)?;
        let mut users = Users::read(dir)?;
        let live = self.store.live_mount_of(key)?;
        let live = live.filter(|live| live.is_here() && live.target == path);
        if live.is_some() && !users.agree(&wanted) {
            let who = users.describe();
            let message = format!("layer {key}: mounted with other options, for {who}");
            return Err(Reason::MountOptionsConflict.error(message));
        }
        if live.is_some() && users.is_empty() {
            // Left over from users who are dead, with options that nobody knows.
            self.unmount(&path)?;
        }
        // Written first: who dies now is a dead user, and not a mount that nobody uses.
        let before = users.clone();
        let token = users.add(&wanted, options.hold.as_deref());
        users.write(dir)?;
        let mounted: Result<MountRecord> = self.store.mount_container(key, &path, &wanted);
        if let Err(error) = mounted {
            // The error that matters is the one being returned; this process may go on to live.
            let _ = before.write(dir);
            return Err(error);
        }
        let key = key.clone();
        Ok(MountHandle { key, path, token })
    }

    pub(super) fn put_mount(&self, handle: &MountHandle) -> Result<()> {
        let _in_use = self.store.shared()?;
        let _one_at_a_time = self.lock(&handle.key)?;
        let (container, _) = self.find(&handle.key)?;
        let mut users = Users::read(container.dir())?;
        if !users.remove(&handle.token) {
            let message = format!("layer {}: put already, or never got", handle.key);
            return Err(Reason::NotMounted.error(message));
        }
        if users.is_empty() {
            self.unmount(&handle.path)?;
        }
        users.write(container.dir())
    }
}
