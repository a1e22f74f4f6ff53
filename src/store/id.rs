//! Names of what the store keeps: layers and containers. Each is also a name on disk, so each is checked at birth.

use std::fmt;
use std::str::FromStr;

use oci_cas::{Algorithm, Digest};

use super::reason::Reason;
use crate::error::{Error, Result};
use crate::image::{ChainId, DiffId};

/// How many digits of a digest tell variants of one layer apart: with fewer, an image could be made that leaves a variant
/// which the chain of another image would take for its own. All of two digests of the longest kind is more than a name
/// on disk can have.
const SHORT: usize = 32;

/// A layer as it is unpacked: by the digest of its stream, or one of the variants that some chains need in its place.
///
/// As text, and as a path below `layers/`: `sha256/<hex>`, followed for a variant by `+c` (made for the chain below it) or
/// `+m` (owners changed by a map) and the start of a digest, which is zeros for the chain without layers; `merged/<hex>` is the bottom of a chain as one layer.
/// `tar/<hex>` is a layer as a tar file, `erofs/<hex>` all layers of a chain as an image that refers to such files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(String);

impl LayerId {
    /// The layer by itself, whatever is below it.
    pub fn of(diff_id: &DiffId) -> Self {
        Self(format!("{}/{}", diff_id.0.algorithm(), diff_id.0.encoded()))
    }

    /// The layer as it must be over this chain, or over nothing.
    pub fn over(diff_id: &DiffId, below: Option<&ChainId>) -> Self {
        let below = below.map_or_else(
            || "0".repeat(SHORT),
            |below| below.digest().encoded()[..SHORT].to_owned(),
        );
        Self(format!("{}+c{below}", Self::of(diff_id).0))
    }

    /// A layer with the owners that a map gives them.
    #[must_use]
    pub fn remapped(&self, map: &Digest) -> Self {
        Self(format!("{}+m{}", self.0, &map.encoded()[..SHORT]))
    }

    /// All layers of a chain in one.
    pub fn merged(chain: &ChainId) -> Self {
        Self(format!("merged/{}", chain.digest().encoded()))
    }

    /// The layer as the tar file that it is. Only layers named by SHA-256 are kept so.
    pub fn tar(diff_id: &DiffId) -> Option<Self> {
        let is_sha256 = diff_id.0.algorithm() == Algorithm::Sha256;
        is_sha256.then(|| Self(format!("tar/{}", diff_id.0.encoded())))
    }

    /// All layers of a chain as one EROFS image, which refers to their tar files.
    pub fn erofs(chain: &ChainId) -> Self {
        Self(format!("erofs/{}", chain.digest().encoded()))
    }

    /// Whether it is a tar file.
    pub fn is_tar(&self) -> bool {
        self.0.starts_with("tar/")
    }

    /// Whether it is an EROFS image.
    pub fn is_erofs(&self) -> bool {
        self.0.starts_with("erofs/") && !self.0.contains('+')
    }

    /// The digest of its stream; none for a merged layer and for an EROFS image.
    pub fn diff_id(&self) -> Option<DiffId> {
        let (algorithm, rest) = self.0.split_once('/')?;
        let algorithm = if algorithm == "tar" {
            "sha256"
        } else {
            algorithm
        };
        let encoded = rest.split('+').next()?;
        format!("{algorithm}:{encoded}").parse().ok()
    }

    /// Whether it is the layer by itself.
    pub fn is_plain(&self) -> bool {
        !self.is_tar() && self.diff_id().is_some() && !self.0.contains('+')
    }

    /// The layer that this one is a copy of, with other owners.
    pub(crate) fn before_map(&self) -> Option<Self> {
        self.0.rsplit_once("+m").map(|(id, _)| Self(id.to_owned()))
    }

    /// The directories that layers are in, below `layers/`.
    pub(crate) fn directories() -> [String; 5] {
        [
            Algorithm::Sha256.to_string(),
            Algorithm::Sha512.to_string(),
            "merged".to_owned(),
            "tar".to_owned(),
            "erofs".to_owned(),
        ]
    }

    /// The directory below `layers/`, and the name in it.
    pub(crate) fn place(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or(("", &self.0))
    }

