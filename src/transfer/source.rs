//! Where an image is: in a layout, an archive, or a registry; named as skopeo and podman do, and opened as one thing.
//!
//! ```text
//! text -> ImageName -> Source::open -> a layout: of the user's, over an archive in place, or over a registry
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_cas::{Algorithm, Digest, MemoryStore, StackedStore, Store};
use serde_json::{Value, json};

use super::archive::{
    AnyArchive, ArchiveFormat, DockerArchive, ImportedImage, Importer, OciArchive, open_in_place,
};
#[cfg(feature = "registry")]
use super::registry::{Registry, RegistryName, RegistryOptions};
#[cfg(feature = "registry")]
use super::remote::RemoteBlobs;
use crate::fs::staging::Staging;
use crate::fs::{Access, escape_name, input};
#[cfg(feature = "registry")]
use crate::image::Descriptor;
use crate::image::{DEFAULT_TAG, Name, Platform, Reference, Tag, to_go_json};
use crate::layout::{DescriptorPath, ImageSource, Layout, LeasedLayout, Origin};
use crate::{Error, ErrorKind, Result, ResultExt};

/// How the names of directories begin that hold what came through a pipe.
const SCRATCH_PREFIX: &str = ".bundle-transfer-";

/// The name for standard input and output.
pub(crate) const PIPE: &str = "-";

/// The name of an image, wherever it is.
///
/// ```
/// use oci_bundle::transfer::ImageName;
///
/// for text in ["layout:1", "oci:layout:1", "oci-archive:a.tar", "docker-archive:a.tar:app:1", "docker://alpine", "-"] {
///     let _: ImageName = ImageName::parse(text.as_ref())?;
/// }
/// # Ok::<(), oci_bundle::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum ImageName {
    /// `PATH[:TAG]`, also with `oci:` before it.
    Layout(Reference),
    /// `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`, or `-`.
    Archive {
        /// Its format.
        format: ArchiveFormat,
        /// Where it is; `-` for standard input or output.
        file: PathBuf,
        /// The image in it.
        name: Option<String>,
    },
    /// `docker://HOST/NAME[:TAG|@DIGEST]`.
    #[cfg(feature = "registry")]
    Registry(RegistryName),
}

impl ImageName {
    /// Reads a name. Paths may be any bytes; what follows them is text.
    ///
    /// `oci:x` is the layout `x`, unless there is a directory `oci`: then it is the image `x` in that, as for umoci.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an empty path and a malformed name, [`ErrorKind::Unsupported`] for a place that this
    /// program does not know.
    pub fn parse(text: &OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        if bytes == PIPE.as_bytes() {
            return Ok(Self::Archive {
                format: ArchiveFormat::Any,
                file: PIPE.into(),
                name: None,
            });
        }
        if let Some(rest) = bytes.strip_prefix(b"oci:")
            && !input::is_directory(Path::new("oci"))
        {
            return parse_reference(OsStr::from_bytes(rest)).map(Self::Layout);
        }
        for (prefix, format) in [
            (&b"oci-archive:"[..], ArchiveFormat::Oci),
            (b"docker-archive:", ArchiveFormat::Docker),
        ] {
            if let Some(rest) = bytes.strip_prefix(prefix) {
                return archive(rest, format);
            }
        }
        if let Some(rest) = bytes.strip_prefix(b"docker://") {
            return registry(rest);
        }
        let known = [
            "docker-daemon:",
            "containers-storage:",
            "dir:",
            "sif:",
            "ostree:",
        ];
        if let Some(prefix) = known
            .iter()
            .find(|prefix| bytes.starts_with(prefix.as_bytes()))
        {
            // A layout of that name is a layout all the same.
            if input::is_directory(Path::new(prefix.trim_end_matches(':'))) {
                return parse_reference(text).map(Self::Layout);
            }
            let message = format!("images in {prefix} are not supported");
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(
                "copy the image with skopeo to oci:, oci-archive:, docker-archive: or docker://",
            ));
        }
        for scheme in [&b"http://"[..], b"https://"] {
            if bytes.starts_with(scheme) {
                let message = "images are not read from a URL";
                return Err(Error::new(ErrorKind::Unsupported, message).with_hint(
                    "an image of a registry is named docker://HOST/NAME[:TAG|@DIGEST]",
                ));
            }
        }
        refuse_colon(bytes)?;
        parse_reference(text).map(Self::Layout)
    }
}

