//! All integration tests in one binary: one link, one place to look.

mod architecture;
mod circles;
mod cli;
mod dependencies;
#[cfg(feature = "registry")]
mod registry;
mod seeds;
mod store_archive;
mod support;
mod transfer;
