//! Image configuration (`config.md`).
//!
//! The view is our own, not `oci_spec::image::ImageConfiguration`: that one refuses configs without `config`, with
//! `diff_ids:null` or with `null` in a set, all of which tools write, and its labels have a random order.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::members::{self, malformed};
use super::{DiffId, Platform, parse_json};
use crate::{Error, Result, ResultExt};

/// An image configuration: the JSON beside a view of it.
#[derive(Clone, Debug)]
pub struct ImageConfig {
    raw: Value,
    view: View,
}

#[derive(Clone, Debug)]
struct View {
    created: Option<String>,
    author: String,
    os: String,
    architecture: String,
    variant: String,
    os_version: String,
    os_features: Vec<String>,
    rootfs_type: String,
    diff_ids: Vec<DiffId>,
    history: Vec<History>,
    process: Process,
}

/// The member `config`: how to run the image.
#[derive(Clone, Debug)]
struct Process {
    user: String,
    env: Vec<String>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    working_dir: String,
    stop_signal: String,
    args_escaped: bool,
    volumes: Vec<String>,
    exposed_ports: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// How one layer came to be, or one step that made none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When, verbatim (RFC 3339).
    pub created: Option<String>,
    /// The command.
    pub created_by: String,
    /// Who.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// Whether the step made no layer.
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Parses a config blob.
    ///
    /// Absent and `null` members read as empty, including those that the specification requires: whoever needs one
    /// checks it ([`rootfs_type`](Self::rootfs_type) before unpacking).
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidData`] for what is no JSON object, for a member of the wrong type, and for a malformed
    /// diff ID; [`crate::ErrorKind::Unsupported`] for a diff ID of an unknown algorithm;
    /// [`crate::ErrorKind::LimitExceeded`] as for [`parse_json`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let raw = parse_json(bytes)?;
        let object = raw
            .as_object()
            .ok_or_else(|| malformed("the image config is not a JSON object"))?;
        let view = View::read(object).context(|| "malformed image config")?;
        Ok(Self { raw, view })
    }

    /// The JSON.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// When the image was made, verbatim (RFC 3339).
    pub fn created(&self) -> Option<&str> {
        self.view.created.as_deref()
    }

    /// Who made the image, or `""`.
    pub fn author(&self) -> &str {
        &self.view.author
    }

    /// Operating system, or `""`.
    pub fn os(&self) -> &str {
        &self.view.os
    }

    /// Architecture, or `""`.
    pub fn architecture(&self) -> &str {
        &self.view.architecture
    }

    /// Variant of the architecture, or `""`.
    pub fn variant(&self) -> &str {
        &self.view.variant
    }

    /// Version of the operating system (`os.version`), or `""`.
    pub fn os_version(&self) -> &str {
        &self.view.os_version
    }

    /// Needed features of the operating system (`os.features`).
    pub fn os_features(&self) -> &[String] {
        &self.view.os_features
    }

    /// What the image runs on, where operating system and architecture are both given.
    pub fn platform(&self) -> Option<Platform> {
        let View {
            os,
            architecture,
            variant,
            ..
        } = &self.view;
        (!os.is_empty() && !architecture.is_empty()).then(|| Platform {
            os: os.clone(),
            architecture: architecture.clone(),
            variant: Some(variant.clone()).filter(|variant| !variant.is_empty()),
        })
    }

    /// The member `rootfs.type`, or `""`. Unpacking anything but `layers` must fail (`config.md`).
    pub fn rootfs_type(&self) -> &str {
        &self.view.rootfs_type
    }

    /// Diff IDs of the layers, bottom first.
    pub fn diff_ids(&self) -> &[DiffId] {
        &self.view.diff_ids
    }

    /// How the image came to be, oldest first.
    pub fn history(&self) -> &[History] {
        &self.view.history
    }

    /// User and group to run as (`config.User`), or `""`.
    pub fn user(&self) -> &str {
        &self.view.process.user
    }

    /// Environment (`config.Env`), each `NAME=value`.
    pub fn env(&self) -> &[String] {
        &self.view.process.env
    }

    /// Start of the command line (`config.Entrypoint`).
    pub fn entrypoint(&self) -> &[String] {
        &self.view.process.entrypoint
    }

    /// Rest of the command line (`config.Cmd`).
    pub fn cmd(&self) -> &[String] {
        &self.view.process.cmd
    }

    /// Working directory (`config.WorkingDir`), or `""`.
    pub fn working_dir(&self) -> &str {
        &self.view.process.working_dir
    }

    /// Signal that stops the process (`config.StopSignal`), or `""`.
    pub fn stop_signal(&self) -> &str {
        &self.view.process.stop_signal
    }

    /// Whether the command line is escaped already (`config.ArgsEscaped`, Windows only).
    pub fn args_escaped(&self) -> bool {
        self.view.process.args_escaped
    }

    /// Volumes (`config.Volumes`), sorted.
    pub fn volumes(&self) -> &[String] {
        &self.view.process.volumes
    }

    /// Ports (`config.ExposedPorts`), sorted.
    pub fn exposed_ports(&self) -> &[String] {
        &self.view.process.exposed_ports
    }

    /// Labels (`config.Labels`), sorted by key.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.view.process.labels
    }
}

impl View {
    fn read(object: &Map<String, Value>) -> Result<Self> {
        let none = Map::new();
        let rootfs = members::object(object, "rootfs")?.unwrap_or(&none);
        let process = members::object(object, "config")?.unwrap_or(&none);
        let diff_ids = members::texts(rootfs, "diff_ids")?;
        Ok(Self {
            created: members::text(object, "created")?.map(str::to_owned),
            author: members::owned_text(object, "author")?,
            os: members::owned_text(object, "os")?,
            architecture: members::owned_text(object, "architecture")?,
            variant: members::owned_text(object, "variant")?,
            os_version: members::owned_text(object, "os.version")?,
            os_features: members::texts(object, "os.features")?,
            rootfs_type: members::owned_text(rootfs, "type")?,
            diff_ids: diff_ids
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_, Error>>()?,
            history: members::list(object, "history")?
                .iter()
                .map(History::read)
                .collect::<Result<_>>()?,
            process: Process::read(process)?,
        })
    }
}

impl Process {
    fn read(object: &Map<String, Value>) -> Result<Self> {
        Ok(Self {
            user: members::owned_text(object, "User")?,
            env: members::texts(object, "Env")?,
            entrypoint: members::texts(object, "Entrypoint")?,
            cmd: members::texts(object, "Cmd")?,
            working_dir: members::owned_text(object, "WorkingDir")?,
            stop_signal: members::owned_text(object, "StopSignal")?,
            args_escaped: members::flag(object, "ArgsEscaped")?,
            volumes: members::set(object, "Volumes")?,
            exposed_ports: members::set(object, "ExposedPorts")?,
            labels: members::text_map(object, "Labels")?,
        })
    }
}

impl History {
    fn read(value: &Value) -> Result<Self> {
        let object = value
            .as_object()
            .ok_or_else(|| malformed("a history entry is not an object"))?;
        Ok(Self {
            created: members::text(object, "created")?.map(str::to_owned),
            created_by: members::owned_text(object, "created_by")?,
            author: members::owned_text(object, "author")?,
            comment: members::owned_text(object, "comment")?,
            empty_layer: members::flag(object, "empty_layer")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorKind;

    fn parse(value: &Value) -> Result<ImageConfig> {
        ImageConfig::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_config_of_nulls_is_empty() {
        let config = parse(&json!({
            "created": null, "author": null, "os": null, "architecture": null, "os.features": null, "history": null,
            "rootfs": {"type": null, "diff_ids": null},
            "config": {"User": null, "Env": null, "Cmd": null, "Labels": null, "Volumes": {"/v": null},
                "ExposedPorts": {"80/tcp": null, "22": {}}, "ArgsEscaped": null},
        }))
        .unwrap();
        assert_eq!(
            (config.created(), config.os(), config.rootfs_type()),
            (None, "", "")
        );
        assert_eq!((config.platform(), config.diff_ids().len()), (None, 0));
        assert_eq!(config.volumes(), ["/v"]);
        assert_eq!(config.exposed_ports(), ["22", "80/tcp"]);
        assert!(parse(&json!({})).is_ok());
    }

    #[test]
    fn a_full_config_is_read_and_kept() {
        let diff_id = format!("sha256:{}", "b".repeat(64));
        let value = json!({
            "created": "2020-01-01T00:00:00.5+02:00", "author": "me", "architecture": "arm", "os": "linux", "variant": "v7",
            "os.version": "1", "os.features": ["f"], "Healthcheck": {"Test": ["x"]},
            "config": {"User": "u", "Env": ["A=b"], "Entrypoint": ["e"], "Cmd": ["c"], "WorkingDir": "/w", "StopSignal": "TERM",
                "Labels": {"z": "1", "a": "2"}, "ArgsEscaped": true},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "t", "created_by": "c", "author": "a", "comment": "d", "empty_layer": true}, {}],
        });
        let config = parse(&value).unwrap();
        assert_eq!(config.raw().to_string(), value.to_string());
        assert_eq!(config.created(), Some("2020-01-01T00:00:00.5+02:00"));
        assert_eq!(config.platform().unwrap().to_string(), "linux/arm/v7");
        assert_eq!(config.diff_ids()[0].to_string(), diff_id);
        assert_eq!(config.labels().keys().collect::<Vec<_>>(), ["a", "z"]);
        assert_eq!(
            (config.user(), config.working_dir(), config.stop_signal()),
            ("u", "/w", "TERM")
        );
        assert_eq!(
            (config.env(), config.entrypoint(), config.cmd()),
            (&["A=b".into()][..], &["e".into()][..], &["c".into()][..])
        );
        assert!(config.args_escaped());
        assert_eq!(
            (config.os_version(), config.os_features()),
            ("1", &["f".into()][..])
        );
        let step = History {
            created: Some("t".into()),
            created_by: "c".into(),
            author: "a".into(),
            comment: "d".into(),
            empty_layer: true,
        };
        assert_eq!(config.history(), [step, History::default()]);
    }

    #[test]
    fn a_member_of_the_wrong_type_is_refused() {
        for value in [
            json!([]),
            json!("x"),
            json!(null),
            json!({"os": 1}),
            json!({"config": []}),
            json!({"config": {"Env": "A=b"}}),
            json!({"config": {"Env": [1]}}),
            json!({"config": {"Volumes": {"/v": "x"}}}),
            json!({"config": {"Labels": {"a": 1}}}),
            json!({"rootfs": "layers"}),
            json!({"rootfs": {"diff_ids": ["sha256:00"]}}),
            json!({"history": [null]}),
            json!({"history": [{"empty_layer": "yes"}]}),
        ] {
            assert_eq!(
                parse(&value).unwrap_err().kind(),
                ErrorKind::InvalidData,
                "{value}"
            );
        }
    }
}
