//! `cat`: the content of files in an image, without unpacking it.

use std::io::Write;

use super::extract::Found;
use super::view::Layers;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{InodeKind, escape_name};
use crate::image::Platform;
use crate::layer::view::{Content, ContentSink, View};
use crate::layout::ImageSource;
use crate::progress::Progress;

/// Writes the content of regular files in an image to `out`, one after the other. Symbolic links are followed inside the
/// image.
///
/// Layers are read from the top down until they say what each path is; the rest is neither read nor verified. Those read
/// are verified before the first byte is written; each file then takes one more pass over the layer that has it, which is
/// verified again. A failure of that second verification comes after the content.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if the image or a path in it does not exist, [`ErrorKind::InvalidInput`] if a path is no
/// regular file (then nothing was written), and those of reading the image and of writing.
pub fn cat(
    image: &dyn ImageSource,
    platform: Option<&Platform>,
    paths: &[&[u8]],
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<()> {
    let found = Found::open(image, platform)?;
    let layers = Layers::of(&found.image(), progress)?;
    let (view, below_count) = layers.upper_view(false, |view| {
        let is_known = |path: &&[u8]| matches!(view.resolve(path), Ok(Some(_)));
        paths.iter().all(is_known)
    })?;
    let files = paths
        .iter()
        .map(|path| find(&view, path).context(|| format!("cat {}", escape_name(path))));
    let files: Vec<Option<Content>> = files.collect::<Result<_>>()?;
    for content in files.into_iter().flatten() {
        let mut sink = Copy {
            out,
            entry: content.entry,
        };
        layers.copy(below_count + content.layer, &mut sink)?;
    }
    out.flush().context(|| "write content")
}

/// Where the content of a path is; `None` if it is empty.
fn find(view: &View, path: &[u8]) -> Result<Option<Content>> {
    let Some(node) = view.resolve(path)? else {
        return Err(Error::new(ErrorKind::NotFound, "no such file in the image"));
    };
    let inode = view.tree().inode(node);
    let what = match inode.kind {
        InodeKind::File if inode.size == 0 => return Ok(None),
        InodeKind::File => return Ok(view.content(node)),
        InodeKind::Directory => "is a directory",
        // It leads nowhere.
        InodeKind::Symlink => {
            return Err(Error::new(ErrorKind::NotFound, "no such file in the image"));
        }
        InodeKind::CharDevice | InodeKind::BlockDevice => "is a device",
        InodeKind::Fifo | InodeKind::Socket => "is a pipe or socket",
    };
    Err(Error::new(ErrorKind::InvalidInput, what))
}

/// Writes the content of one entry.
struct Copy<'o> {
    out: &'o mut dyn Write,
    entry: u64,
}

impl ContentSink for Copy<'_> {
    fn begin(&mut self, entry: u64, _size: u64) -> Result<bool> {
        Ok(entry == self.entry)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context(|| "write content")
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}
