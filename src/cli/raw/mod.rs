//! `raw`: commands below the level of bundles.

mod add_layer;
mod mtree_validate;
mod runtime_config;
mod unpack;

use oci_bundle::Result;

use super::exit::Exit;
use super::ui::Ui;

/// advanced internal image tooling
///
/// These commands perform single steps of unpack and repack, for users who know the OCI specifications; for everyday
/// use, prefer the top-level commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    AddLayer(add_layer::Args),
    #[command(visible_alias = "config")]
    RuntimeConfig(runtime_config::Args),
    Unpack(unpack::Args),
    #[command(hide = true)]
    MtreeValidate(mtree_validate::Args),
}

impl Command {
    /// Runs the command that the arguments name.
    pub fn run(&self, ui: &Ui) -> Result<Exit> {
        match self {
            Self::AddLayer(args) => add_layer::run(args, ui),
            Self::RuntimeConfig(args) => runtime_config::run(args, ui),
            Self::Unpack(args) => unpack::run(args, ui),
            Self::MtreeValidate(args) => mtree_validate::run(args, ui),
        }
    }
}
