//! containerd's own content store and version, as a client of its socket.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::wire::service::{CONTENT, VERSION};
use super::wire::{self, action};
use crate::error::{Error, ErrorKind, Result as Done, ResultExt};

/// How long to wait for a connection, and for each message.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for the version, without which all goes on.
const SHORT: Duration = Duration::from_secs(2);
/// How long the version is taken for what it was, and its absence.
const VERSION_STANDS: Duration = Duration::from_secs(60);
const ABSENCE_STANDS: Duration = Duration::from_secs(2);
/// The largest message, in bytes; containerd's have a few MiB at most.
const MAX_MESSAGE: usize = 32 << 20;
/// Messages that are read ahead.
const AHEAD: usize = 2;

/// What a call says of the one who calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// containerd's namespace, which its content store wants to know; 1.6 doesn't say it to a snapshotter.
    pub namespace: Option<String>,
    /// The lease that keeps content for it.
    pub lease: Option<String>,
}

impl Caller {
    pub(super) fn of(metadata: &MetadataMap) -> Self {
        let text = |name: &str| {
            let value = metadata.get(name)?.to_str().ok()?;
            (value.len() <= 256).then(|| value.to_owned())
        };
        Self {
            namespace: text("containerd-namespace"),
            lease: text("containerd-lease"),
        }
    }
}

/// A version, as far as it matters.
pub(super) type Version = (u32, u32);

#[derive(Debug, Default)]
struct Known(Option<(Instant, Option<Version>)>);

/// containerd, as somebody to ask.
#[derive(Clone, Debug)]
pub(super) struct Content {
    channel: Channel,
    runtime: Handle,
    version: Arc<Mutex<Known>>,
}

impl Content {
    /// Asks at this socket, when there is something to ask. It need not be there before.
    pub(super) fn new(socket: &Path) -> Done<Self> {
        let failed = |why: String| {
            let message = format!("containerd at {}: {why}", socket.display());
            Error::new(ErrorKind::InvalidInput, message)
        };
        let path = socket
            .to_str()
            .ok_or_else(|| failed("the path is not UTF-8".to_owned()))?;
        let path = path.strip_prefix("unix://").unwrap_or(path);
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|error| failed(error.to_string()))?
            .connect_timeout(PATIENCE);
        Ok(Self {
            channel: endpoint.connect_lazy(),
            runtime: Handle::current(),
            version: Arc::default(),
        })
    }

    fn client(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// containerd's version, if it can be reached and says one.
    pub(super) async fn version(&self) -> Option<Version> {
        let mut known = self.version.lock().await;
        if let Known(Some((until, version))) = *known
            && Instant::now() < until
        {
            return version;
        }
        let asked = tokio::time::timeout(SHORT, self.ask_version()).await;
        let version = match asked {
            Ok(Ok(text)) => parse_version(&text),
            _ => None,
        };
        let stands = version.map_or(ABSENCE_STANDS, |_| VERSION_STANDS);
        *known = Known(Some((Instant::now() + stands, version)));
        version
    }

    async fn ask_version(&self) -> Result<String, Status> {
        let mut client = self.client();
        client.ready().await.map_err(unreachable)?;
        let path = path(VERSION, "Version")?;
        let codec = ProstCodec::<wire::Empty, wire::VersionResponse>::default();
        let answer = client
            .unary(Request::new(wire::Empty {}), path, codec)
            .await?;
        Ok(answer.into_inner().version)
    }

    /// The bytes of a blob, to be read by a thread that may block.
    pub(super) fn open(&self, digest: &str, caller: &Caller, counted: Arc<AtomicU64>) -> Reading {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let request = wire::ReadContentRequest {
            digest: digest.to_owned(),
            ..wire::ReadContentRequest::default()
        };
        let (content, caller) = (self.clone(), caller.clone());
        self.runtime.spawn(async move {
            if let Err(status) = content.read(request, &caller, &sender).await {
                // Who does not listen any more has an error of its own.
                let _ = sender.send(Err(status)).await;
            }
        });
        Reading {
            receiver,
            data: Bytes::new(),
            counted,
        }
    }

    async fn read(
        &self,
        request: wire::ReadContentRequest,
        caller: &Caller,
        sender: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<(), Status> {
        let mut client = self.client();
        in_time(async { client.ready().await.map_err(unreachable) }).await?;
        let path = path(CONTENT, "Read")?;
        let codec = ProstCodec::<_, wire::ReadContentResponse>::default();
        let request = for_caller(request, caller)?;
        let answer = in_time(client.server_streaming(request, path, codec)).await?;
        let mut messages = answer.into_inner();
        let mut position = 0;
        while let Some(message) = in_time(messages.message()).await? {
            if message.offset != position {
                return Err(Status::data_loss("a piece of the blob is missing"));
            }
            position += i64::try_from(message.data.len()).unwrap_or(i64::MAX);
            if sender.send(Ok(message.data)).await.is_err() {
                return Ok(());
            }
        }
        // The empty one is the end: without it, the task has died.
        let _ = sender.send(Ok(Bytes::new())).await;
        Ok(())
    }

    /// Begins to write a blob, by a thread that may block.
    pub(super) fn write(&self, reference: String, caller: &Caller) -> Done<Writing> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (answers, answered) = std::sync::mpsc::channel();
        let (content, caller) = (self.clone(), caller.clone());
        self.runtime.spawn(async move {
            let written = content.send(ReceiverStream::new(receiver), &caller).await;
            // Who does not listen any more has an error of its own.
            let _ = answers.send(written);
        });
        let mut writing = Writing {
            sender: Some(sender),
            answered,
            reference,
            position: 0,
        };
        writing
            .tell(action::STAT, Bytes::new(), wire::Labels::new(), "")
            .context(|| "write to containerd")?;
        Ok(writing)
    }

    /// Sends messages of a writer, and tells the digest that the last one is answered with.
    async fn send(
        &self,
        messages: ReceiverStream<wire::WriteContentRequest>,
        caller: &Caller,
    ) -> Result<String, Status> {
        let mut client = self.client();
        in_time(async { client.ready().await.map_err(unreachable) }).await?;
        let path = path(CONTENT, "Write")?;
        let codec = ProstCodec::<_, wire::WriteContentResponse>::default();
        let request = for_caller(messages, caller)?;
        let answer = client.streaming(request, path, codec).await?;
        let mut answers = answer.into_inner();
        let mut digest = String::new();
        while let Some(message) = answers.message().await? {
            if message.action == action::STAT && message.offset != 0 {
                return Err(Status::aborted("another process has begun to write it"));
            }
            digest = message.digest;
        }
        Ok(digest)
    }
}