/// Refuses the path of something that is there and that the grammar cannot name.
fn refuse_colon(text: &[u8]) -> Result<()> {
    let is_there = |end: usize| {
        let path = Path::new(OsStr::from_bytes(&text[..end]));
        input::is_directory(path) || input::is_file(path)
    };
    let colons = text.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let mut ends = colons.map(|(index, _)| index).chain([text.len()]);
    let is_meant = ends.next().is_none_or(|end| end == 0 || is_there(end));
    match ends.find(|end| !is_meant && is_there(*end)) {
        None => Ok(()),
        Some(end) => {
            let path = escape_name(&text[..end]);
            let message = format!("the path {path} has a colon");
            Err(Error::new(ErrorKind::InvalidInput, message).with_hint(
                "names of images are split at the first colon: name it by a link, or from inside its directory",
            ))
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(reference) => reference.fmt(f),
            Self::Archive { format, file, name } => {
                let prefix = match format {
                    ArchiveFormat::Any => "",
                    ArchiveFormat::Oci => "oci-archive:",
                    ArchiveFormat::Docker => "docker-archive:",
                };
                write!(f, "{prefix}{}", file.display())?;
                name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
            }
            #[cfg(feature = "registry")]
            Self::Registry(name) => write!(f, "docker://{name}"),
        }
    }
}

fn archive(rest: &[u8], format: ArchiveFormat) -> Result<ImageName> {
    let colon = rest.iter().position(|byte| *byte == b':');
    let (file, name) = match colon {
        Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
        None => (rest, None),
    };
    let name = name.map(|name| std::str::from_utf8(name).map(str::to_owned));
    let name = name
        .transpose()
        .map_err(|_| refuse("the name is not valid UTF-8"))?;
    if file.is_empty() || name.as_ref().is_some_and(String::is_empty) {
        return Err(refuse("an archive without a path, or with an empty name"));
    }
    Ok(ImageName::Archive {
        format,
        file: OsString::from_vec(file.to_vec()).into(),
        name,
    })
}

#[cfg(feature = "registry")]
fn registry(rest: &[u8]) -> Result<ImageName> {
    let text = std::str::from_utf8(rest).map_err(|_| refuse("the name is not valid UTF-8"))?;
    text.parse().map(ImageName::Registry)
}

#[cfg(not(feature = "registry"))]
fn registry(_: &[u8]) -> Result<ImageName> {
    let message = "this build cannot speak to registries (feature registry)";
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn refuse(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

/// Splits `path[:tag]` at the first colon, `path@digest` at the last `@` before it. The path may be any bytes.
fn parse_reference(text: &OsStr) -> Result<Reference> {
    if let Some(text) = text.to_str() {
        return text.parse();
    }
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':');
    let (mut layout, mut rest) = bytes.split_at(colon.unwrap_or(bytes.len()));
    // A digest begins before the colon.
    let at = layout.iter().rposition(|byte| *byte == b'@');
    if let Some(at) = at.filter(|at| matches!(&layout[*at..], b"@sha256" | b"@sha512")) {
        (layout, rest) = bytes.split_at(at);
    }
    let rest = std::str::from_utf8(rest).map_err(|_| refuse("the tag is not valid UTF-8"))?;
    // The grammar is the reference's: let it read the tag behind a path that it can read.
    let placeholder = if layout.is_empty() { "" } else { "layout" };
    let mut reference: Reference = format!("{placeholder}{rest}").parse()?;
    reference.layout = OsString::from_vec(layout.to_vec()).into();
    Ok(reference)
}

/// The tag of a reference as text; none where it is the one that is meant anyway.
pub(crate) fn text_of(reference: &Reference) -> Option<String> {
    let text = match &reference.name {
        Name::Default => None,
        name => Some(name.to_string()),
    };
    text.filter(|text| text != DEFAULT_TAG)
}

/// What is needed to open images that are not in layouts.
#[derive(Clone, Debug)]
pub struct TransferOptions {
    /// An existing directory for what comes through pipes and compressed: as much as the archive.
    pub scratch: PathBuf,
    /// The layout that keeps what comes from registries; it is made when it is needed.
    pub cache: PathBuf,
    /// How registries are asked.
    #[cfg(feature = "registry")]
    pub registry: RegistryOptions,
}

/// An image to be read, wherever it is.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: ImageName,
    /// How it is opened.
    pub options: Arc<TransferOptions>,
}

impl ImageSource for Source {
    fn open(&self, platform: Option<&Platform>) -> Result<(LeasedLayout, DescriptorPath)> {
        if let Origin::Layout(reference) = self.origin() {
            return reference.open(platform);
        }
        let opened = Opened::open(&self.name, &self.options)?;
        let image = opened.choose()?.clone();
        let tag = opened.tag();
        let layout = opened.layout(&[image], &tag).lease()?;
        let path = layout
            .resolve(&tag, platform)
            .context(|| format!("image {}", self.name))?;
        Ok((layout, path))
    }

