//! What is counted, and told to Prometheus on the loopback interface.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::error::{Result, ResultExt};

/// How long somebody who asks may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest question, in bytes.
const MAX_QUESTION: usize = 8 << 10;

/// How many calls of a method had a code, and how long they took together.
type Calls = BTreeMap<(&'static str, i32), (u64, Duration)>;

/// Numbers since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    calls: Mutex<Calls>,
    /// Layers that were unpacked.
    pub unpacked: AtomicU64,
    /// Layers that were there.
    pub reused: AtomicU64,
    /// Bytes of blobs that were read from containerd.
    pub read: AtomicU64,
}

impl Metrics {
    /// Counts a call.
    pub(super) fn called(&self, method: &'static str, code: Code, took: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, time) = calls.entry((method, code as i32)).or_default();
        *count += 1;
        *time += took;
    }

    /// All of it, in Prometheus's text format.
    fn text(&self) -> String {
        let mut out = String::new();
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        out.push_str("# TYPE bundle_serve_call_seconds summary\n");
        for ((method, code), (count, time)) in calls.iter() {
            let labels = format!("{{method=\"{method}\",code=\"{code}\"}}");
            let seconds = time.as_secs_f64();
            // Writing to a string does not fail.
            let _ = writeln!(out, "bundle_serve_call_seconds_count{labels} {count}");
            let _ = writeln!(out, "bundle_serve_call_seconds_sum{labels} {seconds}");
        }
        for (name, number) in [
            ("bundle_serve_layers_unpacked_total", &self.unpacked),
            ("bundle_serve_layers_reused_total", &self.reused),
            ("bundle_serve_blob_bytes_read_total", &self.read),
        ] {
            let number = number.load(Ordering::Relaxed);
            let _ = writeln!(out, "# TYPE {name} counter\n{name} {number}");
        }
        out
    }
}

/// Answers those who ask for the numbers.
pub(super) async fn publish(address: SocketAddr, metrics: Arc<Metrics>) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .context(|| format!("listen on {address}"))?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                // One after the other: nobody can hold up more than the next one.
                Ok((stream, _)) => {
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, &metrics)).await;
                }
                Err(_) => tokio::time::sleep(PATIENCE).await,
            }
        }
    });
    Ok(())
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.windows(4).any(|end| end == b"\r\n\r\n") {
        if question.len() >= MAX_QUESTION || stream.read_buf(&mut question).await? == 0 {
            return Ok(());
        }
    }
    let (code, body) = if question.starts_with(b"GET /metrics ") {
        ("200 OK", metrics.text())
    } else {
        ("404 Not Found", String::new())
    };
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
