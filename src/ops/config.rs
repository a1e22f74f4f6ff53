//! `config`: changes the configuration of an image.
//!
//! What is to be cleared is cleared first, then everything is set, so that one call can clear a list and fill it again.
//! Nothing is checked for sense: ports, paths and signals are whatever the caller says.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::image::{
    ConfigEdit, Document, Platform, REF_NAME, Reference, Tag, normalize_time, object_mut,
    remove_annotation, set_annotations,
};
use crate::layout::{LeasedLayout, Mutator};
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result, ResultExt};

use super::HistoryOptions;

/// What [`config`] changes. Everything that is `None` or empty is left as it is; a text that is `Some("")` takes the
/// member out of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigOptions {
    /// The result's tag; `None` replaces the image's.
    pub tag: Option<Tag>,
    /// Chooses among the images of an index; `None` means this machine's.
    pub platform: Option<Platform>,
    /// The history entry, which says that no layer was made; its author is the image's by default.
    pub history: HistoryOptions,
    /// What is cleared before anything is set.
    pub clear: Vec<ClearKey>,
    /// `created`: RFC 3339.
    pub created: Option<String>,
    /// `author`.
    pub author: Option<String>,
    /// `architecture`, by Go's name.
    pub architecture: Option<String>,
    /// `os`, by Go's name.
    pub os: Option<String>,
    /// `os.version`.
    pub os_version: Option<String>,
    /// Replaces the list `os.features`.
    pub os_features: Vec<String>,
    /// `variant` of the architecture.
    pub variant: Option<String>,
    /// `config.User`.
    pub user: Option<String>,
    /// `config.WorkingDir`.
    pub working_dir: Option<String>,
    /// `config.StopSignal`.
    pub stop_signal: Option<String>,
    /// Added to the set `config.ExposedPorts`.
    pub exposed_ports: Vec<String>,
    /// Added to the set `config.Volumes`.
    pub volumes: Vec<String>,
    /// Set in `config.Env`: in place of the first variable of that name, else at the end.
    pub env: Vec<(String, String)>,
    /// Set in `config.Labels`.
    pub labels: Vec<(String, String)>,
    /// Replaces the list `config.Entrypoint`, and clears `config.Cmd` where that is not replaced too: its words were
    /// meant for another program. Docker and buildah do so, umoci does not.
    pub entrypoint: Vec<String>,
    /// Replaces the list `config.Cmd`.
    pub cmd: Vec<String>,
    /// Whether `config.Cmd` stays when only the entrypoint is replaced.
    pub keep_cmd: bool,
    /// `config.Healthcheck`, which is Docker's.
    pub healthcheck: Option<Healthcheck>,
    /// Replaces the list `config.Shell`, which is Docker's.
    pub shell: Vec<String>,
    /// Replaces the list `config.OnBuild`, which is Docker's.
    pub on_build: Vec<String>,
    /// Annotations of the manifest.
    pub manifest_annotations: BTreeMap<String, String>,
    /// Annotations of the entry of `index.json`.
    pub index_annotations: BTreeMap<String, String>,
    /// Annotations of the top layer.
    pub layer_annotations: BTreeMap<String, String>,
}

/// How a container is asked whether it is well: Docker's `Healthcheck` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck(Map<String, Value>);

impl FromStr for Healthcheck {
    type Err = Error;

    /// Reads what begins with `{` as the JSON object, `NONE` as the check that switches an inherited one off, an empty
    /// text as no check at all, and anything else as a command for the shell.
    fn from_str(text: &str) -> Result<Self> {
        let value = match text {
            "" => return Ok(Self(Map::new())),
            "NONE" => json!({"Test": ["NONE"]}),
            json if json.trim_start().starts_with('{') => {
                crate::image::parse_json(json.as_bytes()).context(|| "malformed health check")?
            }
            command => json!({"Test": ["CMD-SHELL", command]}),
        };
        let command = value.get("Test").and_then(Value::as_array);
        let is_check = command.is_some_and(|words| words.iter().all(Value::is_string));
        match value {
            Value::Object(check) if is_check => Ok(Self(check)),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                "a health check needs a list of strings \"Test\"",
            )),
        }
    }
}

