//! `store umount`

use std::ffi::OsString;

use oci_bundle::Result;
use oci_bundle::ops::store::unmount;
use serde_json::{Value, json};

use super::output::insert_path;
use super::{Common, Exit, Ui};

/// unmounts a container, or what the store has mounted on a directory
///
/// It is not an error if nothing is mounted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// lazy unmount: detach now, clean up once it is no longer busy (umount -l)
    #[arg(long)]
    lazy: bool,

    #[command(flatten)]
    pub common: Common,

    /// directory, or key of a container
    #[arg(required = true, value_name = "dir")]
    target: OsString,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let unmounted = unmount(&store, &args.target, args.lazy)?;
    let mut value = json!({"unmounted": unmounted.is_some()});
    if let (Some(target), Value::Object(members)) = (unmounted, &mut value) {
        insert_path(members, "target", &target);
    }
    args.common.answer(ui, &value, String::new)
}
