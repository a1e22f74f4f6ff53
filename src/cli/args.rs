//! Arguments that several commands share, and how their values are read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use jiff::Zoned;
use oci_bundle::archive::Compression;
use oci_bundle::fs::{IdMap, IdRange, MapOptions};
use oci_bundle::image::{Platform, Reference, Tag, normalize_time};
use oci_bundle::ops::{CompressOptions, HistoryOptions, UnpackOptions, epoch_time};
use oci_bundle::transfer::ImageName;
use oci_bundle::{Error, ErrorKind, Result};

use super::size::Size;

/// `--image`.
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// image in an OCI layout, 'path[:tag]' or 'path@digest' (default tag: latest, or the only image if there is no
    /// such tag)
    #[arg(long, required = true, value_name = "path[:tag]", value_parser = reference_parser())]
    pub image: Reference,
}

/// `--layout`.
#[derive(Debug, clap::Args)]
pub struct LayoutArgs {
    /// path of the OCI layout
    #[arg(long, required = true, value_name = "path", value_parser = layout_parser())]
    pub layout: PathBuf,
}

/// `--platform`.
#[derive(Debug, clap::Args)]
pub struct PlatformArgs {
    /// platform to select from a multi-platform image, os/arch[/variant] (default: the host's)
    #[arg(long, value_name = "platform")]
    pub platform: Option<Platform>,
}

/// Who owns what is unpacked.
#[derive(Debug, clap::Args)]
pub struct MapArgs {
    /// specifies a uid mapping to use, container:host:size (can be repeated)
    #[arg(long)]
    uid_map: Vec<IdRange>,

    /// specifies a gid mapping to use, container:host:size (can be repeated)
    #[arg(long)]
    gid_map: Vec<IdRange>,

    /// enable support for running without root's privileges
    #[arg(long)]
    rootless: bool,
}

/// The flags of both forms of unpack.
#[derive(Debug, clap::Args)]
pub struct UnpackArgs {
    /// keep symlinks to directories: unpack a layer's directory into the target of the link
    #[arg(long)]
    keep_dirlinks: bool,

    #[command(flatten)]
    map: MapArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// fail if the content is larger than this, in bytes (suffixes: k, M, G, T, Ki, Mi, Gi, Ti)
    #[arg(long)]
    max_size: Option<Size>,

    /// sync everything to disk before the result becomes visible
    #[arg(long)]
    sync: bool,
}

/// `--tag`.
#[derive(Debug, clap::Args)]
pub struct TagArgs {
    /// tag of the result, in the same layout (default: that of --image)
    #[arg(long, value_parser = |text: &str| Tag::new(text))]
    pub tag: Option<Tag>,
}

/// The history entry of a command that changes an image.
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// don't add a history entry
    #[arg(long, conflicts_with_all = ["history_author", "history_comment", "history_created", "history_created_by"])]
    no_history: bool,

    /// author of the history entry
    #[arg(long = "history.author")]
    history_author: Option<String>,

    /// comment of the history entry
    #[arg(long = "history.comment")]
    history_comment: Option<String>,

    /// time of the history entry, in RFC 3339 (default: `SOURCE_DATE_EPOCH` if set, or now)
    #[arg(long = "history.created", value_parser = normalize_time)]
    history_created: Option<String>,

    /// command of the history entry
    #[arg(long = "history.created_by")]
    history_created_by: Option<String>,
}

/// How a new layer is compressed.
#[derive(Debug, clap::Args)]
pub struct CompressArgs {
    /// compression of the new layer: none, gzip, zstd, or auto for that of the top compressed layer (default: "auto")
    #[arg(long, value_parser = compression)]
    compress: Option<Choice>,

    /// compression level (gzip: 0 to 9, zstd: 1 to 22)
    #[arg(long, value_name = "level", allow_negative_numbers = true, value_parser = level)]
    compress_level: Option<i32>,
}

