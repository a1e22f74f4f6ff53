//! What is mounted: chains to look at, containers to work in; and the record of each mount.
//!
//! A mount is made detached, its record is written, and only then it is attached: whatever dies on the way, the kernel's
//! table decides what is mounted, and a record without a mount means nothing. The lock of a container does not outlive
//! the process that mounts it, and the mount does, so the record is also what keeps an upper directory from being
//! mounted twice.

mod lowers;
mod overlay;
mod record;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_cas::{Algorithm, Digest};

pub(crate) use self::lowers::ChainLowers;
pub use self::record::MountRecord;
use super::container::{Container, WORK};
use super::id::Key;
use super::json;
use super::patch::PatchId;
use super::place::Store;
use super::reason::Reason;
use crate::error::{ErrorKind, Result};
use crate::fs::lock::LockFile;
use crate::fs::mount::{self, Mount, MountAttributes, MountMethod, Upper};
use crate::fs::names::{canonical, unique_name};
use crate::fs::{Access, Dir, MapOptions, failpoint, probe};
use crate::image::ChainId;

/// How the sources begin that the kernel's table shows.
const SOURCE: &str = "bundle";

/// How something is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountOptions {
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether the upper directory may be lost when the machine fails, for the sake of speed.
    pub volatile: bool,
    /// Whether a container is mounted although it was mounted volatile and the machine has been started again since.
    pub accept_dirty: bool,
    /// What else holds for the mount.
    pub attributes: MountAttributes,
    /// The label of `SELinux` that every file shows.
    pub selinux_context: Option<String>,
}

impl Store {
    /// Mounts a chain for looking at it, read-only. The directory exists; what is in it is hidden meanwhile.
    ///
    /// # Errors
    ///
    /// [`Reason::MountExists`] if the store has mounted something there, [`Reason::MountFailed`] if the kernel refuses.
    /// Nothing is mounted then.
    pub fn mount_chain(
        &self,
        chain: Option<&ChainId>,
        maps: &MapOptions,
        target: &Path,
        options: &MountOptions,
    ) -> Result<MountRecord> {
        let _in_use = self.shared()?;
        let (target, _ours) = self.free_target(target)?;
        let chain = self.chain(chain)?;
        let options = MountOptions {
            read_only: true,
            ..options.clone()
        };
        let how = self.options().mount_method;
        let overlay = self.overlay(&chain, maps, None, how, SOURCE, &options)?;
        self.attach(overlay, None, chain.id, target, true)
    }

    /// Mounts a container. The directory exists; what is in it is hidden meanwhile. If the container is mounted there
    /// already, nothing happens.
    ///
    /// # Errors
    ///
    /// - [`Reason::KeyUnknown`] if there is no such container
    /// - [`Reason::InUse`] if the container is mounted elsewhere: an upper directory is never mounted twice
    /// - [`Reason::MountOptionsConflict`] if it is mounted there, but not as asked
    /// - [`Reason::MountExists`] if the store has mounted something else there
    /// - [`Reason::Dirty`] if it was mounted volatile before the machine was started again
    /// - [`Reason::MountFailed`] if the kernel refuses
    ///
    /// Nothing is mounted then.
    pub fn mount_container(
        &self,
        key: &Key,
        target: &Path,
        options: &MountOptions,
    ) -> Result<MountRecord> {
        let _in_use = self.shared()?;
        let _one_at_a_time = self.lock_container(key)?;
        let mut container = self.container(key)?;
        let read_only = options.read_only || container.meta().view;
        if let Some(live) = self.live_mount_of(key)? {
            return mounted_already(live, target, read_only);
        }
        let (target, _ours) = self.free_target(target)?;
        prepare_work(&container, options)?;
        let chain = self.chain(container.meta().chain.as_ref())?;
        let (upper, work) = (container.upper()?, container.work()?);
        let options = MountOptions {
            read_only,
            ..options.clone()
        };
        let over = Upper {
            dir: &upper,
            work: &work,
        };
        let source = format!("{SOURCE}:{key}");
        let how = self.method_for(container.meta());
        let maps = &container.meta().maps;
        let overlay = self.overlay(&chain, maps, Some(over), how, &source, &options)?;
        let mut meta = container.meta().clone();
        meta.is_fuse |= overlay.0.method() == Some(MountMethod::Fuse);
        if options.volatile {
            meta.volatile = Some(probe::boot_id()?);
        }
        container.set_meta(meta)?;
        self.attach(overlay, Some(key.clone()), chain.id, target, read_only)
    }

