//! The driver itself: making, finding, committing and removing layers.

use std::path::Path;

use super::MountHandle;
use super::limits;
use super::state::{Kind, State, check_labels, is_own};
use super::traits::{CreateOptions, Driver, GetOptions, LayerInfo, LayerPaths};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::mount::{Features, Support};
use crate::fs::quota::Limits;
use crate::fs::usage::{Usage, usage};
use crate::fs::{Access, Dir, MapOptions, probe};
use crate::image::DiffId;
use crate::layer::LayerSource;
use crate::store::container::WORK;
use crate::store::layer::CONTENT;
use crate::store::place::marks_of_process;
use crate::store::{Chain, ContainerMeta, Key, LayerProvider, Reason, Store, StoreOptions};

/// How a driver is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverOptions {
    /// The store it works on.
    pub store: StoreOptions,
    /// What a layer that is made to be written to may take, if nothing else is said for it.
    pub quota: Limits,
}

impl DriverOptions {
    /// A driver on a store, without quota.
    pub fn new(store: StoreOptions) -> Self {
        Self {
            store,
            quota: Limits::default(),
        }
    }
}

/// Whether overlays can be mounted in a directory, and layers kept in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeSupport {
    /// Whether the kernel mounts overlays there.
    pub overlay: Support,
    /// Whether directories there tell the types of their entries, without which whiteouts are not seen as such.
    pub d_type: Support,
    /// All that was tried out.
    pub features: Features,
}

/// Layers by key, over the layer store.
#[derive(Debug)]
pub struct OverlayDriver {
    pub(super) store: Store,
    pub(super) quota: Limits,
}

impl OverlayDriver {
    /// Opens the driver on a store, which is made if need be.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; [`Reason::Prerequisites`] for an ordinary user outside of a user namespace, who may not mount;
    /// [`Reason::NotSupported`] if nothing here mounts overlays; [`Reason::QuotaUnsupported`] if there is to be a quota and
    /// the file system has none. A new store stays.
    pub fn open(options: DriverOptions) -> Result<Self> {
        let store = Store::open(options.store)?;
        if let Support::No(why) = store.features()?.overlays() {
            let message = format!("mount overlays in {}: {why}", store.path().display());
            return Err(if probe::is_superuser() {
                Reason::NotSupported.error(message)
            } else {
                let hint = "mounting is for root; an ordinary user runs inside of `bundle unshare -- COMMAND`";
                Reason::Prerequisites.error(message).with_hint(hint)
            });
        }
        if options.quota != Limits::default() {
            limits::check(&store)?;
        }
        Ok(Self {
            store,
            quota: options.quota,
        })
    }

    /// The store it works on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Tries out whether overlays work in a directory, with the reason for each "no". Nothing stays of it, and what an
    /// earlier process found out does not count.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be opened or nothing can be made in it.
    pub fn supports_native(directory: &Path) -> Result<NativeSupport> {
        let dir = Dir::open(directory, Access::Plain)?;
        let features = Features::probe(&dir, marks_of_process())?;
        Ok(NativeSupport {
            overlay: features.kernel_overlay(),
            d_type: features.entry_types.clone(),
            features,
        })
    }

    /// What a container needs to know to be a layer.
    pub(super) fn meta(options: &CreateOptions, state: &State) -> Result<ContainerMeta> {
        check_labels(&options.labels)?;
        let mut meta = ContainerMeta {
            maps: options.maps.clone(),
            view: state.is_committed(),
            labels: options.labels.clone(),
            ..ContainerMeta::default()
        };
        state.put(&mut meta);
        Ok(meta)
    }

    fn make(
        &self,
        key: &Key,
        state: State,
        chain: &Chain,
        options: &CreateOptions,
        fill: &dyn Fn(&Dir, &Dir) -> Result<()>,
    ) -> Result<()> {
        let mut state = state;
        let mut quota = options.quota;
        if state.kind == Kind::ReadWrite {
            quota.bytes = quota.bytes.or(self.quota.bytes);
            quota.inodes = quota.inodes.or(self.quota.inodes);
        } else if quota != Limits::default() {
            let message =
                format!("layer {key}: only layers that are made to be written to have a quota");
            return Err(Reason::QuotaUnsupported.error(message));
        }
        // Held until the number is on disk for others to see.
        let _numbers = if quota == Limits::default() {
            None
        } else {
            let lock = self.store.lock_name("driver-quota")?;
            state.project = Some(limits::allocate(self, quota)?);
            Some(lock)
        };
        let fill = |upper: &Dir, work: &Dir| {
            if let Some(project) = &state.project {
                limits::apply(upper, work, project)?;
            }
            fill(upper, work)
        };
        let meta = Self::meta(options, &state)?;
        self.store.prepare_filled(key, chain, meta, &fill).map(drop)
    }
}

impl Driver for OverlayDriver {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn status(&self) -> Result<Vec<(&'static str, String)>> {
        self.store.status()
    }

    fn create(&self, key: &Key, parent: Option<&Key>, options: &CreateOptions) -> Result<()> {
        let _in_use = self.store.shared()?;
        let chain = self.chain_on(parent)?;
        let state = State::new(Kind::Layer, parent);
        self.make(key, state, &chain, options, &|_, _| Ok(()))
    }

