//! `mount`

use std::path::PathBuf;

use oci_bundle::fs::mount::MountAttributes;
use oci_bundle::store::{Key, MountOptions};
use oci_bundle::transfer::ImageName;
use oci_bundle::{Error, ErrorKind, Result, ops};

use super::args::{MapArgs, PlatformArgs, path_parser};
use super::exit::Exit;
use super::source_args::{TransferArgs, name_parser};
use super::store_args::StoreArgs;
use super::ui::Ui;

/// mounts the root file system of a bundle, or an image
///
/// The root file system of a bundle made by 'unpack --overlay' is mounted unless it already is, for example after a
/// reboot. With --image, an image is mounted on a directory, read-only or, with --rw, with a writable layer in the
/// store. The mount is visible in the mount namespace of the command: an ordinary user mounts inside 'unshare'.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// image to mount on a directory, named as for unpack
    #[arg(long, value_name = "image", value_parser = name_parser())]
    image: Option<ImageName>,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// with --image: writable; changes go to a new container in the store
    #[arg(long, requires = "image")]
    rw: bool,

    /// with --rw: name of the container (default: generated)
    #[arg(long, requires = "rw")]
    key: Option<Key>,

    /// with --image: also read and verify the blobs of layers that the store already has
    #[arg(long, requires = "image")]
    verify: bool,

    #[command(flatten)]
    maps: MapArgs,

    #[command(flatten)]
    mount: MountArgs,

    #[command(flatten)]
    store: StoreArgs,

    /// bundle, or with --image the directory to mount on
    #[arg(required = true, value_name = "bundle", value_parser = path_parser())]
    target: PathBuf,
}

/// How something is mounted.
#[derive(Debug, clap::Args)]
pub struct MountArgs {
    /// don't sync changes (overlayfs volatile): faster, but lost in a crash of the machine
    #[arg(long)]
    volatile: bool,

    /// mount even if it was mounted with --volatile before the last reboot
    #[arg(long)]
    accept_dirty: bool,

    /// mount attributes: nodev, nosuid, noexec, noatime (comma-separated)
    #[arg(long, value_name = "attributes", value_parser = attributes)]
    mount_options: Option<MountAttributes>,
}

impl MountArgs {
    pub fn options(&self) -> MountOptions {
        let mut options = MountOptions::default();
        options.volatile = self.volatile;
        options.accept_dirty = self.accept_dirty;
        options.attributes = self.mount_options.unwrap_or_default();
        options
    }
}

fn attributes(text: &str) -> Result<MountAttributes, String> {
    let mut attributes = MountAttributes::default();
    for word in text.split(',') {
        let attribute = match word {
            "nodev" => &mut attributes.nodev,
            "nosuid" => &mut attributes.nosuid,
            "noexec" => &mut attributes.noexec,
            "noatime" => &mut attributes.noatime,
            _ => return Err(format!("{word:?} is not a mount attribute")),
        };
        *attribute = true;
    }
    Ok(attributes)
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let options = args.mount.options();
    let Some(image) = &args.image else {
        let Some(bundle) = args.store.bundle(&args.target)? else {
            let message = format!(
                "mount {}: the bundle's root file system is its own",
                args.target.display()
            );
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("only bundles that `unpack --overlay` has made are mounted"));
        };
        bundle.mount(&options)?;
        return Ok(Exit::Success);
    };
    let store = args.store.open()?;
    let wanted = ops::store::ImageMount {
        image: &args.transfer.source(image),
        platform: args.platform.platform.as_ref(),
        maps: args.maps.options(),
        verify: args.verify,
        container: args
            .rw
            .then(|| args.key.clone().unwrap_or_else(Key::unique)),
    };
    let record = wanted.mount(&store, &args.target, &options, &ui.progress())?;
    if let Some(key) = &record.key {
        ui.print(format!("{key}\n"))?;
    }
    Ok(Exit::Success)
}
