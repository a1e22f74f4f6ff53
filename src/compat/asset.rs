//! The content of one layer on disk, with its digest: a tar file kept byte for byte, or a directory.
//!
//! ```text
//! <parent>/<name>              the asset: there whole or not at all
//! <parent>/.bundle-asset-*/    in the making, locked while its process lives; the next one here removes it
//! ```
//!
//! Both go by [`LayerContent`]. Unpacking makes the asset beside its place and moves it there at the end, so that a failure
//! leaves what was there before. A tar file takes the place of an older one; a directory only that of nothing, or of an
//! empty directory, since nobody could say what a mixture of two layers is.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_cas::{Algorithm, Digest, Hasher};

use crate::fs::names::{split_path, unique_name};
use crate::fs::staging::Staging;
use crate::fs::{Access, Dir, InodeKind, MapOptions, Root};
use crate::layer::{
    ApplyOptions, GenerateOptions, InsertOptions, Insertion, LayerSource, apply_layers,
    generate_insert_layer,
};
use crate::progress::Silent;
use crate::{Error, ErrorKind, Result, ResultExt};

/// How the names of staging directories begin.
const STAGING: &str = ".bundle-asset-";

/// What is in the making in a staging directory.
const STAGED: &[u8] = b"content";

/// Bytes that are read or written at a time.
const CHUNK_SIZE: usize = 256 << 10;

/// The content of a layer, which comes from a tar stream and can be made one again.
///
/// ```
/// use oci_bundle::cas::Algorithm;
/// use oci_bundle::compat::asset::{LayerContent, TarAsset};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = tempfile::tempdir()?;
/// let mut asset = TarAsset::new(directory.path().join("layer.tar"), Algorithm::Sha256);
/// assert_eq!(asset.digest(), None);
/// // The empty archive: two blocks of zeros.
/// let digest = asset.unpack(&mut [0; 1024].as_slice())?;
/// assert_eq!(asset.load_digest()?, digest);
/// # Ok(())
/// # }
/// ```
pub trait LayerContent {
    /// Makes the content of an uncompressed tar stream, which is read to its end, and returns the digest of all of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] or [`ErrorKind::AlreadyExists`] when something else is in the place of the content, or
    /// what the reader, the stream or the file system gives. What was there is as it was then, and so is the
    /// [`digest`](Self::digest).
    fn unpack(&mut self, reader: &mut dyn Read) -> Result<Digest>;

    /// Writes the content as an uncompressed tar stream and returns the digest of that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no content, [`ErrorKind::InvalidInput`] when something else is in its place,
    /// or what the writer or the file system gives; what was written is no whole stream then.
    fn pack(&mut self, writer: &mut dyn Write) -> Result<Digest>;

    /// The digest of the last stream that was unpacked, packed or loaded; `None` before the first.
    fn digest(&self) -> Option<&Digest>;

    /// Computes the digest from what is on disk.
    ///
    /// # Errors
    ///
    /// As [`pack`](Self::pack).
    fn load_digest(&mut self) -> Result<Digest> {
        self.pack(&mut io::sink())
    }

    /// Where the content is.
    fn path(&self) -> &Path;
}

/// A layer as one tar file.
#[derive(Clone, Debug)]
pub struct TarAsset {
    path: PathBuf,
    algorithm: Algorithm,
    digest: Option<Digest>,
}

impl TarAsset {
    /// Names a file, which need not exist; nothing is looked at.
    pub fn new(path: impl Into<PathBuf>, algorithm: Algorithm) -> Self {
        Self {
            path: path.into(),
            algorithm,
            digest: None,
        }
    }
}

