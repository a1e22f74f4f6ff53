//! Layers as tar files, and chains as EROFS images that refer to them.
//!
//! ```text
//! layers/tar/<diff ID>/     layer.tar (its digest is the diff ID), index, odd (sparse contents), tar.json, meta.json
//! layers/erofs/<chain ID>/  image (metadata of the merged tree), image.json, meta.json, fs/ (where it is mounted)
//! ```
//!
//! The merged tree is that of [`layer::view`](crate::layer::view), to which the flat unpack is held too: there are no
//! whiteouts, patches and variants in this form. A chain stacks one layer, its image, below a patch that has the root only.
//!
//! The image is mounted once, on its own `fs/`, as long as something of the store that is mounted needs it: two mounts of
//! one image would be two page caches. The kernel trusts what is in it, so it has a digest, and the sizes of the tar files
//! are looked at before it is mounted.

mod build;
mod mounted;
mod tar;

use std::io::Read;

use oci_cas::{Algorithm, Hasher};

pub(crate) use self::build::ImageRecord;
pub(crate) use self::tar::KeptRecord;
use crate::error::{Result, ResultExt};
use crate::fs::Dir;

/// Bytes that are hashed at a time.
const CHUNK_SIZE: usize = 256 << 10;

/// The files of a layer that is a tar file.
pub(crate) const STREAM: &str = "layer.tar";
pub(crate) const INDEX: &str = "index";
pub(crate) const ODD: &str = "odd";
/// The files of an image.
pub(crate) const IMAGE: &str = "image";
pub(crate) const IMAGE_RECORD: &str = "image.json";
/// The digests of a layer's other files.
pub(crate) const KEPT_RECORD: &str = "tar.json";

/// The SHA-256 of a file.
pub(crate) fn digest_of(dir: &Dir, file: &str) -> Result<String> {
    let mut reader = dir.open_file(file.as_bytes())?;
    let (mut hasher, mut buffer) = (Hasher::new(Algorithm::Sha256), vec![0; CHUNK_SIZE]);
    loop {
        let read = reader.read(&mut buffer);
        match read.context(|| format!("read {}", dir.path_of(file.as_bytes()).display()))? {
            0 => return Ok(hasher.finish().to_string()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