    /// The path below the store.
    pub(crate) fn path(&self) -> String {
        format!("layers/{}", self.0)
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LayerId {
    type Err = Error;

    /// Takes the path form, and a digest (`sha256:<hex>`).
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Reason::InvalidLayer.error(format!("{text:?} is not a layer"));
        if let Ok(diff_id) = text.parse::<DiffId>() {
            return Ok(Self::of(&diff_id));
        }
        let (kind, rest) = text.split_once('/').ok_or_else(invalid)?;
        let mut parts = rest.split('+');
        let encoded = parts.next().unwrap_or_default();
        let algorithm = match kind {
            "merged" | "tar" | "erofs" => "sha256",
            kind => kind,
        };
        let digest = format!("{algorithm}:{encoded}").parse::<Digest>();
        digest.map_err(|_| invalid())?;
        for variant in parts {
            let digits = variant.strip_prefix(['c', 'm']).ok_or_else(invalid)?;
            let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if digits.len() != SHORT || !digits.bytes().all(hexadecimal) {
                return Err(invalid());
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a container: an upper directory and all that belongs to it. Up to 128 letters, digits, `_`, `.` and `-`,
/// the first of which is a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidLayer`] if it cannot be one.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts_well && text.len() <= 128 && text.bytes().all(plain) {
            return Ok(Self(text));
        }
        let message = format!("{text:?} is not a name of a container");
        Err(Reason::InvalidLayer.error(message).with_hint(
            "letters, digits, '_', '.' and '-', at most 128, the first a letter or digit",
        ))
    }

    /// A name that nobody else comes upon.
    pub fn unique() -> Self {
        Self(crate::fs::names::unique_name("c"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff_id() -> DiffId {
        format!("sha256:{}", "ab".repeat(32)).parse().unwrap()
    }

    #[test]
    fn names_of_layers_are_read_as_they_are_written() {
        let plain = LayerId::of(&diff_id());
        let chain = ChainId::bottom(&diff_id());
        let map = Digest::of(Algorithm::Sha256, b"map");
        for id in [
            plain.clone(),
            LayerId::over(&diff_id(), None),
            LayerId::over(&diff_id(), Some(&chain)),
            LayerId::over(&diff_id(), Some(&chain)).remapped(&map),
            LayerId::merged(&chain),
            LayerId::erofs(&chain),
            LayerId::tar(&diff_id()).unwrap(),
        ] {
            assert_eq!(id.to_string().parse::<LayerId>().unwrap(), id);
        }
        assert_eq!(diff_id().to_string().parse::<LayerId>().unwrap(), plain);
        assert_eq!(plain.diff_id(), Some(diff_id()));
        assert!(plain.is_plain() && !plain.remapped(&map).is_plain());
        assert_eq!(LayerId::merged(&chain).diff_id(), None);
    }

    #[test]
    fn the_longest_names_fit_on_disk() {
        let sha512: DiffId = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        let map = Digest::of(Algorithm::Sha512, b"map");
        let id = LayerId::over(&sha512, Some(&ChainId::bottom(&sha512))).remapped(&map);
        assert!(id.place().1.len() <= 255, "{id}");
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        let hex = "ab".repeat(32);
        for text in ["", "sha256", "sha256/..", "../x", "sha256/ab"] {
            assert!(text.parse::<LayerId>().is_err(), "{text}");
        }
        let digits = "0123456789abcdef".repeat(2);
        assert!(format!("sha256/{hex}+c{digits}").parse::<LayerId>().is_ok());
        for variant in [
            "+",
            "+c",
            &format!("+x{digits}"),
            &format!("+c{digits}/.."),
            &format!("+c{}", digits.to_uppercase()),
        ] {
            assert!(format!("sha256/{hex}{variant}").parse::<LayerId>().is_err());
        }
        for text in ["", ".", "..", ".a", "a/b", "a b", "-a", &"a".repeat(129)] {
            assert!(Key::new(text).is_err(), "{text}");
        }
        assert!(Key::new("a-B_9.c").is_ok());
        assert_ne!(Key::unique(), Key::unique());
        assert!(Key::new(Key::unique().to_string()).is_ok());
    }
}
