//! What an image is: identities, references and documents as pure data, with no file system below.
//!
//! | file | holds |
//! |---|---|
//! | `id` | [`DiffId`], [`ChainId`], [`ImageId`]: a type for each identity, which never convert silently |
//! | `media_type` | media types and what they stand for ([`MediaKind`]) |
//! | `reference` | [`Tag`] and [`Reference`], the names that users give |
//! | `platform` | [`Platform`]: operating system, architecture, variant, and which image runs where |
//! | `descriptor` | [`Descriptor`], the pointer from one document to the next |
//! | `document` | [`Index`] and [`Manifest`] |
//! | `config` | [`ImageConfig`] and its [`History`] |
//! | `edit` | the documents of a new, empty image, and edits of any |
//! | `canonical` | the order and spelling that Go's encoder gives to a document of known members |
//! | `rfc3339` | times as text |
//! | `json` | reading one bounded JSON value; writing it as Go's encoder would |
//! | `members` | typed access to the members of a JSON object, and insertion at the place that peers use |
//!
//! Rules:
//!
//! - **A document is its JSON.** Every type here holds the `serde_json` object that was read, with all members and in
//!   their order, beside a validated view. Whoever rewrites a document edits the object, so that members this program
//!   has never heard of survive.
//! - **Views are our own where `oci-spec` would lose or refuse.** `oci_spec::image` supplies the vocabulary (media
//!   types, annotation names) and, in the tests, a second reader of what is written here. Its document structs are not
//!   the views: they fail on what peers write (`"manifests":null`, `"diff_ids":null`, `"ExposedPorts":{"x":null}`),
//!   drop unknown members and a platform's `os.version`, and keep annotations in maps of random order.
//! - **Names are case-sensitive.** `LAYERS` is an unknown member, not `layers`; the last of two equal names wins.
//! - **Lenient on absence, strict on type.** `null` reads as absent, absent as empty, unless the specification makes
//!   the member the point of the document; a member of the wrong JSON type is an error.
//! - **Bounded.** Depth and number of JSON values are limited before a tree is built; the byte limit is the caller's
//!   ([`crate::layout::Limits`]).

mod canonical;
mod config;
mod descriptor;
mod document;
mod edit;
mod id;
mod json;
mod media_type;
mod members;
mod platform;
mod reference;
mod rfc3339;

pub(crate) use canonical::Document;
pub use config::{History, ImageConfig};
pub use descriptor::Descriptor;
pub(crate) use descriptor::{ref_name, set_ref_name};
pub use document::{Index, Manifest};
pub(crate) use edit::{
    ConfigEdit, complete_history, follow_platform, layers_mut, made_layer, object_mut,
    remove_annotation, repoint, set_annotations,
};
pub use edit::{empty_config, empty_index, empty_manifest};
pub use id::{ChainId, DiffId, ImageId};
pub(crate) use json::parse_json_of;
pub use json::{compact_json, parse_json, to_go_json};
pub(crate) use media_type::oci_type;
pub use media_type::{
    CONFIG, DESCRIPTOR, EMPTY, INDEX, LAYER, LayerCompression, MANIFEST, MediaKind, REF_NAME,
    media_kind,
};
pub use members::insert_in_order;
pub use platform::Platform;
pub(crate) use reference::DEFAULT_TAG;
pub use reference::{Name, Reference, Tag};
pub use rfc3339::normalize_time;
