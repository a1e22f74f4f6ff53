//! How much room layers and containers take.

use super::id::{Key, LayerId};
use super::place::Store;
use crate::error::Result;
use crate::fs::quota;
use crate::fs::usage::{Usage, usage};

impl Store {
    /// What the changes of a container take: the kernel's count where there is a quota, which costs nothing, or else
    /// counted file by file. The kernel counts what overlayfs works with, too, and no apparent size: that is then the same.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`](super::Reason::KeyUnknown) if there is no such container, and if it cannot be read.
    pub fn usage(&self, key: &Key) -> Result<Usage> {
        let upper = self.container(key)?.upper()?;
        if let Ok(Some(counted)) = quota::get(&upper) {
            return Ok(Usage {
                bytes: counted.bytes,
                apparent: counted.bytes,
                inodes: counted.inodes,
            });
        }
        usage(&upper)
    }

    /// What the content of a layer takes.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`](super::Reason::LayerUnknown) if there is no such layer, and if it cannot be read.
    pub fn layer_usage(&self, id: &LayerId) -> Result<Usage> {
        self.layer(id)?.usage()
    }
}
