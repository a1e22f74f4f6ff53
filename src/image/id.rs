//! Identities of layers and images, each a type of its own around a [`Digest`].
//!
//! A layer has a digest as a blob (of its compressed bytes, found in a descriptor) and a [`DiffId`] (of its
//! uncompressed tar, found in the config). A stack of layers has a [`ChainId`]. An image has an [`ImageId`].

use std::fmt;
use std::str::FromStr;

use oci_cas::{Algorithm, Digest};

use crate::Error;

/// Digest of a layer's uncompressed tar (`config.md`, "Layer `DiffID`").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiffId(pub Digest);

/// Names the result of applying a stack of layers, bottom first (`config.md`, "Layer `ChainID`").
///
/// The chain ID of one layer is its diff ID; each further layer hashes the chain ID so far, a space, and its diff ID:
/// two stacks have equal chain IDs when they consist of the same layers in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(Digest);

/// Digest of an image's config blob (`config.md`, "`ImageID`").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub Digest);

impl ChainId {
    /// The chain of a single layer.
    #[must_use]
    pub fn bottom(layer: &DiffId) -> Self {
        Self(layer.0.clone())
    }

    /// The chain of this stack with one more layer on top. The hash is SHA-256, whatever the diff IDs use.
    #[must_use]
    pub fn with_layer(&self, layer: &DiffId) -> Self {
        let text = format!("{} {}", self.0, layer.0);
        Self(Digest::of(Algorithm::Sha256, text.as_bytes()))
    }

    /// The chain of all of `layers`, bottom first; `None` for no layers.
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (bottom, rest) = layers.split_first()?;
        Some(
            rest.iter()
                .fold(Self::bottom(bottom), |chain, layer| chain.with_layer(layer)),
        )
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

macro_rules! text_form {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Ok(Self(text.parse::<Digest>()?))
            }
        }
    )*};
}

text_form!(DiffId ChainId ImageId);

#[cfg(test)]
mod tests {
    use super::*;

    fn diff_id(byte: char) -> DiffId {
        format!("sha256:{}", byte.to_string().repeat(64))
            .parse()
            .unwrap()
    }

    #[test]
    fn the_chain_of_one_layer_is_its_diff_id() {
        let layer = diff_id('a');
        assert_eq!(
            ChainId::of(std::slice::from_ref(&layer)).unwrap().digest(),
            &layer.0
        );
        assert_eq!(ChainId::of(&[]), None);
    }

    #[test]
    fn each_further_layer_hashes_the_chain_so_far() {
        let layers = [diff_id('a'), diff_id('b'), diff_id('c')];
        let two = Digest::of(
            Algorithm::Sha256,
            format!("{} {}", layers[0], layers[1]).as_bytes(),
        );
        let three = Digest::of(Algorithm::Sha256, format!("{two} {}", layers[2]).as_bytes());
        assert_eq!(ChainId::of(&layers[..2]).unwrap().digest(), &two);
        assert_eq!(ChainId::of(&layers).unwrap().digest(), &three);
    }

    #[test]
    fn the_order_of_layers_matters() {
        let (a, b) = (diff_id('a'), diff_id('b'));
        assert_ne!(ChainId::of(&[a.clone(), b.clone()]), ChainId::of(&[b, a]));
    }
}