    /// Unmounts what the store has mounted on a directory. `lazy` takes away the name at once and the mount when nobody
    /// uses it any more. Nothing mounted there is no error, and neither is that the directory does not exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if somebody uses it: the message says who. It stays mounted then.
    pub fn unmount(&self, target: &Path, lazy: bool) -> Result<()> {
        let target = match absolute(target) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        {
            let _in_use = self.shared()?;
            let _ours = self.lock_target(&target)?;
            self.unmount_recorded(&target, lazy)?;
        }
        self.unmount_idle_images()
    }

    fn unmount_recorded(&self, target: &Path, lazy: bool) -> Result<()> {
        for record in self.mounts()? {
            if record.target != target || !record.is_here() {
                continue;
            }
            if record.is_live()? {
                failpoint::hit("unmount");
                mount::unmount(target, lazy).map_err(|error| match error.kind() {
                    ErrorKind::Busy => Reason::InUse.of_error(error),
                    _ => Reason::UnmountFailed.of_error(error),
                })?;
                failpoint::hit("unmounted");
            }
            self.forget_mount(&record)?;
        }
        Ok(())
    }

    /// Makes sure that nothing of the store is mounted on a directory, and that nothing will be for as long as the lock is
    /// held; its absolute path. Whoever wants a container's lock, too, has it before.
    fn free_target(&self, target: &Path) -> Result<(PathBuf, LockFile)> {
        let target = absolute(target)?;
        let lock = self.lock_target(&target)?;
        for record in self.mounts()? {
            if record.target == target && record.is_here() && record.is_live()? {
                let message = format!("mount on {}: something is mounted there", target.display());
                return Err(Reason::MountExists
                    .error(message)
                    .with_hint("unmount it first"));
            }
        }
        Ok((target, lock))
    }

    /// One process at a time for what is mounted on a directory. Those who hold it have a lease.
    fn lock_target(&self, target: &Path) -> Result<LockFile> {
        let digest = Digest::of(Algorithm::Sha256, target.as_os_str().as_bytes());
        self.lock_name(&format!("target-{}", digest.encoded()))
    }

    fn attach(
        &self,
        (mount, patch): (Mount, PatchId),
        key: Option<Key>,
        chain: Option<ChainId>,
        target: PathBuf,
        read_only: bool,
    ) -> Result<MountRecord> {
        let record = MountRecord {
            id: unique_name("m-"),
            key,
            chain,
            read_only,
            method: mount.method(),
            pid: std::process::id(),
            mount: mount.id()?,
            patch: Some(patch),
            boot: probe::boot_id()?,
            namespace: mount::own_namespace()?.unwrap_or_default(),
            here: true,
            target,
        };
        let name = format!("{}.json", record.id);
        json::replace(&self.sub("mounts")?, &name, &record.record())?;
        failpoint::hit("mount-recorded");
        let dir = Dir::open(&record.target, Access::Plain)?;
        if let Err(error) = mount.attach(&dir) {
            // The error that matters is the one being returned.
            let _ = self.forget_mount(&record);
            return Err(Reason::MountFailed.of_error(error));
        }
        failpoint::hit("mounted");
        Ok(record)
    }
}

/// The one path of a directory, by which records of it are found again.
fn absolute(target: &Path) -> Result<PathBuf> {
    canonical(target).map_err(|error| Reason::MountPrecondition.of_error(error))
}

/// Makes the work directory usable: what the kernel leaves in it to refuse a second volatile mount goes.
fn prepare_work(container: &Container, options: &MountOptions) -> Result<()> {
    if let Some(boot) = &container.meta().volatile {
        if *boot != probe::boot_id()? && !options.accept_dirty {
            let message = format!(
                "container {}: it was mounted volatile, and the machine has been started again since",
                container.key()
            );
            return Err(Reason::Dirty
                .error(message)
                .with_hint("parts of it may be lost; --accept-dirty mounts it all the same"));
        }
        let work = container.work()?;
        if let Some(work) = work.open_dir_if_any(WORK)? {
            work.remove_all(b"incompat")?;
        }
    }
    Ok(())
}

fn mounted_already(live: MountRecord, target: &Path, read_only: bool) -> Result<MountRecord> {
    let key = live
        .key
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    if !live.is_here() {
        let message = format!(
            "container {key}: mounted in another mount namespace, by process {}",
            live.pid
        );
        return Err(Reason::InUse.error(message));
    }
    if live.target != absolute(target)? {
        let message = format!("container {key}: mounted on {}", live.target.display());
        return Err(Reason::InUse
            .error(message)
            .with_hint("unmount it there first"));
    }
    if live.read_only != read_only {
        let word = if live.read_only {
            "read-only"
        } else {
            "writable"
        };
        let message = format!("container {key}: mounted there already, {word}");
        return Err(Reason::MountOptionsConflict.error(message));
    }
    Ok(live)
}
