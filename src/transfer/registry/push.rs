//! What goes into a registry: blobs, each once, and the manifests that name them.
//!
//! A blob that the repository has is not sent; one that another repository of the registry has is mounted. Otherwise an
//! upload is begun and its content sent in one PUT, or, where the registry does not take that, in PATCH requests. An upload
//! that has died (a cut, an expired state) is begun again once.

use std::io::Read;
use std::sync::Arc;

use oci_cas::{Algorithm, Digest};
use serde_json::Value;
use ureq::http::Method;

use super::failure;
use super::http::{Open, Payload, Reply, Request};
use super::pull::{MANIFEST_SIZE, manifest};
use super::referrers;
use super::session::Session;
use super::url::{Url, escape};
use crate::image::{Descriptor, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Bytes of a PATCH where not all may go into one.
const CHUNK_SIZE: u64 = 8 << 20;

/// The largest chunk that a registry may insist on.
const LARGEST_CHUNK: u64 = 32 << 20;

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// The repository had it.
    Existing,
    /// Another repository had it.
    Mounted,
    /// It was sent.
    Sent,
}

/// A repository that images are pushed to.
pub struct RepositoryWriter {
    session: Arc<Session>,
}

/// How content is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// All in the last request.
    Put,
    /// All in one request before it.
    Patch,
    /// In pieces.
    Chunks,
}

/// Why an upload did not work.
enum Trouble {
    /// It is over, and may be begun again.
    Dead(Error),
    /// The registry wants it in another way.
    Refused(Error),
    Final(Error),
}

/// Where an upload begins.
enum Begun {
    Mounted,
    At(Url, u64),
}

