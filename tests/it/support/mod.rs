//! What the tests share: a scratch directory in which the built binary runs without anything of the caller's environment.

mod image;
mod layer;
#[path = "../../schema.rs"]
pub mod schema;
mod scratch;

pub use image::{Image, descriptor, put};
pub use layer::{Layer, store_layers};
pub use scratch::{Outcome, Scratch};