/// All levels that any compression has: those of zstd below 1 are faster ones.
const LEVELS: std::ops::RangeInclusive<i32> = -131_072..=22;

/// A value of `--compress`; nothing stands for `auto`.
type Choice = Option<Compression>;

/// A `name=value` of the user's. The name is not empty.
#[derive(Clone, Debug)]
pub struct Pair {
    pub name: String,
    pub value: String,
}

impl FromStr for Pair {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why| {
            Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{why}: {text}"),
            ))
        };
        match text.split_once('=') {
            None => refuse("must contain '='"),
            Some(("", _)) => refuse("must have non-empty name"),
            Some((name, value)) => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
        }
    }
}

impl Pair {
    /// The pairs as a map, in which the last of a name wins.
    pub fn map(pairs: &[Self]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|pair| (pair.name.clone(), pair.value.clone()))
            .collect()
    }

    /// The pairs in their order.
    pub fn list(pairs: &[Self]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|pair| (pair.name.clone(), pair.value.clone()))
            .collect()
    }
}

impl HistoryArgs {
    /// Whether any of the flags was given.
    pub fn given(&self) -> bool {
        let texts = [
            &self.history_author,
            &self.history_comment,
            &self.history_created,
            &self.history_created_by,
        ];
        self.no_history || texts.into_iter().any(Option::is_some)
    }

    /// What the operation is told. Without `--history.created` the time is `source_date_epoch`, in UTC, or else now, with
    /// the offset of the local time zone.
    pub fn options(&self, source_date_epoch: Option<i64>) -> Result<HistoryOptions> {
        let created = match (&self.history_created, source_date_epoch) {
            (Some(created), _) => created.clone(),
            (None, Some(seconds)) => epoch_time(seconds)?,
            (None, None) => normalize_time(&Zoned::now().strftime("%FT%T%.f%:z").to_string())?,
        };
        Ok(HistoryOptions {
            none: self.no_history,
            created: Some(created),
            created_by: self.history_created_by.clone(),
            author: self.history_author.clone(),
            comment: self.history_comment.clone(),
        })
    }
}

impl CompressArgs {
    /// What the operation is told.
    pub fn options(&self) -> Result<CompressOptions> {
        let compression = self.compress.flatten();
        check_level(compression, self.compress_level)?;
        Ok(CompressOptions {
            compression,
            level: self.compress_level,
        })
    }
}

/// Refuses, before any work, a level that the compression does not have. Without a compression, it is that of the newest
/// layer, which only the image knows.
pub fn check_level(compression: Option<Compression>, level: Option<i32>) -> Result<()> {
    let refuse = |message| Err(Error::new(ErrorKind::InvalidInput, message));
    match (compression, level) {
        (Some(Compression::None), Some(_)) => {
            refuse("--compress-level is for layers that are compressed".to_owned())
        }
        (Some(Compression::Gzip), Some(level)) if !(0..=9).contains(&level) => refuse(format!(
            "invalid --compress-level: gzip has no level {level}, but 0 to 9"
        )),
        _ => Ok(()),
    }
}

fn compression(text: &str) -> Result<Choice> {
    match text {
        "auto" => Ok(None),
        "none" => Ok(Some(Compression::None)),
        "gzip" => Ok(Some(Compression::Gzip)),
        "zstd" => Ok(Some(Compression::Zstd)),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("unknown compression {text:?}"),
        )
        .with_hint("the compressions are none, gzip, zstd and auto")),
    }
}

impl MapArgs {
    /// The maps, with those that `--rootless` implies.
    pub fn options(&self) -> MapOptions {
        let options = MapOptions {
            uid: IdMap(self.uid_map.clone()),
            gid: IdMap(self.gid_map.clone()),
            rootless: self.rootless,
        };
        if self.rootless {
            options.with_rootless_defaults()
        } else {
            options
        }
    }
}

