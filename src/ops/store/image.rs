//! From a layout into the store.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use oci_cas::Hasher;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::absolute;
use crate::fs::{MapOptions, mount};
use crate::image::{ChainId, Descriptor, DiffId, Name, Platform, REF_NAME};
use crate::layer::LayerSource;
use crate::layout::{ImageSource, Origin};
use crate::ops::extract::{Found, Image, Layer, LayerReader, layers};
use crate::progress::{Event, Progress};
use crate::store::{
    Chain, ContainerMeta, Key, LayerId, LayerProvider, LeasedStore, MountOptions, MountRecord,
    Reason, Store, StoredImage, UnpackLimits, name_in_layout,
};

/// Bytes that are hashed at a time.
const CHUNK_SIZE: usize = 256 << 10;

/// The layers of an image, from the blobs of its layout.
struct FromLayout<'a> {
    image: Image<'a>,
    layers: Vec<Layer<'a>>,
    progress: &'a dyn Progress,
}

impl FromLayout<'_> {
    /// Layers that are to be the same as one before, but from another blob: the store will not read them.
    fn repeated(&self) -> Vec<&Layer<'_>> {
        let (mut firsts, mut others) = (HashMap::new(), HashSet::new());
        let mut repeated = Vec::new();
        for layer in &self.layers {
            let blob = layer.descriptor.digest();
            let first = *firsts.entry(layer.diff_id).or_insert(blob);
            if first != blob && others.insert((layer.diff_id, blob)) {
                repeated.push(layer);
            }
        }
        repeated
    }

    /// Makes sure that the blob of a layer is what the image promised, without unpacking it.
    fn check(&self, layer: &Layer<'_>) -> Result<()> {
        let what = || format!("read layer {}", layer.descriptor.digest());
        let mut reader = self.open(layer.index)?;
        let mut hasher = Hasher::new(layer.diff_id.0.algorithm());
        let mut buffer = vec![0; CHUNK_SIZE];
        loop {
            match reader.read(&mut buffer).context(what)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        reader.verdict().context(what)?;
        layer.check(&hasher.finish())
    }
}

impl FromLayout<'_> {
    /// Looks at the blobs of layers that the store has and so does not read. Their content is right, as the diff ID says,
    /// but the blob in the layout may be another one: its size is compared where it is there, all of it with `verify`.
    fn check_known(&self, store: &Store, verify: bool) -> Result<()> {
        for layer in &self.layers {
            if !store.has_layer(&LayerId::of(layer.diff_id))? {
                continue;
            }
            if verify {
                self.check(layer)?;
            } else {
                self.check_size(layer.descriptor)?;
            }
        }
        Ok(())
    }

    fn check_size(&self, blob: &Descriptor) -> Result<()> {
        if blob.data().is_some() {
            return Ok(());
        }
        let (digest, expected) = (blob.digest(), blob.size());
        let found = self.image.layout.store().stat(digest);
        match found.context(|| format!("look for layer {digest}"))? {
            // The store needs no blob of it.
            None => Ok(()),
            Some(size) if size == expected => Ok(()),
            Some(size) => {
                let message = format!(
                    "layer {digest}: the blob has {size} bytes, where {expected} are expected"
                );
                Err(Error::new(ErrorKind::Verification, message))
            }
        }
    }
}

impl LayerProvider for FromLayout<'_> {
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        let layer = &self.layers[index];
        let (digest, size) = (layer.descriptor.digest(), layer.descriptor.size());
        self.progress.event(Event::LayerStarted {
            index,
            count: self.layers.len(),
            digest,
            size,
        });
        let reader = LayerReader::open(self.image.layout, layer, self.progress);
        Ok(Box::new(reader.context(|| format!("layer {digest}"))?))
    }

    fn finished(&self, index: usize) {
        self.progress.event(Event::LayerFinished { index });
    }
}

/// How an image is brought into the store.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::ops) struct BringInOptions {
    /// How many bytes the files of a new layer may have.
    pub max_size: Option<u64>,
    /// Whether the blobs of layers that are there are read and verified, too.
    pub verify: bool,
}