impl LayerContent for TarAsset {
    /// As the trait says. The file gets mode 0644 less the umask; its bytes are those of the stream, whatever they are.
    fn unpack(&mut self, reader: &mut dyn Read) -> Result<Digest> {
        let place = Place::find(&self.path, Wanted::FileOrNothing)?;
        let fail = || format!("write {}", self.path.display());
        // An unfinished file lies in a directory of its own, which is swept when its process has died.
        let staging = Staging::create(place.parent.path(), STAGING, Access::Plain)?;
        let mut file = staging.dir().create_new_file(STAGED, 0o644)?;
        let mut hashed = Hashed::new(reader, self.algorithm);
        copy(&mut hashed, &mut file).context(fail)?;
        sync(&file).context(fail)?;
        place.publish_file(staging).context(fail)?;
        let digest = hashed.hasher.finish();
        self.digest = Some(digest.clone());
        Ok(digest)
    }

    /// As the trait says; the bytes are those that were unpacked.
    fn pack(&mut self, writer: &mut dyn Write) -> Result<Digest> {
        let place = Place::find(&self.path, Wanted::File)?;
        let mut hashed = Hashed::new(place.parent.open_file(place.name)?, self.algorithm);
        copy(&mut hashed, writer).context(|| format!("copy {}", self.path.display()))?;
        let digest = hashed.hasher.finish();
        self.digest = Some(digest.clone());
        Ok(digest)
    }

    fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A layer as a directory.
///
/// A directory says less than the tar stream that it came from (the order of entries, what was written as what), so
/// packing gives a stream of the same meaning and, for the same directory, always the same bytes, but not those that were
/// unpacked. The directory's own owner, mode and times are not in it; whiteouts are applied, not kept.
#[derive(Clone, Debug)]
pub struct DirAsset {
    path: PathBuf,
    algorithm: Algorithm,
    map_options: MapOptions,
    digest: Option<Digest>,
}

impl DirAsset {
    /// Names a directory, which need not exist; nothing is looked at.
    pub fn new(path: impl Into<PathBuf>, algorithm: Algorithm) -> Self {
        Self {
            path: path.into(),
            algorithm,
            map_options: MapOptions::default(),
            digest: None,
        }
    }

    /// Maps the owners in the layer to others on disk, and back.
    #[must_use]
    pub fn with_map_options(mut self, map_options: MapOptions) -> Self {
        self.map_options = map_options;
        self
    }

    fn access(&self) -> Access {
        if self.map_options.rootless {
            Access::Unprivileged
        } else {
            Access::Plain
        }
    }
}

impl LayerContent for DirAsset {
    /// As the trait says. Nothing may be in the place of the directory. Its mode is 0755, unless the layer says another.
    fn unpack(&mut self, reader: &mut dyn Read) -> Result<Digest> {
        let place = Place::find(&self.path, Wanted::Nothing)?;
        let staging = Staging::create(place.parent.path(), STAGING, Access::Plain)?;
        if let Some(made) = staging.dir().create_dir(STAGED, 0o755)? {
            // Whatever the umask.
            made.set_mode(0o755)?;
        }
        let root = staging.path().join(std::ffi::OsStr::from_bytes(STAGED));
        let root = Root::open(&root, self.access())?;
        let mut digest = None;
        apply_layers(
            std::iter::once(Ok((self.algorithm, Stream(reader)))),
            &root,
            &ApplyOptions::new(self.map_options.clone()),
            &Silent,
            |applied| {
                digest = Some(applied.digest);
                Ok(())
            },
        )
        .context(|| format!("unpack {}", self.path.display()))?;
        let Some(digest) = digest else {
            return Err(Error::new(ErrorKind::Io, "the layer was not applied"));
        };
        drop(root);
        staging.sync()?;
        staging.publish_entry(STAGED, place.name)?;
        self.digest = Some(digest.clone());
        Ok(digest)
    }

