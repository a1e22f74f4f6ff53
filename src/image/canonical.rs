//! The spelling of documents that are rewritten: that of Go's encoder, as long as it can say all that is in them.
//!
//! umoci reads a document into Go structs and writes the structs. Whatever the source looked like, its output has the
//! members in the order of declaration, none that are empty, and sorted maps. Digests depend on it, so a document in which
//! every member is known is written exactly so. A document with a member that the structs don't have keeps its order
//! and its spelling instead: nothing of it may be lost, and there is no output of umoci's that it could equal.
//!
//! Where umoci would invent something (a `created` of year 1 where there is none) or lose it (`variant`), this does not.

use serde_json::{Map, Value};

use super::members::insert_in_order;
use super::rfc3339::normalize_time;

/// A member of a document.
struct Member {
    name: &'static str,
    shape: Shape,
    /// Whether it is left out when it is empty.
    optional: bool,
}

/// What a member holds, as far as the encoder cares.
enum Shape {
    /// A string or a number, or anything that is written as it was read.
    Scalar,
    /// RFC 3339.
    Time,
    Flag,
    /// Strings.
    List,
    /// An object of empty objects.
    Set,
    /// An object of strings.
    Map,
    Object(&'static [Member]),
    Objects(&'static [Member]),
}

const fn optional(name: &'static str, shape: Shape) -> Member {
    Member {
        name,
        shape,
        optional: true,
    }
}

const fn required(name: &'static str, shape: Shape) -> Member {
    Member {
        name,
        shape,
        optional: false,
    }
}

const PLATFORM: &[Member] = &[
    required("architecture", Shape::Scalar),
    required("os", Shape::Scalar),
    optional("os.version", Shape::Scalar),
    optional("os.features", Shape::List),
    optional("variant", Shape::Scalar),
];

const DESCRIPTOR: &[Member] = &[
    required("mediaType", Shape::Scalar),
    required("digest", Shape::Scalar),
    required("size", Shape::Scalar),
    optional("urls", Shape::List),
    optional("annotations", Shape::Map),
    optional("data", Shape::Scalar),
    optional("platform", Shape::Object(PLATFORM)),
    optional("artifactType", Shape::Scalar),
];

const INDEX: &[Member] = &[
    required("schemaVersion", Shape::Scalar),
    optional("mediaType", Shape::Scalar),
    optional("artifactType", Shape::Scalar),
    required("manifests", Shape::Objects(DESCRIPTOR)),
    optional("subject", Shape::Object(DESCRIPTOR)),
    optional("annotations", Shape::Map),
];

const MANIFEST: &[Member] = &[
    required("schemaVersion", Shape::Scalar),
    optional("mediaType", Shape::Scalar),
    optional("artifactType", Shape::Scalar),
    required("config", Shape::Object(DESCRIPTOR)),
    required("layers", Shape::Objects(DESCRIPTOR)),
    optional("subject", Shape::Object(DESCRIPTOR)),
    optional("annotations", Shape::Map),
];

const PROCESS: &[Member] = &[
    optional("User", Shape::Scalar),
    optional("ExposedPorts", Shape::Set),
    optional("Env", Shape::List),
    optional("Entrypoint", Shape::List),
    optional("Cmd", Shape::List),
    optional("Volumes", Shape::Set),
    optional("WorkingDir", Shape::Scalar),
    optional("Labels", Shape::Map),
    optional("StopSignal", Shape::Scalar),
    optional("ArgsEscaped", Shape::Flag),
];

const ROOTFS: &[Member] = &[
    required("type", Shape::Scalar),
    required("diff_ids", Shape::List),
];

const HISTORY: &[Member] = &[
    optional("created", Shape::Time),
    optional("created_by", Shape::Scalar),
    optional("author", Shape::Scalar),
    optional("comment", Shape::Scalar),
    optional("empty_layer", Shape::Flag),
];

const CONFIG: &[Member] = &[
    optional("created", Shape::Time),
    optional("author", Shape::Scalar),
    required("architecture", Shape::Scalar),
    required("os", Shape::Scalar),
    optional("os.version", Shape::Scalar),
    optional("os.features", Shape::List),
    optional("variant", Shape::Scalar),
    required("config", Shape::Object(PROCESS)),
    required("rootfs", Shape::Object(ROOTFS)),
    optional("history", Shape::Objects(HISTORY)),
];

/// Members of the process (`config.config`) that Docker has beyond the specification, in the order in which we add them
/// behind all others.
const DOCKER_PROCESS: &[&str] = &["Healthcheck", "OnBuild", "Shell"];

/// A document, or a part of one that is edited on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// An image index.
    Index,
    /// An image manifest.
    Manifest,
    /// An image configuration.
    Config,
    /// The member `config` of an image configuration.
    Process,
    /// The member `rootfs` of an image configuration.
    Rootfs,
    /// A descriptor.
    Descriptor,
    /// The member `platform` of a descriptor.
    Platform,
}

impl Document {
    fn members(self) -> &'static [Member] {
        match self {
            Self::Index => INDEX,
            Self::Manifest => MANIFEST,
            Self::Config => CONFIG,
            Self::Process => PROCESS,
            Self::Rootfs => ROOTFS,
            Self::Descriptor => DESCRIPTOR,
            Self::Platform => PLATFORM,
        }
    }

