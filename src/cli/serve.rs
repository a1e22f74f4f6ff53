//! `serve`

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;

use oci_bundle::serve::{ServeOptions, Stop, bind, inherited, serve, snippet};
use oci_bundle::store::Store;
use oci_bundle::{Error, ErrorKind, Result, ResultExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use super::args::path_parser;
use super::exit::Exit;
use super::log::Threshold;
use super::store_args::StoreArgs;
use super::ui::Ui;

/// Where containerd finds the server.
const SOCKET: &str = "/run/bundle/containerd.sock";
/// The first descriptor that systemd passes.
const FIRST_DESCRIPTOR: i32 = 3;

/// serves the layer store to containerd as snapshotter and differ
///
/// Serves containerd's snapshots and diff APIs on a socket; SIGTERM drains running requests. Layers that the store
/// already has, from containerd or from 'unpack --overlay', are neither fetched nor unpacked again. Supports systemd
/// socket activation and readiness notification. --print-config prints the snippet for containerd's configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// socket to listen on (default: /run/bundle/containerd.sock); only processes of this user can connect
    #[arg(long, value_name = "path", value_parser = path_parser())]
    socket: Option<PathBuf>,

    /// containerd's socket, from which layers are read (default: /run/containerd/containerd.sock)
    #[arg(long, value_name = "path", value_parser = path_parser())]
    containerd: Option<PathBuf>,

    /// serve Prometheus metrics at `http://ADDRESS/metrics`, on a loopback address
    #[arg(long, value_name = "address:port")]
    metrics: Option<SocketAddr>,

    /// print the snippet for containerd's configuration and exit: 1 (containerd 1.6 and 1.7) or 2
    #[arg(long, value_name = "version")]
    print_config: Option<u32>,

    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Whether signals are not for others to handle.
    pub fn takes_signals(&self) -> bool {
        self.print_config.is_none()
    }
}

pub fn run(args: &Args, ui: &Ui, threshold: Threshold) -> Result<Exit> {
    let socket = args.socket.as_deref().unwrap_or(Path::new(SOCKET));
    if let Some(major) = args.print_config {
        ui.print(snippet(major, socket, &args.store.options()?.path)?)?;
        return Ok(Exit::Success);
    }
    log_from(threshold);
    let stop = Stop::default();
    stop_at_signals(stop.clone()).context(|| "watch for signals")?;
    // Without a lease: each call has one of its own, and between them layers may go.
    let store = Store::open(args.store.options()?)?;
    let listener = match passed()? {
        Some(listener) => listener,
        None => bind(socket)?,
    };
    let mut options = ServeOptions::default();
    if let Some(containerd) = &args.containerd {
        options.containerd.clone_from(containerd);
    }
    if let Some(runtime) = socket.parent() {
        runtime.clone_into(&mut options.runtime);
    }
    options.metrics = args.metrics;
    tracing::info!(store = %store.path().display(), "ready");
    serve(store, listener, &options, &stop, || tell_systemd("READY=1"))?;
    Ok(Exit::Success)
}

/// Has the log written to stderr: errors and warnings, and with `--verbose` and `--log` what else is wanted.
fn log_from(threshold: Threshold) {
    let level = match threshold {
        Threshold::Debug => LevelFilter::DEBUG,
        Threshold::Info => LevelFilter::INFO,
        Threshold::Warn => LevelFilter::WARN,
        Threshold::Error | Threshold::Fatal => LevelFilter::ERROR,
    };
    let format = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr);
    // What the crates below have to say is not ours.
    let ours = Targets::new()
        .with_target("oci_bundle", level)
        .with_target("bundle", level);
    tracing_subscriber::registry()
        .with(format.with_filter(ours))
        .init();
}

/// Ends the server at a signal. A second one ends the process.
fn stop_at_signals(stop: Stop) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut signals = signals.forever();
            if signals.next().is_none() {
                return;
            }
            tell_systemd("STOPPING=1");
            stop.now();
            if let Some(signal) = signals.next() {
                // Returns only for a signal that it does not know; of these there is none here.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        })?;
    Ok(())
}

/// The socket that systemd has made, if it was told to.
fn passed() -> Result<Option<UnixListener>> {
    let number = |name: &str| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => Ok(None),
        Some(1) => inherited(FIRST_DESCRIPTOR).map(Some),
        Some(count) => {
            let message = format!("{count} sockets were passed, and one is wanted");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

/// Tells systemd how it is, if that wants to know.
fn tell_systemd(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddress::from_abstract_name(name),
        None => UnixAddress::from_pathname(&name),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "systemd was not told {state}");
    }
}
