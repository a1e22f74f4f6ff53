//! `overlay.json`: which container of which store is the root file system of a bundle.
//!
//! A bundle that has this file has nothing in `rootfs` itself: the container is mounted there. Everything else about the
//! bundle is as always, `umoci.json` too.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::Dir;
use crate::store::{BUNDLE_FILE, Key};

/// The only version of the format.
const VERSION: u32 = 1;

/// The content of `overlay.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayMetadata {
    /// Directory of the store: an absolute path.
    pub store: PathBuf,
    /// The container.
    pub key: Key,
}

#[derive(Deserialize)]
struct Document {
    version: u32,
    store: String,
    /// The path in hexadecimal, if it is no UTF-8.
    #[serde(default)]
    store_bytes: Option<String>,
    key: String,
}

impl OverlayMetadata {
    /// Name of the file in a bundle.
    pub const FILE_NAME: &str = BUNDLE_FILE;

    /// Largest size that is read, in bytes.
    const MAX_SIZE: u64 = 64 << 10;

    /// The content of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let path = self.store.as_os_str().as_bytes();
        let mut document = json!({
            "version": VERSION,
            "store": String::from_utf8_lossy(path),
            "key": self.key.as_str(),
        });
        if std::str::from_utf8(path).is_err() {
            document["store_bytes"] = hex::encode(path).into();
        }
        format!("{document}\n").into_bytes()
    }

    /// Reads the file of a bundle. `None` if it has none: then its root file system is its own.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is malformed or of another version.
    pub fn read(bundle: &Dir) -> Result<Option<Self>> {
        let name = Self::FILE_NAME.as_bytes();
        if bundle.try_stat(name)?.is_none() {
            return Ok(None);
        }
        let bytes = bundle.read_file(name, Self::MAX_SIZE)?;
        Self::parse(&bytes)
            .context(|| format!("read {}", bundle.path_of(name).display()))
            .map(Some)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let malformed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::InvalidData, "malformed document").with_source(error)
        };
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| malformed(error.into()))?;
        if document.version != VERSION {
            let message = format!("version {} is not known", document.version);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let store = match document.store_bytes {
            Some(text) => hex::decode(text).map_err(|error| malformed(error.into()))?,
            None => document.store.into_bytes(),
        };
        let store = PathBuf::from(OsString::from_vec(store));
        if !store.is_absolute() {
            let message = "the path of the store is not absolute";
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        Ok(Self {
            store,
            key: Key::new(document.key)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for path in [&b"/var/lib/bundle"[..], b"/a b\n\"", b"/\xff\xfe"] {
            let metadata = OverlayMetadata {
                store: OsString::from_vec(path.to_vec()).into(),
                key: Key::new("c0").unwrap(),
            };
            assert_eq!(
                OverlayMetadata::parse(&metadata.to_bytes()).unwrap(),
                metadata
            );
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"version":2,"store":"/s","key":"k"}"#,
            r#"{"version":1,"store":"s","key":"k"}"#,
            r#"{"version":1,"store":"/s","key":"../k"}"#,
            r#"{"version":1,"store":"/s","store_bytes":"zz","key":"k"}"#,
        ] {
            assert!(OverlayMetadata::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
