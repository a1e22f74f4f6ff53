//! `serve`: the store as containerd's snapshotter and differ, on a unix socket.
//!
//! ```text
//! containerd -- Prepare, Commit, Mounts, ... --> rpc -> api -> engine -> snapshots -> store
//!            -- Apply, Diff ------------------->              diff ----^
//!            <- Content/Read, Content/Write ------------------ content
//! ```
//!
//! Nothing here knows what a layer or a chain is made of: the engine says which functions of [`snapshots`](crate::snapshots)
//! and [`store`](crate::store) are called for what containerd asks, and adds what only containerd has: layers that need not be
//! brought, options that fit in a page, snapshots that are shown to containerd because it made them.
//!
//! | file | what |
//! |---|---|
//! | `wire.rs` | messages, with containerd's field numbers |
//! | `rpc.rs` | from a path to a function |
//! | `root.rs` | what every call has at hand, and how its errors are told |
//! | `api.rs`, `diff.rs` | the services |
//! | `engine.rs` | what they do in the store |
//! | `mounts.rs` | mounts as containerd can make them |
//! | `content.rs` | containerd's own content store, as its client |
//! | `listen.rs`, `metrics.rs` | who may connect, what is counted |
//! | `snippet.rs` | containerd's configuration |

mod api;
mod content;
mod diff;
mod engine;
mod listen;
mod metrics;
mod mounts;
mod root;
mod rpc;
mod snippet;
mod wire;

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::absolute;
use crate::store::Store;

pub use crate::fs::socket::{bind_private as bind, inherited};
pub use root::Stop;
pub use snippet::snippet;

/// How long calls that are being answered may take on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(60);

/// Threads for what blocks: as many calls are answered at once.
const BLOCKING_THREADS: usize = 32;

/// How a store is served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// The socket of containerd itself, from which layers are read.
    pub containerd: PathBuf,
    /// A directory for what is gone when the machine is started again.
    pub runtime: PathBuf,
    /// Where numbers for Prometheus are given; an address of the loopback interface.
    pub metrics: Option<SocketAddr>,
}

impl Default for ServeOptions {
    /// containerd's usual socket, `/run/bundle`, and no numbers.
    fn default() -> Self {
        Self {
            containerd: "/run/containerd/containerd.sock".into(),
            runtime: "/run/bundle".into(),
            metrics: None,
        }
    }
}

/// Serves a store on a socket until the switch is turned; `ready` is called when connections are accepted.
///
/// Calls are answered by threads of their own. What a process that is killed leaves is what a killed `bundle` leaves: the old
/// state or the new one, and leftovers that `gc` takes.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if the numbers are to be given outside of the loopback interface; and if the sockets cannot be
/// used. Nothing is served then.
pub fn serve(
    store: Store,
    listener: UnixListener,
    options: &ServeOptions,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<()> {
    if let Some(address) = options.metrics
        && !address.ip().is_loopback()
    {
        let message = format!("metrics {address}: not an address of the loopback interface");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("serve")
        .enable_all()
        .build()
        .context(|| "start threads")?;
    let served = runtime.block_on(async {
        let content = content::Content::new(&absolute(&options.containerd)?)?;
        let engine = Arc::new(engine::Engine::new(store, &absolute(&options.runtime)?)?);
        let counts = Arc::new(metrics::Metrics::default());
        if let Some(address) = options.metrics {
            metrics::publish(address, Arc::clone(&counts)).await?;
        }
        let root = root::Root {
            engine,
            content,
            counts,
            stop: stop.clone(),
        };
        let listener = listen::adopt(listener)?;
        ready();
        listen::run(listener, root, stop, DRAIN).await
    });
    // What still blocks after the drain ends with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}
