//! One request and its answer: redirects, and what is tried again.
//!
//! Credentials go to the origin that they are for and nowhere else: a redirect to another scheme, host or port loses them,
//! and one from TLS to plain HTTP is refused. Answers that say "later" (429, 502 to 504) and cut connections are tried
//! again a few times; any other failure is final.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Method, Request as HttpRequest, Response};
use ureq::{Body, SendBody};

use super::agents::Agents;
use super::url::Url;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Redirects that are followed.
const REDIRECT_COUNT: usize = 10;

/// How often one thing is asked.
const TRY_COUNT: u32 = 5;

/// The first pause before something is tried again; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause, whatever a registry asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Opens the content of a request's body, each time from its beginning.
pub(super) type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Read + 'a>>;

/// What a request carries.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    /// Nothing, not even a length.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a reader.
    Stream(Open<'a>, u64),
}

/// A request.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) payload: Payload<'a>,
}

impl Request<'_> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            payload: Payload::None,
        }
    }

    pub(super) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Whether it may be sent again when it is not known what became of it.
    fn is_safe(&self) -> bool {
        [Method::GET, Method::HEAD].contains(&self.method)
    }
}

/// An answer.
pub(super) struct Reply {
    response: Response<Body>,
    /// Where it came from, after redirects.
    pub(super) url: Url,
    /// Whether the one who answered is the one who was asked, and has seen the credentials.
    pub(super) same_origin: bool,
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header that is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The body as it comes; its end is not where a length says when the connection is cut.
    pub(super) fn into_reader(self) -> impl Read + Send + use<> {
        self.response.into_body().into_reader()
    }

    /// The whole body, of at most `limit` bytes.
    pub(super) fn read(self, limit: u64) -> Result<Vec<u8>> {
        let url = self.url.clone();
        let mut bytes = Vec::new();
        self.into_reader()
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .context(|| format!("read the answer of {url}"))?;
        if bytes.len() as u64 > limit {
            let message = format!("the answer of {url} has more than {limit} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(bytes)
    }
}

/// Sends requests.
pub(super) struct Http<'a> {
    pub(super) agents: &'a Agents,
    /// Whether certificates are not checked.
    pub(super) insecure: bool,
}

impl Http<'_> {
    /// Sends a request until there is an answer that is final.
    ///
    /// # Errors
    ///
    /// When there is no answer at all. Any status is an answer.
    pub(super) fn send(&self, request: &Request<'_>, authorization: Option<&str>) -> Result<Reply> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let last = attempt == TRY_COUNT;
            let wait = match self.follow(request, authorization) {
                Ok(reply) if last || !is_temporary(reply.status()) => return Ok(reply),
                Ok(reply) => retry_after(reply.header("retry-after")).unwrap_or(pause),
                Err(failure) if last || !(failure.cut && request.is_safe()) => {
                    return Err(failure.error);
                }
                Err(_) => pause,
            };
            std::thread::sleep(wait.min(LONGEST_PAUSE));
            pause *= 2;
        }
        Err(Error::new(ErrorKind::Io, "no answer"))
    }

    /// Finds out whether anything answers at a URL. Asks once.
    ///
    /// # Errors
    ///
    /// When nothing does.
    pub(super) fn probe(&self, url: &Url) -> Result<()> {
        let answer = self.once(&Request::get(url.clone()), url, None);
        answer.map(|_| ()).map_err(|failure| failure.error)
    }

    /// Sends a request once, and again to where its answers lead.
    fn follow(&self, request: &Request<'_>, authorization: Option<&str>) -> Result<Reply, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECT_COUNT {
            let same_origin = url.is_same_origin(&request.url);
            let reply = self.once(request, &url, authorization.filter(|_| same_origin))?;
            let reply = Reply {
                response: reply,
                url: url.clone(),
                same_origin,
            };
            let location = match reply.status() {
                301 | 302 | 303 | 307 | 308 if request.is_safe() => reply.header("location"),
                _ => None,
            };
            let Some(location) = location else {
                return Ok(reply);
            };
            let next = url.join(location).map_err(Failure::new)?;
            if url.is_secure() && !next.is_secure() {
                let message = format!("{url} leads from TLS to plain HTTP: {next}");
                return Err(Failure::new(Error::new(
                    ErrorKind::PermissionDenied,
                    message,
                )));
            }
            url = next;
        }
        let message = format!("{} leads from one place to the next", request.url);
        Err(Failure::new(Error::new(ErrorKind::LimitExceeded, message)))
    }

    fn once(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let agent = self.agents.of(url, self.insecure).map_err(Failure::new)?;
        let mut builder = HttpRequest::builder()
            .method(request.method.clone())
            .uri(url.to_request());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(authorization) = authorization {
            builder = builder.header("authorization", authorization);
        }
        let failed = |error: ureq::Error| Failure::of(request, url, error);
        let (mut reader, size): (Box<dyn Read>, u64) = match request.payload {
            Payload::None => {
                let built = builder.body(()).map_err(|error| failed(error.into()))?;
                return agent.run(built).map_err(failed);
            }
            Payload::Bytes(bytes) => (Box::new(bytes), bytes.len() as u64),
            Payload::Stream(open, size) => (open().map_err(Failure::new)?, size),
        };
        let built = builder
            .header("content-length", size)
            .body(SendBody::from_reader(&mut reader))
            .map_err(|error| failed(error.into()))?;
        agent.run(built).map_err(failed)
    }
}

/// Why there is no answer.
struct Failure {
    error: Error,
    /// Whether it may be otherwise in a moment.
    cut: bool,
}

impl Failure {
    fn new(error: Error) -> Self {
        Self { error, cut: false }
    }

    fn of(request: &Request<'_>, url: &Url, error: ureq::Error) -> Self {
        let cut = match &error {
            ureq::Error::Io(error) => is_cut(error),
            ureq::Error::Timeout(_) => true,
            _ => false,
        };
        let message = format!("{} {url}", request.method);
        let error = match error {
            // An error of the content that was sent keeps its kind.
            ureq::Error::Io(error) => Error::io(request.method.as_str(), url.to_string(), error),
            ureq::Error::HostNotFound => {
                let why = format!("{message}: the host {} is not known", url.authority());
                Error::new(ErrorKind::Io, why)
            }
            other => Error::new(ErrorKind::Io, message).with_source(other),
        };
        Self { error, cut }
    }
}

/// Whether a connection was there and is not any more.
pub(super) fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::TimedOut
            | io::ErrorKind::NotConnected
    )
}

fn is_temporary(status: u16) -> bool {
    matches!(status, 429 | 502..=504)
}

/// How long a registry wants to be left alone: seconds, or a moment.
fn retry_after(header: Option<&str>) -> Option<Duration> {
    let header = header?.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = jiff::fmt::rfc2822::parse(header).ok()?;
    let moment = SystemTime::from(moment.timestamp());
    Some(moment.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_in_seconds_or_as_a_moment() {
        assert_eq!(retry_after(Some(" 7 ")), Some(Duration::from_secs(7)));
        let past = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(retry_after(Some(past)), Some(Duration::ZERO));
        let future = "Wed, 21 Oct 2235 07:28:00 GMT";
        assert!(retry_after(Some(future)).unwrap() > LONGEST_PAUSE);
        assert_eq!(retry_after(Some("soon")), None);
        assert_eq!(retry_after(None), None);
    }
}
