//! `export --format tar`: the root file system of an image as one tar archive.

use std::io::Write;

use super::extract::Found;
use super::view::Layers;
use crate::error::{Result, ResultExt};
use crate::image::Platform;
use crate::layer::view::{View, write_layer};
use crate::layout::ImageSource;
use crate::progress::Progress;

/// Writes what an image unpacks to as an uncompressed tar archive: directories first, parents before children, then files,
/// then further names of files with several. Owners are the image's. Nothing is unpacked on disk, every layer is read
/// twice at most, and the same image gives the same bytes.
///
/// # Errors
///
/// Those of reading the image, whose layers are all verified before a byte is written, and of writing.
pub fn export_tar(
    image: &dyn ImageSource,
    platform: Option<&Platform>,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<()> {
    let found = Found::open(image, platform)?;
    let image = found.image();
    let layers = Layers::of(&image, progress)?;
    let merged = layers.view(false)?;
    let mut copy = |index, sink: &mut dyn crate::layer::view::ContentSink| layers.copy(index, sink);
    write_layer(out, &View::new(), &merged, &mut copy)
        .context(|| "write the archive")?
        .flush()
        .context(|| "write the archive")
}
