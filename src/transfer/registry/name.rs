//! Names of images in registries: `HOST/REPOSITORY[:TAG][@DIGEST]`.
//!
//! There are no short names: without a host, the name is one of Docker Hub's, where a repository without a slash is in
//! `library/`.

use std::fmt;
use std::str::FromStr;

use oci_cas::Digest;

use crate::fs::escape_name;
use crate::{Error, ErrorKind, Result};

/// The host that names without one belong to.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// Where that host's registry really is.
const DOCKER_HUB_ENDPOINT: &str = "registry-1.docker.io";

/// Longest repository, as the distribution specification suggests with the host.
const REPOSITORY_LENGTH: usize = 255;

/// Longest tag.
const TAG_LENGTH: usize = 128;

/// An image, or the place of one, in a registry: the part of `docker://` after the slashes.
///
/// ```
/// use oci_bundle::transfer::registry::RegistryName;
///
/// let name: RegistryName = "alpine".parse()?;
/// assert_eq!(name.to_string(), "docker.io/library/alpine:latest");
/// # Ok::<(), oci_bundle::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryName {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl RegistryName {
    /// The registry, with its port if it has one: `docker.io`, `localhost:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository without the host: `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest, if the name has one; a tag beside it only informs.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag that the name leads to: `latest` where there is neither a tag nor a digest.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (_, Some(_)) => None,
            (Some(tag), None) => Some(tag),
            (None, None) => Some("latest"),
        }
    }

    /// What stands for the image in a URL: the digest or the tag.
    pub fn reference(&self) -> String {
        match &self.digest {
            Some(digest) => digest.to_string(),
            None => self.tag().unwrap_or("latest").to_owned(),
        }
    }

    /// Host and repository: what credentials and mirrors are found by.
    pub fn path(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The same repository under another tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for what is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(refuse(tag, "not a tag of a registry"));
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.tag().unwrap_or("latest")),
        }
    }
}

impl FromStr for RegistryName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let digest = digest
            .map(str::parse::<Digest>)
            .transpose()
            .map_err(|error| refuse(text, "the digest is malformed").with_source(error))?;
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse(text, "the tag is malformed"));
        }
        let (host, repository) = split_host(name);
        if !is_host(&host) {
            return Err(refuse(text, "the host is malformed"));
        }
        if !is_repository(&repository) {
            return Err(refuse(text, "the repository is malformed")
                .with_hint("a repository has lower-case letters, digits and ._-/ only"));
        }
        Ok(Self {
            host,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// The host that a name begins with and the rest, Docker Hub's names completed.
fn split_host(name: &str) -> (String, String) {
    let (host, repository) = match name.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':', '[']) => {
            (first, rest.to_owned())
        }
        _ => (DOCKER_HUB, name.to_owned()),
    };
    let hub = [DOCKER_HUB, "index.docker.io", DOCKER_HUB_ENDPOINT].contains(&host);
    match hub {
        true if !repository.contains('/') => {
            (DOCKER_HUB.to_owned(), format!("library/{repository}"))
        }
        true => (DOCKER_HUB.to_owned(), repository),
        false => (host.to_ascii_lowercase(), repository),
    }
}

/// The host that requests for a registry go to.
pub(crate) fn endpoint(host: &str) -> &str {
    if host == DOCKER_HUB {
        DOCKER_HUB_ENDPOINT
    } else {
        host
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let named = match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && !name.starts_with(['.', '-'])
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        }
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Components of lower-case letters and digits, with single separators between them.
pub(crate) fn is_repository(repository: &str) -> bool {
    let is_component = |component: &str| {
        let edges = |byte: Option<u8>| {
            byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let bytes = component.as_bytes();
        let known =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
        edges(bytes.first().copied())
            && edges(bytes.last().copied())
            && bytes.iter().all(known)
            && !component.contains("..")
            && !component.contains("___")
    };
    repository.len() <= REPOSITORY_LENGTH && repository.split('/').all(is_component)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= TAG_LENGTH
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || b".-".contains(&byte))
}

fn refuse(text: &str, why: &str) -> Error {
    let message = format!("image name {:?}: {why}", escape_name(text.as_bytes()));
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RegistryName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_without_a_host_is_one_of_docker_hub() {
        for (text, whole) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.19", "docker.io/library/alpine:3.19"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("user/app", "docker.io/user/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:1", "localhost:5000/a/b:1"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("Quay.IO/a-b/c__d", "quay.io/a-b/c__d:latest"),
        ] {
            assert_eq!(parsed(text).to_string(), whole, "{text}");
        }
        assert_eq!(endpoint(parsed("alpine").host()), "registry-1.docker.io");
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let name = parsed(&format!("x.org/a:1@{digest}"));
        assert_eq!((name.tag(), name.reference()), (None, digest.clone()));
        assert_eq!(name.to_string(), format!("x.org/a@{digest}"));
        let tagged = name.with_tag("v2").unwrap();
        assert_eq!(tagged.to_string(), "x.org/a:v2");
        assert!(name.with_tag(".v2").is_err());
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in [
            "",
            "/",
            "A",
            "x.org/",
            "x.org/A",
            "x.org/a:",
            "x.org/a@sha256:1",
            "x.org/a//b",
            "x.org/../b",
            "x.org/-a",
            "x.org/a.",
            "x.org:0/a",
            "x.org:99999/a",
            "x.org:1:2/a",
            "[::zz]:5000/a",
            "x.org/a?b",
            "x@y.org/a",
            "x.org/a b",
        ] {
            let error = text.parse::<RegistryName>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        }
    }
}