    fn origin(&self) -> Origin<'_> {
        match &self.name {
            ImageName::Layout(reference) if input::is_file(&reference.layout) => Origin::Other {
                name: self.name.to_string(),
                place: &reference.layout,
            },
            ImageName::Layout(reference) => Origin::Layout(reference),
            ImageName::Archive { file, .. } => Origin::Other {
                name: self.name.to_string(),
                place: file,
            },
            #[cfg(feature = "registry")]
            ImageName::Registry(name) => Origin::Other {
                name: name.to_string(),
                place: &self.options.cache,
            },
        }
    }
}

impl Source {
    /// The layout that has the image, and its name there; none where that image is all that is in it.
    ///
    /// # Errors
    ///
    /// Those of opening the layout or the archive, and of asking the registry.
    pub fn layout(&self) -> Result<(LeasedLayout, Option<Name>)> {
        if let Origin::Layout(reference) = self.origin() {
            let layout = LeasedLayout::open(&reference.layout)?;
            return Ok((layout, Some(reference.name.clone())));
        }
        let opened = Opened::open(&self.name, &self.options)?;
        let image = opened.choose()?.clone();
        Ok((opened.layout(&[image], &opened.tag()).lease()?, None))
    }
}

/// All images of a place, and their blobs.
pub(crate) struct Opened {
    name: ImageName,
    /// Those that could be meant; of a registry and of a layout, the one that is.
    pub(crate) images: Vec<ImportedImage>,
    pub(crate) blobs: Blobs,
}

/// Blobs of images, and what lasts as long as they are read.
#[derive(Clone)]
pub(crate) enum Blobs {
    Layout(Arc<LeasedLayout>),
    Archive(Arc<dyn Store>),
    /// Of a pipe.
    Scratch(
        Arc<LeasedLayout>,
        // Goes when it is dropped.
        #[allow(dead_code, reason = "held for its drop")] Arc<Staging>,
    ),
    #[cfg(feature = "registry")]
    Remote(Arc<RemoteBlobs>),
}

impl Blobs {
    pub(crate) fn store(&self) -> &dyn Store {
        match self {
            Self::Layout(layout) | Self::Scratch(layout, _) => layout.store(),
            Self::Archive(blobs) => &**blobs,
            #[cfg(feature = "registry")]
            Self::Remote(blobs) => &**blobs,
        }
    }
}

/// Blobs that a layout takes over.
struct Shared(Blobs);

impl Store for Shared {
    fn open(&self, digest: &Digest) -> oci_cas::Result<oci_cas::Blob> {
        self.0.store().open(digest)
    }

    fn stat(&self, digest: &Digest) -> oci_cas::Result<Option<u64>> {
        self.0.store().stat(digest)
    }

    fn ingest(&self, algorithm: Algorithm) -> oci_cas::Result<Box<dyn oci_cas::Ingest + '_>> {
        self.0.store().ingest(algorithm)
    }

    fn remove(&self, digest: &Digest) -> oci_cas::Result<bool> {
        self.0.store().remove(digest)
    }

    fn list(&self) -> oci_cas::Result<Vec<Digest>> {
        self.0.store().list()
    }
}

impl Opened {
    pub(crate) fn open(name: &ImageName, options: &TransferOptions) -> Result<Self> {
        Self::open_beside(name, options, &MemoryStore::new())
    }

    /// As [`open`](Self::open), where what an archive lacks may be in a store, which is that of the target.
    pub(crate) fn open_beside(
        name: &ImageName,
        options: &TransferOptions,
        target: &dyn Store,
    ) -> Result<Self> {
        match name {
            ImageName::Layout(reference) if input::is_file(&reference.layout) => {
                let inner = text_of(reference);
                let file = &reference.layout;
                Self::archive(name, (ArchiveFormat::Any, file, inner), options, target)
            }
            ImageName::Layout(reference) => Self::in_layout(name, reference),
            ImageName::Archive {
                format,
                file,
                name: inner,
            } => Self::archive(name, (*format, file, inner.clone()), options, target),
            #[cfg(feature = "registry")]
            ImageName::Registry(registry) => {
                let cache = Arc::new(open_or_create(&options.cache)?.lease()?);
                Self::remote(registry, options, &cache)
            }
        }
    }