impl RepositoryWriter {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session: Arc::new(session),
        }
    }

    /// Whether the repository has a blob. A registry that does not answer this is taken to lack it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`], or what is wrong with the connection.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let url = self.session.url(&format!("blobs/{digest}"))?;
        let request = Request::new(Method::HEAD, url);
        let reply = self.session.ask(&request)?;
        match reply.status() {
            200 => Ok(true),
            401 | 403 => Err(failure::of(&request, reply)),
            _ => Ok(false),
        }
    }

    /// Whether the repository has a manifest under a digest.
    ///
    /// # Errors
    ///
    /// As [`RepositoryWriter::has_blob`].
    pub fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        match manifest(&self.session, &digest.to_string()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Sends a blob, unless the repository has it or can have it from `source`, a repository of the same registry. `open`
    /// gives the content from its beginning, each time that it is called, and verifies it.
    ///
    /// # Errors
    ///
    /// Those of `open` and its reader; [`ErrorKind::PermissionDenied`], [`ErrorKind::Verification`], or what the registry
    /// says. The blob is not in the repository then.
    pub fn push_blob(
        &self,
        blob: &Descriptor,
        source: Option<&str>,
        open: Open<'_>,
    ) -> Result<Uploaded> {
        if self.has_blob(blob.digest())? {
            return Ok(Uploaded::Existing);
        }
        let (mut how, mut source, mut deaths) = (How::Put, source, 0);
        loop {
            let (at, chunk) = match self.begin(blob.digest(), source.take())? {
                Begun::Mounted => return Ok(Uploaded::Mounted),
                Begun::At(at, chunk) => (at, chunk),
            };
            match self.send(blob, at, how, chunk, open) {
                Ok(()) => return Ok(Uploaded::Sent),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Dead(error)) if deaths > 0 => return Err(error),
                Err(Trouble::Dead(_)) => deaths += 1,
                Err(Trouble::Refused(error)) => {
                    how = match how {
                        How::Put => How::Patch,
                        How::Patch => How::Chunks,
                        How::Chunks => return Err(error),
                    };
                }
            }
        }
    }

    fn begin(&self, digest: &Digest, source: Option<&str>) -> Result<Begun> {
        let mut url = self.session.url("blobs/uploads/")?;
        if let Some(source) = source {
            url = url
                .with_query("mount", &digest.to_string())
                .with_query("from", &escape(source));
        }
        let mut request = Request::new(Method::POST, url);
        request.payload = Payload::Bytes(b"");
        let reply = self.session.send(&request, &[201, 202])?;
        if reply.status() == 201 && source.is_some() {
            return Ok(Begun::Mounted);
        }
        let chunk = reply.header("oci-chunk-min-length");
        let chunk = chunk.and_then(|chunk| chunk.parse().ok()).unwrap_or(0);
        let location = Self::location(&reply)?;
        let location = location.ok_or_else(|| {
            let message = format!("{} begins an upload without a location", reply.url);
            Error::new(ErrorKind::InvalidData, message)
        })?;
        Ok(Begun::At(location, chunk))
    }

    /// Where an answer says that an upload goes on. Behind a proxy, a registry may not know that it is reached by TLS.
    fn location(reply: &Reply) -> Result<Option<Url>> {
        let Some(location) = reply.header("location") else {
            return Ok(None);
        };
        let location = reply.url.join(location)?;
        if !reply.url.is_secure() || location.is_secure() {
            return Ok(Some(location));
        }
        let upgraded = location.to_request().replacen("http://", "https://", 1);
        Url::parse(&upgraded).map(Some)
    }

    fn send(
        &self,
        blob: &Descriptor,
        at: Url,
        how: How,
        chunk: u64,
        open: Open<'_>,
    ) -> Result<(), Trouble> {
        let size = blob.size();
        let whole = Payload::Stream(open, size);
        let (at, last) = match how {
            How::Put => (at, whole),
            How::Patch => (self.patch(&at, 0, size, whole)?, Payload::Bytes(b"")),
            How::Chunks => {
                let chunk = CHUNK_SIZE.max(chunk);
                if chunk > LARGEST_CHUNK {
                    let message = format!("the registry wants pieces of {chunk} bytes");
                    let error = Error::new(ErrorKind::LimitExceeded, message);
                    return Err(Trouble::Final(error));
                }
                (self.chunks(at, size, chunk, open)?, Payload::Bytes(b""))
            }
        };
        let mut request = Request::new(
            Method::PUT,
            at.with_query("digest", &blob.digest().to_string()),
        )
        .header("content-type", "application/octet-stream");
        request.payload = last;
        self.exchange(&request, &[201, 204]).map(|_| ())
    }

    fn chunks(&self, mut at: Url, size: u64, chunk: u64, open: Open<'_>) -> Result<Url, Trouble> {
        let mut reader = open().map_err(Trouble::Final)?;
        let (mut position, mut bytes) = (0, Vec::new());
        while position < size {
            bytes.clear();
            let read = (&mut reader).take(chunk).read_to_end(&mut bytes);
            read.context(|| "read the blob").map_err(Trouble::Final)?;
            if bytes.is_empty() {
                let error = Error::new(ErrorKind::Verification, "the blob is too short");
                return Err(Trouble::Final(error));
            }
            let end = position + bytes.len() as u64;
            at = self.patch(&at, position, end, Payload::Bytes(&bytes))?;
            position = end;
        }
        Ok(at)
    }

    /// Sends the bytes from `start` to `end`. Returns where to go on.
    fn patch(&self, at: &Url, start: u64, end: u64, payload: Payload<'_>) -> Result<Url, Trouble> {
        let mut request = Request::new(Method::PATCH, at.clone())
            .header("content-type", "application/octet-stream");
        // Not for a whole blob: some registries then expect more to come.
        if matches!(payload, Payload::Bytes(_)) && end > start {
            request = request.header("content-range", format!("{start}-{}", end - 1));
        }
        request.payload = payload;
        let reply = self.exchange(&request, &[202, 201, 204])?;
        if let Some(range) = reply.header("range")
            && !is_received(range, end)
        {
            let message = format!("{} has received {range:?} of {end} bytes", reply.url);
            return Err(Trouble::Dead(Error::new(ErrorKind::Io, message)));
        }
        let next = Self::location(&reply).map_err(Trouble::Final)?;
        Ok(next.unwrap_or_else(|| at.clone()))
    }

    fn exchange(&self, request: &Request<'_>, expected: &[u16]) -> Result<Reply, Trouble> {
        let reply = match self.session.ask(request) {
            Ok(reply) => reply,
            Err(error) if error.kind() == ErrorKind::Io => return Err(Trouble::Dead(error)),
            // The content itself is what is wrong.
            Err(error) => return Err(Trouble::Final(error)),
        };
        let status = reply.status();
        if expected.contains(&status) {
            return Ok(reply);
        }
        let error = failure::of(request, reply);
        Err(match status {
            404 | 410 | 416 | 499 => Trouble::Dead(error),
            405 | 411 | 413 | 501 => Trouble::Refused(error),
            _ => Trouble::Final(error),
        })
    }

    /// Stores a manifest or an index under a tag or its digest. What it refers to must be there. If it has a subject and the
    /// registry does not keep referrers, the tag that stands for them is updated.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LimitExceeded`] for more than 4 MiB, which no registry takes; else as the registry says.
    pub fn push_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > MANIFEST_SIZE {
            let message = format!(
                "a manifest of {} bytes: registries take {MANIFEST_SIZE}",
                bytes.len()
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let url = self.session.url(&format!("manifests/{reference}"))?;
        let mut request = Request::new(Method::PUT, url).header("content-type", media_type);
        request.payload = Payload::Bytes(bytes);
        let reply = self.session.send(&request, &[200, 201, 202])?;
        let said = reply.header("docker-content-digest");
        if let Some(said) = said.and_then(|said| said.parse::<Digest>().ok())
            && said != Digest::of(said.algorithm(), bytes)
        {
            let message = format!("{} has stored another manifest: {said}", reply.url);
            return Err(Error::new(ErrorKind::Verification, message));
        }
        if reply.header("oci-subject").is_some() {
            return Ok(());
        }
        let json = parse_json(bytes)?;
        match json.get("subject") {
            None | Some(Value::Null) => Ok(()),
            Some(subject) => self
                .refer(subject, media_type, bytes, &json)
                .context(|| "update the referrers"),
        }
    }

    /// Puts a manifest into the index that stands for the referrers of its subject.
    fn refer(&self, subject: &Value, media_type: &str, bytes: &[u8], json: &Value) -> Result<()> {
        let subject = Descriptor::from_value(subject)?;
        let tag = referrers::tag_of(subject.digest());
        let index = match manifest(&self.session, &tag) {
            Ok((_, index)) => Some(index),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let digest = Digest::of(Algorithm::Sha256, bytes);
        let entry = Descriptor::new(media_type, digest, bytes.len() as u64);
        match referrers::with_entry(index.as_deref(), &entry, json)? {
            Some(index) => self.push_manifest(&tag, crate::image::INDEX, &index),
            None => Ok(()),
        }
    }
}

/// Whether a `Range` of an answer, with or without its unit, means this many bytes. `0-0` is nothing or one.
fn is_received(range: &str, size: u64) -> bool {
    let range = range.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    match range.split_once('-') {
        Some((_, end)) => end
            .parse::<u64>()
            .is_ok_and(|end| end.saturating_add(1) == size || (end == 0 && size == 0)),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_told_with_and_without_a_unit() {
        for (range, size, expected) in [
            ("0-149", 150, true),
            ("bytes=0-149", 150, true),
            ("0-0", 0, true),
            ("0-0", 1, true),
            ("0-148", 150, false),
            ("0-150", 150, false),
            ("0-x", 150, false),
            ("nonsense", 150, true),
        ] {
            assert_eq!(is_received(range, size), expected, "{range} {size}");
        }
    }
}
