//! Files of a layer by path: what puts a tar stream together again from its headers needs their content.

use super::overlay::OverlayDriver;
use super::traits::FileSource;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileReader, escape_name};
use crate::overlay::Stack;
use crate::store::Key;

/// The files of a layer and of those below it, without a mount.
///
/// Nothing may be written to the layer meanwhile: what has been looked up is remembered.
#[derive(Debug)]
pub struct LayerFiles {
    stack: Stack,
}

impl OverlayDriver {
    /// Opens the files of a layer.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`](crate::store::Reason::KeyUnknown) if there is no such layer.
    pub fn files(&self, key: &Key) -> Result<LayerFiles> {
        let _in_use = self.store.shared()?;
        let (container, state) = self.find(key)?;
        let chain = self.store.chain(container.meta().chain.as_ref())?;
        let mut dirs = self.store.lowers(&chain)?;
        if !state.is_committed() {
            dirs = dirs.below(container.upper()?);
        }
        Ok(LayerFiles {
            stack: Stack::over(dirs, self.store.marks()),
        })
    }
}

impl FileSource for LayerFiles {
    fn open(&self, path: &[u8]) -> Result<FileReader> {
        let found = self.stack.lookup(path)?.ok_or_else(|| {
            let message = format!("open {}: not in the layer", escape_name(path));
            Error::new(ErrorKind::NotFound, message)
        })?;
        found.open_file()
    }
}
