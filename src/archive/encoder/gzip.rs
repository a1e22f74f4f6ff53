//! One gzip member (RFC 1952) out of blocks that are compressed independently, as pigz does it.
//!
//! Each block of the content is deflated with the 32 KiB before it as dictionary, so that next to nothing is lost at the
//! seams, and ends in a byte boundary (an empty stored block), so that the pieces can be joined. The checksums of the
//! blocks are combined. Some readers stop after the first member, so there is only one. What deflate makes no smaller is
//! stored as it is (`noise.rs`).

use super::workers::{Block, Compressed, Workers, compress};
use crate::{Error, ErrorKind};
use crossbeam_channel::{Receiver, TryRecvError};
use flate2::Crc;
use std::collections::VecDeque;
use std::io::{self, Write};

/// The level that comes nearest to umoci's sizes: on two trees of 220 and 270 MB within half a percent, in two thirds of
/// the time; less where there is much that is compressed already. Level 2 needs a fifth less time and takes 3 to 4 percent
/// more room, level 6 the other way round half as much time more and 3 percent less room.
pub(super) const DEFAULT_LEVEL: i32 = 3;

/// Bytes of content in a block.
pub(super) const BLOCK_SIZE: usize = 256 << 10;

/// Bytes before a block that it may refer to: the window of deflate.
pub(super) const WINDOW_SIZE: usize = 32 << 10;

/// No name and no flags, "unknown" for the system, and for the time what umoci writes: the low bits of Go's zero time.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0x00, 0x09, 0x6e, 0x88, 0, 0xff];

/// Writes one gzip member.
pub(super) struct GzipEncoder<W> {
    out: W,
    level: u32,
    workers: Workers,
    /// The block that is being filled.
    block: Block,
    /// The blocks being compressed, in order.
    pending: VecDeque<Receiver<io::Result<Compressed>>>,
    max_pending: usize,
    /// Blocks to be used again.
    spare: Vec<Block>,
    crc: Crc,
    size: u64,
    started: bool,
    failed: bool,
}

impl<W: Write> GzipEncoder<W> {
    pub(super) fn new(out: W, level: u32, threads: usize) -> Self {
        Self {
            out,
            level,
            workers: Workers::new(level, threads),
            block: Block::default(),
            pending: VecDeque::new(),
            // Work for every thread, and as much again that waits for its turn or to be written.
            // Work for every thread, as much again that waits for its turn or to be written, and some more to carry the
            // threads over the reading of many small files.
            max_pending: 2 * threads + 4,
            spare: Vec::new(),
            crc: Crc::new(),
            size: 0,
            started: false,
            failed: false,
        }
    }

    pub(super) fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK_SIZE - self.block.content().len();
        let (now, _) = bytes.split_at(bytes.len().min(room));
        self.block.append(now);
        if now.len() == room {
            self.guarded(Self::submit)?;
        }
        Ok(now.len())
    }

    /// Ends the member with the last block, which may be empty.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.guarded(|encoder| {
            // The last block needs no other thread: this one would only wait.
            let block = std::mem::take(&mut encoder.block);
            let last = compress(block, encoder.level, true)?;
            while encoder.write_next(true)? {}
            encoder.write_block(last)?;
            encoder.out.write_all(&encoder.crc.sum().to_le_bytes())?;
            // The size modulo 2^32: narrowing is what the format wants.
            encoder.out.write_all(&encoder.size.to_le_bytes()[..4])
        })?;
        Ok(self.out)
    }

    /// Once anything has failed, blocks are missing, and nothing may be added to what is written.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Err(Error::new(ErrorKind::Io, "compression has failed before").into());
        }
        let result = work(self);
        self.failed = result.is_err();
        result
    }

    /// Hands the full block to the workers, and writes what is ready.
    fn submit(&mut self) -> io::Result<()> {
        while self.write_next(self.pending.len() >= self.max_pending)? {}
        let next = self.spare.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.block, next);
        self.block.begin_after(&full);
        self.pending.push_back(self.workers.submit(full)?);
        Ok(())
    }

    /// Writes the first of the pending blocks, if there is one and it is ready or may be waited for.
    fn write_next(&mut self, wait: bool) -> io::Result<bool> {
        let Some(first) = self.pending.front() else {
            return Ok(false);
        };
        let gone = || io::Error::other("a compressing thread has died");
        let compressed = if wait {
            first.recv().map_err(|_| gone())?
        } else {
            match first.try_recv() {
                Ok(compressed) => compressed,
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => return Err(gone()),
            }
        };
        self.pending.pop_front();
        let block = self.write_block(compressed?)?;
        self.spare.push(block);
        Ok(true)
    }

    fn write_block(&mut self, compressed: Compressed) -> io::Result<Block> {
        if !self.started {
            self.started = true;
            self.out.write_all(&HEADER)?;
        }
        self.out.write_all(compressed.block.output())?;
        self.crc.combine(&compressed.crc);
        self.size += compressed.block.content().len() as u64;
        Ok(compressed.block)
    }
}
