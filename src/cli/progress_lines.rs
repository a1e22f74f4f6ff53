//! `--progress-fd`: progress for programs, a JSON object a line. `docs/json/progress.json` is its schema.
//!
//! ```text
//! {"event":"started","schema_version":1}
//! {"event":"layer_started","index":0,"count":2,"digest":"sha256:...","size":1000}
//! {"event":"layer_advanced","index":0,"position":500}
//! {"event":"layer_finished","index":0}
//! {"event":"message","level":"warn","text":"..."}
//! {"event":"finished"}                          or {"event":"failed","error":"..."}
//! ```
//!
//! A reader that goes away ends the lines, not the work. One that does not read makes the work wait.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci_bundle::fs::output;
use oci_bundle::progress::{Event, Level};
use oci_bundle::{Error, Result};
use serde_json::{Value, json};

use super::json::SCHEMA_VERSION;

/// Of one layer, lines are at least so far apart.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where the lines go.
#[derive(Debug)]
pub struct Lines(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Nothing when the reader has gone away.
    out: Option<File>,
    /// When a layer had its last line.
    advanced: HashMap<usize, Instant>,
}

impl Lines {
    /// Writes to a descriptor that the process was started with, and says that it has started.
    pub fn to_descriptor(fd: i32) -> Result<Self> {
        let lines = Self(Mutex::new(State {
            out: Some(output::inherited(fd)?),
            advanced: HashMap::new(),
        }));
        lines.write(&json!({"event": "started", "schema_version": SCHEMA_VERSION}));
        Ok(lines)
    }

    /// Writes the line of an event, if it has one.
    pub fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::LayerStarted {
                index,
                count,
                digest,
                size,
            } => json!({
                "event": "layer_started", "index": index, "count": count,
                "digest": digest.to_string(), "size": size,
            }),
            Event::LayerAdvanced { index, position } if self.is_due(*index) => {
                json!({"event": "layer_advanced", "index": index, "position": position})
            }
            Event::LayerFinished { index } => json!({"event": "layer_finished", "index": index}),
            Event::Message(message) => {
                let level = match message.level {
                    Level::Debug => return,
                    Level::Info => "info",
                    Level::Warn => "warn",
                };
                json!({"event": "message", "level": level, "text": message.text.to_string()})
            }
            _ => return,
        };
        self.write(&line);
    }

    /// Writes the last line.
    pub fn finish(&self, error: Option<&Error>) {
        self.write(&match error {
            None => json!({"event": "finished"}),
            Some(error) => json!({"event": "failed", "error": error.chain()}),
        });
    }

    fn is_due(&self, index: usize) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let due = state
            .advanced
            .get(&index)
            .is_none_or(|last| now.duration_since(*last) >= INTERVAL);
        if due {
            state.advanced.insert(index, now);
        }
        due
    }

    fn write(&self, line: &Value) {
        let mut state = self.state();
        if let Some(out) = &mut state.out
            && out.write_all(format!("{line}\n").as_bytes()).is_err()
        {
            state.out = None;
        }
    }

    // A thread that panicked while it wrote leaves at worst half a line.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
