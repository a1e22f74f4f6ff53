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
/// Values are cleared before they are set, so one call can replace a list. An empty value removes a string from the
/// configuration; lists are emptied with --clear, and an empty list element is kept as an element. Unknown members of
/// the documents are preserved.
///
/// --clear removes a whole member or a single element: config.labels.KEY, config.env.NAME, config.volume.PATH,
/// config.exposedports.PORT, and annotations likewise. Clearing a value that is not set is not an error.
///
/// --get prints one value and changes nothing: one of the keys of the other flags (config.user, config.cmd, created),
/// or an element (config.env.PATH, config.labels.KEY, manifest.annotations.KEY). The annotations of index.json's entry
/// and of the top layer are index.annotations and layer.annotations. A value that is not set is an error.
///
/// If the image belongs to a multi-platform index, the index is updated too.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: EditArgs,

    /// print the value of a key and change nothing
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

    /// exposed port to add, port[/protocol] (can be repeated)
    #[arg(long = "config.exposedports")]
    exposed_ports: Vec<String>,

    /// environment variable to set, NAME=value (can be repeated)
    #[arg(long = "config.env")]
    env: Vec<Pair>,

    /// argument of the entrypoint (can be repeated); replaces the whole entrypoint, and clears the command unless
    /// --config.cmd is given
    #[arg(long = "config.entrypoint")]
    entrypoint: Vec<String>,

    /// keep the image's command when only the entrypoint is replaced (as umoci does)
    #[arg(long)]
    keep_cmd: bool,

    /// argument of the command (can be repeated); replaces the whole command
    #[arg(long = "config.cmd")]
    cmd: Vec<String>,

    /// volume to add (can be repeated)
    #[arg(long = "config.volume")]
    volumes: Vec<String>,

    /// label to set, key=value (can be repeated)
    #[arg(long = "config.label")]
    labels: Vec<Pair>,

    /// working directory
    #[arg(long = "config.workingdir")]
    working_dir: Option<String>,

    /// signal to stop the container
    #[arg(long = "config.stopsignal")]
    stop_signal: Option<String>,

    /// health check: a shell command, NONE, or JSON as in Docker's `Healthcheck`; an empty value removes it
    #[arg(long = "config.healthcheck")]
    healthcheck: Option<Healthcheck>,

    /// argument of Docker's `Shell` (can be repeated); replaces the whole list
    #[arg(long = "config.shell")]
    shell: Vec<String>,

    /// instruction of Docker's `OnBuild` (can be repeated); replaces the whole list
    #[arg(long = "config.onbuild")]
    on_build: Vec<String>,

    /// creation time of the image, in RFC 3339
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

    /// architecture variant of the image
    #[arg(long = "platform.variant")]
    variant: Option<String>,

    /// operating system version of the image
    #[arg(long = "platform.os.version", visible_alias = "os.version")]
    os_version: Option<String>,

    /// required operating system feature (can be repeated); replaces the whole list
    #[arg(long = "platform.os.features", visible_alias = "os.features")]
    os_features: Vec<String>,

    /// annotation of the manifest, key=value (can be repeated)
    #[arg(long = "manifest.annotation")]
    manifest_annotations: Vec<Pair>,

    /// annotation of the descriptor in index.json, key=value (can be repeated)
    #[arg(long = "index.annotation")]
    index_annotations: Vec<Pair>,

    /// annotation of the top layer's descriptor, key=value (can be repeated)
    #[arg(long = "layer.annotation")]
    layer_annotations: Vec<Pair>,

    /// value to clear before others are set, such as config.labels or config.env.NAME (can be repeated)
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