/// What can be cleared: a member, or one element of a map, a set or the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearKey {
    target: Target,
    element: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Config(&'static str),
    Process(&'static str),
    ManifestAnnotations,
    EntryAnnotations,
    LayerAnnotations,
}

const CLEARABLE: &[(&str, Target)] = &[
    ("config.labels", Target::Process("Labels")),
    ("manifest.annotations", Target::ManifestAnnotations),
    ("index.annotations", Target::EntryAnnotations),
    ("layer.annotations", Target::LayerAnnotations),
    ("config.exposedports", Target::Process("ExposedPorts")),
    ("config.env", Target::Process("Env")),
    ("config.volume", Target::Process("Volumes")),
    ("config.cmd", Target::Process("Cmd")),
    ("config.entrypoint", Target::Process("Entrypoint")),
    ("config.user", Target::Process("User")),
    ("config.workingdir", Target::Process("WorkingDir")),
    ("config.stopsignal", Target::Process("StopSignal")),
    ("config.healthcheck", Target::Process("Healthcheck")),
    ("config.shell", Target::Process("Shell")),
    ("config.onbuild", Target::Process("OnBuild")),
    ("created", Target::Config("created")),
    ("author", Target::Config("author")),
    ("platform.variant", Target::Config("variant")),
    ("platform.os.version", Target::Config("os.version")),
    ("platform.os.features", Target::Config("os.features")),
];

/// Those of which one element can be cleared: `config.env.NAME`. Names in the singular are taken as with `config --get`.
const WITH_ELEMENTS: &[(&str, Target)] = &[
    ("config.labels", Target::Process("Labels")),
    ("config.label", Target::Process("Labels")),
    ("config.env", Target::Process("Env")),
    ("config.exposedports", Target::Process("ExposedPorts")),
    ("config.volume", Target::Process("Volumes")),
    ("manifest.annotations", Target::ManifestAnnotations),
    ("manifest.annotation", Target::ManifestAnnotations),
    ("index.annotations", Target::EntryAnnotations),
    ("index.annotation", Target::EntryAnnotations),
    ("layer.annotations", Target::LayerAnnotations),
    ("layer.annotation", Target::LayerAnnotations),
];

impl FromStr for ClearKey {
    type Err = Error;

    /// Reads a key such as `config.user`, `config.env` or `config.env.PATH`. What follows the name of a map and a full
    /// stop is the element, full stops and all.
    fn from_str(text: &str) -> Result<Self> {
        if text == "rootfs.diffids" {
            let message = format!("clearing {text} is not safe");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let whole = CLEARABLE.iter().find(|(name, _)| *name == text);
        let element = || {
            WITH_ELEMENTS.iter().find_map(|(name, target)| {
                let element = text.strip_prefix(name)?.strip_prefix('.')?;
                (!element.is_empty()).then(|| (*target, Some(element.to_owned())))
            })
        };
        let found = whole.map(|(_, target)| (*target, None)).or_else(element);
        let Some((target, element)) = found else {
            let names: Vec<_> = CLEARABLE.iter().map(|(name, _)| *name).collect();
            let hint = format!(
                "what can be cleared is {}, and single elements as in config.env.NAME",
                names.join(", ")
            );
            return Err(
                Error::new(ErrorKind::InvalidInput, format!("unknown key {text:?}"))
                    .with_hint(hint),
            );
        };
        if element.as_deref() == Some(REF_NAME) && target == Target::EntryAnnotations {
            let message = format!("annotation {REF_NAME} is the tag");
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("give the result's tag with --tag"));
        }
        Ok(Self { target, element })
    }
}

/// Changes the configuration of the image that `image` means, and writes the result to a tag.
///
/// From reading to writing the layout is locked, so that of two changes at the same time none is lost.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) for values that cannot be written, otherwise those of
/// [`LeasedLayout::edit`]. The index is then as it was.
pub fn config(image: &Reference, options: &ConfigOptions, progress: &dyn Progress) -> Result<()> {
    options.check()?;
    let tag = options.tag.as_ref();
    let layout = LeasedLayout::open(&image.layout)?;
    let edited = layout.edit(&image.name, options.platform.as_ref(), tag, |mutator| {
        options.apply(mutator, progress)
    })?;
    edited.tell(progress);
    Ok(())
}

impl ConfigOptions {
    /// Finds what makes no sense before anything is opened.
    fn check(&self) -> Result<()> {
        if let Some(created) = &self.created {
            normalize_time(created).context(|| "time of creation")?;
        }
        self.history.entry("", "", true)?;
        let has_bad_name = |list: &[(String, String)], forbidden: &[char]| {
            list.iter()
                .any(|(name, _)| name.is_empty() || name.contains(forbidden))
        };
        if has_bad_name(&self.env, &['=']) || has_bad_name(&self.labels, &[]) {
            let message = "a variable or label has no valid name";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if self.index_annotations.contains_key(REF_NAME) {
            let message = format!("annotation {REF_NAME} is the tag");
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("give the result's tag with --tag"));
        }
        Ok(())
    }

    fn apply(&self, mutator: &mut Mutator<'_>, progress: &dyn Progress) -> Result<()> {
        self.clear(mutator)?;
        self.clear_inherited_cmd(mutator, progress)?;
        self.set_config(&mut ConfigEdit::new(mutator.config_mut())?)?;
        set_annotations(
            Document::Manifest,
            object_mut(mutator.manifest_mut())?,
            &self.manifest_annotations,
        )?;
        mutator.annotate_entry(&self.index_annotations);
        if !self.layer_annotations.is_empty() {
            mutator.annotate_top_layer(&self.layer_annotations)?;
        }
        let author = mutator.author().to_owned();
        match self.history.entry("umoci config", &author, true)? {
            Some(entry) => mutator.add_history(entry),
            None => Ok(()),
        }
    }

    fn clear(&self, mutator: &mut Mutator<'_>) -> Result<()> {
        for ClearKey { target, element } in &self.clear {
            match element {
                None => clear(mutator, *target)?,
                Some(element) => clear_element(mutator, *target, element)?,
            }
        }
        Ok(())
    }

    /// The command that an image has for its old entrypoint is none for a new one.
    fn clear_inherited_cmd(
        &self,
        mutator: &mut Mutator<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        if self.entrypoint.is_empty() || !self.cmd.is_empty() || self.keep_cmd {
            return Ok(());
        }
        let cmd = mutator.config().pointer("/config/Cmd");
        let Some(cmd) = cmd.filter(|cmd| cmd.as_array().is_some_and(|words| !words.is_empty()))
        else {
            return Ok(());
        };
        progress.warn(format_args!(
            "the image's command {cmd} was meant for its old entrypoint and is cleared; --keep-cmd keeps it"
        ));
        ConfigEdit::new(mutator.config_mut())?.set_process("Cmd", Value::Null)
    }

    fn set_config(&self, edit: &mut ConfigEdit<'_>) -> Result<()> {
        let created = self.created.as_deref().map(normalize_time).transpose()?;
        let texts = [
            ("created", &created),
            ("author", &self.author),
            ("architecture", &self.architecture),
            ("os", &self.os),
            ("os.version", &self.os_version),
            ("variant", &self.variant),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                edit.set(name, text.as_str().into());
            }
        }
        if !self.os_features.is_empty() {
            edit.set("os.features", json!(self.os_features));
        }
        self.set_process(edit)
    }

    fn set_process(&self, edit: &mut ConfigEdit<'_>) -> Result<()> {
        let texts = [
            ("User", &self.user),
            ("WorkingDir", &self.working_dir),
            ("StopSignal", &self.stop_signal),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                edit.set_process(name, text.as_str().into())?;
            }
        }
        let lists = [
            ("Entrypoint", &self.entrypoint),
            ("Cmd", &self.cmd),
            ("Shell", &self.shell),
            ("OnBuild", &self.on_build),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            edit.set_process(name, json!(list))?;
        }
        if let Some(Healthcheck(check)) = &self.healthcheck {
            edit.set_process("Healthcheck", Value::Object(check.clone()))?;
        }
        edit.add_to_set("ExposedPorts", &self.exposed_ports)?;
        edit.add_to_set("Volumes", &self.volumes)?;
        for (name, value) in &self.env {
            edit.set_env(name, value)?;
        }
        for (key, value) in &self.labels {
            edit.set_label(key, value)?;
        }
        Ok(())
    }
}