/// Brings an image into the store, as far as it is not there, under the name that it has where it is.
pub(in crate::ops) fn bring_in(
    store: &LeasedStore,
    found: &Found,
    origin: &Origin<'_>,
    options: BringInOptions,
    progress: &dyn Progress,
) -> Result<Chain> {
    let reference = match origin {
        Origin::Layout(reference) => reference,
        Origin::Other { name, place } => {
            let chain = add_found(store, found, place, options, progress)?;
            store.tag(name, found.path().target().digest())?;
            return Ok(chain);
        }
    };
    let chain = add_found(store, found, &reference.layout, options, progress)?;
    let layout = absolute(&reference.layout)?;
    let name = match (&reference.name, found.path().root().annotation(REF_NAME)) {
        (Name::Tag(tag), _) => name_in_layout(&layout, tag),
        (Name::Default, Some(tag)) => name_in_layout(&layout, tag),
        (_, _) => format!("{}@{}", layout.display(), found.path().target().digest()),
    };
    store.tag(&name, found.path().target().digest())?;
    Ok(chain)
}

/// Brings an image into the store, as far as it is not there.
pub(in crate::ops) fn add_found(
    store: &LeasedStore,
    found: &Found,
    layout: &Path,
    options: BringInOptions,
    progress: &dyn Progress,
) -> Result<Chain> {
    let image = found.image();
    let chain = unpack_layers(store, image, options, progress)?;
    store.add_image(&StoredImage::new(
        found.path().target().clone(),
        image.manifest.config.clone(),
        image.manifest.layers.clone(),
        image.config.diff_ids().to_vec(),
        absolute(layout)?,
    ))?;
    Ok(chain)
}

/// Brings the layers of an image into the store.
pub(in crate::ops) fn unpack_layers(
    store: &LeasedStore,
    image: Image<'_>,
    options: BringInOptions,
    progress: &dyn Progress,
) -> Result<Chain> {
    let provider = FromLayout {
        image,
        layers: layers(image.manifest, image.config)?,
        progress,
    };
    provider.check_known(store, options.verify)?;
    let diff_ids: Vec<DiffId> = image.config.diff_ids().to_vec();
    let repeated = provider.repeated();
    if !repeated.is_empty() && store.find_chain(ChainId::of(&diff_ids).as_ref())?.is_none() {
        repeated
            .into_iter()
            .try_for_each(|layer| provider.check(layer))?;
    }
    let limits = UnpackLimits::new(options.max_size);
    store.unpack(&diff_ids, &provider, &limits, progress)
}

/// An image that is to be mounted.
#[derive(Clone, Debug)]
pub struct ImageMount<'a> {
    /// The image.
    pub image: &'a dyn ImageSource,
    /// Of an index, the platform that is wanted.
    pub platform: Option<&'a Platform>,
    /// How owners of the image are owners on disk.
    pub maps: MapOptions,
    /// Whether the blobs of layers that the store has already are read and verified, too.
    pub verify: bool,
    /// The container that takes changes; `None` if nothing can be changed.
    pub container: Option<Key>,
}

impl ImageMount<'_> {
    /// Brings the image into the store, as far as it is not there, and mounts it. A container that is not there is made;
    /// one that is there must be one on this image, with these maps.
    ///
    /// # Errors
    ///
    /// Those of finding the image, of unpacking it into the store, and of mounting. Nothing is mounted then.
    pub fn mount(
        &self,
        store: &LeasedStore,
        target: &Path,
        options: &MountOptions,
        progress: &dyn Progress,
    ) -> Result<MountRecord> {
        mount::check_privilege().context(|| format!("mount on {}", target.display()))?;
        let found = Found::open(self.image, self.platform)?;
        let how = BringInOptions {
            max_size: None,
            verify: self.verify,
        };
        let chain = bring_in(store, &found, &self.image.origin(), how, progress)?;
        let Some(key) = &self.container else {
            return store.mount_chain(chain.id.as_ref(), &self.maps, target, options);
        };
        let is_new = self.make(store, key, &chain)?;
        let mounted = store.mount_container(key, target, options);
        if mounted.is_ok() {
            // As long as that is not written, `gc` takes it when it is not mounted and nothing was changed in it: no loss.
            let _ = store.update_container(key, |meta| meta.unfinished = false);
        }
        mounted.inspect_err(|_| {
            if is_new {
                // It was ours alone until now; the error that matters is the one being returned.
                let _ = store.remove_container(key);
            }
        })
    }

    /// Makes the container, unless it is there and is one for this mount. Says whether it is new.
    fn make(&self, store: &Store, key: &Key, chain: &Chain) -> Result<bool> {
        let meta = ContainerMeta {
            maps: self.maps.clone(),
            unfinished: true,
            ..ContainerMeta::default()
        };
        match store.prepare(key, chain, meta) {
            Ok(_) => Ok(true),
            Err(error) if Reason::of(&error) == Some(Reason::KeyExists) => {
                let container = store.container(key)?;
                let known = container.meta();
                let is_it = known.chain == chain.id && known.maps == self.maps && !known.view;
                if is_it { Ok(false) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }
}