    fn in_layout(name: &ImageName, reference: &Reference) -> Result<Self> {
        let layout = LeasedLayout::open(&reference.layout)?;
        let names = match &reference.name {
            Name::Digest(_) => None,
            name => Some(name.to_string()),
        };
        let manifest = layout.entry(&reference.name)?;
        Ok(Self {
            name: name.clone(),
            images: vec![ImportedImage {
                names: names.into_iter().collect(),
                manifest,
                for_docker: false,
            }],
            blobs: Blobs::Layout(Arc::new(layout)),
        })
    }

    fn archive(
        name: &ImageName,
        (format, file, inner): (ArchiveFormat, &Path, Option<String>),
        options: &TransferOptions,
        target: &dyn Store,
    ) -> Result<Self> {
        let importer: &dyn Importer = match format {
            ArchiveFormat::Any => &AnyArchive,
            ArchiveFormat::Oci => &OciArchive,
            ArchiveFormat::Docker => &DockerArchive,
        };
        let opening = || format!("open archive {}", file.display());
        let is_pipe = file.as_os_str() == PIPE;
        if !is_pipe {
            let opened = input::open(file).context(opening)?;
            if let Some((images, blobs)) = open_in_place(opened, format, target).context(opening)? {
                return Self::of_archive(name, inner, images, Blobs::Archive(Arc::new(blobs)));
            }
        }
        let staging = Staging::create(&options.scratch, SCRATCH_PREFIX, Access::Plain)
            .context(|| format!("make a scratch directory in {}", options.scratch.display()))?;
        let layout = Layout::create(&staging.path().join("images"))?.lease()?;
        let blobs = StackedStore::new(layout.store(), target);
        let images = if is_pipe {
            importer.import(&mut io::stdin(), &blobs)
        } else {
            let mut file = input::open(file).context(opening)?;
            importer.import(&mut file, &blobs)
        };
        let blobs = Blobs::Scratch(Arc::new(layout), Arc::new(staging));
        Self::of_archive(name, inner, images.context(opening)?, blobs)
    }

    /// Leaves the images that a name inside of an archive may mean.
    fn of_archive(
        name: &ImageName,
        inner: Option<String>,
        mut images: Vec<ImportedImage>,
        blobs: Blobs,
    ) -> Result<Self> {
        if let Some(inner) = inner {
            let known: Vec<String> = images.iter().flat_map(|it| it.names.clone()).collect();
            let exact = |image: &ImportedImage| image.names.contains(&inner);
            let wanted: &dyn Fn(&ImportedImage) -> bool = if images.iter().any(exact) {
                &exact
            } else {
                &|image| image.names.iter().any(|name| means(&inner, name))
            };
            images.retain(wanted);
            if images.is_empty() {
                let message = format!("archive {name} has no image {inner:?}");
                let hint = format!("it has {}", shown(&known));
                return Err(Error::new(ErrorKind::NotFound, message).with_hint(hint));
            }
        }
        Ok(Self {
            name: name.clone(),
            images,
            blobs,
        })
    }

    /// An image of a registry; what is fetched is kept in this layout.
    #[cfg(feature = "registry")]
    pub(crate) fn remote(
        name: &RegistryName,
        options: &TransferOptions,
        keep: &Arc<LeasedLayout>,
    ) -> Result<Self> {
        let registry = Registry::new(options.registry.clone())?;
        let pulled = || format!("pull docker://{name}");
        let blobs = RemoteBlobs::new(registry.reader(name).context(pulled)?, Arc::clone(keep));
        let manifest = blobs.root(&name.reference()).context(pulled)?;
        // Under its name, so that no collector takes what is kept.
        keep.add(&kept_tag(name)?, &manifest)?;
        Ok(Self {
            name: ImageName::Registry(name.clone()),
            images: vec![ImportedImage {
                names: name.tag().map(|_| name.to_string()).into_iter().collect(),
                manifest,
                for_docker: false,
            }],
            blobs: Blobs::Remote(Arc::new(blobs)),
        })
    }

    /// The name that it was opened by.
    #[cfg(feature = "registry")]
    pub(crate) fn name(&self) -> &ImageName {
        &self.name
    }

    /// Waits until all that was fetched is kept.
    #[cfg(feature = "registry")]
    pub(crate) fn finish(&self) -> Result<()> {
        match &self.blobs {
            Blobs::Remote(remote) => remote.finish(),
            _ => Ok(()),
        }
    }

    /// The one image that is meant.
    pub(crate) fn choose(&self) -> Result<&ImportedImage> {
        match &self.images[..] {
            [only] => Ok(only),
            all => {
                let names: Vec<String> = all.iter().flat_map(|it| it.names.clone()).collect();
                let message = format!("{} has {} images", self.name, all.len());
                let hint = format!("name one of them behind the path: {}", shown(&names));
                Err(Error::new(ErrorKind::Ambiguous, message).with_hint(hint))
            }
        }
    }

