//! Chains: which directories, in which order, make the root file system of a stack of layers.
//!
//! A chain is a record in `chains/`, written when its layers are there. It can be made again from them at any time, so
//! it is an index and no content: whoever takes away a layer takes away the chains that have it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::form::LayerForm;
use super::id::LayerId;
use super::json;
use super::patch::PatchId;
use super::place::Store;
use super::reason::Reason;
use crate::error::Result;
use crate::image::{ChainId, DiffId};

/// The most directories that overlayfs stacks (`OVL_MAX_STACK`).
pub const MAX_LOWERS: usize = 500;

/// The name of the record of the chain without layers.
const EMPTY: &str = "empty";

/// A stack of layers that is ready to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name; none for the chain without layers.
    pub id: Option<ChainId>,
    /// The layers that an image names, bottom first.
    pub diff_ids: Vec<DiffId>,
    /// The layers that are stacked, topmost first: variants where the chain needs them, none of those that nothing is
    /// seen of.
    pub layers: Vec<LayerId>,
    /// The directory above all of them, which repairs the attributes of directories.
    pub patch: PatchId,
    /// All owners in it, sorted.
    pub uids: Vec<u32>,
    /// All groups in it, sorted.
    pub gids: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    chain_id: Option<String>,
    parent: Option<String>,
    diff_ids: Vec<String>,
    layers: Vec<String>,
    patch: String,
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Chain {
    /// The name of the chain below the topmost layer.
    pub fn parent(&self) -> Option<ChainId> {
        let (_, below) = self.diff_ids.split_last()?;
        ChainId::of(below)
    }

    /// All layers that stay as long as it does: those that are stacked, and those that it names. Where a variant or a merged
    /// layer is stacked in the place of one of these, that one is still what chains which are laid on this one are made of.
    pub fn needs(&self) -> BTreeSet<LayerId> {
        let form = self.form();
        let named = self.diff_ids.iter().filter_map(|id| form.layer(id));
        named.chain(self.layers.iter().cloned()).collect()
    }

    /// The form in which its layers are kept.
    pub fn form(&self) -> LayerForm {
        if self.layers.iter().any(LayerId::is_erofs) {
            LayerForm::Tar
        } else {
            LayerForm::Dir
        }
    }

    fn record(&self) -> Record {
        let text = |id: &ChainId| id.to_string();
        Record {
            chain_id: self.id.as_ref().map(text),
            parent: self.parent().as_ref().map(text),
            diff_ids: self.diff_ids.iter().map(ToString::to_string).collect(),
            layers: self.layers.iter().map(ToString::to_string).collect(),
            patch: self.patch.to_string(),
            uids: self.uids.clone(),
            gids: self.gids.clone(),
        }
    }

    fn of(record: Record) -> Result<Self> {
        let diff_ids = record.diff_ids.iter().map(|text| text.parse());
        let layers = record.layers.iter().map(|text| text.parse());
        let chain = Self {
            id: record.chain_id.map(|text| text.parse()).transpose()?,
            diff_ids: diff_ids.collect::<Result<_>>()?,
            layers: layers.collect::<Result<_>>()?,
            patch: record.patch.parse()?,
            uids: record.uids,
            gids: record.gids,
        };
        if chain.id != ChainId::of(&chain.diff_ids) {
            let message = "the record of a chain has another name than its layers give it";
            return Err(Reason::InvalidLayer.error(message));
        }
        Ok(chain)
    }
}

fn record_name(id: Option<&ChainId>) -> String {
    match id {
        Some(id) => format!("{}-{}.json", id.digest().algorithm(), id.digest().encoded()),
        None => format!("{EMPTY}.json"),
    }
}

impl Store {
    /// A chain by its name, if it is recorded and all of it is there.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn find_chain(&self, id: Option<&ChainId>) -> Result<Option<Chain>> {
        let Some(chain) = self.recorded_chain(id)? else {
            return Ok(None);
        };
        for layer in chain.needs() {
            if !self.has_layer(&layer)? {
                return Ok(None);
            }
        }
        Ok(self.has_patch(&chain.patch)?.then_some(chain))
    }

    /// A chain as it is recorded, whether its parts are there or not.
    pub(crate) fn recorded_chain(&self, id: Option<&ChainId>) -> Result<Option<Chain>> {
        let name = record_name(id);
        let record = json::try_read::<Record>(&self.sub("chains")?, &name)?;
        let chain = record.map(Chain::of).transpose()?;
        if chain.as_ref().is_some_and(|chain| chain.id.as_ref() != id) {
            let message = format!("read chains/{name}: it is the record of another chain");
            return Err(Reason::InvalidLayer.error(message));
        }
        Ok(chain)
    }

    /// A chain by its name, if what is stacked is there.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`] if it is not recorded, or if a layer that it stacks is missing.
    pub fn chain(&self, id: Option<&ChainId>) -> Result<Chain> {
        let name = || id.map_or_else(|| EMPTY.to_owned(), ToString::to_string);
        let Some(chain) = self.recorded_chain(id)? else {
            let message = format!("chain {}: not in the store", name());
            return Err(Reason::LayerUnknown
                .error(message)
                .with_hint("unpack the image again"));
        };
        for layer in &chain.layers {
            if !self.has_layer(layer)? {
                let message = format!("chain {}: layer {layer} is missing", name());
                return Err(Reason::LayerUnknown
                    .error(message)
                    .with_hint("unpack the image again, or `bundle store check --repair`"));
            }
        }
        Ok(chain)
    }

    /// The names of all chains.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn chains(&self) -> Result<Vec<Option<ChainId>>> {
        let mut found = Vec::new();
        for name in self.sub("chains")?.names()? {
            let name = String::from_utf8_lossy(&name).into_owned();
            let Some(text) = name.strip_suffix(".json") else {
                continue;
            };
            if text == EMPTY {
                found.push(None);
            } else if let Ok(id) = text.replacen('-', ":", 1).parse() {
                found.push(Some(id));
            }
        }
        Ok(found)
    }

    pub(crate) fn write_chain(&self, chain: &Chain) -> Result<()> {
        let name = record_name(chain.id.as_ref());
        json::replace(&self.sub("chains")?, &name, &chain.record())
    }

    pub(crate) fn remove_chain(&self, id: Option<&ChainId>) -> Result<()> {
        self.sub("chains")?.remove_all(record_name(id).as_bytes())
    }
}
