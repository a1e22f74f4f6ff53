//! Containers: an upper directory over a chain, and what is known of it.
//!
//! `active/<key>/` has the changes in `fs/`, the kernel's `work/`, and `meta.json`. A container comes into being by one
//! rename, and goes by one rename into the trash: it is there as a whole or not at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::id::Key;
use super::json;
use super::layer::{CONTENT, now};
use super::patch::Attributes;
use super::place::Store;
use super::reason::Reason;
use super::text::Text;
use super::trash::TrashEntry;
use crate::error::{ErrorKind, Result};
use crate::fs::lock::LockFile;
use crate::fs::{Access, Dir, IdMap, IdRange, MapOptions, failpoint};
use crate::image::{ChainId, DiffId};
use crate::overlay::{Changes, ChangesOptions, LinkGroups, changes, changes_since};

/// The directory that overlayfs works in.
pub(crate) const WORK: &[u8] = b"work";
const META: &str = "meta.json";

/// The file of a bundle that says which container is its root file system: an object in JSON, with the name as `key`.
pub const BUNDLE_FILE: &str = "overlay.json";

/// The largest such file that is read, in bytes.
const MAX_BUNDLE_FILE: u64 = 64 << 10;

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerMeta {
    /// The chain that it is laid on, always the same; none for the one without layers.
    pub chain: Option<ChainId>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The bundle whose root file system it is.
    pub bundle: Option<PathBuf>,
    /// How owners of the image are owners on disk. Without ranges they are the same.
    pub maps: MapOptions,
    /// Whether nothing is to be written to it.
    pub view: bool,
    /// Whether nobody has been told of it yet: as long as nothing is changed in it, and it is not mounted, `gc` takes it.
    pub unfinished: bool,
    /// The layer of the store that stands for what was changed in it: nothing has to be written to it then.
    pub applied: Option<DiffId>,
    /// The boot during which it was mounted without syncing.
    pub volatile: Option<String>,
    /// What wrote to the upper directory, if it was not the kernel: fuse-overlayfs marks directories in another way.
    pub is_fuse: bool,
    /// Whatever the owner wants to keep with it.
    pub labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    chain: Option<String>,
    created: u64,
    bundle: Option<Text>,
    uid_map: Vec<[u32; 3]>,
    gid_map: Vec<[u32; 3]>,
    view: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unfinished: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied: Option<String>,
    volatile: Option<String>,
    is_fuse: bool,
    labels: BTreeMap<String, String>,
}

fn ranges(map: &IdMap) -> Vec<[u32; 3]> {
    let ranges = map.0.iter();
    ranges
        .map(|range| [range.container, range.host, range.size])
        .collect()
}

fn map(ranges: &[[u32; 3]]) -> IdMap {
    let ranges = ranges.iter().map(|&[container, host, size]| IdRange {
        container,
        host,
        size,
    });
    IdMap(ranges.collect())
}

impl ContainerMeta {
    fn record(&self) -> Record {
        let bundle = self.bundle.as_ref();
        Record {
            chain: self.chain.as_ref().map(ToString::to_string),
            created: self.created,
            bundle: bundle.map(|path| Text(path.as_os_str().as_bytes().to_vec())),
            uid_map: ranges(&self.maps.uid),
            gid_map: ranges(&self.maps.gid),
            view: self.view,
            unfinished: self.unfinished,
            applied: self.applied.as_ref().map(ToString::to_string),
            volatile: self.volatile.clone(),
            is_fuse: self.is_fuse,
            labels: self.labels.clone(),
        }
    }

    fn of(record: Record) -> Result<Self> {
        Ok(Self {
            chain: record.chain.map(|text| text.parse()).transpose()?,
            created: record.created,
            bundle: record.bundle.map(|path| OsString::from_vec(path.0).into()),
            maps: MapOptions {
                uid: map(&record.uid_map),
                gid: map(&record.gid_map),
                rootless: false,
            },
            view: record.view,
            unfinished: record.unfinished,
            applied: record.applied.map(|text| text.parse()).transpose()?,
            volatile: record.volatile,
            is_fuse: record.is_fuse,
            labels: record.labels,
        })
    }
}