fn unreachable(error: impl std::error::Error) -> Status {
    Status::unavailable(format!("containerd cannot be reached: {error}"))
}

async fn in_time<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| Err(Status::deadline_exceeded("containerd does not answer")))
}

fn path(service: &str, method: &str) -> Result<PathAndQuery, Status> {
    let path = format!("/{service}/{method}");
    PathAndQuery::try_from(path).map_err(|error| Status::internal(error.to_string()))
}

/// A request with what containerd wants to know of who asks.
fn for_caller<T>(message: T, caller: &Caller) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let headers = [
        ("containerd-namespace", &caller.namespace),
        ("containerd-lease", &caller.lease),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            let value = MetadataValue::try_from(value.as_str())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            request.metadata_mut().insert(name, value);
        }
    }
    Ok(request)
}

/// `2.1` of `v2.1.9~ds1`.
fn parse_version(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The error of a call, for those who read or write.
fn broken(status: &Status) -> io::Error {
    let kind = match status.code() {
        Code::NotFound => io::ErrorKind::NotFound,
        Code::Unavailable => io::ErrorKind::ConnectionRefused,
        Code::DeadlineExceeded => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("containerd: {}", status.message()))
}

/// A blob that is being read.
pub(super) struct Reading {
    receiver: mpsc::Receiver<Result<Bytes, Status>>,
    data: Bytes,
    counted: Arc<AtomicU64>,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.data.is_empty() {
            match self.receiver.blocking_recv() {
                Some(Ok(data)) => self.data = data,
                Some(Err(status)) => return Err(broken(&status)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = buffer.len().min(self.data.len());
        buffer[..count].copy_from_slice(&self.data[..count]);
        self.data.advance(count);
        self.counted.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A blob that is being written.
pub(super) struct Writing {
    sender: Option<mpsc::Sender<wire::WriteContentRequest>>,
    answered: std::sync::mpsc::Receiver<Result<String, Status>>,
    reference: String,
    position: i64,
}

impl Writing {
    fn tell(
        &mut self,
        action: i32,
        data: Bytes,
        labels: wire::Labels,
        expected: &str,
    ) -> io::Result<()> {
        let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let message = wire::WriteContentRequest {
            action,
            reference: self.reference.clone(),
            total: if action == action::COMMIT {
                self.position
            } else {
                0
            },
            expected: expected.to_owned(),
            offset: self.position,
            data,
            labels,
        };
        let is_sent = match &self.sender {
            Some(sender) => sender.blocking_send(message).is_ok(),
            None => false,
        };
        if !is_sent {
            return Err(self.answer().err().unwrap_or_else(|| {
                io::Error::new(io::ErrorKind::BrokenPipe, "containerd has ended the call")
            }));
        }
        self.position += length;
        Ok(())
    }

    /// What the call has come to, when all was sent.
    fn answer(&mut self) -> io::Result<String> {
        self.sender = None;
        match self.answered.recv_timeout(PATIENCE) {
            Ok(Ok(digest)) => Ok(digest),
            // The content is there, which is as good.
            Ok(Err(status)) if status.code() == Code::AlreadyExists => Ok(String::new()),
            Ok(Err(status)) => Err(broken(&status)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "containerd does not answer",
            )),
        }
    }

    /// Ends the blob, whose digest is this. Its size.
    pub(super) fn commit(mut self, digest: &str, labels: wire::Labels) -> io::Result<u64> {
        self.tell(action::COMMIT, Bytes::new(), labels, digest)?;
        let size = u64::try_from(self.position).unwrap_or_default();
        let answered = self.answer()?;
        if !answered.is_empty() && answered != digest {
            let message = format!("containerd has stored {answered}, and not {digest}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(size)
    }
}

impl io::Write for Writing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(data);
        self.tell(action::WRITE, piece, wire::Labels::new(), "")?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_what_comes_behind() {
        for (text, expected) in [
            ("v2.1.9", Some((2, 1))),
            ("1.6.20~ds1", Some((1, 6))),
            ("v2.4.0-beta.0", Some((2, 4))),
            ("2.1", Some((2, 1))),
            ("devel", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }
}
