//! `rebase`

use oci_bundle::image::Name;
use oci_bundle::ops::RebaseOptions;
use oci_bundle::{Error, ErrorKind, Result, ops};

use super::exit::Exit;
use super::source_args::{EditArgs, Reads};
use super::ui::Ui;

/// replaces the base of an image
///
/// The image's bottom layers must be those of the old base. They are replaced by those of the new base, and so is their
/// history. All images are in one layout, and no layer is read or written.
///
/// The image's configuration is kept, including what it inherited from the old base, such as environment and command.
/// Whether the upper layers work on the new base is not checked.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: EditArgs,

    /// tag of the old base (default: from the image's base annotations)
    #[arg(long, value_name = "tag", value_parser = named)]
    old_base: Option<Name>,

    /// tag of the new base
    #[arg(long, required = true, value_name = "tag", value_parser = named)]
    new_base: Name,
}

/// An image of the same layout, whatever its tag looks like.
fn named(text: &str) -> Result<Name> {
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the tag is empty"));
    }
    Ok(Name::Tag(text.to_owned()))
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    args.image
        .edit(Reads::Documents, ui, &|image, tag, progress| {
            let options = RebaseOptions {
                old_base: args.old_base.clone(),
                new_base: args.new_base.clone(),
                tag,
                platform: args.image.platform().cloned(),
            };
            ops::rebase(image, &options, progress)
        })
}
