//! `index`

use oci_bundle::image::{Descriptor, Reference};
use oci_bundle::{Result, ops};
use serde_json::Value;

use super::args::{ImageArgs, reference_parser};
use super::exit::Exit;
use super::ui::Ui;

/// creates and edits multi-platform indexes
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Create(Create),
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
    #[command(name = "ls", visible_alias = "list")]
    List(List),
}

/// creates an index from images of the same layout
///
/// The images are given by tag or digest. If one is an index itself, all its entries are added.
#[derive(Debug, clap::Args)]
pub struct Create {
    #[command(flatten)]
    image: ImageArgs,

    /// tags or digests of images in the layout
    #[arg(required = true, value_name = "image", num_args = 1..)]
    from: Vec<String>,
}

/// adds images to an index
///
/// An image replaces the entry of the same platform, whose attestations are dropped. Other entries are unchanged.
#[derive(Debug, clap::Args)]
pub struct Add {
    #[command(flatten)]
    image: ImageArgs,

    /// tags or digests of images in the layout
    #[arg(required = true, value_name = "image", num_args = 1..)]
    from: Vec<String>,
}

/// removes images from an index, with their attestations
#[derive(Debug, clap::Args)]
pub struct Remove {
    #[command(flatten)]
    image: ImageArgs,

    /// digests, or platforms as os/arch[/variant]
    #[arg(required = true, value_name = "entry", num_args = 1..)]
    entries: Vec<String>,
}

/// lists the images of an index: digest, platform
#[derive(Debug, clap::Args)]
pub struct List {
    /// image in an OCI layout, 'path[:tag]'
    #[arg(long, required = true, value_name = "path[:tag]", value_parser = reference_parser())]
    image: Reference,

    /// print the descriptors as JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Runs the command that the arguments name.
    pub fn run(&self, ui: &Ui) -> Result<Exit> {
        match self {
            Self::Create(args) => ops::create_index(&args.image.image, &args.from)?,
            Self::Add(args) => ops::add_to_index(&args.image.image, &args.from, &ui.progress())?,
            Self::Remove(args) => {
                ops::remove_from_index(&args.image.image, &args.entries, &ui.progress())?;
            }
            Self::List(args) => return list(args, ui),
        }
        Ok(Exit::Success)
    }
}

fn list(args: &List, ui: &Ui) -> Result<Exit> {
    let entries = ops::list_index(&args.image)?;
    if args.json {
        let value: Value = entries.iter().map(Descriptor::to_value).collect();
        ui.print(format!("{value}\n"))?;
        return Ok(Exit::Success);
    }
    let lines = entries.iter().map(|entry| {
        let platform = entry.platform().map(|platform| platform.to_string());
        let platform = platform.unwrap_or_else(|| "-".to_owned());
        format!("{} {platform}\n", entry.digest())
    });
    ui.print(lines.collect::<String>())?;
    Ok(Exit::Success)
}
