//! From an image configuration to a runtime configuration (image-spec `conversion.md`), as umoci does it.
//!
//! The template is filled in from the image; id maps and the rootless changes come last. The result is a value:
//! nothing is written here, so a configuration that cannot be made leaves no file behind.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType, Mount, Root as SpecRoot, Spec,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::env::Environment;
use super::rootless::{MountFlags, to_rootless};
use super::spec_version::{lowest_spec_version, to_document};
use super::template;
use super::users::{Databases, ProcessUser};
use crate::fs::{IdMap, IdRange, MapOptions, Root};
use crate::image::ImageConfig;
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result};

/// What to do with an image that has no runtime configuration.
const ROOTFS_ALONE: &str = "its root file system alone can be unpacked with `raw unpack`";

/// What the image does not say.
pub struct RuntimeConfigOptions<'a> {
    /// The rootfs, for `etc/passwd` and `etc/group`. `None` when there is none at hand: a user that cannot be resolved
    /// without it becomes 0:0, with a warning.
    pub rootfs: Option<&'a Root>,
    /// `root.path`, relative to the bundle.
    pub root_path: String,
    /// Id maps, and whether the configuration is for an ordinary user.
    pub map_options: &'a MapOptions,
    /// For rootless configurations: the flags of the mount that the host's `/etc/resolv.conf` is on, `None` when the
    /// host has no such file.
    pub resolv_conf: Option<MountFlags>,
}

/// Makes the runtime configuration of an image. `ociVersion` is the lowest that covers what is used.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] when the image is for another system than Linux; and, with a rootfs only, the errors of
/// resolving the user with its user databases: [`ErrorKind::NotFound`] for a name that is not in them,
/// [`ErrorKind::InvalidData`] for an id out of range, and for a name the error of reading them.
pub fn runtime_config(
    config: &ImageConfig,
    options: &RuntimeConfigOptions<'_>,
    progress: &dyn Progress,
) -> Result<Spec> {
    if config.os().is_empty() {
        progress.warn(format_args!(
            "the image's configuration names no operating system: it is taken for linux"
        ));
    } else if config.os() != "linux" {
        let message = format!(
            "no runtime configuration for an image whose os is {:?}",
            config.os()
        );
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint(ROOTFS_ALONE));
    }
    let hint = |error: Error| error.with_hint(ROOTFS_ALONE);
    let user = process_user(config.user(), options.rootfs, progress).map_err(hint)?;
    let environment = environment(config.env(), &user, progress);

    let mut spec = template::spec();
    spec.set_root(Some(root(&options.root_path)))
        .set_annotations(Some(annotations(config)));
    set_process(&mut spec, config, user, environment);
    spec.mounts_mut()
        .get_or_insert_default()
        .extend(config.volumes().iter().map(|volume| volume_mount(volume)));
    set_id_maps(&mut spec, options.map_options)?;
    if options.map_options.rootless {
        if options.resolv_conf.is_none() {
            progress.warn(format_args!(
                "host has no /etc/resolv.conf, so config.json does not bind it"
            ));
        }
        to_rootless(&mut spec, options.resolv_conf);
    }
    let version = lowest_spec_version(&spec)?;
    spec.set_version(version.to_owned());
    Ok(spec)
}