    /// Sets a member at its place in Go's order; an empty one is taken out where it may be absent.
    pub(crate) fn set(self, object: &mut Map<String, Value>, name: &str, value: Value) {
        let known = self.members().iter().find(|member| member.name == name);
        if is_empty(&value) && known.is_none_or(|member| member.optional) {
            object.shift_remove(name);
            return;
        }
        self.place(object, name, value);
    }

    /// Sets a member at its place in Go's order, empty or not.
    pub(crate) fn place(self, object: &mut Map<String, Value>, name: &str, value: Value) {
        let mut order: Vec<&str> = self.members().iter().map(|member| member.name).collect();
        if self == Self::Process {
            order.extend(DOCKER_PROCESS);
        }
        insert_in_order(object, &order, name, value);
    }

    /// Puts a document in which every member is known into the form that Go's encoder gives it, and leaves any other
    /// alone. Either way the members that must be there are: an object `config`, a `rootfs`.
    pub(crate) fn canonicalize(self, document: &mut Value) {
        let Value::Object(object) = document else {
            return;
        };
        for member in self.members().iter().filter(|member| !member.optional) {
            let absent = object.get(member.name).is_none_or(Value::is_null);
            if absent && let Some(value) = member.shape.empty() {
                self.set(object, member.name, value);
            }
        }
        if is_known(object, self.members()) {
            rewrite(object, self.members());
        }
    }
}

