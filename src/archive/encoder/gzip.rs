//! gzip (RFC 1952) in members that are compressed independently, as hard as the content of each deserves (`effort.rs`).
//!
//! Every consumer of layers that we know reads many members (those of Debian's packages do in the tests), and so does
//! all that reads eStargz layers, which are made of them. Joining the pieces into one member would need a compressor that
//! can begin with a dictionary and end without an end; those take twice the time of libdeflate.

use super::deflate::{BLOCK_SIZE, Deflater};
use super::workers::{Block, Workers, compress};
use crate::{Error, ErrorKind};
use crossbeam_channel::{Receiver, TryRecvError};
use std::collections::VecDeque;
use std::io::{self, Write};

/// Writes gzip members, one at least.
pub(super) struct GzipEncoder<W> {
    out: W,
    level: Option<u32>,
    workers: Workers,
    /// The block that is being filled.
    block: Block,
    /// The blocks being compressed, in order.
    pending: VecDeque<Receiver<io::Result<Block>>>,
    max_pending: usize,
    /// Blocks to be used again.
    spare: Vec<Block>,
    failed: bool,
}

impl<W: Write> GzipEncoder<W> {
    pub(super) fn new(out: W, level: Option<u32>, threads: usize) -> Self {
        Self {
            out,
            level,
            workers: Workers::new(level, threads),
            block: Block::default(),
            pending: VecDeque::new(),
            // Work for every thread, as much again that waits for its turn or to be written, and some more to carry the
            // threads over the reading of many small files.
            max_pending: 2 * threads + 4,
            spare: Vec::new(),
            failed: false,
        }
    }

    pub(super) fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only now is it known that it is not the last one.
        if self.block.content.len() == BLOCK_SIZE {
            self.guarded(Self::submit)?;
        }
        let room = BLOCK_SIZE - self.block.content.len();
        let (now, _) = bytes.split_at(bytes.len().min(room));
        self.block.content.extend_from_slice(now);
        Ok(now.len())
    }

    /// Ends with the last block, which is empty only if there is no content at all.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.guarded(|encoder| {
            // The last block needs no other thread: this one would only wait.
            let block = std::mem::take(&mut encoder.block);
            let last = compress(block, encoder.level, &mut Deflater::default())?;
            while encoder.write_next(true)? {}
            encoder.out.write_all(&last.output)
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
        let mut block = compressed?;
        self.out.write_all(&block.output)?;
        block.clear();
        self.spare.push(block);
        Ok(true)
    }
}
