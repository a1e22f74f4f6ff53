//! `export`: the merged root file system of an image as one file.

use std::path::Path;

use super::extract::Found;
use super::view::Layers;
use crate::erofs::{BlockSize, DataPlace, Extent, ImageOptions, Plan, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::atomic::replace_with;
use crate::fs::names::split_path;
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{Access, Dir, FileWriter, InodeKind, escape_name};
use crate::image::{ChainId, DiffId, Platform};
use crate::layer::view::{Content, ContentSink, View};
use crate::layout::ImageSource;
use crate::progress::Progress;

/// How an image of the root file system is made.
#[derive(Clone, Debug)]
pub struct ErofsOptions {
    /// Bytes of a block: 4096, which Linux 5.15 mounts, or 512, for which it takes 6.4.
    pub block_size: u32,
    /// The platform that is wanted of an index of several; `None` is the host's.
    pub platform: Option<Platform>,
}

impl Default for ErofsOptions {
    fn default() -> Self {
        Self {
            block_size: 4096,
            platform: None,
        }
    }
}

/// Writes the merged root file system of an image as one EROFS image, contents inside, to a file, which replaces the one
/// that is there. The same layers give the same bytes.
///
/// Each layer is read twice, verified both times; memory is taken for names and attributes only.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for another block size; [`ErrorKind::LimitExceeded`] and [`ErrorKind::Unsupported`] if the
/// root has something that EROFS cannot hold (names of more than 255 bytes, targets of links of more than 4095, attributes
/// of other names than `user.`, `trusted.`, `security.` and those of ACLs); and those of reading the image and of writing.
/// The file is then as it was.
pub fn export_erofs(
    image: &dyn ImageSource,
    path: &Path,
    options: &ErofsOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let block_size = match options.block_size {
        512 => BlockSize::B512,
        4096 => BlockSize::B4096,
        other => {
            let message = format!("blocks of {other} bytes");
            let error = Error::new(ErrorKind::InvalidInput, message);
            return Err(error.with_hint("an EROFS image has blocks of 4096 or of 512 bytes"));
        }
    };
    let found = Found::open(image, options.platform.as_ref())?;
    let layers = Layers::of(&found.image(), progress)?;
    let (parent, name) = split_path(path)?;
    // Before the work, what cannot be written is found out.
    let parent = Dir::open(parent, Access::Plain)?;
    let root = Root(layers.view(false)?);
    let options = ImageOptions {
        block_size,
        uuid: uuid(&layers.diff_ids().cloned().collect::<Vec<_>>()),
        devices: Vec::new(),
    };
    let mut plan = Plan::new(&root, options)?;
    replace_with(&parent, name, 0o644, |file| {
        write(file, &mut plan, &root.0, &layers, path)
    })
}

/// Writes an image, the contents layer by layer.
fn write(
    file: &mut FileWriter,
    plan: &mut Plan<'_>,
    view: &View,
    layers: &Layers<'_>,
    path: &Path,
) -> Result<()> {
    let name = || path.to_owned();
    file.finish(plan.size(), name)?;
    plan.write(&mut |offset, bytes| file.write_at(offset, bytes, name))?;
    let bodies = bodies(view, plan)?;
    for bodies in bodies.chunk_by(|a, b| a.content.layer == b.content.layer) {
        let Some(layer) = bodies.first().map(|body| body.content.layer) else {
            continue;
        };
        let mut sink = Bodies {
            file,
            path,
            left: bodies,
            position: 0,
        };
        layers.copy(layer, &mut sink)?;
        if let Some(missing) = sink.left.first() {
            let path = escape_name(&view.path_of(missing.node));
            let message = format!("{path}: its layer does not have it any more");
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
    }
    Ok(())
}

/// A name for the file system that the layers decide (RFC 9562, version 8).
fn uuid(diff_ids: &[DiffId]) -> [u8; 16] {
    let chain = ChainId::of(diff_ids);
    let digest = chain.as_ref().map(|chain| chain.digest().as_bytes());
    let mut uuid = [0; 16];
    for (byte, from) in uuid.iter_mut().zip(digest.unwrap_or_default()) {
        *byte = *from;
    }
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// A root file system that is to be in an image as it is.
struct Root(View);

impl Source for Root {
    fn tree(&self) -> &Tree {
        self.0.tree()
    }

    fn device(&self, node: NodeId) -> (u32, u32) {
        self.0.device(node)
    }

    fn place(&self, _: NodeId) -> Result<DataPlace> {
        Ok(DataPlace::Inside)
    }
}

/// A file whose content is in a layer, and where it goes.
struct Body {
    content: Content,
    node: NodeId,
    size: u64,
    extent: Extent,
}

/// The files with content, each once, in the order of layers.
fn bodies(view: &View, plan: &Plan<'_>) -> Result<Vec<Body>> {
    let tree = view.tree();
    let (mut bodies, mut pending) = (Vec::new(), vec![Tree::ROOT]);
    while let Some(dir) = pending.pop() {
        for (_, node) in tree.children(dir) {
            let inode = tree.inode(node);
            if inode.kind == InodeKind::Directory {
                pending.push(node);
            }
            if let Some(content) = view.content(node)
                && let Some(extent) = plan.extent(node)?
            {
                bodies.push(Body {
                    content,
                    node,
                    size: inode.size,
                    extent,
                });
            }
        }
    }
    bodies.sort_unstable_by_key(|body| body.content);
    bodies.dedup_by_key(|body| body.content);
    Ok(bodies)
}

/// Takes the files of one layer to their places.
struct Bodies<'a> {
    file: &'a mut FileWriter,
    /// For messages.
    path: &'a Path,
    /// Those that have not come to their end yet, in the order of the layer.
    left: &'a [Body],
    /// Where in the first of them the next bytes belong.
    position: u64,
}

impl ContentSink for Bodies<'_> {
    fn begin(&mut self, entry: u64, size: u64) -> Result<bool> {
        self.position = 0;
        match self.left.first() {
            Some(body) if body.content.entry == entry && body.size == size => Ok(true),
            Some(body) if body.content.entry == entry => {
                let message = format!("a file of {} bytes has {size} now", body.size);
                Err(Error::new(ErrorKind::InvalidData, message))
            }
            _ => Ok(false),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(Body { extent, .. }) = self.left.first() else {
            return Ok(());
        };
        let start = self.position;
        self.position += bytes.len() as u64;
        // The file is new: it reads as zeros where nothing was written.
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let whole = extent.length.saturating_sub(start);
        let whole = usize::try_from(whole).map_or(bytes.len(), |whole| whole.min(bytes.len()));
        let (blocks, tail) = bytes.split_at(whole);
        if !blocks.is_empty() {
            let offset = extent.start + start;
            self.file
                .write_at(offset, blocks, || self.path.to_owned())?;
        }
        if !tail.is_empty() {
            let offset = extent.tail + start.saturating_sub(extent.length);
            self.file.write_at(offset, tail, || self.path.to_owned())?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.left = self.left.get(1..).unwrap_or_default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_system_is_that_of_its_layers() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let diff_id: DiffId = digest.parse().unwrap();
        let expected = [
            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x8d, 0xef, 0x81, 0x23, 0x45, 0x67, 0x89, 0xab,
            0xcd, 0xef,
        ];
        assert_eq!(uuid(&[diff_id]), expected);
        assert_eq!(uuid(&[])[6..9], [0x80, 0, 0x80]);
    }
}