fn clear(mutator: &mut Mutator<'_>, target: Target) -> Result<()> {
    match target {
        Target::Config(name) => {
            ConfigEdit::new(mutator.config_mut())?.set(name, Value::Null);
        }
        Target::Process(name) => {
            ConfigEdit::new(mutator.config_mut())?.set_process(name, Value::Null)?;
        }
        Target::ManifestAnnotations => Document::Manifest.set(
            object_mut(mutator.manifest_mut())?,
            "annotations",
            Value::Null,
        ),
        Target::EntryAnnotations => mutator.clear_entry_annotations(),
        Target::LayerAnnotations => mutator.clear_top_layer_annotations()?,
    }
    Ok(())
}

/// Clears one element; that it is not there is fine.
fn clear_element(mutator: &mut Mutator<'_>, target: Target, element: &str) -> Result<()> {
    match target {
        Target::Config(_) => {}
        Target::Process(name) => {
            let mut edit = ConfigEdit::new(mutator.config_mut())?;
            edit.remove_element(name, element)?;
            if name == "ExposedPorts" {
                // A port without a protocol is one of TCP.
                match element.strip_suffix("/tcp") {
                    Some(port) => edit.remove_element(name, port)?,
                    None => edit.remove_element(name, &format!("{element}/tcp"))?,
                }
            }
        }
        Target::ManifestAnnotations => {
            remove_annotation(
                Document::Manifest,
                object_mut(mutator.manifest_mut())?,
                element,
            );
        }
        Target::EntryAnnotations => mutator.clear_entry_annotation(element),
        Target::LayerAnnotations => mutator.clear_top_layer_annotation(element)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_is_json_or_a_command_or_none() {
        let read = |text: &str| {
            text.parse::<Healthcheck>()
                .map(|check| Value::Object(check.0).to_string())
        };
        for (text, expected) in [
            ("", "{}"),
            ("NONE", r#"{"Test":["NONE"]}"#),
            ("curl -f x", r#"{"Test":["CMD-SHELL","curl -f x"]}"#),
            (
                r#" {"Test":["CMD","x"],"Retries":3,"Interval":1000000000}"#,
                r#"{"Test":["CMD","x"],"Retries":3,"Interval":1000000000}"#,
            ),
        ] {
            assert_eq!(read(text).unwrap(), expected);
        }
        for text in ["{", "{}", r#"{"Test":"x"}"#, r#"{"Test":[1]}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_known_keys_are_cleared_and_never_diff_ids() {
        for (name, target) in CLEARABLE {
            let key = ClearKey {
                target: *target,
                element: None,
            };
            assert_eq!(name.parse::<ClearKey>().unwrap(), key);
        }
        for (name, target) in WITH_ELEMENTS {
            let key = ClearKey {
                target: *target,
                element: Some("a.b/c".to_owned()),
            };
            assert_eq!(format!("{name}.a.b/c").parse::<ClearKey>().unwrap(), key);
        }
        let error = "rootfs.diffids".parse::<ClearKey>().unwrap_err();
        assert!(error.to_string().contains("not safe"));
        for text in [
            "",
            "config",
            "config.Env",
            "os",
            "architecture",
            "config.env.",
            "config.cmd.x",
            "index.annotations.org.opencontainers.image.ref.name",
        ] {
            assert!(text.parse::<ClearKey>().is_err(), "{text}");
        }
    }
}
