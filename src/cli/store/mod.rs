//! `store`: commands on the layer store itself, of which `unpack --overlay`, `mount` and their like need none.
//!
//! Text is for people; with `--json`, stdout has exactly one JSON value, also after a failure: an object with `error`, the
//! text that stderr has too, and `reason`, the word of [`Reason`] or null. (A command line that is wrong is told as for any
//! command.) A command that asks something makes no store.

mod changes;
mod check;
mod commit;
mod diff;
mod export;
mod file_output;
mod gc;
mod import;
mod inspect;
mod list;
mod mount;
mod output;
mod prepare;
mod probe;
mod remove;
mod shutdown;
mod status;
mod tag;
mod umount;
mod untag;
mod usage;
mod version;

use oci_bundle::store::{LeasedStore, Reason, Store, StoreOptions};
use oci_bundle::{Error, Result};
use serde_json::{Value, json};

use super::exit::Exit;
use super::json::SCHEMA_VERSION;
use super::store_args::StoreArgs;
use super::ui::Ui;

/// manages the layer store
///
/// The store holds image layers, each unpacked once, and containers: writable layers on top of them. 'unpack --overlay'
/// and 'mount' add images to the store as needed; these commands inspect it, manage containers that belong to no
/// bundle, and maintain it. With --json, one JSON value is printed; after a failure it has the members 'error' and
/// 'reason'.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Status(status::Args),
    Probe(probe::Args),
    #[command(name = "ls", visible_alias = "list")]
    List(list::Args),
    Inspect(inspect::Args),
    Usage(usage::Args),
    Changes(changes::Args),
    Diff(diff::Args),
    Prepare(prepare::Args),
    Mount(mount::Args),
    Umount(umount::Args),
    Commit(Box<commit::Args>),
    Tag(tag::Args),
    Untag(untag::Args),
    #[command(visible_alias = "rm")]
    Remove(remove::Args),
    Gc(gc::Args),
    Check(check::Args),
    Shutdown(shutdown::Args),
    Export(export::Args),
    Import(import::Args),
    Version(version::Args),
}

impl Command {
    /// Runs the command that the arguments name.
    pub fn run(&self, ui: &Ui) -> Result<Exit> {
        let (common, done) = match self {
            Self::Status(args) => (&args.common, status::run(args, ui)),
            Self::Probe(args) => (&args.common, probe::run(args, ui)),
            Self::List(args) => (&args.common, list::run(args, ui)),
            Self::Inspect(args) => (&args.common, inspect::run(args, ui)),
            Self::Usage(args) => (&args.common, usage::run(args, ui)),
            Self::Changes(args) => (&args.common, changes::run(args, ui)),
            Self::Diff(args) => (&args.common, diff::run(args, ui)),
            Self::Commit(args) => (&args.common, commit::run(args, ui)),
            Self::Export(args) => (&args.common, export::run(args, ui)),
            Self::Import(args) => (&args.common, import::run(args, ui)),
            Self::Prepare(args) => (&args.common, prepare::run(args, ui)),
            Self::Mount(args) => (&args.common, mount::run(args, ui)),
            Self::Umount(args) => (&args.common, umount::run(args, ui)),
            Self::Tag(args) => (&args.common, tag::run(args, ui)),
            Self::Untag(args) => (&args.common, untag::run(args, ui)),
            Self::Remove(args) => (&args.common, remove::run(args, ui)),
            Self::Gc(args) => (&args.common, gc::run(args, ui)),
            Self::Check(args) => (&args.common, check::run(args, ui)),
            Self::Shutdown(args) => (&args.common, shutdown::run(args, ui)),
            Self::Version(args) => (&args.common, version::run(args, ui)),
        };
        if let Err(error) = &done
            && common.json
        {
            ui.print(format!("{}\n", failure(error)))?;
        }
        done
    }
}

fn failure(error: &Error) -> Value {
    let reason = Reason::of(error).map(Reason::word);
    versioned(&json!({"error": error.chain(), "reason": reason}))
}

/// A document with its version first; a list has none.
fn versioned(document: &Value) -> Value {
    let Value::Object(members) = document else {
        return document.clone();
    };
    let version = [("schema_version".to_owned(), SCHEMA_VERSION.into())];
    let members = members
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    Value::Object(version.into_iter().chain(members).collect())
}

/// What all commands on the store are told.
#[derive(Debug, clap::Args)]
pub struct Common {
    #[command(flatten)]
    store: StoreArgs,

    /// print one JSON value
    #[arg(long)]
    json: bool,
}

impl Common {
    /// How the store is opened. It is not made.
    fn options(&self) -> Result<StoreOptions> {
        let mut options = self.store.options()?;
        options.create = false;
        Ok(options)
    }

    /// Opens the store, which must exist. Nothing is taken away from it as long as this is open.
    fn open(&self) -> Result<LeasedStore> {
        self.open_unleased()?.leased()
    }

    /// The same for commands that take something away, and wait for the others.
    fn open_unleased(&self) -> Result<Store> {
        Store::open(self.options()?).map_err(|error| match error.kind() {
            oci_bundle::ErrorKind::NotFound => {
                error.with_hint("the first `unpack --overlay` makes it; --store names another")
            }
            _ => error,
        })
    }

    /// Prints an answer: as JSON if that is asked for.
    fn answer(&self, ui: &Ui, json: &Value, text: impl FnOnce() -> String) -> Result<Exit> {
        if self.json {
            ui.print(format!("{}\n", versioned(json)))?;
        } else {
            ui.print(text())?;
        }
        Ok(Exit::Success)
    }
}
