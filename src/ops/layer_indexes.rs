//! What is in layers, remembered between commands: `insert` asks an image of gigabytes what a few paths are.
//!
//! A file for each layer, named by its diff ID, in a directory of the user's cache: SHA-256 of what follows, and the index of
//! the layer's entries with zstd. It is a cache and nothing else: what is missing or damaged is read from the layer, and so is
//! everything if others could write to the directory. The files that were made first go when there are many.

use std::path::Path;

use oci_cas::digest::BlockHasher;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::staging::MadeDirs;
use crate::fs::{Access, Dir, atomic};
use crate::image::DiffId;

/// How many layers are remembered.
const MAX_COUNT: usize = 256;

/// Bytes of the largest index, before and after it is compressed.
const MAX_SIZE: usize = 64 << 20;

/// Bytes of the digest in front.
const DIGEST_SIZE: usize = 32;

/// The indexes of layers.
#[derive(Debug)]
pub(super) struct LayerIndexes {
    dir: Dir,
}

impl LayerIndexes {
    /// Opens a directory of them, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`] if others can write to it; those of making it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        MadeDirs::make(path)?.keep();
        let dir = Dir::open(path, Access::Plain)?;
        let stat = dir.stat_self()?;
        if stat.uid != rustix::process::geteuid().as_raw() || stat.mode & 0o022 != 0 {
            let message = format!("{}: others can write to it", path.display());
            return Err(Error::new(ErrorKind::PermissionDenied, message));
        }
        Ok(Self { dir })
    }

    /// The index of a layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it is not remembered, [`ErrorKind::InvalidData`] if the file is damaged.
    pub(super) fn read(&self, layer: &DiffId) -> Result<Vec<u8>> {
        let file = self
            .dir
            .read_file(name_of(layer).as_bytes(), MAX_SIZE as u64)?;
        let damaged = || Error::new(ErrorKind::InvalidData, "the index is damaged");
        let (digest, packed) = file.split_at_checked(DIGEST_SIZE).ok_or_else(damaged)?;
        if digest != digest_of(packed) {
            return Err(damaged());
        }
        zstd::bulk::decompress(packed, MAX_SIZE).context(|| "read the index")
    }

    /// Remembers the index of a layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LimitExceeded`] if it is too large; those of writing.
    pub(super) fn write(&self, layer: &DiffId, index: &[u8]) -> Result<()> {
        if index.len() > MAX_SIZE {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "the index is too large",
            ));
        }
        self.make_room()?;
        let packed = zstd::bulk::compress(index, 1).context(|| "write the index")?;
        let mut file = digest_of(&packed).to_vec();
        file.extend(packed);
        atomic::replace_in(&self.dir, &name_of(layer), 0o600, &file)
    }

    /// Removes what was made first, so that one more can be made.
    fn make_room(&self) -> Result<()> {
        let mut files = Vec::new();
        for name in self.dir.names()? {
            if let Some(stat) = self.dir.try_stat(&name)? {
                files.push((stat.mtime, name));
            }
        }
        files.sort_unstable();
        let surplus = (files.len() + 1).saturating_sub(MAX_COUNT);
        files
            .iter()
            .take(surplus)
            .try_for_each(|(_, name)| self.dir.remove_all(name))
    }
}

fn name_of(layer: &DiffId) -> String {
    layer.to_string().replace(':', "-")
}

fn digest_of(bytes: &[u8]) -> [u8; DIGEST_SIZE] {
    let mut hasher = BlockHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn layer(number: usize) -> DiffId {
        format!("sha256:{number:064x}").parse().unwrap()
    }

    #[test]
    fn indexes_are_remembered_and_damaged_ones_are_not_believed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("bundle/layers");
        let indexes = LayerIndexes::open(&path).unwrap();
        let missing = indexes.read(&layer(1)).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        indexes.write(&layer(1), b"index").unwrap();
        let again = LayerIndexes::open(&path).unwrap();
        assert_eq!(again.read(&layer(1)).unwrap(), b"index");
        let file = path.join(name_of(&layer(1)));
        for damage in [&b""[..], b"short", &[0; 50]] {
            std::fs::write(&file, damage).unwrap();
            let damaged = again.read(&layer(1)).unwrap_err();
            assert_eq!(damaged.kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let refused = LayerIndexes::open(scratch.path()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn of_many_the_first_ones_go() {
        let scratch = tempfile::tempdir().unwrap();
        let indexes = LayerIndexes::open(&scratch.path().join("layers")).unwrap();
        for number in 0..MAX_COUNT + 3 {
            let seconds = i64::try_from(number).unwrap();
            indexes.write(&layer(number), b"index").unwrap();
            let file = scratch.path().join("layers").join(name_of(&layer(number)));
            let time = filetime::FileTime::from_unix_time(seconds, 0);
            filetime::set_file_mtime(file, time).unwrap();
        }
        assert!(indexes.read(&layer(2)).is_err());
        for number in [3, MAX_COUNT + 2] {
            assert_eq!(indexes.read(&layer(number)).unwrap(), b"index");
        }
    }
}