/// A container of the store.
#[derive(Debug)]
pub struct Container {
    key: Key,
    dir: Dir,
    meta: ContainerMeta,
}

impl Container {
    /// Its name.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What is known of it.
    pub fn meta(&self) -> &ContainerMeta {
        &self.meta
    }

    /// The directory with its changes, in the form of overlayfs.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be opened.
    pub fn upper(&self) -> Result<Dir> {
        self.dir.open_dir(CONTENT)
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(crate) fn work(&self) -> Result<Dir> {
        self.dir.open_dir(WORK)
    }

    /// Whether nobody knows of it: whoever made it has not come to its end, or the bundle that it was made for is not there,
    /// or is one of another container by now (of an unpack, say, that was killed before its bundle appeared and then run
    /// again). What cannot be read is there.
    pub(crate) fn is_abandoned(&self) -> bool {
        #[derive(Deserialize)]
        struct Document {
            key: String,
        }
        let Some(bundle) = &self.meta.bundle else {
            return self.meta.unfinished;
        };
        let read = Dir::open(bundle, Access::Plain)
            .and_then(|dir| dir.read_file(BUNDLE_FILE.as_bytes(), MAX_BUNDLE_FILE));
        match read {
            Ok(bytes) => serde_json::from_slice::<Document>(&bytes)
                .is_ok_and(|document| document.key != self.key.as_str()),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    /// Writes down what is known of it now.
    pub(crate) fn set_meta(&mut self, meta: ContainerMeta) -> Result<()> {
        if meta != self.meta {
            json::replace(&self.dir, META, &meta.record())?;
            self.meta = meta;
        }
        Ok(())
    }
}

impl Store {
    /// Makes a container on a chain: an empty upper directory, whose root has the attributes that the image gives it.
    /// `meta` says all about it but the chain and the time.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyExists`] if there is one of that name; [`ErrorKind::InvalidInput`] if an owner of the image is in no
    /// range of the maps. Nothing is left then.
    pub fn prepare(&self, key: &Key, chain: &Chain, meta: ContainerMeta) -> Result<Container> {
        self.prepare_filled(key, chain, meta, &|_, _| Ok(()))
    }

    /// The same, with something done to the upper directory and to that for the kernel while nobody sees them.
    pub(crate) fn prepare_filled(
        &self,
        key: &Key,
        chain: &Chain,
        meta: ContainerMeta,
        fill: &dyn Fn(&Dir, &Dir) -> Result<()>,
    ) -> Result<Container> {
        let _in_use = self.shared()?;
        // By now somebody may have taken it away.
        let chain = self.chain(chain.id.as_ref())?;
        for &uid in &chain.uids {
            meta.maps.uid.to_host(uid)?;
        }
        for &gid in &chain.gids {
            meta.maps.gid.to_host(gid)?;
        }
        let meta = ContainerMeta {
            chain: chain.id.clone(),
            created: now(),
            ..meta
        };
        let staging = self.staging()?;
        let content = staging.dir().create_new_dir(CONTENT, 0o700)?;
        let mut root = Attributes::of_dir(&self.patch(&chain.patch)?, self.marks())?;
        (root.uid, root.gid) = meta.maps.to_host(root.uid, root.gid)?;
        meta.maps.xattrs_to_host(&mut root.xattrs)?;
        root.apply(&content, self.marks())?;
        let work = staging.dir().create_new_dir(WORK, 0o700)?;
        fill(&content, &work)?;
        content.sync_names()?;
        work.sync_names()?;
        json::replace(staging.dir(), META, &meta.record())?;
        failpoint::hit("container-staged");
        let published = staging.publish_into(&self.sub("active")?, key.as_str().as_bytes());
        published.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Reason::KeyExists.error(format!("container {key}: it exists"))
            }
            _ => error,
        })?;
        failpoint::hit("container-made");
        self.container(key)
    }

