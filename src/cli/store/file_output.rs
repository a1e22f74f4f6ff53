//! Archives that a command writes: to stdout, or to a file.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use oci_bundle::ops::store::{Written, write_file};
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::output::insert_path;
use super::{Common, Ui};
use crate::cli::args::path_parser;

/// `--output`.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// write to this file instead of stdout
    #[arg(long, short = 'o', value_name = "file", value_parser = path_parser())]
    output: Option<PathBuf>,
}

impl OutputArgs {
    /// Writes an archive to where the user wants it; says what was written to a file.
    pub fn write(
        &self,
        common: &Common,
        ui: &Ui,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Option<Written>> {
        let refuse = |message: &str| {
            let error = Error::new(ErrorKind::InvalidInput, message);
            Err(error.with_hint("write it to a file with --output"))
        };
        match &self.output {
            Some(path) => write_file(path, write).map(Some),
            None if common.json => refuse("an archive and JSON cannot both be written to stdout"),
            None if io::stdout().is_terminal() => refuse("an archive is not written to a terminal"),
            None => ui.stream(write).map(|()| None),
        }
    }

    /// What was written, as members of the answer.
    pub fn describe(&self, written: &Written) -> Map<String, Value> {
        let mut members = Map::new();
        if let Some(path) = &self.output {
            insert_path(&mut members, "path", path);
        }
        members.insert("size".to_owned(), written.size.into());
        members.insert("digest".to_owned(), written.digest.to_string().into());
        members
    }
}