impl Shape {
    /// What stands for a member that must not be absent; nothing for a scalar, which nobody can guess.
    fn empty(&self) -> Option<Value> {
        match self {
            Self::Set | Self::Map | Self::Object(_) => Some(Value::Object(Map::new())),
            Self::List | Self::Objects(_) => Some(Value::Array(Vec::new())),
            Self::Scalar | Self::Time | Self::Flag => None,
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Whether Go's structs could hold all of this.
fn is_known(object: &Map<String, Value>, members: &[Member]) -> bool {
    object.iter().all(|(name, value)| {
        let member = members.iter().find(|member| member.name == name);
        member.is_some_and(|member| value.is_null() || is_representable(value, &member.shape))
    })
}

fn is_representable(value: &Value, shape: &Shape) -> bool {
    let objects = |list: &[Value], members| {
        let mut objects = list.iter().map(Value::as_object);
        objects.all(|object| object.is_some_and(|object| is_known(object, members)))
    };
    match (shape, value) {
        (Shape::Scalar, Value::String(_) | Value::Number(_)) | (Shape::Flag, Value::Bool(_)) => {
            true
        }
        (Shape::Time, Value::String(text)) => normalize_time(text).is_ok(),
        (Shape::List, Value::Array(list)) => list.iter().all(Value::is_string),
        (Shape::Set, Value::Object(set)) => set.values().all(is_empty),
        (Shape::Map, Value::Object(map)) => map
            .values()
            .all(|value| value.is_string() || value.is_null()),
        (Shape::Object(members), Value::Object(object)) => is_known(object, members),
        (Shape::Objects(members), Value::Array(list)) => objects(list, members),
        _ => false,
    }
}

/// Orders the members, and takes out what is empty.
fn rewrite(object: &mut Map<String, Value>, members: &[Member]) {
    let mut old = std::mem::take(object);
    for member in members {
        let Some(mut value) = old.get_mut(member.name).map(Value::take) else {
            continue;
        };
        rewrite_value(&mut value, &member.shape);
        // A struct, unlike a map or a pointer to one, is never empty to Go; an optional one is a pointer.
        let absent = match member.shape {
            Shape::Object(_) => value.is_null(),
            _ => is_empty(&value),
        };
        if !(absent && member.optional) {
            object.insert(member.name.to_owned(), value);
        }
    }
}

fn rewrite_value(value: &mut Value, shape: &Shape) {
    match (shape, value) {
        (Shape::Time, Value::String(text)) => {
            if let Ok(normal) = normalize_time(text) {
                *text = normal;
            }
        }
        (Shape::Set, Value::Object(set)) => {
            set.values_mut()
                .for_each(|value| *value = Value::Object(Map::new()));
            set.sort_keys();
        }
        (Shape::Map, Value::Object(map)) => {
            for value in map.values_mut().filter(|value| value.is_null()) {
                *value = Value::String(String::new());
            }
            map.sort_keys();
        }
        (Shape::Object(members), Value::Object(object)) => rewrite(object, members),
        (Shape::Objects(members), Value::Array(list)) => {
            for object in list.iter_mut().filter_map(Value::as_object_mut) {
                rewrite(object, members);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canonical(kind: Document, mut document: Value) -> String {
        kind.canonicalize(&mut document);
        document.to_string()
    }

    #[test]
    fn a_config_of_known_members_gets_gos_form() {
        let config = json!({
            "history": [{"empty_layer": false, "created_by": "x", "created": "2020-01-01T00:00:00.500+00:00"}, {}],
            "rootfs": {"diff_ids": ["d"], "type": "layers"}, "variant": "v8", "os.features": [], "os": "linux",
            "architecture": "arm64", "author": "", "created": null,
            "config": {"Volumes": {"/b": null, "/a": {}}, "Labels": {"z": null, "a": "1"}, "Env": [], "Cmd": null,
                "User": "u", "ArgsEscaped": false, "StopSignal": ""},
        });
        let expected = concat!(
            r#"{"architecture":"arm64","os":"linux","variant":"v8","#,
            r#""config":{"User":"u","Volumes":{"/a":{},"/b":{}},"Labels":{"a":"1","z":""}},"#,
            r#""rootfs":{"type":"layers","diff_ids":["d"]},"#,
            r#""history":[{"created":"2020-01-01T00:00:00.5Z","created_by":"x"},{}]}"#
        );
        assert_eq!(canonical(Document::Config, config), expected);
    }

    #[test]
    fn a_document_with_anything_unknown_keeps_its_form() {
        let table = [
            json!({"os": "l", "x": 1, "config": {}, "rootfs": {}, "author": ""}),
            json!({"os": "l", "author": "", "config": {"Healthcheck": {}}, "rootfs": {}}),
            json!({"os": "l", "author": "", "config": {"Env": [1]}, "rootfs": {}}),
            json!({"os": "l", "author": "", "config": {}, "rootfs": {}, "history": [{"x": 1}]}),
            json!({"os": "l", "author": "", "config": {"Volumes": {"/v": {"x": 1}}}, "rootfs": {}}),
            json!({"os": "l", "author": "", "config": {}, "rootfs": {}, "created": "yesterday"}),
            json!({"os": true, "author": "", "config": {}, "rootfs": {}}),
        ];
        for config in table {
            let text = config.to_string();
            assert_eq!(canonical(Document::Config, config), text);
        }
    }

    #[test]
    fn what_must_be_there_is_filled_in() {
        let expected = r#"{"os":"linux","config":{},"rootfs":{"type":"layers"}}"#;
        let config = json!({"os": "linux", "rootfs": {"type": "layers"}});
        assert_eq!(canonical(Document::Config, config), expected);
        let config = json!({"x": 1, "os": "linux", "config": null, "history": []});
        let expected = r#"{"x":1,"os":"linux","config":{},"rootfs":{},"history":[]}"#;
        assert_eq!(canonical(Document::Config, config), expected);
        let manifest =
            json!({"config": {"size": 1}, "schemaVersion": 2, "layers": null, "annotations": {}});
        let expected = r#"{"schemaVersion":2,"config":{"size":1},"layers":[]}"#;
        assert_eq!(canonical(Document::Manifest, manifest), expected);
    }

    #[test]
    fn an_index_is_ordered_down_to_its_platforms() {
        let index = json!({"manifests": [{"size": 1, "platform": {"variant": "v7", "os": "linux", "architecture": "arm"},
            "digest": "d", "annotations": {"b": "1", "a": "2"}, "mediaType": "m"}], "schemaVersion": 2});
        let expected = concat!(
            r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"d","size":1,"annotations":{"a":"2","b":"1"},"#,
            r#""platform":{"architecture":"arm","os":"linux","variant":"v7"}}]}"#
        );
        assert_eq!(canonical(Document::Index, index), expected);
    }

    #[test]
    fn setting_an_empty_value_takes_the_member_out() {
        let mut config = json!({"os": "linux", "author": "me", "x": 1});
        let object = config.as_object_mut().unwrap();
        Document::Config.set(object, "author", "".into());
        Document::Config.set(object, "os", "".into());
        Document::Config.set(object, "created", "t".into());
        Document::Config.set(object, "variant", "v8".into());
        assert_eq!(
            config.to_string(),
            r#"{"created":"t","os":"","x":1,"variant":"v8"}"#
        );
        let mut process = json!({"Labels": {"a": "b"}, "X": 1});
        let object = process.as_object_mut().unwrap();
        Document::Process.set(object, "Shell", json!(["sh"]));
        Document::Process.set(object, "Healthcheck", json!({"Test": ["NONE"]}));
        Document::Process.set(object, "Env", json!(["A=b"]));
        let expected = r#"{"Env":["A=b"],"Labels":{"a":"b"},"X":1,"Healthcheck":{"Test":["NONE"]},"Shell":["sh"]}"#;
        assert_eq!(process.to_string(), expected);
    }
}
