//! What comes out of a registry: manifests, and blobs that are asked for again where a connection was cut.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_cas::{Algorithm, Digest};
use serde_json::Value;
use ureq::http::Method;

use super::failure;
use super::http::{Request, is_cut};
use super::session::Session;
use crate::image::{Descriptor, INDEX, MANIFEST, MediaKind, media_kind, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Docker's manifest of schema 2.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Docker's index.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Most bytes of a manifest, as registries have it.
pub(crate) const MANIFEST_SIZE: u64 = 4 << 20;

/// How often a blob is asked for again without [`PROGRESS`].
const CUT_COUNT: u32 = 5;

/// Bytes after which a cut is as good as the first one.
const PROGRESS: u64 = 1 << 20;

/// Manifests and blobs of a repository, from its mirrors or from its own place.
pub struct RepositoryReader {
    /// In the order in which they are asked; the last one is the repository's own.
    sessions: Vec<Arc<Session>>,
    /// The one that has answered.
    chosen: AtomicUsize,
}

impl RepositoryReader {
    pub(super) fn new(sessions: Vec<Session>) -> Self {
        Self {
            sessions: sessions.into_iter().map(Arc::new).collect(),
            chosen: AtomicUsize::new(0),
        }
    }

    /// Fetches a manifest or an index by tag or digest: its descriptor (media type, digest, size) and its bytes, which have
    /// that digest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is none, [`ErrorKind::Verification`] when it is another one than was asked for or
    /// than the registry says, [`ErrorKind::Unsupported`] for Docker's schema 1, [`ErrorKind::LimitExceeded`] for more than
    /// 4 MiB, [`ErrorKind::PermissionDenied`], or what is wrong with the connection. With mirrors, the error of the
    /// repository's own place.
    pub fn manifest(&self, reference: &str) -> Result<(Descriptor, Vec<u8>)> {
        self.first(|session| manifest(session, reference))
    }

    /// Opens a blob. The reader resumes where a connection is cut, and delivers at most one byte more than the descriptor
    /// says. It verifies nothing: wrap it into a [`VerifyingReader`](oci_cas::VerifyingReader).
    ///
    /// # Errors
    ///
    /// As [`RepositoryReader::manifest`].
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        self.first(|session| {
            let mut reader = BlobReader {
                session: session.clone(),
                digest: descriptor.digest().clone(),
                size: descriptor.size(),
                position: 0,
                body: None,
                etag: None,
                cuts: 0,
                mark: 0,
            };
            reader.open()?;
            Ok(Box::new(reader) as Box<dyn Read + Send>)
        })
    }

    /// Does something at the first place that can.
    pub(super) fn first<T>(&self, work: impl Fn(&Arc<Session>) -> Result<T>) -> Result<T> {
        let own = self.sessions.len().saturating_sub(1);
        for place in self.chosen.load(Ordering::Relaxed)..own {
            if let Ok(found) = work(&self.sessions[place]) {
                self.chosen.store(place, Ordering::Relaxed);
                return Ok(found);
            }
        }
        let Some(session) = self.sessions.get(own) else {
            return Err(Error::new(ErrorKind::NotFound, "no place to pull from"));
        };
        work(session)
    }
}

/// Fetches a manifest from one place.
pub(super) fn manifest(session: &Session, reference: &str) -> Result<(Descriptor, Vec<u8>)> {
    let wanted: Option<Digest> = reference.parse().ok();
    let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
    let request =
        Request::get(session.url(&format!("manifests/{reference}"))?).header("accept", accept);
    let reply = session.send(&request, &[200])?;
    let header = |name| reply.header(name).map(str::to_owned);
    let (content_type, said) = (header("content-type"), header("docker-content-digest"));
    let url = reply.url.clone();
    let bytes = reply.read(MANIFEST_SIZE)?;
    let found = |algorithm| Digest::of(algorithm, &bytes);
    let digest = if let Some(wanted) = wanted {
        if found(wanted.algorithm()) != wanted {
            let message = format!("the answer of {url} is not {wanted}");
            return Err(Error::new(ErrorKind::Verification, message));
        }
        wanted
    } else {
        let said = said.and_then(|said| said.parse::<Digest>().ok());
        let digest = found(said.as_ref().map_or(Algorithm::Sha256, Digest::algorithm));
        if said.is_some_and(|said| said != digest) {
            let message = format!("the answer of {url} is not what its digest header says");
            return Err(Error::new(ErrorKind::Verification, message));
        }
        digest
    };
    let media_type = media_type(content_type.as_deref(), &bytes).context(|| format!("{url}"))?;
    let descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
    Ok((descriptor, bytes))
}

/// The type of a manifest: what it says itself, or else what the registry says, or else what it looks like.
fn media_type(content_type: Option<&str>, bytes: &[u8]) -> Result<String> {
    let json = parse_json(bytes)?;
    let is_manifest =
        |text: &&str| matches!(media_kind(text), MediaKind::Manifest | MediaKind::Index);
    let header = content_type.map(|text| text.split(';').next().unwrap_or(text).trim());
    let own = json.get("mediaType").and_then(Value::as_str);
    let old = |text: &str| text.contains("distribution.manifest.v1+");
    if json.get("schemaVersion").and_then(Value::as_u64) == Some(1) || header.is_some_and(old) {
        let message = "a manifest of Docker's schema 1, which is not supported";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("push the image again with a program of this decade"));
    }
    let known = header.filter(is_manifest);
    match (own, known) {
        (Some(own), Some(known)) if media_kind(own) != media_kind(known) => {
            let message = format!("a manifest of type {own:?} that is said to be {known:?}");
            Err(Error::new(ErrorKind::InvalidData, message))
        }
        (Some(own), _) if is_manifest(&own) => Ok(own.to_owned()),
        (Some(own), _) => {
            let message = format!("a manifest of the unknown type {own:?}");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        (None, Some(known)) => Ok(known.to_owned()),
        (None, None) if json.get("manifests").is_some() => Ok(INDEX.to_owned()),
        (None, None) if json.get("layers").is_some() => Ok(MANIFEST.to_owned()),
        (None, None) => {
            let message = "an answer that is neither a manifest nor an index";
            Err(Error::new(ErrorKind::InvalidData, message))
        }
    }
}

