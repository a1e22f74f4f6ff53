//! The socket: who may connect, and how long the last calls may take.

use std::os::unix::net::UnixListener as StdListener;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use super::root::{Root, Stop};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Calls of one connection that are answered at once; others wait.
const CALLS: u32 = 128;
/// The largest list of headers, in bytes.
const MAX_HEADERS: u32 = 16 << 10;
/// How long to wait when no connection can be accepted: descriptors may be short.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes a listener one that waits beside others.
pub(super) fn adopt(listener: StdListener) -> Result<UnixListener> {
    listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .context(|| "use the socket")
}

/// Answers what comes until the switch is turned, and then what has come, for as long as `drain`.
pub(super) async fn run(
    listener: UnixListener,
    root: Root,
    stop: &Stop,
    drain: Duration,
) -> Result<()> {
    let (sender, connections) = mpsc::channel(1);
    let accepting = tokio::spawn(accept(listener, sender));
    let asked = stop.clone();
    let server = Server::builder()
        .max_concurrent_streams(CALLS)
        .http2_max_header_list_size(MAX_HEADERS)
        .serve_with_incoming_shutdown(root, ReceiverStream::new(connections), async move {
            asked.asked().await;
        });
    let over = stop.clone();
    let serving = tokio::spawn(async move {
        let outcome = server.await;
        over.now();
        outcome
    });
    stop.asked().await;
    accepting.abort();
    match tokio::time::timeout(drain, serving).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(Error::new(ErrorKind::Io, "serve").with_source(error)),
        Ok(Err(error)) => Err(Error::new(ErrorKind::Io, "serve").with_source(error)),
        Err(_) => {
            tracing::warn!("calls are given up that take longer than {drain:?}");
            Ok(())
        }
    }
}

/// Accepts connections of this user.
async fn accept(listener: UnixListener, sender: mpsc::Sender<std::io::Result<UnixStream>>) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == own => {
                if sender.send(Ok(stream)).await.is_err() {
                    return;
                }
            }
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), "a connection of another user was refused");
            }
            Err(error) => tracing::warn!(%error, "a connection of an unknown user was refused"),
        }
    }
}
