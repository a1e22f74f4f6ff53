//! Images that the store knows: which chain they are, where their blobs are, what they are called.
//!
//! An image is a record in `images/`, named by the digest of its manifest; a name is a file in `names/` that says which
//! image has it. Setting a name that another image has moves it. No record is ever rewritten for the sake of another.

use std::path::{Path, PathBuf};

use oci_cas::Digest;
use serde::{Deserialize, Serialize};

use super::json;
use super::layer::now;
use super::place::Store;
use super::reason::Reason;
use super::text::{self, Text};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};
use crate::fs::Dir;
use crate::image::{ChainId, Descriptor, DiffId};

/// The longest name of an image.
const MAX_NAME: usize = 1024;

/// An image of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredImage {
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: Descriptor,
    /// The blobs of its layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The digests of its layers' streams, bottom first.
    pub diff_ids: Vec<DiffId>,
    /// The layout that has the blobs, as far as they are still there.
    pub layout: PathBuf,
    /// When it was brought in, in seconds since 1970.
    pub created: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageRecord {
    manifest: serde_json::Value,
    config: serde_json::Value,
    layers: Vec<serde_json::Value>,
    diff_ids: Vec<String>,
    layout: Text,
    created: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameRecord {
    name: Text,
    manifest: String,
}

impl StoredImage {
    /// An image that is brought in now.
    pub fn new(
        manifest: Descriptor,
        config: Descriptor,
        layers: Vec<Descriptor>,
        diff_ids: Vec<DiffId>,
        layout: PathBuf,
    ) -> Self {
        Self {
            manifest,
            config,
            layers,
            diff_ids,
            layout,
            created: now(),
        }
    }

    /// The chain of its layers; none if it has no layers.
    pub fn chain_id(&self) -> Option<ChainId> {
        ChainId::of(&self.diff_ids)
    }

    /// What it is found by.
    pub fn digest(&self) -> &Digest {
        self.manifest.digest()
    }

    fn record(&self) -> ImageRecord {
        use std::os::unix::ffi::OsStrExt;
        ImageRecord {
            manifest: self.manifest.to_value(),
            config: self.config.to_value(),
            layers: self.layers.iter().map(Descriptor::to_value).collect(),
            diff_ids: self.diff_ids.iter().map(ToString::to_string).collect(),
            layout: Text(self.layout.as_os_str().as_bytes().to_vec()),
            created: self.created,
        }
    }

    fn of(record: ImageRecord) -> Result<Self> {
        use std::os::unix::ffi::OsStringExt;
        let layers = record.layers.iter().map(Descriptor::from_value);
        let diff_ids = record.diff_ids.iter().map(|text| text.parse());
        Ok(Self {
            manifest: Descriptor::from_value(&record.manifest)?,
            config: Descriptor::from_value(&record.config)?,
            layers: layers.collect::<Result<_>>()?,
            diff_ids: diff_ids.collect::<Result<_>>()?,
            layout: std::ffi::OsString::from_vec(record.layout.0).into(),
            created: record.created,
        })
    }
}

fn file_of(digest: &Digest) -> String {
    format!("{}-{}.json", digest.algorithm(), digest.encoded())
}

/// The file of a name: the name itself as far as it can be one, and the digest of all of it.
fn file_of_name(name: &str) -> String {
    let digest = Digest::of(oci_cas::Algorithm::Sha256, name.as_bytes());
    format!("{}.json", digest.encoded())
}

impl Store {
    /// Takes an image in, or renews what is known of it.
    ///
    /// # Errors
    ///
    /// Fails if the record cannot be written.
    pub fn add_image(&self, image: &StoredImage) -> Result<()> {
        let _in_use = self.lease()?;
        let images = self.sub("images")?;
        let name = file_of(image.digest());
        let known = json::try_read::<ImageRecord>(&images, &name).ok().flatten();
        let record = image.record();
        // The same image from the same place: nothing to write, and so nothing to wait for.
        if let Some(known) = known
            && known.layout == record.layout
            && known.diff_ids == record.diff_ids
        {
            return Ok(());
        }
        json::replace(&images, &name, &record)
    }

    /// An image by the digest of its manifest.
    ///
    /// # Errors
    ///
    /// Fails if the record cannot be read.
    pub fn find_image(&self, manifest: &Digest) -> Result<Option<StoredImage>> {
        let record = json::try_read(&self.sub("images")?, &file_of(manifest))?;
        record.map(StoredImage::of).transpose()
    }

    /// All images, in the order of their digests.
    ///
    /// # Errors
    ///
    /// Fails if a record cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>> {
        let images = self.sub("images")?;
        let mut found = Vec::new();
        for name in records(&images)? {
            // Removed since the directory was read.
            if let Some(record) = json::try_read(&images, &name)? {
                found.push(StoredImage::of(record)?);
            }
        }
        Ok(found)
    }

    /// Gives an image a name, which any other image loses.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageUnknown`] if there is no such image; [`ErrorKind::InvalidInput`] if the name is empty, longer than
    /// 1024 bytes, or has control characters in it.
    pub fn tag(&self, name: &str, manifest: &Digest) -> Result<()> {
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let message = format!(
                "{:?} is not a name of an image",
                text::encode(name.as_bytes())
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if self.find_image(manifest)?.is_none() {
            return Err(Reason::ImageUnknown.error(format!("image {manifest}: not in the store")));
        }
        let record = NameRecord {
            name: Text(name.as_bytes().to_vec()),
            manifest: manifest.to_string(),
        };
        let _in_use = self.lease()?;
        let names = self.sub("names")?;
        let file = file_of_name(name);
        let known = json::try_read::<NameRecord>(&names, &file).ok().flatten();
        if known.is_some_and(|known| known.manifest == record.manifest) {
            return Ok(());
        }
        json::replace(&names, &file, &record)
    }

    /// Takes a name away.
    ///
    /// # Errors
    ///
    /// [`Reason::TagNotFound`] if no image has it.
    pub fn untag(&self, name: &str) -> Result<()> {
        let names = self.sub("names")?;
        let file = file_of_name(name);
        if names.try_stat(file.as_bytes())?.is_none() {
            return Err(Reason::TagNotFound.error(format!("name {name:?}: no image has it")));
        }
        names.remove_all(file.as_bytes())?;
        names
            .sync_names()
            .context(|| format!("name {name:?} is removed, but may be back after a power cut"))
    }

    /// All names and the digests of the manifests that have them, in the order of the names.
    ///
    /// # Errors
    ///
    /// Fails if a record cannot be read.
    pub fn names(&self) -> Result<Vec<(String, Digest)>> {
        let names = self.sub("names")?;
        let mut found = Vec::new();
        for file in records(&names)? {
            if let Some(record) = json::try_read::<NameRecord>(&names, &file)? {
                let name = String::from_utf8_lossy(&record.name.0).into_owned();
                found.push((name, record.manifest.parse()?));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The image that is meant: by a name, the digest of its manifest, or at least four digits that it begins with and no
    /// other does.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageUnknown`] if none is, [`ErrorKind::Ambiguous`] if several are.
    pub fn image(&self, meant: &str) -> Result<StoredImage> {
        let names = self.sub("names")?;
        if let Some(record) = json::try_read::<NameRecord>(&names, &file_of_name(meant))? {
            let found = self.find_image(&record.manifest.parse()?)?;
            return found.ok_or_else(|| {
                let message = format!("name {meant:?}: its image is not in the store any more");
                Reason::TagNotFound.error(message)
            });
        }
        if let Ok(digest) = meant.parse::<Digest>()
            && let Some(image) = self.find_image(&digest)?
        {
            return Ok(image);
        }
        let digits = meant.rsplit(':').next().unwrap_or_default();
        let is_prefix = digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = Vec::new();
        for image in self.images()? {
            if is_prefix && image.digest().encoded().starts_with(digits) {
                found.push(image);
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some(image), true) => Ok(image),
            (Some(_), false) => {
                let message = format!("image ID prefix {meant:?} is ambiguous");
                Err(Error::new(ErrorKind::Ambiguous, message))
            }
            (None, _) => Err(Reason::ImageUnknown
                .error(format!("image {meant:?}: not in the store"))
                .with_hint("`bundle store ls` lists those that are")),
        }
    }

    /// Takes an image out, with its names. Its layers stay until `gc`.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageUnknown`] if there is no such image.
    pub fn remove_image(&self, manifest: &Digest) -> Result<()> {
        let images = self.sub("images")?;
        let file = file_of(manifest);
        if images.try_stat(file.as_bytes())?.is_none() {
            return Err(Reason::ImageUnknown.error(format!("image {manifest}: not in the store")));
        }
        for (name, of) in self.names()? {
            if of == *manifest {
                self.untag(&name)?;
            }
        }
        images.remove_all(file.as_bytes())?;
        images
            .sync_names()
            .context(|| format!("image {manifest} is removed, but may be back after a power cut"))
    }

    /// The images that have a layer, and the place of it in each: where its blob may be found.
    ///
    /// # Errors
    ///
    /// Fails if a record cannot be read.
    pub fn images_with_layer(&self, diff_id: &DiffId) -> Result<Vec<(StoredImage, usize)>> {
        let mut found = Vec::new();
        for image in self.images()? {
            if let Some(place) = image.diff_ids.iter().position(|own| own == diff_id) {
                found.push((image, place));
            }
        }
        Ok(found)
    }
}

/// The names of the records in a directory.
fn records(dir: &Dir) -> Result<Vec<String>> {
    let names = dir.names()?.into_iter();
    let names = names.filter(|name| name.ends_with(b".json"));
    Ok(names
        .map(|name| String::from_utf8_lossy(&name).into_owned())
        .collect())
}

/// The name that an image of a layout gets: the absolute path of the layout, a colon and the tag.
pub fn name_in_layout(layout: &Path, tag: &str) -> String {
    format!("{}:{tag}", layout.display())
}
