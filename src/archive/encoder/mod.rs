//! Compression: gzip and zstd as writers, on all processors.
//!
//! ```text
//! caller's thread               worker threads
//! bytes -> blocks  ---------->  compress   (`workers.rs`; for zstd, the library's own)
//!            |                      |
//! out <- in order <-----------------+      (`gzip.rs`)
//! ```
//!
//! A layer's digest is that of its compressed bytes. So they are a function of the content, the format and the level
//! only: neither the number of threads nor the way in which the content is cut into writes makes a difference.

mod deflate;
mod effort;
mod gzip;
#[cfg(test)]
mod tests;
mod workers;

use super::Compression;
use crate::{Error, ErrorKind, Result, ResultExt};
use gzip::GzipEncoder;
use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::thread;

/// The most threads that one encoder starts, whatever it is told; each has about a megabyte of buffers.
const MAX_THREADS: usize = 64;

/// How to compress.
#[derive(Clone, Copy, Debug)]
pub struct EncoderOptions {
    /// The format.
    pub compression: Compression,
    /// How hard to try: for gzip 0 to 9, for zstd from minus a hundred thousand to 22. `None` is the format's default; for gzip
    /// every block of the content is tried as hard as pays, which gives umoci's sizes within about 3 percent.
    pub level: Option<i32>,
    /// How many threads compress, besides the one that writes: 1 to 64, to which other numbers are rounded. `None` is as
    /// many as there are processors. Never changes the bytes.
    pub threads: Option<usize>,
}

impl EncoderOptions {
    /// Options for a format, with defaults for the rest.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            level: None,
            threads: None,
        }
    }

    fn thread_count(&self) -> usize {
        let available = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.unwrap_or_else(available).clamp(1, MAX_THREADS)
    }
}

/// Compresses what is written to it.
///
/// The result is gzip members (RFC 1952, section 2.2), one for each 512 KiB of content, or one zstd frame. It is complete
/// only after [`finish`](Self::finish): an encoder that is dropped before waits for its threads and leaves a stream
/// without its end, of which a decoder alone cannot tell in gzip that members are missing; digest, size, and the end of
/// the archive do.
/// [`flush`](Write::flush) flushes the writer below, but nothing that is still to be compressed.
///
/// # Errors
///
/// Writing fails with the error of the writer below, perhaps only after more has been written; from then on, every call
/// fails.
pub struct Encoder<W: Write> {
    codec: Codec<W>,
}

enum Codec<W: Write> {
    Plain(W),
    Gzip(Box<GzipEncoder<W>>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Begins a stream. Threads are started when there is work for them.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the format has no such level.
    /// - Threads or memory are short.
    pub fn new(out: W, options: EncoderOptions) -> Result<Self> {
        let level = |levels: RangeInclusive<i32>| check_level(options, levels);
        let codec = match options.compression {
            Compression::None => {
                level(0..=0)?;
                Codec::Plain(out)
            }
            Compression::Gzip => {
                let level = level(0..=9)?.map(i32::unsigned_abs);
                let encoder = GzipEncoder::new(out, level, options.thread_count());
                Codec::Gzip(Box::new(encoder))
            }
            Compression::Zstd => {
                let level = level(zstd::compression_level_range())?;
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let encoder = zstd_encoder(out, level, options.thread_count());
                Codec::Zstd(encoder.context(|| "set up zstd compression")?)
            }
        };
        Ok(Self { codec })
    }

    /// Ends the stream and hands the writer below back.
    ///
    /// # Errors
    ///
    /// The error of the writer below, wrapped; the stream is incomplete then.
    pub fn finish(self) -> Result<W> {
        match self.codec {
            Codec::Plain(out) => Ok(out),
            Codec::Gzip(encoder) => encoder.finish(),
            Codec::Zstd(encoder) => encoder.finish(),
        }
        .context(|| "write compressed data")
    }
}

fn check_level(options: EncoderOptions, levels: RangeInclusive<i32>) -> Result<Option<i32>> {
    let level = match options.level {
        Some(level) if !levels.contains(&level) => level,
        fine => return Ok(fine),
    };
    let message = match options.compression {
        Compression::None => "compress: no compression has no level".to_owned(),
        named => format!(
            "compress: {named} has no level {level}, but {} to {}",
            levels.start(),
            levels.end()
        ),
    };
    Err(Error::new(ErrorKind::InvalidInput, message))
}

/// With one worker or more, the library cuts the content into jobs by the level alone.
fn zstd_encoder<W: Write>(
    out: W,
    level: i32,
    threads: usize,
) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, level)?;
    encoder.include_checksum(true)?;
    encoder.multithread(u32::try_from(threads).unwrap_or(1))?;
    Ok(encoder)
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // zstd would take an empty write before all others for the beginning of a larger stream.
        if bytes.is_empty() {
            return Ok(0);
        }
        match &mut self.codec {
            Codec::Plain(out) => out.write(bytes),
            Codec::Gzip(encoder) => encoder.write(bytes),
            Codec::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.codec {
            Codec::Plain(out) => out.flush(),
            Codec::Gzip(encoder) => encoder.get_mut().flush(),
            // The encoder's own flush would end a block, and so change the bytes.
            Codec::Zstd(encoder) => encoder.get_mut().flush(),
        }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = match self.codec {
            Codec::Plain(_) => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
        };
        f.debug_struct("Encoder")
            .field("codec", &codec)
            .finish_non_exhaustive()
    }
}
