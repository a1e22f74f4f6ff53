//! `snapshots.v1` and `health.v1`: from messages to the engine, and back.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::codegen::BoxStream;

use super::content::Caller;
use super::engine::Reuse;
use super::mounts::to_wire;
use super::root::{Root, blocking};
use super::wire::service::{DIFF, SNAPSHOTS};
use super::wire::{self, kind, status};
use crate::error::{Error, ErrorKind, Result as Done};
use crate::snapshots::{Info, Kind, SnapshotOptions, Snapshotter};

/// Snapshots in one message of a list.
const LIST_PART: usize = 100;
/// Labels of a snapshot, filters of a list, fields of an update.
const MAX_LABELS: usize = 512;
const MAX_FILTERS: usize = 64;
const MAX_FIELDS: usize = 512;
/// The length of all filters together, in bytes: a pattern takes time by its length.
const MAX_FILTER: usize = 4096;

/// How often it is seen whether somebody who watches is still there.
const WATCH_PAUSE: Duration = Duration::from_secs(30);

type Support<T> = Result<T, Status>;

/// Says that something from the wire is beyond a limit.
fn bound(what: &str, count: usize, limit: usize) -> Done<()> {
    if count > limit {
        let message = format!("{count} {what}: {limit} are allowed");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(())
}

fn options(labels: wire::Labels, parent: &str) -> Done<SnapshotOptions> {
    bound("labels", labels.len(), MAX_LABELS)?;
    Ok(SnapshotOptions {
        labels,
        parent: given(parent).map(str::to_owned),
    })
}

/// An empty text is none.
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

pub(super) async fn prepare(
    root: Root,
    request: wire::PrepareRequest,
    _: Caller,
) -> Support<wire::MountsResponse> {
    let is_for_layer = request.labels.contains_key("containerd.io/snapshot.ref");
    let reuse = if is_for_layer {
        let says_layer = request
            .labels
            .contains_key("containerd.io/snapshot/diff-id");
        let version = root.content.version().await;
        tracing::debug!(?version, "containerd");
        Some(match version {
            Some(version) if version < (2, 4) => Reuse::Existing,
            _ if says_layer => Reuse::Staged,
            _ => Reuse::Existing,
        })
    } else {
        None
    };
    make(root, Kind::Active, request, reuse).await
}

pub(super) async fn view(
    root: Root,
    request: wire::PrepareRequest,
    _: Caller,
) -> Support<wire::MountsResponse> {
    make(root, Kind::View, request, None).await
}

async fn make(
    root: Root,
    kind: Kind,
    request: wire::PrepareRequest,
    reuse: Option<Reuse>,
) -> Support<wire::MountsResponse> {
    tracing::debug!(?kind, key = request.key, parent = request.parent, "make");
    blocking(move || {
        let options = options(request.labels, "")?;
        let parent = given(&request.parent);
        let mounts = root
            .engine
            .make(kind, &request.key, parent, &options, reuse)?;
        let mounts = to_wire(mounts)?;
        Ok(wire::MountsResponse { mounts })
    })
    .await
}

pub(super) async fn mounts(
    root: Root,
    request: wire::KeyRequest,
    _: Caller,
) -> Support<wire::MountsResponse> {
    blocking(move || {
        let mounts = to_wire(root.engine.mounts(&request.key)?)?;
        Ok(wire::MountsResponse { mounts })
    })
    .await
}

pub(super) async fn commit(
    root: Root,
    request: wire::CommitRequest,
    _: Caller,
) -> Support<wire::Empty> {
    tracing::debug!(name = request.name, key = request.key, "commit");
    blocking(move || {
        let options = options(request.labels, &request.parent)?;
        root.engine.commit(&request.name, &request.key, &options)?;
        Ok(wire::Empty {})
    })
    .await
}

pub(super) async fn remove(
    root: Root,
    request: wire::KeyRequest,
    _: Caller,
) -> Support<wire::Empty> {
    tracing::debug!(key = request.key, "remove");
    let delete = blocking(move || root.engine.remove(&request.key)).await?;
    // Nobody waits for that.
    drop(tokio::task::spawn_blocking(delete));
    Ok(wire::Empty {})
}

pub(super) async fn stat(
    root: Root,
    request: wire::KeyRequest,
    _: Caller,
) -> Support<wire::InfoResponse> {
    blocking(move || Ok(answer(root.engine.snapshots()?.stat(&request.key)?))).await
}

fn answer(info: Info) -> wire::InfoResponse {
    wire::InfoResponse {
        info: Some(told(info)),
    }
}

fn told(info: Info) -> wire::Info {
    wire::Info {
        name: info.name,
        parent: info.parent.unwrap_or_default(),
        kind: match info.kind {
            Kind::View => kind::VIEW,
            Kind::Active => kind::ACTIVE,
            Kind::Committed => kind::COMMITTED,
        },
        created_at: Some(info.created.into()),
        updated_at: Some(info.updated.into()),
        labels: info.labels,
    }
}

pub(super) async fn update(
    root: Root,
    request: wire::UpdateRequest,
    _: Caller,
) -> Support<wire::InfoResponse> {
    blocking(move || {
        let Some(info) = request.info else {
            let message = "update a snapshot: it is not said which one";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        bound("labels", info.labels.len(), MAX_LABELS)?;
        let fields = request.update_mask.unwrap_or_default().paths;
        bound("fields", fields.len(), MAX_FIELDS)?;
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let wanted = Info {
            // Only the name and the labels are looked at.
            kind: Kind::Committed,
            name: info.name,
            parent: None,
            labels: info.labels,
            created: UNIX_EPOCH,
            updated: UNIX_EPOCH,
        };
        Ok(answer(root.engine.snapshots()?.update(&wanted, &fields)?))
    })
    .await
}

pub(super) async fn list(
    root: Root,
    request: wire::ListRequest,
    _: Caller,
) -> Support<BoxStream<wire::ListResponse>> {
    let found = blocking(move || {
        bound("filters", request.filters.len(), MAX_FILTERS)?;
        let length = request.filters.iter().map(String::len).sum();
        bound("bytes of filters", length, MAX_FILTER)?;
        root.engine.list(&request.filters)
    })
    .await?;
    let mut parts = Vec::with_capacity(found.len().div_ceil(LIST_PART));
    let mut found = found.into_iter().map(told).peekable();
    while found.peek().is_some() {
        let info = found.by_ref().take(LIST_PART).collect();
        parts.push(Ok(wire::ListResponse { info }));
    }
    Ok(Box::pin(tokio_stream::iter(parts)))
}

pub(super) async fn usage(
    root: Root,
    request: wire::KeyRequest,
    _: Caller,
) -> Support<wire::UsageResponse> {
    blocking(move || {
        let usage = root.engine.usage(&request.key)?;
        Ok(wire::UsageResponse {
            size: usage.bytes.try_into().unwrap_or(i64::MAX),
            inodes: usage.inodes.try_into().unwrap_or(i64::MAX),
        })
    })
    .await
}

pub(super) async fn cleanup(root: Root, _: wire::KeyRequest, _: Caller) -> Support<wire::Empty> {
    let engine = Arc::clone(&root.engine);
    if let Some(collect) = blocking(move || engine.cleanup()).await? {
        drop(tokio::task::spawn_blocking(collect));
    }
    Ok(wire::Empty {})
}

fn is_served(service: &str) -> bool {
    ["", SNAPSHOTS, DIFF].contains(&service)
}

pub(super) async fn check(
    _: Root,
    request: wire::HealthRequest,
    _: Caller,
) -> Support<wire::HealthResponse> {
    if is_served(&request.service) {
        let status = status::SERVING;
        return Ok(wire::HealthResponse { status });
    }
    let shown: String = request.service.chars().take(64).collect();
    Err(Status::not_found(format!("no service {shown:?}")))
}

/// Tells once how it is, and once more when the server ends.
pub(super) async fn watch(
    root: Root,
    request: wire::HealthRequest,
    _: Caller,
) -> Support<BoxStream<wire::HealthResponse>> {
    let (sender, receiver) = mpsc::channel(2);
    let first = if is_served(&request.service) {
        status::SERVING
    } else {
        status::SERVICE_UNKNOWN
    };
    tokio::spawn(async move {
        let tell = |status| sender.send(Ok(wire::HealthResponse { status }));
        let mut listens = tell(first).await.is_ok();
        while listens {
            let ended = tokio::time::timeout(WATCH_PAUSE, root.stop.asked()).await;
            if ended.is_ok() {
                // Nobody may listen any more.
                let _ = tell(status::NOT_SERVING).await;
                return;
            }
            listens = !sender.is_closed();
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}
