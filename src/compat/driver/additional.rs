//! Layers of stores that are only read: found by digest, used where they are.
//!
//! Nothing can be counted in a store that cannot be written, so nothing is: an [`AdditionalLayer`] keeps the content
//! reachable by an open directory, and a layer made of it by the store's own records.

use std::fs::File;
use std::io::BufReader;

use oci_cas::VerifyingReader;

use super::incoming::{Unpromised, decode};
use super::overlay::OverlayDriver;
use super::state::{Kind, State};
use super::traits::{AdditionalLayers, CreateOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::quota::Limits;
use crate::image::DiffId;
use crate::layer::LayerSource;
use crate::progress::Silent;
use crate::store::{Key, Layer, LayerId, LayerMeta, LayerProvider, Reason, Store};

/// A layer of an additional store.
#[derive(Debug)]
pub struct AdditionalLayer<'d> {
    driver: &'d OverlayDriver,
    store: &'d Store,
    layer: Layer,
    diff_id: DiffId,
}

impl OverlayDriver {
    fn additional(&self, diff_id: &DiffId) -> Result<Option<AdditionalLayer<'_>>> {
        let found = self.store.find_additional_layer(&LayerId::of(diff_id))?;
        Ok(found.map(|(store, layer)| AdditionalLayer {
            driver: self,
            store,
            layer,
            diff_id: diff_id.clone(),
        }))
    }
}

impl AdditionalLayers for OverlayDriver {
    fn lookup(&self, diff_id: &DiffId) -> Result<Option<AdditionalLayer<'_>>> {
        self.additional(diff_id)
    }

    fn lookup_by_key(&self, key: &Key) -> Result<AdditionalLayer<'_>> {
        let (_, state) = self.find(key)?;
        let found = match &state.diff_id {
            Some(diff_id) => self.additional(diff_id)?,
            None => None,
        };
        found.ok_or_else(|| {
            let message = format!("layer {key}: not in an additional store");
            Reason::LayerUnknown.error(message)
        })
    }
}

impl AdditionalLayer<'_> {
    /// The layer.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// What its store knows of it.
    ///
    /// # Errors
    ///
    /// Fails if the record cannot be read.
    pub fn info(&self) -> Result<LayerMeta> {
        self.layer.meta()
    }

    /// Its blob, as an image of its store has it: compressed or not. Read to the end, it is what the image says or an
    /// error. `None` if the store has no blob of it.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn blob(&self) -> Result<Option<VerifyingReader<BufReader<File>>>> {
        for image in self.store.images()? {
            let places = image.diff_ids.iter().zip(&image.layers);
            for (_, blob) in places.filter(|(diff_id, _)| **diff_id == self.diff_id) {
                let digest = blob.digest();
                let blobs = self.store.sub("blobs")?;
                let algorithm = digest.algorithm().to_string();
                let Some(dir) = blobs.open_dir_if_any(algorithm.as_bytes())? else {
                    continue;
                };
                match dir.open_file(digest.encoded().as_bytes()) {
                    Ok(file) => {
                        let file = BufReader::new(file);
                        return Ok(Some(VerifyingReader::new(
                            file,
                            digest.clone(),
                            blob.size(),
                        )));
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// Makes a committed layer of it, laid on another one. Nothing is copied.
    ///
    /// # Errors
    ///
    /// As [`Driver::create`](super::Driver::create); [`Reason::LayerUnknown`] if the parent needs the layer in another form
    /// and its store has no blob of it.
    pub fn create_as(
        &self,
        key: &Key,
        parent: Option<&Key>,
        options: &CreateOptions,
    ) -> Result<()> {
        if options.quota != Limits::default() {
            let message =
                format!("layer {key}: only layers that are made to be written to have a quota");
            return Err(Reason::QuotaUnsupported.error(message));
        }
        let driver = self.driver;
        let _in_use = driver.store.shared()?;
        let mut diff_ids = driver.chain_on(parent)?.diff_ids;
        diff_ids.push(self.diff_id.clone());
        let chain = driver.store.register(&diff_ids, self, &Silent)?;
        let state = State {
            diff_id: Some(self.diff_id.clone()),
            size: self.info()?.changeset.size,
            ..State::new(Kind::Layer, parent)
        };
        let meta = OverlayDriver::meta(options, &state)?;
        driver.store.prepare(key, &chain, meta).map(drop)
    }

    /// Gives it up: what dropping it does. Layers made of it stay.
    pub fn release(self) {}
}

impl LayerProvider for AdditionalLayer<'_> {
    fn open(&self, _index: usize) -> Result<Box<dyn LayerSource + '_>> {
        let blob = self.blob()?.ok_or_else(|| -> Error {
            let message = format!(
                "layer {}: needs a chain-specific variant, but its blob is not available",
                self.diff_id
            );
            Reason::LayerUnknown.error(message)
        })?;
        let (decoder, _) = decode(blob)?;
        Ok(Box::new(Unpromised(decoder)))
    }
}
