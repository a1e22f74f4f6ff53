//! What a word of the user's means in a store: an image, a layer, a container, a chain.

use crate::error::{Error, ErrorKind, Result};
use crate::image::ChainId;
use crate::store::{
    Chain, Container, Key, Layer, LayerId, LeasedStore, MountRecord, Reason, Store, StoredImage,
};

/// Something in a store.
#[derive(Debug)]
pub enum ObjectRef {
    /// An image.
    Image(StoredImage),
    /// A container.
    Container(Container),
    /// A chain.
    Chain(Chain),
    /// A layer.
    Layer(Layer),
}

impl ObjectRef {
    /// Finds what a word means: the key of a container, the name or digest of an image (or the beginning of it), a chain
    /// ID, or a layer by its diff ID or its name in the store; in this order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is nothing of that name, [`ErrorKind::Ambiguous`] if several images are meant.
    pub fn find(store: &LeasedStore, word: &str) -> Result<Self> {
        if let Some(container) = container(store, word)? {
            return Ok(Self::Container(container));
        }
        let unknown = match store.image(word) {
            Ok(image) => return Ok(Self::Image(image)),
            Err(error) if error.kind() == ErrorKind::NotFound => error,
            Err(error) => return Err(error),
        };
        if let Ok(id) = word.parse::<ChainId>()
            && let Some(chain) = store.find_chain(Some(&id))?
        {
            return Ok(Self::Chain(chain));
        }
        if let Ok(id) = word.parse::<LayerId>()
            && store.has_layer(&id)?
        {
            return Ok(Self::Layer(store.layer(&id)?));
        }
        if Reason::of(&unknown) == Some(Reason::TagNotFound) {
            return Err(unknown);
        }
        let message = format!("{word:?}: there is no such image, container, chain or layer");
        Err(Error::new(ErrorKind::NotFound, message)
            .with_code(Reason::ImageUnknown.word())
            .with_hint("`bundle store ls` lists images, `bundle store ls containers` containers"))
    }

    /// Finds the container or image that a word means, and the chain that it is, or is laid on.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find), and [`Reason::LayerUnknown`] if a part of the chain is missing.
    pub fn chain(&self, store: &Store) -> Result<Option<Chain>> {
        match self {
            Self::Image(image) => store.chain(image.chain_id().as_ref()).map(Some),
            Self::Container(container) => store.chain(container.meta().chain.as_ref()).map(Some),
            Self::Chain(chain) => Ok(Some(chain.clone())),
            Self::Layer(_) => Ok(None),
        }
    }

    /// The chain of an image, or a chain itself. `word` is what was meant.
    pub(super) fn image_chain(&self, store: &Store, word: &str) -> Result<Chain> {
        let chain = match self {
            Self::Image(_) | Self::Chain(_) => self.chain(store)?,
            Self::Container(_) | Self::Layer(_) => None,
        };
        chain.ok_or_else(|| {
            let message = format!("{word}: neither an image nor a chain");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

/// The container of this name.
pub(super) fn container(store: &Store, word: &str) -> Result<Option<Container>> {
    let Ok(key) = Key::new(word) else {
        return Ok(None);
    };
    match store.container(&key) {
        Ok(container) => Ok(Some(container)),
        Err(error) if Reason::of(&error) == Some(Reason::KeyUnknown) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What of a store is mounted now.
///
/// # Errors
///
/// Fails if a record or the kernel's table cannot be read.
pub fn live_mounts(store: &Store) -> Result<Vec<MountRecord>> {
    let mut live = Vec::new();
    for mount in store.mounts()? {
        if mount.is_live()? {
            live.push(mount);
        }
    }
    Ok(live)
}
