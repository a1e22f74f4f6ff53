//! Threads that deflate blocks.

use super::gzip::{BLOCK_SIZE, WINDOW_SIZE};
use super::noise;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use std::io;
use std::thread::{self, JoinHandle};

/// The most that a block can become: every byte nine bits (fixed Huffman codes), and the frames of deflate's blocks.
const OUTPUT_SIZE: usize = BLOCK_SIZE + BLOCK_SIZE / 8 + 4096;

/// A last block of deflate without content.
const EMPTY_LAST: [u8; 2] = [3, 0];

/// A piece of the content, with what comes before it and with what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The dictionary, then the content.
    input: Vec<u8>,
    /// Where the content begins.
    start: usize,
    output: Vec<u8>,
}

impl Block {
    pub(super) fn content(&self) -> &[u8] {
        &self.input[self.start..]
    }

    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.input.capacity() == 0 && self.start == 0 {
            // A stream of a few bytes must not cost a whole block.
            self.input.reserve(bytes.len());
        }
        self.input.extend_from_slice(bytes);
    }

    /// Empties the block; it follows upon another one.
    pub(super) fn begin_after(&mut self, before: &Self) {
        let window = before.input.len().saturating_sub(WINDOW_SIZE);
        self.input.clear();
        self.input.reserve(WINDOW_SIZE + BLOCK_SIZE);
        self.input.extend_from_slice(&before.input[window..]);
        self.start = self.input.len();
        self.output.clear();
    }
}

/// A block whose output is there.
#[derive(Debug)]
pub(super) struct Compressed {
    pub block: Block,
    /// The checksum of its content.
    pub crc: Crc,
}

/// Compresses a block. What becomes of it depends on nothing that came before but its dictionary.
pub(super) fn compress(mut block: Block, level: u32, last: bool) -> io::Result<Compressed> {
    let Block {
        input,
        start,
        output,
    } = &mut block;
    let content = &input[*start..];
    let runs = noise::runs(content, level)?;
    output.clear();
    output.reserve(OUTPUT_SIZE);
    let mut ended = false;
    for (index, run) in runs.iter().enumerate() {
        let (begin, end) = (*start + run.range.start, *start + run.range.end);
        if run.noise {
            noise::store(&input[begin..end], output);
        } else {
            let dictionary = &input[begin.saturating_sub(WINDOW_SIZE)..begin];
            ended = last && index + 1 == runs.len();
            deflate(dictionary, &input[begin..end], level, ended, output)?;
        }
    }
    if last && !ended {
        output.extend_from_slice(&EMPTY_LAST);
    }
    let mut crc = Crc::new();
    crc.update(content);
    Ok(Compressed { block, crc })
}

/// Appends deflated content, up to a byte boundary. Each piece gets a compressor of its own: one that is reset still
/// knows the bytes of another piece, and finds other matches.
fn deflate(
    dictionary: &[u8],
    content: &[u8],
    level: u32,
    last: bool,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    let mut deflate = Compress::new(Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary)?;
    }
    let flush = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    // There is room for all of it: a second call would write the boundary twice.
    let status = deflate.compress_vec(content, output, flush)?;
    let complete = match status {
        Status::StreamEnd => last,
        Status::Ok => !last && output.len() < output.capacity(),
        Status::BufError => false,
    };
    if !complete || deflate.total_in() != content.len() as u64 {
        return Err(io::Error::other("deflate has not taken a whole block"));
    }
    Ok(())
}

struct Job {
    block: Block,
    reply: Sender<io::Result<Compressed>>,
}

/// The threads. Dropping this waits for them.
pub(super) struct Workers {
    level: u32,
    max_threads: usize,
    /// `None` only while this is dropped.
    jobs: Option<Sender<Job>>,
    queue: Receiver<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn new(level: u32, max_threads: usize) -> Self {
        // The caller bounds how many jobs there are.
        let (jobs, queue) = unbounded();
        Self {
            level,
            max_threads,
            jobs: Some(jobs),
            queue,
            threads: Vec::new(),
        }
    }

    /// Has a block, which is not the last one, compressed. The result arrives in the channel that is returned.
    pub(super) fn submit(&mut self, block: Block) -> io::Result<Receiver<io::Result<Compressed>>> {
        if self.threads.len() < self.max_threads {
            self.start_thread()?;
        }
        let (reply, result) = bounded(1);
        if let Some(jobs) = &self.jobs {
            // Fails only without a receiver, and we hold one.
            let _ = jobs.send(Job { block, reply });
        }
        Ok(result)
    }

    /// Starts one more thread. Where there can be no more, those that there are must do.
    fn start_thread(&mut self) -> io::Result<()> {
        let (level, queue) = (self.level, self.queue.clone());
        let started = thread::Builder::new()
            .name("gzip".to_owned())
            .spawn(move || {
                for Job { block, reply } in queue {
                    // Nobody waits for it if the encoder was dropped.
                    let _ = reply.send(compress(block, level, false));
                }
            });
        match started {
            Ok(thread) => self.threads.push(thread),
            Err(_) if !self.threads.is_empty() => self.max_threads = self.threads.len(),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        // What is not begun yet is not wanted any more.
        while self.queue.try_recv().is_ok() {}
        for thread in self.threads.drain(..) {
            // A panic has been reported as an error already: its block never arrived.
            let _ = thread.join();
        }
    }
}
