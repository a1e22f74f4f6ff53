//! The tree of commands, and the line that runs each of them.

use clap::{Args, Parser, Subcommand};
use oci_bundle::{Error, ErrorKind, Result, ResultExt};

use super::exit::Exit;
use super::log::Threshold;
use super::progress_lines::Lines;
#[cfg(feature = "serve")]
use super::serve;
use super::ui::Ui;
use super::{
    append, cat, completion, config, copy, diff, export, files, gc, index, init, insert, layers,
    list, manual, mount, new, raw, rebase, remove, remove_bundle, repack, squash, stat, store, tag,
    umount, unpack, unshare, validate,
};

/// modifies Open Container images
#[derive(Debug, Parser)]
#[command(
    name = "bundle",
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub struct App {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// The flags before the command.
#[derive(Debug, Args)]
pub struct Globals {
    /// alias for --log=info
    #[arg(long)]
    verbose: bool,

    /// set the log level (debug, info, [warn], error, fatal)
    // No clap default: only a level that was given contradicts `--verbose`.
    #[arg(long)]
    log: Option<String>,

    /// no progress, and only errors in the log (also accepted after the command)
    #[arg(long, global = true)]
    quiet: bool,

    /// write progress to this file descriptor, one JSON object per line (also accepted after the command)
    #[arg(long, global = true, value_name = "fd")]
    progress_fd: Option<i32>,

    /// accepted for compatibility and ignored
    #[arg(long, hide = true)]
    pub cpu_profile: Option<std::ffi::OsString>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Raw(raw::Command),
    #[command(subcommand)]
    Store(Box<store::Command>),
    Unshare(unshare::Args),
    Completion(completion::Args),
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompleteArgs),
    Man(manual::Args),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    Config(Box<config::Args>),
    Unpack(unpack::Args),
    Repack(Box<repack::Args>),
    Insert(Box<insert::Args>),
    New(new::Args),
    Tag(tag::Args),
    #[command(visible_alias = "rm")]
    Remove(remove::Args),
    Stat(stat::Args),
    Cat(cat::Args),
    Copy(Box<copy::Args>),
    Files(files::Args),
    Diff(diff::Args),
    Squash(squash::Args),
    Export(export::Args),
    Layers(layers::Args),
    Rebase(rebase::Args),
    Append(append::Args),
    Mount(Box<mount::Args>),
    Umount(umount::Args),
    RemoveBundle(remove_bundle::Args),
    Gc(gc::Args),
    #[command(subcommand)]
    Index(index::Command),
    Init(init::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Validate(validate::Args),
}

/// The help groups that umoci has. Commands that are in none of them come first.
pub const CATEGORIES: &[(&str, &[&str])] = &[
    (
        "image",
        &[
            "config",
            "unpack",
            "repack",
            "new",
            "tag",
            "remove",
            "stat",
            "insert",
            "layers",
            "rebase",
            "append",
            "add-layer",
            "runtime-config",
            "cat",
            "files",
            "diff",
            "copy",
            "squash",
            "export",
            "mount",
            "umount",
            "remove-bundle",
        ],
    ),
    ("layout", &["gc", "init", "list", "validate"]),
];

impl App {
    /// Whether signals are for a program that the command runs, and not for the command.
    pub fn leaves_signals(&self) -> bool {
        matches!(self.command, Command::Unshare(_))
    }

    /// Whether the command handles all signals itself.
    pub fn takes_signals(&self) -> bool {
        #[cfg(feature = "serve")]
        if let Command::Serve(args) = &self.command {
            return args.takes_signals();
        }
        false
    }

    /// Runs the command that the arguments name; `program` is the name that the program was called by.
    pub fn run(&self, program: &str, ui: &Ui) -> Result<Exit> {
        match &self.command {
            Command::Raw(command) => command.run(ui),
            Command::Store(command) => command.run(ui),
            Command::Unshare(args) => unshare::run(args, ui),
            Command::Completion(args) => completion::run(args, program, ui),
            Command::Complete(args) => completion::complete(args, ui),
            Command::Man(args) => manual::run(args, ui),
            #[cfg(feature = "serve")]
            Command::Serve(args) => serve::run(args, ui, self.globals.threshold()?),
            Command::Config(args) => config::run(args, ui),
            Command::Index(command) => command.run(ui),
            Command::Copy(args) => copy::run(args, ui),
            Command::Unpack(args) => unpack::run(args, ui),
            Command::Repack(args) => repack::run(args, ui),
            Command::Insert(args) => insert::run(args, ui),
            Command::New(args) => new::run(args, ui),
            Command::Tag(args) => tag::run(args, ui),
            Command::Remove(args) => remove::run(args, ui),
            Command::Stat(args) => stat::run(args, ui),
            Command::Cat(args) => cat::run(args, ui),
            Command::Files(args) => files::run(args, ui),
            Command::Diff(args) => diff::run(args, ui),
            Command::Squash(args) => squash::run(args, ui),
            Command::Export(args) => export::run(args, ui),
            Command::Layers(args) => layers::run(args, ui),
            Command::Rebase(args) => rebase::run(args, ui),
            Command::Append(args) => append::run(args, ui),
            Command::Mount(args) => mount::run(args, ui),
            Command::Umount(args) => umount::run(args, ui),
            Command::RemoveBundle(args) => remove_bundle::run(args, ui),
            Command::Gc(args) => gc::run(args, ui),
            Command::Init(args) => init::run(args, ui),
            Command::List(args) => list::run(args, ui),
            Command::Validate(args) => validate::run(args, ui),
        }
    }
}

impl Globals {
    /// Whether bars and everything below errors stay away.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Where progress is written for programs.
    pub fn progress_lines(&self) -> Result<Option<Lines>> {
        let lines = self.progress_fd.map(Lines::to_descriptor).transpose();
        lines.context(|| "invalid --progress-fd")
    }

    /// The least important level that is logged.
    pub fn threshold(&self) -> Result<Threshold> {
        let level = match (&self.log, self.verbose) {
            (Some(_), true) => {
                let message = "--log and --verbose are mutually exclusive";
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            (Some(level), false) => level.parse()?,
            (None, true) => Threshold::Info,
            (None, false) => Threshold::Warn,
        };
        Ok(if self.quiet {
            level.max(Threshold::Error)
        } else {
            level
        })
    }
}