impl UnpackArgs {
    /// What the operation is told.
    pub fn options(&self) -> UnpackOptions {
        let mut options = UnpackOptions::default();
        options.map_options = self.map.options();
        options.keep_dirlinks = self.keep_dirlinks;
        options.platform.clone_from(&self.platform.platform);
        options.max_size = self.max_size.map(|size| size.0);
        options.sync = self.sync;
        options
    }
}

/// Parses the value of `--compress-level`.
pub fn level(text: &str) -> Result<i32> {
    let level = text.parse().map_err(|error: std::num::ParseIntError| {
        Error::new(ErrorKind::InvalidInput, format!("{text:?}: {error}"))
    })?;
    if LEVELS.contains(&level) {
        return Ok(level);
    }
    let message = format!("no compression has level {level}");
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint("gzip has the levels 0 to 9, zstd 1 to 22"))
}

/// Parses the value of `--image`.
pub fn reference_parser() -> impl TypedValueParser<Value = Reference> {
    OsStringValueParser::new().try_map(|text| reference(&text))
}

/// Parses the value of `--layout`.
pub fn layout_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(layout)
}

/// Parses a positional path.
pub fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(path)
}

/// The name of an image in a layout, for what works on a layout only.
fn reference(text: &OsStr) -> Result<Reference> {
    match ImageName::parse(text)? {
        ImageName::Layout(reference) => Ok(reference),
        other => Err(not_in_a_layout(&other)),
    }
}

/// The error for an image that is somewhere else.
pub fn not_in_a_layout(name: &ImageName) -> Error {
    let message = format!("{name} is not in an OCI layout");
    Error::new(ErrorKind::Unsupported, message)
        .with_hint("copy it into one first: bundle copy SOURCE LAYOUT:TAG")
}

fn layout(text: OsString) -> Result<PathBuf> {
    if text.as_bytes().contains(&b':') {
        let message = "the path of a layout cannot contain ':'";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    path(text)
}

fn path(text: OsString) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the path is empty"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use oci_bundle::image::Name;

    use super::*;

    #[test]
    fn a_pair_has_a_name_and_may_have_an_empty_value() {
        let pair: Pair = "a=b=c".parse().unwrap();
        assert_eq!((&*pair.name, &*pair.value), ("a", "b=c"));
        assert_eq!("a=".parse::<Pair>().unwrap().value, "");
        let error = |text: &str| text.parse::<Pair>().unwrap_err().to_string();
        assert_eq!(error("ab"), "must contain '=': ab");
        assert_eq!(error("=b"), "must have non-empty name: =b");
    }

    #[test]
    fn a_layout_path_is_neither_empty_nor_has_a_colon() {
        assert!(layout("".into()).is_err());
        assert!(layout("a:b".into()).is_err());
        assert_eq!(layout("a b".into()).unwrap(), PathBuf::from("a b"));
        let odd = OsString::from_vec(b"\xff".to_vec());
        assert_eq!(layout(odd.clone()).unwrap(), PathBuf::from(odd));
    }

    #[test]
    fn a_reference_may_name_a_path_that_is_no_text() {
        let parsed = reference(OsStr::from_bytes(b"\xff/x:a:b")).unwrap();
        assert_eq!(parsed.layout.as_os_str().as_bytes(), b"\xff/x");
        assert_eq!(parsed.name, Name::Tag("a:b".to_owned()));
        let parsed = reference(OsStr::from_bytes(b"\xff")).unwrap();
        assert_eq!(parsed.name, Name::Default);
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = [&b"\xff@"[..], digest.as_bytes()].concat();
        let parsed = reference(OsStr::from_bytes(&text)).unwrap();
        assert_eq!(parsed.layout.as_os_str().as_bytes(), b"\xff");
        assert_eq!(parsed.name, Name::Digest(digest.parse().unwrap()));
        assert!(reference(OsStr::from_bytes(b"\xff:")).is_err());
        assert!(reference(OsStr::from_bytes(b"x:\xff")).is_err());
        assert!(reference(OsStr::from_bytes(b":\xff")).is_err());
    }
}
