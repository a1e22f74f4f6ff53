//! Records of the store: small files in JSON, each written whole and replaced whole.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Dir, atomic};

/// The largest record that is read: that of a layer with a million whiteouts.
const MAX_SIZE: u64 = 512 << 20;

/// The bytes of a record.
pub(crate) fn write(record: &impl Serialize) -> Vec<u8> {
    // Records are made of strings, numbers and lists of them, which always have a text.
    let mut bytes = serde_json::to_vec(record).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Reads a record.
pub(crate) fn read<T: DeserializeOwned>(dir: &Dir, name: &str) -> Result<T> {
    let bytes = dir.read_file(name.as_bytes(), MAX_SIZE)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let path = dir.path_of(name.as_bytes());
        let message = format!("read {}: malformed record", path.display());
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    })
}

/// Reads a record, or says that there is none.
pub(crate) fn try_read<T: DeserializeOwned>(dir: &Dir, name: &str) -> Result<Option<T>> {
    match read(dir, name) {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a record in place of the one that is there, if any.
pub(crate) fn replace(dir: &Dir, name: &str, record: &impl Serialize) -> Result<()> {
    atomic::replace_in(dir, name, 0o600, &write(record))
}