/// A blob on its way.
struct BlobReader {
    session: Arc<Session>,
    digest: Digest,
    size: u64,
    position: u64,
    body: Option<Current>,
    /// The strong validator of the first answer.
    etag: Option<String>,
    /// Cuts since `mark`.
    cuts: u32,
    mark: u64,
}

/// The answer that is being read.
struct Current {
    reader: Box<dyn Read + Send>,
    /// Where it ends, if it says so.
    end: Option<u64>,
}

impl BlobReader {
    /// Asks for what is left.
    fn open(&mut self) -> Result<()> {
        let url = self.session.url(&format!("blobs/{}", self.digest))?;
        let mut request = Request::new(Method::GET, url);
        if self.position > 0 {
            request = request.header("range", format!("bytes={}-", self.position));
            if let Some(etag) = &self.etag {
                request = request.header("if-range", etag);
            }
        }
        let reply = self.session.ask(&request)?;
        let partial = match reply.status() {
            200 => false,
            206 if self.position > 0 => true,
            _ => return Err(failure::of(&request, reply)),
        };
        if partial && !starts_at(reply.header("content-range"), self.position) {
            let message = format!("{} answers with another part than asked for", reply.url);
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        if self.position == 0 {
            let etag = reply.header("etag").filter(|etag| etag.starts_with('"'));
            self.etag = etag.map(str::to_owned);
        }
        let start = if partial { self.position } else { 0 };
        let length = reply.header("content-length");
        let end = length.and_then(|length| start.checked_add(length.parse().ok()?));
        let mut reader: Box<dyn Read + Send> = Box::new(reply.into_reader());
        if !partial && self.position > 0 {
            let mut known = (&mut reader).take(self.position);
            let skipped = io::copy(&mut known, &mut io::sink()).context(|| "skip what is there")?;
            if skipped < self.position {
                let message = format!("blob {} has become shorter", self.digest);
                return Err(Error::new(ErrorKind::Verification, message));
            }
        }
        self.body = Some(Current { reader, end });
        Ok(())
    }

    /// After a cut: whether it is worth while to go on.
    fn reopen(&mut self, cause: io::Error) -> io::Result<()> {
        if self.position - self.mark >= PROGRESS {
            (self.mark, self.cuts) = (self.position, 0);
        }
        self.cuts += 1;
        self.body = None;
        if self.cuts > CUT_COUNT {
            return Err(cause);
        }
        self.open().map_err(io::Error::from)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(body) = &mut self.body else {
                return Ok(0);
            };
            let left = usize::try_from(self.size.saturating_sub(self.position));
            // One byte more than promised is enough to know.
            let wanted = buffer.len().min(left.unwrap_or(usize::MAX).max(1));
            let cause = match body.reader.read(&mut buffer[..wanted]) {
                Ok(0) if self.position >= self.size || body.end == Some(self.position) => {
                    self.body = None;
                    return Ok(0);
                }
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(count) => {
                    self.position += count as u64;
                    return Ok(count);
                }
                // All is there; how the connection ends does not matter.
                Err(_) if self.position >= self.size => {
                    self.body = None;
                    return Ok(0);
                }
                Err(error) if is_cut(&error) || is_ureq(&error) => error,
                Err(error) => return Err(error),
            };
            self.reopen(cause)?;
        }
    }
}

/// Whether an error is one of the protocol, such as a connection that has ended too early.
fn is_ureq(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<ureq::Error>)
}

/// Whether `bytes 5-9/10` is what follows so many bytes.
fn starts_at(content_range: Option<&str>, position: u64) -> bool {
    let range = content_range.and_then(|range| range.trim().strip_prefix("bytes "));
    let start = range.and_then(|range| range.split('-').next());
    start.and_then(|start| start.trim().parse().ok()) == Some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_must_begin_where_it_was_asked_for() {
        assert!(starts_at(Some("bytes 5-9/10"), 5));
        assert!(starts_at(Some("bytes 5-9/*"), 5));
        for range in [Some("bytes 4-9/10"), Some("bytes */10"), Some("5-9"), None] {
            assert!(!starts_at(range, 5), "{range:?}");
        }
    }

    #[test]
    fn the_type_of_a_manifest_is_its_own_word() {
        let docker = format!("{{\"schemaVersion\":2,\"mediaType\":\"{DOCKER_MANIFEST}\"}}");
        for (header, body, expected) in [
            (None, docker.as_str(), Some(DOCKER_MANIFEST)),
            (Some(MANIFEST), docker.as_str(), Some(DOCKER_MANIFEST)),
            (Some("text/plain"), "{\"layers\":[]}", Some(MANIFEST)),
            (
                Some("application/json; x"),
                "{\"manifests\":[]}",
                Some(INDEX),
            ),
            (Some(INDEX), "{\"manifests\":[]}", Some(INDEX)),
            (Some(INDEX), docker.as_str(), None),
            (None, "{\"schemaVersion\":1}", None),
            (None, "{}", None),
            (None, "[]", None),
            (None, "<html>", None),
            (None, "{\"mediaType\":\"a/b\"}", None),
        ] {
            let found = media_type(header, body.as_bytes());
            assert_eq!(found.ok().as_deref(), expected, "{header:?} {body}");
        }
    }
}
