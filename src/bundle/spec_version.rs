//! The lowest version of the runtime specification that a configuration complies with.
//!
//! A runtime may refuse a configuration whose `ociVersion` is newer than the specification it was written for, although
//! it knows every member in it. So the version says what the configuration needs, and not what this program knows.
//! Version 1.0.0 has everything that is not listed here; member names are those of the JSON document.

use oci_spec::runtime::Spec;
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// The version that has every member not listed in [`NEWER_MEMBERS`].
const BASE_VERSION: &str = "1.0.0";

/// A path with `*` for "any element", and the value that is new where the member itself is not.
type Member = (&'static str, Option<&'static str>);

/// Versions, newest first, with the members that came with them.
const NEWER_MEMBERS: [(&str, &[Member]); 5] = [
    (
        "1.3.0",
        &[
            ("linux.netDevices", None),
            ("linux.memoryPolicy", None),
            ("linux.intelRdt.schemata", None),
            ("linux.intelRdt.enableMonitoring", None),
        ],
    ),
    ("1.2.1", &[("process.execCPUAffinity", None)]),
    (
        "1.2.0",
        &[
            ("mounts.*.options.*", Some("idmap")),
            ("mounts.*.options.*", Some("ridmap")),
        ],
    ),
    (
        "1.1.0",
        &[
            ("domainname", None),
            ("zos", None),
            ("mounts.*.uidMappings", None),
            ("mounts.*.gidMappings", None),
            ("mounts.*.options.*", Some("rro")),
            ("process.ioPriority", None),
            ("process.scheduler", None),
            ("linux.namespaces.*.type", Some("time")),
            ("linux.timeOffsets", None),
            ("linux.resources.unified", None),
            ("linux.resources.cpu.burst", None),
            ("linux.resources.cpu.idle", None),
            ("linux.resources.memory.checkBeforeUpdate", None),
            ("linux.intelRdt.enableCMT", None),
            ("linux.intelRdt.enableMBM", None),
            ("linux.seccomp.defaultErrnoRet", None),
            ("linux.seccomp.listenerPath", None),
            ("linux.seccomp.listenerMetadata", None),
            ("linux.seccomp.syscalls.*.errnoRet", None),
        ],
    ),
    (
        "1.0.2",
        &[
            ("vm", None),
            ("hooks.createRuntime", None),
            ("hooks.createContainer", None),
            ("hooks.startContainer", None),
            ("process.commandLine", None),
            ("process.user.umask", None),
            ("linux.personality", None),
            ("linux.resources.rdma", None),
            ("linux.resources.memory.useHierarchy", None),
            ("linux.intelRdt.closID", None),
            ("linux.intelRdt.memBwSchema", None),
            ("linux.seccomp.flags", None),
            ("windows.devices", None),
        ],
    ),
];

/// Returns the lowest `ociVersion` that covers every member that the configuration has.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`] when the configuration cannot be written as JSON: a path in it is not UTF-8.
pub fn lowest_spec_version(spec: &Spec) -> Result<&'static str> {
    let document = to_document(spec)?;
    let needed = NEWER_MEMBERS.into_iter().find(|(_, members)| {
        members
            .iter()
            .any(|&(path, value)| has(&document, &mut path.split('.'), value))
    });
    Ok(needed.map_or(BASE_VERSION, |(version, _)| version))
}

/// The configuration as JSON, with absent members left out.
pub(super) fn to_document(spec: &Spec) -> Result<Value> {
    serde_json::to_value(spec).map_err(|error| {
        Error::new(
            ErrorKind::InvalidData,
            "write the runtime configuration as JSON",
        )
        .with_source(error)
    })
}

fn has(document: &Value, path: &mut std::str::Split<'_, char>, value: Option<&str>) -> bool {
    match path.next() {
        None => value.is_none_or(|value| document == value),
        Some("*") => {
            let elements = document.as_array().map(Vec::as_slice).unwrap_or_default();
            elements
                .iter()
                .any(|element| has(element, &mut path.clone(), value))
        }
        Some(name) => document
            .get(name)
            .is_some_and(|member| has(member, path, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::template;
    use super::*;

    /// Every row of the table, put into the template one at a time.
    fn with_member(path: &str, value: Option<&str>) -> Value {
        let mut document = to_document(&template::spec()).unwrap();
        let mut place = &mut document;
        for segment in path.split('.') {
            place = if segment == "*" {
                if !place.is_array() {
                    *place = Value::Array(Vec::new());
                }
                let elements = place.as_array_mut().unwrap();
                elements.push(Value::Null);
                elements.last_mut().unwrap()
            } else {
                if !place.is_object() {
                    *place = Value::Object(serde_json::Map::new());
                }
                &mut place[segment]
            };
        }
        *place = Value::from(value.unwrap_or("x"));
        document
    }

    #[test]
    fn the_template_needs_no_more_than_the_first_version() {
        assert_eq!(lowest_spec_version(&template::spec()).unwrap(), "1.0.0");
    }

    #[test]
    fn each_listed_member_is_found_where_the_table_says() {
        let plain = to_document(&template::spec()).unwrap();
        for (version, members) in NEWER_MEMBERS {
            for &(path, value) in members {
                assert!(
                    !has(&plain, &mut path.split('.'), value),
                    "{version} {path}"
                );
                assert!(
                    has(&with_member(path, value), &mut path.split('.'), value),
                    "{version} {path}"
                );
                let other = with_member(path, Some("other"));
                assert_eq!(
                    has(&other, &mut path.split('.'), value),
                    value.is_none(),
                    "{version} {path}"
                );
            }
        }
    }

    #[test]
    fn a_newer_member_raises_the_version_and_the_newest_one_decides() {
        let mut spec = template::spec();
        spec.process_mut()
            .as_mut()
            .unwrap()
            .user_mut()
            .set_umask(Some(0o22));
        assert_eq!(lowest_spec_version(&spec).unwrap(), "1.0.2");
        spec.set_domainname(Some("example".to_owned()));
        assert_eq!(lowest_spec_version(&spec).unwrap(), "1.1.0");
        spec.mounts_mut()
            .get_or_insert_default()
            .push(template::mount("/a", "bind", "/b", &["rbind", "idmap"]));
        assert_eq!(lowest_spec_version(&spec).unwrap(), "1.2.0");
        spec.linux_mut()
            .as_mut()
            .unwrap()
            .set_net_devices(Some(std::collections::HashMap::new()));
        assert_eq!(lowest_spec_version(&spec).unwrap(), "1.3.0");
    }

    #[test]
    fn versions_are_listed_newest_first() {
        let numbers = |version: &str| {
            version
                .split('.')
                .map(|part| part.parse().unwrap())
                .collect::<Vec<u32>>()
        };
        let listed: Vec<_> = NEWER_MEMBERS
            .iter()
            .map(|(version, _)| numbers(version))
            .collect();
        assert!(listed.is_sorted_by(|newer, older| newer > older));
        assert!(*listed.last().unwrap() > numbers(BASE_VERSION));
    }
}
