//! The record of a mount, and whether the mount is still there.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SOURCE;
use crate::error::Result;
use crate::fs::mount::{self, MountEntry, MountId, MountMethod};
use crate::fs::probe;
use crate::image::ChainId;
use crate::store::id::Key;
use crate::store::json;
use crate::store::patch::PatchId;
use crate::store::place::Store;
use crate::store::text::Text;

/// A mount of the store's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRecord {
    /// Name of the record.
    pub id: String,
    /// The container that is mounted; none for a chain.
    pub key: Option<Key>,
    /// The chain that is mounted, or that the container is on; none for the one without layers.
    pub chain: Option<ChainId>,
    /// Where it is mounted: an absolute path.
    pub target: PathBuf,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// How it was mounted.
    pub method: Option<MountMethod>,
    /// The process that mounted it.
    pub pid: u32,
    pub(crate) mount: MountId,
    /// The patch that is mounted: with other owners, it is none of the chain's.
    pub(crate) patch: Option<PatchId>,
    pub(crate) boot: String,
    /// The mount namespace.
    pub(crate) namespace: u64,
    /// Whether that is the one of this process.
    pub(crate) here: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    key: Option<String>,
    chain: Option<String>,
    target: Text,
    read_only: bool,
    method: Option<String>,
    pid: u32,
    mount_id: u64,
    unique_mount_id: Option<u64>,
    #[serde(default)]
    patch: Option<String>,
    boot: String,
    namespace: u64,
}

impl MountRecord {
    pub(crate) fn record(&self) -> Record {
        Record {
            key: self.key.as_ref().map(ToString::to_string),
            chain: self.chain.as_ref().map(ToString::to_string),
            target: Text(self.target.as_os_str().as_bytes().to_vec()),
            read_only: self.read_only,
            method: self.method.map(|method| method.to_string()),
            pid: self.pid,
            mount_id: self.mount.id,
            unique_mount_id: self.mount.unique,
            patch: self.patch.as_ref().map(ToString::to_string),
            boot: self.boot.clone(),
            namespace: self.namespace,
        }
    }

    fn of(id: String, record: Record, own_namespace: Option<u64>) -> Result<Self> {
        Ok(Self {
            here: own_namespace == Some(record.namespace),
            id,
            key: record.key.map(Key::new).transpose()?,
            chain: record.chain.map(|text| text.parse()).transpose()?,
            target: OsString::from_vec(record.target.0).into(),
            read_only: record.read_only,
            method: record.method.and_then(|text| text.parse().ok()),
            pid: record.pid,
            mount: MountId {
                id: record.mount_id,
                unique: record.unique_mount_id,
            },
            patch: record.patch.map(|text| text.parse()).transpose()?,
            boot: record.boot,
            namespace: record.namespace,
        })
    }

    /// Whether the mount is still there: in this mount namespace, or in that of some other process.
    ///
    /// # Errors
    ///
    /// Fails if the kernel's table cannot be read.
    pub fn is_live(&self) -> Result<bool> {
        if self.boot != probe::boot_id()? {
            return Ok(false);
        }
        if self.is_here() {
            return self.mount.is_mounted();
        }
        // Nobody can look into a namespace from outside without entering it; as long as it exists, it may be there.
        mount::namespace_exists(self.namespace)
    }

    /// With the directory that it is on now: a directory above may have been moved.
    fn followed(mut self, table: &[MountEntry], boot: &str) -> Self {
        if self.is_here()
            && self.boot == boot
            && let Some(entry) = mount::by_id(table, self.mount)
            && entry.source.starts_with(SOURCE.as_bytes())
        {
            self.target.clone_from(&entry.target);
        }
        self
    }

    /// Whether it was mounted in the mount namespace of this process.
    pub fn is_here(&self) -> bool {
        self.here
    }
}

impl Store {
    /// All mounts that are recorded, whether they are still there or not.
    ///
    /// # Errors
    ///
    /// Fails if a record cannot be read.
    pub fn mounts(&self) -> Result<Vec<MountRecord>> {
        let mounts = self.sub("mounts")?;
        let table = mount::mounts()?;
        let (own, boot) = (mount::own_namespace()?, probe::boot_id()?);
        let mut found = Vec::new();
        for name in mounts.names()? {
            let name = String::from_utf8_lossy(&name).into_owned();
            let Some(id) = name.strip_suffix(".json") else {
                continue;
            };
            if let Some(record) = json::try_read(&mounts, &name)? {
                let record = MountRecord::of(id.to_owned(), record, own)?;
                found.push(record.followed(&table, &boot));
            }
        }
        Ok(found)
    }

    /// The mount of a container, if it is mounted.
    ///
    /// # Errors
    ///
    /// Fails if a record or the kernel's table cannot be read.
    pub fn live_mount_of(&self, key: &Key) -> Result<Option<MountRecord>> {
        for record in self.mounts()? {
            if record.key.as_ref() != Some(key) {
                continue;
            }
            if record.is_live()? {
                return Ok(Some(record));
            }
            self.forget_mount(&record)?;
        }
        Ok(None)
    }

    /// Removes the records of mounts that are gone, and says how many that were.
    pub(crate) fn forget_dead_mounts(&self) -> Result<usize> {
        let mut forgotten = 0;
        for record in self.mounts()? {
            if !record.is_live()? {
                self.forget_mount(&record)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    pub(crate) fn forget_mount(&self, record: &MountRecord) -> Result<()> {
        let name = format!("{}.json", record.id);
        self.sub("mounts")?.remove_all(name.as_bytes())
    }
}
