//! The directories of a chain, known by where they are, and opened when they are wanted.
//!
//! A chain has hundreds of them if its image has, and a process may not have as many descriptors.

use crate::error::{ErrorKind, Result};
use crate::fs::lock::LockFile;
use crate::fs::mount::{Lower, Lowers, Mount, UserNamespace, id_mapped};
use crate::fs::{Dir, MapOptions};
use crate::store::chain::Chain;
use crate::store::id::LayerId;
use crate::store::patch::PatchId;
use crate::store::place::Store;
use crate::store::reason::Reason;

/// Directories of a store and of the additional ones, topmost first.
#[derive(Debug)]
pub(crate) struct ChainLowers {
    /// The store itself, the additional ones, and the roots of EROFS images.
    stores: Vec<Dir>,
    /// The mounts through which the stores are seen, if owners are mapped. The kernel takes nothing of a detached mount
    /// that is gone.
    mounts: Vec<Mount>,
    /// Which store each one is in, and where.
    places: Vec<(usize, String)>,
    /// What lies above all of them.
    top: Option<Dir>,
    /// Keeps the images among them mounted.
    _images: Option<LockFile>,
}

impl ChainLowers {
    /// Those of a patch and of layers, which are there.
    pub(crate) fn new(store: &Store, patch: Option<&PatchId>, layers: &[LayerId]) -> Result<Self> {
        let additional = store.additional_stores();
        let stores = std::iter::once(store).chain(additional);
        let stores = stores.map(|store| store.dir().open_dir(b"."));
        let mut stores = stores.collect::<Result<Vec<_>>>()?;
        let has_images = layers.iter().any(LayerId::is_erofs);
        let images = has_images.then(|| store.keep_images()).transpose()?;
        let mut places = Vec::with_capacity(layers.len() + 1);
        places.extend(patch.map(|id| (0, id.path())));
        for id in layers {
            if id.is_erofs() {
                places.push((stores.len(), ".".to_owned()));
                stores.push(store.erofs_root(id)?);
                continue;
            }
            let store = if additional.is_empty() {
                None
            } else {
                store.layer(id)?.place()
            };
            places.push((store.map_or(0, |place| place + 1), id.content_path()));
        }
        Ok(Self {
            stores,
            mounts: Vec::new(),
            places,
            top: None,
            _images: images,
        })
    }

    /// The same with the owners that maps give them, through one mount for each store.
    fn mapped(mut self, maps: &MapOptions) -> Result<Self> {
        let namespace = UserNamespace::with_maps(maps)?;
        for (number, store) in self.stores.iter_mut().enumerate() {
            if self.places.iter().any(|(place, _)| *place == number) {
                let mount = id_mapped(store, &namespace, true)?;
                *store = mount.root()?;
                self.mounts.push(mount);
            }
        }
        // Whether this user gets through the store's own directories there, which are nobody's but their owner's.
        if !self.places.is_empty() {
            self.open_dir(0)?;
        }
        Ok(self)
    }

    /// The same with a directory above them.
    pub(crate) fn below(mut self, top: Dir) -> Self {
        self.top = Some(top);
        self
    }

    /// Whether owners are mapped by mounts.
    pub(crate) fn is_mapped(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Opens one of them.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`] if it is gone.
    pub(crate) fn open_dir(&self, index: usize) -> Result<Dir> {
        let below = match &self.top {
            Some(top) if index == 0 => return top.open_dir(b"."),
            Some(_) => index - 1,
            None => index,
        };
        let (store, path) = &self.places[below];
        let opened = self.stores[*store].open_below(path.as_bytes());
        opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Reason::LayerUnknown
                .of_error(error)
                .with_hint("unpack the image again, or `bundle store check --repair`"),
            _ => error,
        })
    }

    /// Opens them one after the other.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = Result<Dir>> {
        (0..self.count()).map(|index| self.open_dir(index))
    }
}

impl Lowers for ChainLowers {
    fn count(&self) -> usize {
        self.places.len() + usize::from(self.top.is_some())
    }

    fn open(&self, index: usize) -> Result<Lower<'_>> {
        self.open_dir(index).map(Lower::Opened)
    }
}

impl Store {
    /// The directories of a chain, topmost first: the patch, then the layers.
    pub(crate) fn lowers(&self, chain: &Chain) -> Result<ChainLowers> {
        ChainLowers::new(self, Some(&chain.patch), &chain.layers)
    }

    /// The same with the owners that maps give them, and the name of the patch that is the first.
    pub(crate) fn mapped_lowers(
        &self,
        chain: &Chain,
        maps: &MapOptions,
    ) -> Result<(PatchId, ChainLowers)> {
        if maps.uid.0.is_empty() && maps.gid.0.is_empty() {
            return Ok((chain.patch.clone(), self.lowers(chain)?));
        }
        if self.options().id_mapped_mounts {
            let mapped = self.lowers(chain)?.mapped(maps);
            let refused = [ErrorKind::Unsupported, ErrorKind::PermissionDenied];
            match mapped {
                // Not for this file system, not on this kernel, or not for this user.
                Err(error) if refused.contains(&error.kind()) => {}
                lowers => return Ok((chain.patch.clone(), lowers?)),
            }
        }
        self.remapped_lowers(chain, maps)
    }
}
