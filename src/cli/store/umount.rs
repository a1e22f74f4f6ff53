//! `store umount`

use std::ffi::OsString;

use oci_bundle::Result;
use oci_bundle::ops::store::unmount;
use serde_json::{Value, json};

use super::output::insert_path;
use super::{Common, Exit, Ui};

/// unmounts a container, or what the store has mounted on a directory
///
/// Where nothing is mounted, nothing happens.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// take the mount away from its directory at once, although somebody uses it, and let it end with its last user
    #[arg(long)]
    lazy: bool,

    #[command(flatten)]
    pub common: Common,

    /// the directory, or the key of a container
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
