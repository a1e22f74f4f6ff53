//! The blobs of the directory: [`Store`] for [`DirStore`].

use super::files::{find_followed, not_a, open_regular, regular_size};
use super::ingest::DirIngest;
use super::store::DirStore;
use crate::{Algorithm, Blob, Digest, Error, Ingest, Result, Store};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

impl Store for DirStore {
    fn open(&self, digest: &Digest) -> Result<Blob> {
        let missing = || Error::io("open blob", digest, Errno::NOENT);
        let directory = self
            .find_algorithm(digest.algorithm())?
            .ok_or_else(missing)?;
        let (file, size) = open_regular(&directory, &digest.encoded(), &format!("blob {digest}"))?;
        Ok(Blob {
            reader: Box::new(file),
            size,
        })
    }

    fn stat(&self, digest: &Digest) -> Result<Option<u64>> {
        let Some(directory) = self.find_algorithm(digest.algorithm())? else {
            return Ok(None);
        };
        let path = format!("blob {digest}");
        find_followed(&directory, digest.encoded(), &path)?
            .map(|stat| regular_size(&stat, &path))
            .transpose()
    }

    fn ingest(&self, algorithm: Algorithm) -> Result<Box<dyn Ingest + '_>> {
        Ok(Box::new(DirIngest::new(self, algorithm)?))
    }

    fn remove(&self, digest: &Digest) -> Result<bool> {
        self.refuse_shared("remove blob")?;
        let Some(directory) = self.find_algorithm(digest.algorithm())? else {
            return Ok(false);
        };
        match fs::unlinkat(&directory, digest.encoded(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::ISDIR) => Err(not_a(&format!("blob {digest}"), "a regular file")),
            Err(errno) => Err(Error::io("remove blob", digest, errno)),
        }
    }

    fn list(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(scan) = self.scan(algorithm)? {
                digests.extend(scan.digests);
            }
        }
        digests.sort_unstable();
        Ok(digests)
    }
}
