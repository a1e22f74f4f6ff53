//! The last stage of the pipeline, as the stages before it see it.

use super::frame::Step;
use crate::error::Result;

/// What the last stage does with the steps of layers.
pub(super) trait Consumer {
    /// Takes the bytes of the stream as they are, before the steps that are in them.
    fn chunk(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Takes one step; data is within `chunk`.
    fn step(&mut self, step: Step, chunk: &[u8]) -> Result<()>;

    /// The layer is complete.
    fn finish_layer(&mut self) -> Result<()>;
}