/// Encodes a runtime configuration: JSON indented with tabs, and a line feed.
///
/// Equal configurations give equal bytes.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`] when a path in the configuration is not UTF-8; those of [`runtime_config`] are.
pub fn to_config_json(spec: &Spec) -> Result<Vec<u8>> {
    let mut document = to_document(spec)?;
    sort_unordered(&mut document);
    let mut bytes = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
    document.serialize(&mut serializer).map_err(|error| {
        Error::new(
            ErrorKind::InvalidData,
            "write the runtime configuration as JSON",
        )
        .with_source(error)
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Sorts what the types hold in hash tables, whose order changes from run to run.
fn sort_unordered(document: &mut Value) {
    const MAPS: [&str; 5] = [
        "/annotations",
        "/linux/sysctl",
        "/linux/netDevices",
        "/linux/timeOffsets",
        "/linux/resources/unified",
    ];
    for pointer in MAPS {
        if let Some(Value::Object(map)) = document.pointer_mut(pointer) {
            map.sort_keys();
        }
    }
    if let Some(Value::Object(sets)) = document.pointer_mut("/process/capabilities") {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_unstable_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
}

/// Resolves the image's user; without a rootfs a failure is a warning.
fn process_user(
    specification: &str,
    rootfs: Option<&Root>,
    progress: &dyn Progress,
) -> Result<ProcessUser> {
    if let Some(rootfs) = rootfs {
        let databases = Databases::read(rootfs);
        let user = databases.resolve(specification)?;
        for failure in databases.failures() {
            progress.warn(format_args!(
                "{}; no home directory and no groups are taken from it",
                failure.chain()
            ));
        }
        return Ok(user);
    }
    Databases::default()
        .resolve(specification)
        .or_else(|error| {
            progress.warn(format_args!(
                "{}; using 0:0, because no rootfs is known",
                error.chain()
            ));
            Ok(ProcessUser::default())
        })
}

fn environment(entries: &[String], user: &ProcessUser, progress: &dyn Progress) -> Vec<String> {
    let mut environment = Environment::of_image(entries, progress);
    if !user.home.is_empty() {
        environment.set_if_missing("HOME", &user.home);
    }
    environment.into_entries()
}

fn root(path: &str) -> SpecRoot {
    let mut root = SpecRoot::default();
    root.set_path(PathBuf::from(path)).set_readonly(None);
    root
}

fn set_process(spec: &mut Spec, config: &ImageConfig, user: ProcessUser, environment: Vec<String>) {
    let Some(process) = spec.process_mut() else {
        return;
    };
    let mut args = [config.entrypoint(), config.cmd()].concat();
    if args.is_empty() {
        args.push("sh".to_owned());
    }
    process.set_args(Some(args)).set_env(Some(environment));
    if !config.working_dir().is_empty() {
        process.set_cwd(PathBuf::from(config.working_dir()));
    }
    let additional_gids = Some(user.additional_gids).filter(|gids| !gids.is_empty());
    process
        .user_mut()
        .set_uid(user.uid)
        .set_gid(user.gid)
        .set_additional_gids(additional_gids);
}

/// An image's volume is a tmpfs: whoever wants it to last mounts something better.
fn volume_mount(volume: &str) -> Mount {
    template::mount(
        volume,
        "tmpfs",
        "none",
        &["rw", "nosuid", "nodev", "noexec", "relatime"],
    )
}

/// What the image says about itself, overridden by its labels.
fn annotations(config: &ImageConfig) -> HashMap<String, String> {
    // The zero time of Go, which stands for "unknown" in umoci's output.
    let created = config
        .created()
        .filter(|time| !time.is_empty())
        .unwrap_or("0001-01-01T00:00:00Z");
    let ports = config.exposed_ports().join(",");
    let own = [
        ("os", config.os()),
        ("architecture", config.architecture()),
        ("variant", config.variant()),
        ("author", config.author()),
        ("created", created),
        ("stopSignal", config.stop_signal()),
        ("exposedPorts", &ports),
    ];
    let own = own
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()));
    own.chain(
        config
            .labels()
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    )
    .collect()
}

/// Sets the maps and adds a user namespace where there is one.
fn set_id_maps(spec: &mut Spec, options: &MapOptions) -> Result<()> {
    let Some(linux) = spec.linux_mut() else {
        return Ok(());
    };
    if options.uid.0.is_empty() && options.gid.0.is_empty() {
        return Ok(());
    }
    linux
        .namespaces_mut()
        .get_or_insert_default()
        .push(template::namespace(LinuxNamespaceType::User));
    linux
        .set_uid_mappings(id_mappings(&options.uid)?)
        .set_gid_mappings(id_mappings(&options.gid)?);
    Ok(())
}

fn id_mappings(map: &IdMap) -> Result<Option<Vec<LinuxIdMapping>>> {
    if map.0.is_empty() {
        return Ok(None);
    }
    map.0
        .iter()
        .map(id_mapping)
        .collect::<Result<_>>()
        .map(Some)
}

fn id_mapping(range: &IdRange) -> Result<LinuxIdMapping> {
    LinuxIdMappingBuilder::default()
        .container_id(range.container)
        .host_id(range.host)
        .size(range.size)
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "make an id mapping").with_source(error)
        })
}

#[cfg(test)]
mod tests;