    /// A tag for the image where there need be one: that of its name, or `latest`.
    fn tag(&self) -> Tag {
        let text: Option<String> = match &self.name {
            #[cfg(feature = "registry")]
            ImageName::Registry(name) => name.tag().map(str::to_owned),
            _ => None,
        };
        let tag = text.and_then(|text| Tag::new(&text).ok());
        tag.unwrap_or_else(Tag::latest)
    }

    /// A layout of some of the images, to be read. All are entries with the tag.
    pub(crate) fn layout(&self, images: &[ImportedImage], tag: &Tag) -> Layout {
        let entries: Vec<Value> = images
            .iter()
            .map(|image| image.manifest.clone().with_ref_name(tag).to_value())
            .collect();
        let index = to_go_json(&json!({"schemaVersion": 2, "manifests": entries}));
        let layout = Layout::read_only(
            Path::new(&self.name.to_string()),
            index,
            Arc::new(Shared(self.blobs.clone())),
        );
        match &self.blobs {
            #[cfg(feature = "registry")]
            Blobs::Remote(blobs) => {
                let blobs = blobs.clone();
                layout.with_announcer(Box::new(move |layers: &[Descriptor]| {
                    blobs.announce(layers)
                }))
            }
            _ => layout,
        }
    }
}

/// The tag under which an image of a registry is kept in a layout: its name, or, where that is no tag, a digest of it.
#[cfg(feature = "registry")]
pub(crate) fn kept_tag(name: &RegistryName) -> Result<Tag> {
    let name = name.to_string();
    Tag::new(&name)
        .or_else(|_| Tag::new(&Digest::of(Algorithm::Sha256, name.as_bytes()).to_string()))
}

/// Opens a layout, or makes it.
pub(crate) fn open_or_create(path: &Path) -> Result<Layout> {
    match Layout::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match Layout::create(path) {
            // Another process has made it meanwhile.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Layout::open(path),
            made => made,
        },
        opened => opened,
    }
}

/// Whether a user who says `wanted` means what an archive calls `name`: `app` is `docker.io/library/app:latest`.
fn means(wanted: &str, name: &str) -> bool {
    let plain = |text: &str| {
        let text = ["docker.io/library/", "docker.io/", "localhost/"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        let last = text.rsplit('/').next().unwrap_or(text);
        if last.contains(':') || last.contains('@') {
            text.to_owned()
        } else {
            format!("{text}:latest")
        }
    };
    let tag = name.rsplit_once(':').map(|(_, tag)| tag);
    plain(wanted) == plain(name) || tag == Some(wanted)
}

/// Names in a message.
fn shown(names: &[String]) -> String {
    const COUNT: usize = 10;
    if names.is_empty() {
        return "images without names".to_owned();
    }
    let mut text = names
        .iter()
        .take(COUNT)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > COUNT {
        text.push_str(", and more");
    }
    escape_name(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_skopeo_and_shown_as_they_were() {
        for text in [
            "layout:1",
            "oci-archive:a.tar",
            "oci-archive:a.tar:1",
            "docker-archive:a.tar:x.org/app:1",
            "docker-archive:-",
            "-",
        ] {
            let name = ImageName::parse(text.as_ref()).unwrap();
            assert_eq!(name.to_string(), text);
        }
        let name = ImageName::parse("oci:layout:1".as_ref()).unwrap();
        assert_eq!(name.to_string(), "layout:1");
        for text in [
            "",
            "oci-archive:",
            "docker-archive:a:",
            "docker-daemon:x:1",
            "oci:",
        ] {
            assert!(ImageName::parse(text.as_ref()).is_err(), "{text}");
        }
    }

    #[cfg(feature = "registry")]
    #[test]
    fn a_registrys_image_may_be_named_shortly() {
        let name = ImageName::parse("docker://alpine".as_ref()).unwrap();
        assert_eq!(name.to_string(), "docker://docker.io/library/alpine:latest");
        assert!(ImageName::parse("docker://x.org/A".as_ref()).is_err());
    }

    #[test]
    fn an_image_of_an_archive_is_found_by_what_people_call_it() {
        for (wanted, name, expected) in [
            ("app", "docker.io/library/app:latest", true),
            ("app:1", "localhost/app:1", true),
            ("1", "x.org/app:1", true),
            ("x.org/app", "x.org/app:latest", true),
            ("app", "x.org/app:latest", false),
            ("app:2", "app:1", false),
        ] {
            assert_eq!(means(wanted, name), expected, "{wanted} {name}");
        }
    }
}
