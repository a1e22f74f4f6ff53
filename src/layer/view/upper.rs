//! Upper layers without those below them, for questions that the upper ones answer.
//!
//! A layer is merged onto what is below it, so a view of upper layers alone may be wrong: `lib/x` goes somewhere else if a
//! lower layer has made `lib` a symbolic link. But as long as every name that an entry leads through is there, in these
//! very layers, nothing below could have changed where the entry goes. Then what *is* in the view is in the view of all
//! layers too; what is not may still come from below.

use oci_cas::Algorithm;

use super::merge::Merger;
use super::tree::{FIXED_SIZE, View, ViewOptions};
use crate::archive::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::consumer::Consumer;
use crate::layer::frame::Step;
use crate::layer::pipeline::{drive, run};
use crate::layer::{Applied, IndexReader, LayerSource, index_of};

/// Entries that may be merged anew at any time, however few have been read.
const CHEAP_COUNT: u64 = 100_000;

/// Layers that are read from the top down, and the view that they make.
///
/// Their entries are kept, without content: layers are read downwards, but merged upwards.
#[derive(Debug)]
pub struct UpperLayers {
    options: ViewOptions,
    /// The top one first.
    layers: Vec<Vec<Recorded>>,
    entry_count: u64,
    /// Entries merged so far for views that were tried.
    merged_count: u64,
    /// Bytes of memory counted so far.
    held: u64,
}

/// An entry, and the digest of its content where that was asked for.
#[derive(Debug)]
struct Recorded {
    entry: Box<Entry>,
    sha256: Option<[u8; 32]>,
}

impl UpperLayers {
    /// No layers yet. The entries count against [`ViewOptions::memory_size`], apart from the view.
    pub fn new(options: ViewOptions) -> Self {
        Self {
            options,
            layers: Vec::new(),
            entry_count: 0,
            merged_count: 0,
            held: 0,
        }
    }

    /// Reads the next layer downwards, whose stream is to be hashed by this algorithm.
    ///
    /// # Errors
    ///
    /// Fails if the reader does, if the stream is no sound archive or exceeds a limit. What the layer says is judged when
    /// it is merged.
    pub fn add_below<S: LayerSource>(
        &mut self,
        algorithm: Algorithm,
        source: S,
    ) -> Result<Applied> {
        let mut recorder = Recorder {
            layer: Vec::new(),
            held: self.held,
            limit: self.options.memory_size,
        };
        let mut last = None;
        let layers = std::iter::once(Ok((algorithm, source)));
        let ViewOptions {
            limits,
            file_digests,
            ..
        } = &self.options;
        run(layers, limits, *file_digests, |framed, empty| {
            drive(framed, empty, &mut recorder, |applied| {
                last = Some(applied);
                Ok(())
            })
        })?;
        self.take(recorder);
        last.ok_or_else(|| Error::new(ErrorKind::Io, "the layer was not read"))
    }

    /// Takes the next layer downwards from its index, as [`last_index`](Self::last_index) gave it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] if it is not an index; the view is unchanged. [`ErrorKind::LimitExceeded`] as when the
    /// layer is read.
    pub(crate) fn add_known(&mut self, index: &[u8]) -> Result<()> {
        let mut recorder = Recorder {
            layer: Vec::new(),
            held: self.held,
            limit: self.options.memory_size,
        };
        for entry in IndexReader::new(index)? {
            let (entry, _) = entry?;
            recorder.hold(&entry)?;
            recorder.layer.push(Recorded {
                entry: Box::new(entry),
                sha256: None,
            });
        }
        self.take(recorder);
        Ok(())
    }

    /// An index of the layer that was added last; the digests of contents are not in it.
    pub(crate) fn last_index(&self) -> Vec<u8> {
        let last = self.layers.last().into_iter().flatten();
        index_of(last.map(|recorded| &*recorded.entry))
    }

    fn take(&mut self, recorder: Recorder) {
        self.held = recorder.held;
        self.entry_count += recorder.layer.len() as u64;
        self.layers.push(recorder.layer);
    }

    /// The view of the layers so far, if it holds whatever is below them: then a path that means something in it means
    /// the same in the image, except that a directory may have more in it. [`Content::layer`](super::Content::layer)
    /// counts from the lowest of these layers.
    ///
    /// There is none, either, where trying would cost more than reading has cost so far.
    ///
    /// # Errors
    ///
    /// Those of [`View::add_layer`] for what the layers say.
    pub fn view(&mut self) -> Result<Option<View>> {
        let cost = self.merged_count.saturating_add(self.entry_count);
        if cost > self.entry_count.saturating_mul(2).max(CHEAP_COUNT) {
            return Ok(None);
        }
        self.merged_count = cost;
        let mut view = View::new();
        let mut merger = Merger::new(&mut view, self.options.memory_size);
        for layer in self.layers.iter().rev() {
            let result = merge(&mut merger, layer, true);
            // What fails for want of something below is no failure.
            if merger.needs_lower() {
                return Ok(None);
            }
            result?;
        }
        Ok(Some(view))
    }

    /// The view when there is nothing below.
    ///
    /// # Errors
    ///
    /// Those of [`View::add_layer`] for what the layers say.
    pub fn into_view(mut self) -> Result<View> {
        let mut view = View::new();
        let mut merger = Merger::new(&mut view, self.options.memory_size);
        while let Some(layer) = self.layers.pop() {
            merge(&mut merger, &layer, false)?;
        }
        Ok(view)
    }
}

/// Merges a layer; if that is wanted, only to the first thing that depends on the layers below.
fn merge(merger: &mut Merger<'_>, layer: &[Recorded], give_up: bool) -> Result<()> {
    for Recorded { entry, sha256 } in layer {
        merger.begin(entry)?;
        merger.end(*sha256);
        if give_up && merger.needs_lower() {
            return Ok(());
        }
    }
    merger.finish_layer()
}

/// Keeps the entries of one layer.
struct Recorder {
    layer: Vec<Recorded>,
    held: u64,
    limit: u64,
}

impl Consumer for Recorder {
    fn step(&mut self, step: Step, _chunk: &[u8]) -> Result<()> {
        match step {
            Step::Entry(mut entry) => {
                // Only who reads the content wants to know where it is.
                entry.pieces = None;
                self.hold(&entry)?;
                let sha256 = None;
                self.layer.push(Recorded { entry, sha256 });
            }
            Step::Data { .. } => {}
            Step::End(sha256) => {
                if let Some(last) = self.layer.last_mut() {
                    last.sha256 = sha256;
                }
            }
        }
        Ok(())
    }

    fn finish_layer(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Recorder {
    fn hold(&mut self, entry: &Entry) -> Result<()> {
        let xattrs = entry.xattrs.iter();
        let attributes: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        let bytes = entry.path.len() + entry.link.len() + attributes;
        self.held = self.held.saturating_add(FIXED_SIZE + bytes as u64);
        if self.held > self.limit {
            let message = format!(
                "the entries of the image take {} bytes or more; the limit is {}",
                self.held, self.limit
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }
}
