//! A client of registries (distribution-spec), over blocking HTTP.
//!
//! ```text
//! RegistryName --places.rs--> mirrors, own place --session.rs--> authenticated requests --http.rs--> answers
//!                                                                     |                        |
//!                                     credentials.rs, helper.rs, challenge.rs         agents.rs: TLS, proxies
//!
//! pull.rs: manifests and blobs      push.rs: blobs and manifests      referrers.rs: referrers and tags
//! ```
//!
//! | file | what |
//! |---|---|
//! | `name.rs` | [`RegistryName`]: names of images |
//! | `options.rs` | [`RegistryOptions`]: files, certificates, proxies |
//! | `places.rs` | `registries.conf`: where a name's images really are |
//! | `credentials.rs`, `helper.rs` | who one is, from files and helpers |
//! | `challenge.rs`, `session.rs` | what a registry wants to see, and requests that show it |
//! | `agents.rs`, `http.rs`, `url.rs`, `failure.rs` | connections, one request, what it leads to, what went wrong |
//! | `pull.rs`, `push.rs`, `referrers.rs` | the verbs |
//!
//! Rules:
//!
//! - **Secrets stay where they belong**: in no message, no log, no argument list; not sent to another origin than the one
//!   that asked for them over TLS (or without, if the user said so).
//! - **Nothing is believed.** Manifests are hashed here; blobs by whoever reads them, with the size as the bound.
//! - **Nothing lasts for ever.** Tries, redirects, challenges, pages, pauses and silence have a bound.
//! - **No registry's word on HTTP alone**: what its answers leave out (`Docker-Content-Digest`, `Link`, a `Range`) is done
//!   without.

mod agents;
mod challenge;
mod credentials;
mod failure;
mod helper;
mod http;
mod name;
mod options;
mod places;
mod pull;
mod push;
mod referrers;
mod session;
mod url;

use std::sync::Arc;

pub use credentials::{AuthFile, Credentials};
pub use name::RegistryName;
pub use options::{Proxies, RegistryOptions, UserPaths};
pub use pull::RepositoryReader;
pub use push::{RepositoryWriter, Uploaded};

use self::agents::Agents;
use self::places::Places;
use self::session::{Access, Session};
use crate::{Error, ErrorKind, Result};

/// A client: options, connections, and the meaning of names.
pub struct Registry {
    agents: Arc<Agents>,
    places: Places,
}

impl Registry {
    /// Reads `registries.conf` and gets ready. No connection is made.
    ///
    /// # Errors
    ///
    /// A file of the configuration is malformed, or one with credentials that must exist does not.
    pub fn new(options: RegistryOptions) -> Result<Self> {
        credentials::check(&options.auth_files)?;
        Ok(Self {
            places: Places::read(&options.registries_conf)?,
            agents: Arc::new(Agents::new(options)),
        })
    }

    /// The repository of a name, to be pulled from: first its mirrors, then its own place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`] for what `registries.conf` blocks.
    pub fn reader(&self, name: &RegistryName) -> Result<RepositoryReader> {
        let places = self.places.of(name)?;
        let session = |place| Session::new(self.agents.clone(), place, Access::Pull, Vec::new());
        Ok(RepositoryReader::new(
            places.into_iter().map(session).collect(),
        ))
    }

    /// The repository of a name, to be pushed to. Blobs may be mounted from `sources`, repositories of the same registry.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`] for what `registries.conf` blocks.
    pub fn writer(&self, name: &RegistryName, sources: &[String]) -> Result<RepositoryWriter> {
        let place = self.places.of(name)?.pop().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("{name} has no place to push to"),
            )
        })?;
        Ok(RepositoryWriter::new(Session::new(
            self.agents.clone(),
            place,
            Access::Push,
            sources.to_vec(),
        )))
    }
}
