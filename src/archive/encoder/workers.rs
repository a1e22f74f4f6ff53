//! Threads that deflate blocks.

use super::deflate::Deflater;
use super::effort::effort;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::io;
use std::thread::{self, JoinHandle};

/// A piece of the content, and what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub content: Vec<u8>,
    pub output: Vec<u8>,
}

impl Block {
    /// Empties the block; its room stays.
    pub(super) fn clear(&mut self) {
        self.content.clear();
        self.output.clear();
    }
}

/// Compresses a block, on its own. Without a level, its content decides.
pub(super) fn compress(
    mut block: Block,
    level: Option<u32>,
    deflater: &mut Deflater,
) -> io::Result<Block> {
    let Block { content, output } = &mut block;
    let level = match level {
        Some(level) => Some(level),
        None => effort(content, deflater)?,
    };
    deflater.member(content, level, output)?;
    Ok(block)
}

struct Job {
    block: Block,
    reply: Sender<io::Result<Block>>,
}

/// The threads. Dropping this waits for them.
pub(super) struct Workers {
    level: Option<u32>,
    max_threads: usize,
    /// `None` only while this is dropped.
    jobs: Option<Sender<Job>>,
    queue: Receiver<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn new(level: Option<u32>, max_threads: usize) -> Self {
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
    pub(super) fn submit(&mut self, block: Block) -> io::Result<Receiver<io::Result<Block>>> {
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
                let mut deflater = Deflater::default();
                for Job { block, reply } in queue {
                    // Nobody waits for it if the encoder was dropped.
                    let _ = reply.send(compress(block, level, &mut deflater));
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
