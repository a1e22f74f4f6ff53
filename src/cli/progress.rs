//! Progress bars: one for each layer that is at work.
//!
//! Bars are drawn on stderr when it is a terminal, not before a quarter of a second has passed, and at most 30 times a
//! second. A finished layer's bar goes away, so at the end nothing is left but the log lines.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use oci_bundle::progress::{Event, Progress};

use super::log::{Log, Threshold, dumb_terminal};
use super::progress_lines::Lines;

/// Work that is done sooner needs no bar.
const DELAY: Duration = Duration::from_millis(250);
/// Redraws per second.
const RATE: u8 = 30;

/// Shows the events of an operation: messages as log lines, layers as bars.
#[derive(Debug)]
pub struct Terminal<'a> {
    log: &'a Log,
    lines: Option<&'a Lines>,
    bars: Option<Bars>,
}

#[derive(Debug)]
struct Bars {
    multi: MultiProgress,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shown: bool,
    layers: BTreeMap<usize, ProgressBar>,
}

impl<'a> Terminal<'a> {
    /// Makes a receiver of events; without bars when that is asked for or stderr is no terminal.
    /// All events go to `lines`, too.
    pub fn new(log: &'a Log, quiet: bool, lines: Option<&'a Lines>) -> Self {
        let drawn = !quiet && io::stderr().is_terminal() && !dumb_terminal();
        Self {
            log,
            lines,
            bars: drawn.then(Bars::new),
        }
    }
}

impl Progress for Terminal<'_> {
    fn event(&self, event: Event<'_>) {
        if let Some(lines) = self.lines {
            lines.event(&event);
        }
        match (event, &self.bars) {
            (Event::Message(message), bars) => {
                let level = Threshold::from(message.level);
                if self.log.shows(level) {
                    let write = || self.log.write(level, &message.text.to_string());
                    match bars {
                        Some(bars) => bars.multi.suspend(write),
                        None => write(),
                    }
                }
            }
            (event, Some(bars)) => bars.event(&event),
            (_, None) => {}
        }
    }
}

impl Bars {
    fn new() -> Self {
        Self {
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    fn event(&self, event: &Event<'_>) {
        // A thread that panicked while it drew leaves nothing half-done that would matter here.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.shown && self.started.elapsed() >= DELAY {
            state.shown = true;
            self.multi
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(RATE));
        }
        match event {
            Event::LayerStarted {
                index, count, size, ..
            } => {
                let bar = self.multi.add(ProgressBar::new(*size).with_style(style()));
                bar.set_prefix(format!("layer {}/{count}", index + 1));
                state.layers.insert(*index, bar);
            }
            Event::LayerAdvanced { index, position } => {
                if let Some(bar) = state.layers.get(index) {
                    bar.set_position(*position);
                }
            }
            Event::LayerFinished { index } => {
                if let Some(bar) = state.layers.remove(index) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.multi.clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:>12} {bar:32} {bytes:>10}/{total_bytes} {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_bundle::cas::{Algorithm, Digest};

    #[test]
    fn a_bar_lives_as_long_as_its_layer() {
        let bars = Bars::new();
        let layers = || bars.state.lock().unwrap().layers.len();
        let digest = Digest::of(Algorithm::Sha256, b"layer");
        for index in 0..2 {
            bars.event(&Event::LayerStarted {
                index,
                count: 2,
                digest: &digest,
                size: 5,
            });
        }
        assert_eq!(layers(), 2);
        let advanced = |index, position| bars.event(&Event::LayerAdvanced { index, position });
        advanced(1, 3);
        assert_eq!(bars.state.lock().unwrap().layers[&1].position(), 3);
        // Of a layer that nobody announced.
        advanced(7, 1);
        bars.event(&Event::LayerFinished { index: 7 });
        bars.event(&Event::LayerFinished { index: 0 });
        bars.event(&Event::LayerFinished { index: 1 });
        assert_eq!(layers(), 0);
    }

    #[test]
    fn nothing_is_drawn_before_the_delay() {
        let bars = Bars::new();
        bars.event(&Event::LayerFinished { index: 0 });
        let state = bars.state.lock().unwrap();
        assert!(!state.shown || bars.started.elapsed() >= DELAY);
    }
}
