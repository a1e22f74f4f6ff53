//! Overlays that the kernel mounts: a stack of layers shows what they show, and the same edit of a flat tree and of an
//! overlay gives the same changes and the same layer.
//!
//! - `view`: what a mount and a stack show
//! - `marks`: layers with marks of all kinds
//! - `model`: the steps of edits
//! - `flat_vs_overlay`: a tree that lies flat and in layers, and is edited
//! - `edits`: edits by name
//! - `property`: any edit

mod edits;
mod flat_vs_overlay;
mod marks;
mod model;
mod property;
mod view;