    fn create_read_write(
        &self,
        key: &Key,
        parent: Option<&Key>,
        options: &CreateOptions,
    ) -> Result<()> {
        let _in_use = self.store.shared()?;
        let chain = self.chain_on(parent)?;
        let state = State::new(Kind::ReadWrite, parent);
        self.make(key, state, &chain, options, &|_, _| Ok(()))
    }

    fn create_from_template(
        &self,
        key: &Key,
        template: &Key,
        options: &CreateOptions,
        read_write: bool,
    ) -> Result<()> {
        let _in_use = self.store.shared()?;
        let (container, state) = self.find(template)?;
        if state.is_committed() && read_write {
            return self.create_read_write(key, Some(template), options);
        }
        let chain = self.store.chain(container.meta().chain.as_ref())?;
        if state.is_committed() {
            let same = State {
                project: None,
                ..state
            };
            return self.make(key, same, &chain, options, &|_, _| Ok(()));
        }
        let kind = if read_write {
            Kind::ReadWrite
        } else {
            Kind::Layer
        };
        let copy = State::new(kind, state.parent.as_ref());
        self.make(key, copy, &chain, options, &|upper, _| {
            self.copy_upper(&container, upper, &options.maps)
        })?;
        if !read_write {
            // On failure nothing of that name is to be left.
            self.commit(key).inspect_err(|_| {
                let _ = self.remove(key);
            })?;
        }
        Ok(())
    }

    fn commit(&self, key: &Key) -> Result<DiffId> {
        let _in_use = self.store.shared()?;
        let _one_at_a_time = self.lock(key)?;
        let (mut container, state) = self.settled(key)?;
        match &state.diff_id {
            Some(diff_id) => Ok(diff_id.clone()),
            None => self.commit_open(&mut container, &state),
        }
    }

    fn exists(&self, key: &Key) -> Result<bool> {
        match self.find(key) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for container in self.store.containers()? {
            if State::of(&container)?.is_some() {
                keys.push(container.key().clone());
            }
        }
        Ok(keys)
    }

    fn metadata(&self, key: &Key) -> Result<LayerPaths> {
        let (container, state) = self.find(key)?;
        let chain = self.store.chain(container.meta().chain.as_ref())?;
        let lowers = self.store.lowers(&chain)?;
        let lowers = lowers.dirs().map(|dir| Ok(dir?.path().to_owned()));
        let dir = container.dir().path();
        let open = !state.is_committed();
        let part = |name: &[u8]| open.then(|| dir.join(String::from_utf8_lossy(name).as_ref()));
        Ok(LayerPaths {
            lower: lowers.collect::<Result<_>>()?,
            upper: part(CONTENT),
            work: part(WORK),
            merged: dir.join("merged"),
        })
    }

    fn info(&self, key: &Key) -> Result<LayerInfo> {
        let (container, state) = self.find(key)?;
        let meta = container.meta();
        let labels = meta.labels.iter().filter(|(name, _)| !is_own(name));
        Ok(LayerInfo {
            parent: state.parent,
            diff_id: state.diff_id,
            read_write: state.kind == Kind::ReadWrite,
            maps: meta.maps.clone(),
            labels: labels
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }

    fn get(&self, key: &Key, options: &GetOptions) -> Result<MountHandle> {
        self.get_mount(key, options)
    }

    fn put(&self, handle: &MountHandle) -> Result<()> {
        self.put_mount(handle)
    }

    fn contents(&self, key: &Key) -> Result<Dir> {
        let _in_use = self.store.shared()?;
        let (container, state) = self.find(key)?;
        let meta = container.meta();
        if state.is_committed() && meta.maps == MapOptions::default() {
            let chain = self.store.chain(meta.chain.as_ref())?;
            return self.store.mount_view(&chain)?.root();
        }
        self.store.mount_contents(&container)?.root()
    }

    fn remove(&self, key: &Key) -> Result<()> {
        {
            let _in_use = self.store.shared()?;
            let _one_at_a_time = self.lock(key)?;
            let (container, state) = match self.find(key) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            self.release(&container)?;
            self.store.remove_container(key)?;
            if let Some(project) = state.project {
                limits::forget(&self.store, &project);
            }
        }
        Ok(())
    }

    fn usage(&self, key: &Key) -> Result<Usage> {
        let (container, state) = self.find(key)?;
        if state.is_committed() {
            let chain = self.store.chain(container.meta().chain.as_ref())?;
            return match chain.layers.first() {
                Some(top) => self.store.layer_usage(top),
                None => usage(&container.upper()?),
            };
        }
        self.store.usage(key)
    }

    fn cleanup(&self) -> Result<Vec<Key>> {
        let _in_use = self.store.shared()?;
        let mut used = Vec::new();
        for key in self.list()? {
            let _one_at_a_time = self.lock(&key)?;
            let released = self.settled(&key).and_then(|(it, _)| self.release(&it));
            match released {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Busy => used.push(key),
                // Removed since the list was made.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.store.forget_dead_mounts()?;
        // Making a staging directory sweeps up those of the dead.
        drop(self.store.staging()?);
        self.store.empty_trash()?;
        Ok(used)
    }
}

/// Nothing has to be read: all layers are there, in all forms that their chains need.
pub(super) struct NoStreams;

impl LayerProvider for NoStreams {
    fn open(&self, _index: usize) -> Result<Box<dyn LayerSource + '_>> {
        let message = "the layer needs a chain-specific variant, but its blob is not in the store";
        let error: Error = Reason::LayerUnknown.error(message);
        Err(error.with_hint("apply it to a layer with this parent"))
    }
}
