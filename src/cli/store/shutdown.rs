//! `store shutdown`

use oci_bundle::ops::store::{ShutdownReport, shutdown};
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::output::{insert_path, path_text};
use super::{Common, Exit, Ui};
use crate::cli::log::printable;

/// unmounts everything that the store has mounted
///
/// Busy mounts are kept, listed with the processes that use them, and make the command fail. Leftovers of killed
/// processes are removed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let report = shutdown(&args.common.open_unleased()?)?;
    args.common.answer(ui, &json(&report), || text(&report))?;
    if report.busy.is_empty() {
        return Ok(Exit::Success);
    }
    if !args.common.json {
        // The JSON value has said so already, and there is only one.
        let message = format!("shut down: still mounted, in use: {}", report.busy.len());
        return Err(Error::new(ErrorKind::Busy, message));
    }
    Ok(Exit::Failure)
}

fn json(report: &ShutdownReport) -> Value {
    let path = |path, why: Option<&str>| {
        let mut members = Map::new();
        insert_path(&mut members, "target", path);
        if let Some(why) = why {
            members.insert("why".to_owned(), why.into());
        }
        Value::Object(members)
    };
    let unmounted = report.unmounted.iter();
    let unmounted = unmounted.map(|target| path(target, None));
    let busy = report.busy.iter();
    let busy = busy.map(|(target, why)| path(target, Some(why)));
    json!({
        "unmounted": unmounted.collect::<Value>(),
        "busy": busy.collect::<Value>(),
        "leftovers": report.leftovers,
    })
}

fn text(report: &ShutdownReport) -> String {
    let unmounted = report.unmounted.iter();
    let unmounted = unmounted.map(|target| format!("unmounted {}\n", path_text(target)));
    let busy = report.busy.iter();
    let busy =
        busy.map(|(target, why)| format!("busy {}: {}\n", path_text(target), printable(why)));
    unmounted.chain(busy).collect()
}
