//! The client of registries against one that answers as each test says, and against Debian's.

mod auth;
mod pull;
mod push;
mod script;
mod server;

use oci_bundle::cas::{Algorithm, Digest};

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}