    fn pack(&mut self, writer: &mut dyn Write) -> Result<Digest> {
        Place::find(&self.path, Wanted::Directory)?;
        let everything = Insertion::Tree {
            source: self.path.clone(),
            target: b"/".to_vec(),
            opaque: false,
        };
        let options = InsertOptions {
            generate: GenerateOptions {
                map_options: self.map_options.clone(),
                ..GenerateOptions::default()
            },
            ..InsertOptions::default()
        };
        let mut buffered =
            BufWriter::with_capacity(CHUNK_SIZE, Hashed::new(writer, self.algorithm));
        let fail = || format!("pack {}", self.path.display());
        generate_insert_layer(&mut buffered, &[everything], &options, &Silent).context(fail)?;
        let hashed = buffered
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .context(fail)?;
        let digest = hashed.hasher.finish();
        self.digest = Some(digest.clone());
        Ok(digest)
    }

    fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// What must be where an asset is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    File,
    FileOrNothing,
    Directory,
    Nothing,
}

/// Where an asset is: a name in an open directory.
struct Place<'a> {
    parent: Dir,
    name: &'a [u8],
    /// Whether something has the name.
    taken: bool,
}

impl<'a> Place<'a> {
    /// Looks at a path, of which only the last name is not followed.
    fn find(path: &'a Path, wanted: Wanted) -> Result<Self> {
        let (parent, name) = split_path(path)?;
        let parent = Dir::open(parent, Access::Plain)?;
        let found = parent.try_stat(name)?.map(|stat| stat.kind);
        let fail = |kind, why: &str| {
            let message = format!("content of a layer at {}: {why}", path.display());
            Err(Error::new(kind, message))
        };
        match (wanted, found) {
            (Wanted::File | Wanted::Directory, None) => fail(ErrorKind::NotFound, "there is none"),
            (_, Some(InodeKind::Symlink)) => fail(ErrorKind::InvalidInput, "it is a symbolic link"),
            (Wanted::File | Wanted::FileOrNothing, Some(InodeKind::Directory)) => {
                fail(ErrorKind::InvalidInput, "it is a directory, not a tar file")
            }
            (Wanted::File | Wanted::FileOrNothing, Some(kind)) if kind != InodeKind::File => {
                fail(ErrorKind::InvalidInput, "it is not a regular file")
            }
            (Wanted::Directory | Wanted::Nothing, Some(kind)) if kind != InodeKind::Directory => {
                fail(ErrorKind::InvalidInput, "it is not a directory")
            }
            (Wanted::Nothing, Some(_)) => {
                fail(ErrorKind::AlreadyExists, "there is a directory already")
            }
            (_, found) => Ok(Self {
                parent,
                name,
                taken: found.is_some(),
            }),
        }
    }

    /// Gives the staged file its name, over the file that has it.
    fn publish_file(&self, staging: Staging) -> Result<()> {
        if !self.taken {
            return staging.publish_entry(STAGED, self.name);
        }
        let temporary = unique_name(STAGING);
        self.parent
            .create_link(temporary.as_bytes(), staging.dir(), STAGED)?;
        let renamed = self.parent.rename_over(temporary.as_bytes(), self.name);
        renamed.inspect_err(|_| {
            // The error that matters is the one being returned.
            let _ = self.parent.remove_all(temporary.as_bytes());
        })?;
        sync(&self.parent).context(|| format!("sync {}", self.parent.path().display()))
    }
}

/// Writes an open file, or the names in an open directory, to disk.
fn sync(file: &impl AsFd) -> io::Result<()> {
    File::from(file.as_fd().try_clone_to_owned()?).sync_all()
}

/// Copies to the end of the reader.
fn copy(reader: &mut dyn Read, writer: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_SIZE];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return writer.flush(),
            Ok(count) => writer.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A reader about which nothing was promised.
struct Stream<'a>(&'a mut dyn Read);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl LayerSource for Stream<'_> {
    fn verdict(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Hashes what passes, in either direction.
struct Hashed<T> {
    inner: T,
    hasher: Hasher,
}

impl<T> Hashed<T> {
    fn new(inner: T, algorithm: Algorithm) -> Self {
        Self {
            inner,
            hasher: Hasher::new(algorithm),
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
