//! `insert`

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use oci_bundle::layer::{GenerateOptions, InsertOptions as LayerOptions, Insertion};
use oci_bundle::ops::InsertOptions;
use oci_bundle::{Error, ErrorKind, Result, ops};

use super::args::{HistoryArgs, MapArgs, path_parser};
use super::exit::Exit;
use super::source_args::{LayerArgs, Reads, user_cache};
use super::time::source_date_epoch;
use super::ui::Ui;

/// inserts files or directories into an image
///
/// Pairs of a source on this machine and a target in the image are added as one layer. With --whiteout, the target is
/// removed from the image, and no source is given.
///
/// As with cp, a target that ends in a slash is a directory to insert into, and a link to a directory is followed
/// there. Otherwise a directory of the image, or a link to one, is not replaced by something else. Layers are read once
/// to see what the image has at the targets; the contents of large ones are cached in `$XDG_CACHE_HOME/bundle/layers`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    layer: LayerArgs,

    /// make the target directories opaque: hide their previous contents
    #[arg(long)]
    opaque: bool,

    /// remove the target from the image
    #[arg(long)]
    whiteout: bool,

    /// owner of everything that is inserted, 'uid:gid'
    #[arg(long, value_name = "uid:gid")]
    chown: Option<Owner>,

    /// mode of all inserted files and directories, in octal
    #[arg(long, value_name = "mode")]
    chmod: Option<Mode>,

    /// add entries for the targets' missing parent directories (0755, owned by root)
    #[arg(long)]
    parents: bool,

    #[command(flatten)]
    maps: MapArgs,

    #[command(flatten)]
    history: HistoryArgs,

    /// pairs of source and target; with --whiteout only the target
    #[arg(required = true, value_names = ["source", "target"], num_args = 1.., value_parser = path_parser())]
    paths: Vec<PathBuf>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let insertions = args.insertions()?;
    let epoch = source_date_epoch()?;
    let generate = GenerateOptions {
        map_options: args.maps.options(),
        source_date_epoch: epoch,
    };
    let layer = LayerOptions {
        generate,
        owner: args.chown.map(|Owner(uid, gid)| (uid, gid)),
        mode: args.chmod.map(|Mode(mode)| mode),
        parents: args.parents,
    };
    let options = InsertOptions {
        tag: None,
        platform: args.layer.image.platform().cloned(),
        compress: args.layer.compress.options()?,
        history: args.history.options(epoch)?,
        layer,
        cache: Some(user_cache().join("layers")),
    };
    args.layer
        .image
        .edit(Reads::Layers, ui, &|image, tag, progress| {
            let options = InsertOptions {
                tag,
                ..options.clone()
            };
            ops::insert(image, &insertions, &options, progress)
        })
}

impl Args {
    fn insertions(&self) -> Result<Vec<Insertion>> {
        let target = |path: &PathBuf| OsString::from(path).into_vec();
        if self.whiteout {
            return match &self.paths[..] {
                [path] => Ok(vec![Insertion::Whiteout {
                    target: target(path),
                }]),
                _ => Err(wrong_count(
                    "invalid number of positional arguments: expected <target> with --whiteout",
                )),
            };
        }
        let pairs = self.paths.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(wrong_count(
                "invalid number of positional arguments: expected <source> <target>",
            ));
        }
        let tree = |pair: &[PathBuf]| Insertion::Tree {
            source: pair[0].clone(),
            target: target(&pair[1]),
            opaque: self.opaque,
        };
        Ok(pairs.map(tree).collect())
    }
}

fn wrong_count(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// `uid:gid`.
#[derive(Clone, Copy, Debug)]
struct Owner(u32, u32);

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ids = text
            .split_once(':')
            .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
        ids.map(|(uid, gid)| Self(uid, gid))
            .ok_or_else(|| format!("{text:?} is not <uid>:<gid>"))
    }
}

/// Twelve bits in octal.
#[derive(Clone, Copy, Debug)]
struct Mode(u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mode = u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| mode & !0o7777 == 0);
        mode.map(Self)
            .ok_or_else(|| format!("{text:?} is not a mode in octal"))
    }
}
