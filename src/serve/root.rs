//! What every call has at hand, and how its errors are told.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::content::Content;
use super::engine::Engine;
use super::metrics::Metrics;
use crate::error::{Error, ErrorKind, Result as Done};
use crate::store::Reason;

/// The largest status message that is sent, in bytes: it travels as a header.
const MAX_STATUS: usize = 2000;
/// The header of a status that says the [`Reason`].
const REASON: &str = "bundle-reason";

/// The switch that ends a server.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// Ends the server: it accepts nothing more, answers what has been asked, and returns.
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the end was asked for.
    pub(super) async fn asked(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|stop| *stop).await;
    }
}

/// All services.
#[derive(Clone)]
pub(super) struct Root {
    pub engine: Arc<Engine>,
    pub content: Content,
    pub counts: Arc<Metrics>,
    pub stop: Stop,
}

/// Does what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Done<T> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| status(&error)),
        Err(error) => Err(Status::internal(format!("the call did not end: {error}"))),
    }
}

/// The code of an error, as containerd's own snapshotters have it, and what is to be said.
pub(super) fn status(error: &Error) -> Status {
    let reason = Reason::of(error);
    let is_state = matches!(
        reason,
        Some(Reason::Prerequisites | Reason::HasChildren | Reason::InUse)
    );
    let code = match error.kind() {
        _ if is_state => Code::FailedPrecondition,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::InvalidInput => Code::InvalidArgument,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::InvalidData | ErrorKind::Verification => Code::DataLoss,
        ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Busy => Code::Unavailable,
        _ => Code::Unknown,
    };
    let mut message = error.chain();
    let mut end = message.len().min(MAX_STATUS);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    let mut status = Status::new(code, message);
    if let Some(reason) = reason {
        let word = MetadataValue::from_static(reason.word());
        status.metadata_mut().insert(REASON, word);
    }
    status
}
