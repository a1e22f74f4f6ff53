//! `config`: changes the configuration of an image.
//!
//! What is to be cleared is cleared first, then everything is set, so that one call can clear a list and fill it again.
//! Nothing is checked for sense: ports, paths and signals are whatever the caller says.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::image::{
    ConfigEdit, Document, Platform, REF_NAME, Reference, Tag, normalize_time, object_mut,
    set_annotations,
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
    /// Replaces the list `config.Entrypoint`.
    pub entrypoint: Vec<String>,
    /// Replaces the list `config.Cmd`. Stays when only the entrypoint is replaced.
    pub cmd: Vec<String>,
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

/// What can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClearKey(Target);

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

impl FromStr for ClearKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "rootfs.diffids" {
            let message = format!("clearing {text} is not safe");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let known = CLEARABLE.iter().find(|(name, _)| *name == text);
        known.map(|(_, target)| Self(*target)).ok_or_else(|| {
            let names: Vec<_> = CLEARABLE.iter().map(|(name, _)| *name).collect();
            Error::new(ErrorKind::InvalidInput, format!("unknown key {text:?}"))
                .with_hint(format!("what can be cleared is {}", names.join(", ")))
        })
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
        options.apply(mutator)
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

    fn apply(&self, mutator: &mut Mutator<'_>) -> Result<()> {
        self.clear(mutator)?;
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
        for ClearKey(target) in &self.clear {
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
        }
        Ok(())
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
            assert_eq!(name.parse::<ClearKey>().unwrap(), ClearKey(*target));
        }
        let error = "rootfs.diffids".parse::<ClearKey>().unwrap_err();
        assert!(error.to_string().contains("not safe"));
        for text in ["", "config", "config.Env", "os", "architecture"] {
            assert!(text.parse::<ClearKey>().is_err(), "{text}");
        }
    }
}
