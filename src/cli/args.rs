//! Arguments that several commands share, and how their values are read.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use oci_bundle::fs::{IdMap, IdRange, MapOptions};
use oci_bundle::image::{Platform, Reference};
use oci_bundle::ops::UnpackOptions;
use oci_bundle::{Error, ErrorKind, Result};

use super::size::Size;

/// `--image`.
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// image in an OCI layout, of the form 'path[:tag]' (the tag is 'latest' if none is given)
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
    /// of an image for several platforms, the one to use: 'os/architecture[/variant]' (that of this machine if not given)
    #[arg(long, value_name = "platform")]
    pub platform: Option<Platform>,
}

/// Who owns what is unpacked.
#[derive(Debug, clap::Args)]
pub struct MapArgs {
    /// specifies a uid mapping to use (container:host:size), can be given several times
    #[arg(long)]
    uid_map: Vec<IdRange>,

    /// specifies a gid mapping to use (container:host:size), can be given several times
    #[arg(long)]
    gid_map: Vec<IdRange>,

    /// enable support for running without root's privileges
    #[arg(long)]
    rootless: bool,
}

/// The flags of both forms of unpack.
#[derive(Debug, clap::Args)]
pub struct UnpackArgs {
    /// don't replace a symlink to a directory by a directory of a layer, but unpack into its target
    #[arg(long)]
    keep_dirlinks: bool,

    #[command(flatten)]
    map: MapArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// fail when the content would take more than so many bytes (suffixes: k, M, G, T, Ki, Mi, Gi, Ti)
    #[arg(long)]
    max_size: Option<Size>,

    /// write everything to the disk before the result becomes visible
    #[arg(long)]
    sync: bool,
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

/// Splits `path[:tag]` at the first colon. The path may be any bytes, the tag is text.
fn reference(text: &OsStr) -> Result<Reference> {
    if let Some(text) = text.to_str() {
        return text.parse();
    }
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':');
    let (layout, rest) = bytes.split_at(colon.unwrap_or(bytes.len()));
    let rest = std::str::from_utf8(rest)
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "the tag is not valid UTF-8"))?;
    // The grammar is the library's: let it read the tag behind a path that it can read.
    let placeholder = if layout.is_empty() { "" } else { "layout" };
    let mut reference: Reference = format!("{placeholder}{rest}").parse()?;
    reference.layout = OsString::from_vec(layout.to_vec()).into();
    Ok(reference)
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
    use super::*;

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
        assert_eq!(parsed.tag.as_str(), "a:b");
        let parsed = reference(OsStr::from_bytes(b"\xff")).unwrap();
        assert_eq!(parsed.tag.as_str(), "latest");
        assert!(reference(OsStr::from_bytes(b"\xff:")).is_err());
        assert!(reference(OsStr::from_bytes(b"x:\xff")).is_err());
        assert!(reference(OsStr::from_bytes(b":\xff")).is_err());
    }
}
