//! `config`

use oci_bundle::image::{normalize_time, to_go_json};
use oci_bundle::ops::{ClearKey, ConfigKey, ConfigOptions, Healthcheck, plain_value};
use oci_bundle::{Error, ErrorKind, Result, ops};

use super::args::{HistoryArgs, Pair};
use super::exit::Exit;
use super::source_args::{EditArgs, Reads};
use super::time::source_date_epoch;
use super::ui::Ui;

/// modifies the image configuration of an OCI image
///
/// Everything is cleared first and set then, so that one call can empty a list and fill it anew. An empty value takes a
/// member that is one text out of the configuration; lists are emptied by --clear, an empty element of a list is an
/// element. What the command does not know in the documents stays as it is.
///
/// --clear takes a whole member or one element: config.labels.KEY, config.env.NAME, config.volume.PATH,
/// config.exposedports.PORT, and annotations likewise. Clearing what is not set changes nothing.
///
/// With --get nothing is changed, and one value is printed: one of the keys of the other flags (config.user,
/// config.cmd, created), or an element (config.env.PATH, config.labels.KEY, manifest.annotations.KEY). The annotations
/// of index.json's entry and of the top layer are index.annotations and layer.annotations. A value that is not set is an
/// error.
///
/// Of an image in an index for several platforms, the index is changed with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: EditArgs,

    /// print the value of a key instead of changing anything
    #[arg(long, value_name = "key")]
    get: Option<ConfigKey>,

    /// with --get, print as JSON
    #[arg(long, requires = "get")]
    json: bool,

    #[command(flatten)]
    changes: Changes,

    #[command(flatten)]
    history: HistoryArgs,
}

/// What is to be changed.
#[derive(Debug, clap::Args)]
struct Changes {
    /// user and group to run as
    #[arg(long = "config.user")]
    user: Option<String>,

    /// port to add, of the form port[/protocol], can be given several times
    #[arg(long = "config.exposedports")]
    exposed_ports: Vec<String>,

    /// variable of the environment to set, of the form NAME=value, can be given several times
    #[arg(long = "config.env")]
    env: Vec<Pair>,

    /// word of the entrypoint, can be given several times; replaces the old one as a whole, and clears the command unless
    /// --config.cmd is given too
    #[arg(long = "config.entrypoint")]
    entrypoint: Vec<String>,

    /// keep the image's command when only the entrypoint is replaced, as umoci does
    #[arg(long)]
    keep_cmd: bool,

    /// word of the command, can be given several times; replaces the old one as a whole
    #[arg(long = "config.cmd")]
    cmd: Vec<String>,

    /// volume to add, can be given several times
    #[arg(long = "config.volume")]
    volumes: Vec<String>,

    /// label to set, of the form key=value, can be given several times
    #[arg(long = "config.label")]
    labels: Vec<Pair>,

    /// directory to run in
    #[arg(long = "config.workingdir")]
    working_dir: Option<String>,

    /// signal that stops the container
    #[arg(long = "config.stopsignal")]
    stop_signal: Option<String>,

    /// how to check whether the container is well: a command for the shell, NONE, or the JSON of Docker's `Healthcheck`; nothing to drop it
    #[arg(long = "config.healthcheck")]
    healthcheck: Option<Healthcheck>,

    /// word of Docker's `Shell`, can be given several times; replaces the old one as a whole
    #[arg(long = "config.shell")]
    shell: Vec<String>,

    /// instruction of Docker's `OnBuild`, can be given several times; replaces the old ones
    #[arg(long = "config.onbuild")]
    on_build: Vec<String>,

    /// time of the image's creation, as in RFC 3339
    #[arg(long, value_parser = normalize_time)]
    created: Option<String>,

    /// author of the image
    #[arg(long)]
    author: Option<String>,

    /// operating system of the image
    #[arg(long = "platform.os", visible_alias = "os")]
    os: Option<String>,

    /// architecture of the image
    #[arg(long = "platform.arch", visible_alias = "architecture")]
    architecture: Option<String>,

    /// variant of the architecture of the image
    #[arg(long = "platform.variant")]
    variant: Option<String>,

    /// version of the operating system of the image
    #[arg(long = "platform.os.version", visible_alias = "os.version")]
    os_version: Option<String>,

    /// needed feature of the operating system, can be given several times; replaces the old ones
    #[arg(long = "platform.os.features", visible_alias = "os.features")]
    os_features: Vec<String>,

    /// annotation of the manifest, of the form key=value, can be given several times
    #[arg(long = "manifest.annotation")]
    manifest_annotations: Vec<Pair>,

    /// annotation of the entry in index.json, of the form key=value, can be given several times
    #[arg(long = "index.annotation")]
    index_annotations: Vec<Pair>,

    /// annotation of the top layer, of the form key=value, can be given several times
    #[arg(long = "layer.annotation")]
    layer_annotations: Vec<Pair>,

    /// what to clear before anything is set, can be given several times (config.labels, config.env.NAME, ...)
    #[arg(long)]
    clear: Vec<ClearKey>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    if let Some(key) = &args.get {
        return print(args, key, ui);
    }
    let history = args.history.options(source_date_epoch()?)?;
    args.image
        .edit(Reads::Documents, ui, &|image, tag, progress| {
            let options = ConfigOptions {
                tag,
                platform: args.image.platform().cloned(),
                history: history.clone(),
                ..args.changes.options()
            };
            ops::config(image, &options, progress)
        })
}

/// `--get`
fn print(args: &Args, key: &ConfigKey, ui: &Ui) -> Result<Exit> {
    let changes = args.changes.options() != ConfigOptions::default();
    if changes || args.image.has_tag() || args.history.given() {
        let message = "--get changes nothing, so nothing to change can be given beside it";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let value = ops::config_value(&args.image.source(), args.image.platform(), key)?;
    if args.json {
        ui.print(to_go_json(&value))?;
    } else {
        ui.print(plain_value(&value) + "\n")?;
    }
    Ok(Exit::Success)
}

impl Changes {
    fn options(&self) -> ConfigOptions {
        ConfigOptions {
            clear: self.clear.clone(),
            created: self.created.clone(),
            author: self.author.clone(),
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
            user: self.user.clone(),
            working_dir: self.working_dir.clone(),
            stop_signal: self.stop_signal.clone(),
            exposed_ports: self.exposed_ports.clone(),
            volumes: self.volumes.clone(),
            env: Pair::list(&self.env),
            labels: Pair::list(&self.labels),
            entrypoint: self.entrypoint.clone(),
            keep_cmd: self.keep_cmd,
            cmd: self.cmd.clone(),
            healthcheck: self.healthcheck.clone(),
            shell: self.shell.clone(),
            on_build: self.on_build.clone(),
            manifest_annotations: Pair::map(&self.manifest_annotations),
            index_annotations: Pair::map(&self.index_annotations),
            layer_annotations: Pair::map(&self.layer_annotations),
            ..ConfigOptions::default()
        }
    }
}
