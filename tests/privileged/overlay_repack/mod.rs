//! The same edit of the same image, once flat and once as an overlay, repacks to the same image.
//!
//! - `pair`: two bundles of one image, edited alike
//! - `edits`: edits by name
//! - `properties`: any edit
//! - `refusals`: what neither packs, and what only an overlay can get wrong
//! - `namespace`: with id maps, and in a user namespace

mod edits;
mod namespace;
mod pair;
mod properties;
mod refusals;
