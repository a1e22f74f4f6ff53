//! Unpacks one layer without those below it.

use oci_cas::Algorithm;

use super::apply::Applier;
use super::lower_dependencies::LowerDependencies;
use super::options::ApplyOptions;
use super::pipeline::{Applied, LayerSource, drive, run};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::tree::Tree;
use crate::fs::{Root, XattrNamespace};
use crate::progress::Progress;

/// A layer that was unpacked by itself, and what it says about those below it.
#[derive(Debug)]
pub struct UnpackedLayer {
    /// Digest and size of its stream.
    pub applied: Applied,
    /// What is on disk, as it is there, without whiteouts.
    pub tree: Tree,
    /// What it says about the layers below.
    pub changeset: LowerDependencies,
}

/// Unpacks a layer by itself, in the form that overlayfs stacks: stacked over the layers below, after what
/// [`LowerDependencies`] tells about has been put right, it is what [`apply_layers`](super::apply_layers) makes of them.
///
/// The root must be empty and nobody else's. `marks` says which attributes the kernel is going to read; those of the
/// image that have such names are stored escaped. The stream is hashed by `algorithm`. Whatever `options` say, the record
/// is complete and has the digests of the files. On failure the root holds part of the layer.
///
/// ```
/// use oci_bundle::cas::Algorithm;
/// use oci_bundle::fs::{Access, XattrNamespace, Root};
/// use oci_bundle::layer::{ApplyOptions, LayerSource, unpack_changeset};
/// use oci_bundle::progress::Silent;
///
/// struct Empty(std::io::Take<std::io::Repeat>);
/// impl std::io::Read for Empty {
///     fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
///         self.0.read(buffer)
///     }
/// }
/// impl LayerSource for Empty {
///     fn verdict(&mut self) -> oci_bundle::Result<()> {
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Read;
///
/// let dir = tempfile::tempdir()?;
/// let root = Root::open(dir.path(), Access::Plain)?;
/// // The empty archive: two blocks of zeros.
/// let source = Empty(std::io::repeat(0).take(1024));
/// let options = ApplyOptions::default();
/// let layer = unpack_changeset(source, Algorithm::Sha256, &root, &options, XattrNamespace::User, &Silent)?;
/// assert_eq!((layer.applied.size, layer.changeset.files), (1024, 1));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Fails as [`unpack_layer`](super::unpack_layer) does, except where only the layers below tell what a path or the target
/// of a hard link is ([`LowerDependencies::needs_below`]); if the root is not empty, or
/// [`keep_dirlinks`](ApplyOptions::keep_dirlinks) is asked for, which needs the layers below
/// ([`ErrorKind::InvalidInput`]); if the layer has a device that overlayfs takes for a whiteout
/// ([`ErrorKind::Unsupported`]); and if it says more about the layers below than there are limits for
/// ([`ErrorKind::LimitExceeded`]): 1,000,000 names that are hidden, 65,536 owners.
pub fn unpack_changeset(
    source: impl LayerSource,
    algorithm: Algorithm,
    root: &Root,
    options: &ApplyOptions,
    marks: XattrNamespace,
    progress: &dyn Progress,
) -> Result<UnpackedLayer> {
    if options.keep_dirlinks {
        let message = "links to directories cannot be kept in a layer without those below it";
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_hint("unpack without --keep-dirlinks or without --overlay"));
    }
    if !root.dir().names()?.is_empty() {
        let path = root.dir().path().display();
        let message = format!("unpack a layer to {path}: the directory is not empty");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let options = ApplyOptions {
        fresh: true,
        file_digests: true,
        ..options.clone()
    };
    let layers = std::iter::once(Ok((algorithm, source)));
    run(layers, &options.limits, true, |framed, empty| {
        crate::fs::private_umask()?;
        let mut applier = Applier::stacked(root, &options, marks, progress)?;
        let mut last = None;
        drive(framed, empty, &mut applier, |layer| {
            last = Some(layer);
            Ok(())
        })?;
        let (tree, changeset) = applier.into_changeset()?;
        let not_applied = || Error::new(ErrorKind::Io, "the layer was not applied");
        Ok(UnpackedLayer {
            applied: last.ok_or_else(not_applied)?,
            tree,
            changeset,
        })
    })
}
