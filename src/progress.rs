//! What the library tells while it works: one trait, which the command implements with bars and log lines.
//!
//! The library never prints. Long operations take a [`Progress`] and report [`Event`]s to it; [`Silent`] ignores them.

use std::fmt;

use oci_cas::Digest;

/// How important a [`Message`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Details for whoever looks for a fault.
    Debug,
    /// A step of the work.
    Info,
    /// Something is not as asked for, but the work goes on.
    Warn,
}

/// A line of talk: a text and named values.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// How important it is.
    pub level: Level,
    /// The text: lower case, no full stop.
    pub text: fmt::Arguments<'a>,
}

/// Something that happened. Bytes are counted in the compressed blob, whose size is known beforehand.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on a layer begins: its place in the image (from 0), how many there are, its digest and size in bytes.
    LayerStarted {
        /// Place of the layer, from 0 at the bottom.
        index: usize,
        /// Number of layers in the image.
        count: usize,
        /// Digest of the blob.
        digest: &'a Digest,
        /// Size of the blob in bytes.
        size: u64,
    },
    /// So many bytes of the layer's blob have been read in all.
    LayerAdvanced {
        /// Place of the layer.
        index: usize,
        /// Bytes of the blob read so far.
        position: u64,
    },
    /// The layer is verified and applied.
    LayerFinished {
        /// Place of the layer.
        index: usize,
    },
    /// A line of talk.
    Message(Message<'a>),
}

/// Receives the events of an operation, possibly from several threads.
pub trait Progress: Send + Sync {
    /// Takes one event. Must return quickly: the work waits for it.
    fn event(&self, event: Event<'_>);

    /// Reports a warning.
    fn warn(&self, text: fmt::Arguments<'_>) {
        self.event(Event::Message(Message {
            level: Level::Warn,
            text,
        }));
    }

    /// Reports a step of the work.
    fn info(&self, text: fmt::Arguments<'_>) {
        self.event(Event::Message(Message {
            level: Level::Info,
            text,
        }));
    }

    /// Reports a detail.
    fn debug(&self, text: fmt::Arguments<'_>) {
        self.event(Event::Message(Message {
            level: Level::Debug,
            text,
        }));
    }
}

/// Ignores every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
