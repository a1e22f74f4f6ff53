//! How the operations that make a layer compress it.

use crate::archive::{Compression, EncoderOptions};
use crate::image::Manifest;
use crate::layout::Layout;

/// How to compress a new layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressOptions {
    /// The format; `None` takes after the image's layers ([`Layout::auto_compression`]).
    pub compression: Option<Compression>,
    /// The level, in the format's own terms; `None` is the format's default.
    pub level: Option<i32>,
}

impl CompressOptions {
    /// What the encoder is told, for a new layer of an image of this layout.
    pub fn encoder(&self, layout: &Layout, manifest: &Manifest) -> EncoderOptions {
        EncoderOptions {
            compression: self
                .compression
                .unwrap_or_else(|| layout.auto_compression(manifest)),
            level: self.level,
            threads: None,
        }
    }
}