    /// A container by its name.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if there is none.
    pub fn container(&self, key: &Key) -> Result<Container> {
        let path = format!("active/{key}");
        let dir = self
            .dir()
            .open_below(path.as_bytes())
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    Reason::KeyUnknown.error(format!("container {key}: not in the store"))
                }
                _ => error,
            })?;
        let meta = ContainerMeta::of(json::read(&dir, META)?)?;
        let key = key.clone();
        Ok(Container { key, dir, meta })
    }

    /// All containers, in the order of their names.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let mut found = Vec::new();
        for name in self.sub("active")?.names()? {
            let Ok(key) = Key::new(String::from_utf8_lossy(&name)) else {
                continue;
            };
            match self.container(&key) {
                Ok(container) => found.push(container),
                // Removed since the directory was read.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Changes what is known of a container: the bundle it belongs to, its labels. The chain that it is laid on cannot be
    /// changed: what was removed again leaves no whiteout where that has nothing, and would be seen in another chain.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if there is none.
    pub fn update_container(
        &self,
        key: &Key,
        change: impl FnOnce(&mut ContainerMeta),
    ) -> Result<()> {
        let _in_use = self.shared()?;
        let _one_at_a_time = self.lock_container(key)?;
        let mut container = self.container(key)?;
        let mut meta = container.meta.clone();
        change(&mut meta);
        meta.chain.clone_from(&container.meta.chain);
        container.set_meta(meta)
    }

    /// Takes a container away, with all that was changed in it.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if there is none, [`Reason::InUse`] if it is mounted: the message says where.
    pub fn remove_container(&self, key: &Key) -> Result<()> {
        self.discard_container(key)?.empty()
    }

    /// The same, but for the deleting, which may take long.
    pub(crate) fn discard_container(&self, key: &Key) -> Result<TrashEntry> {
        let _in_use = self.shared()?;
        let _one_at_a_time = self.lock_container(key)?;
        self.container(key)?;
        if let Some(mount) = self.live_mount_of(key)? {
            let message = format!("container {key}: mounted on {}", mount.target.display());
            return Err(Reason::InUse.error(message).with_hint("unmount it first"));
        }
        failpoint::hit("container-remove");
        let thrown = self.throw_away(&self.sub("active")?, key.as_str().as_bytes())?;
        failpoint::hit("container-removed");
        Ok(thrown)
    }

    /// What has been changed in a container over a chain, below no path of `masks`: the one that it is laid on, or that of
    /// an image that was packed of it since.
    ///
    /// # Errors
    ///
    /// Those of [`changes`](crate::overlay::changes()).
    pub fn changes_of(
        &self,
        container: &Container,
        chain: &Chain,
        masks: &[Vec<u8>],
    ) -> Result<Changes> {
        let is_own = container.meta.chain == chain.id;
        self.compare(container, chain, masks, !is_own)
    }

    /// What an upper directory says when it is laid over another chain than its own.
    pub(crate) fn changes_laid_over(
        &self,
        container: &Container,
        chain: &Chain,
        masks: &[Vec<u8>],
    ) -> Result<Changes> {
        self.compare(container, chain, masks, false)
    }

    /// Compares the upper directory with a chain; with `as_mounted`, what the container shows, laid on its own chain.
    fn compare(
        &self,
        container: &Container,
        chain: &Chain,
        masks: &[Vec<u8>],
        as_mounted: bool,
    ) -> Result<Changes> {
        let _in_use = self.shared()?;
        let stack = self.mapped_stack(chain, &container.meta.maps)?;
        let link_groups = |place: usize| -> Result<LinkGroups> {
            // The first is the patch, which has directories only.
            let Some(id) = place
                .checked_sub(1)
                .and_then(|place| chain.layers.get(place))
            else {
                return Ok(LinkGroups::from([]));
            };
            Ok(self.layer(id)?.meta()?.changeset.link_groups.into())
        };
        let options = ChangesOptions {
            masks,
            link_groups: &link_groups,
            fuse: container.meta.is_fuse,
        };
        let upper = container.upper()?;
        if !as_mounted {
            return changes(&upper, &stack, &options);
        }
        let mounted = self.chain(container.meta.chain.as_ref())?;
        let mounted = self.mapped_stack(&mounted, &container.meta.maps)?;
        changes_since(&upper, &mounted, &stack, &options)
    }

    /// One process at a time for a container.
    pub(crate) fn lock_container(&self, key: &Key) -> Result<LockFile> {
        self.lock_name(&format!("container-{key}"))
    }
}
