//! A verified blob read and hashed in a thread of its own, a few pieces ahead of whoever decompresses it.
//!
//! Inflating is the longest chain of an unpack that cannot be split. With the blob's digest taken off it, it is a tenth
//! shorter.

use std::io::{self, BufRead, Read};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use oci_cas::VerifyingReader;

use crate::error::{Error, Result, ResultExt};

/// Bytes of a piece.
const PIECE_SIZE: usize = 128 << 10;

/// Pieces on their way: with the one being read and the one being used, 1 MiB in all.
const PIECE_COUNT: usize = 6;

type Blob = VerifyingReader<Box<dyn Read + Send>>;

/// What the thread hands over: the next piece, or why there is none.
type Piece = io::Result<Vec<u8>>;

/// A reader of a blob that is read ahead. Its end is only reached when digest and size are right.
pub(super) struct ReadAhead {
    /// Taken when nobody wants any more.
    channels: Option<(Receiver<Piece>, Sender<Vec<u8>>)>,
    thread: Option<JoinHandle<Result<u64>>>,
    piece: Vec<u8>,
    /// How much of the piece has been used.
    used: usize,
    /// How much of the blob has been used.
    position: u64,
}

impl ReadAhead {
    /// Begins to read a blob.
    pub(super) fn start(mut blob: Blob) -> Result<Self> {
        let (pieces, full) = bounded(PIECE_COUNT);
        let (empty, returned) = bounded(PIECE_COUNT);
        let work = move || {
            while let Some(piece) = next_piece(&mut blob, &returned) {
                let failed = piece.is_err();
                if pieces.send(piece).is_err() || failed {
                    break;
                }
            }
            // The rest, if whoever reads has given up; otherwise nothing.
            blob.finish().map_err(Error::from)
        };
        let thread = std::thread::Builder::new()
            .name("read".to_owned())
            .spawn(work);
        let thread = thread.context(|| "start thread read")?;
        Ok(Self {
            channels: Some((full, empty)),
            thread: Some(thread),
            piece: Vec::new(),
            used: 0,
            position: 0,
        })
    }

    /// Bytes of the blob that have been used.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads what is left of the blob and checks all of it. Returns how many bytes were left.
    pub(super) fn finish(&mut self) -> Result<u64> {
        let mut left = (self.piece.len() - self.used) as u64;
        if let Some((full, _)) = self.channels.take() {
            left += full
                .try_iter()
                .map(|piece| piece.map_or(0, |piece| piece.len() as u64))
                .sum::<u64>();
        }
        (self.piece, self.used) = (Vec::new(), 0);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(rest)) => Ok(left + rest?),
            Some(Err(payload)) => std::panic::resume_unwind(payload),
            None => Ok(left),
        }
    }
}

/// Reads the next piece, into a used buffer if one has come back. `None` at the end.
fn next_piece(blob: &mut Blob, returned: &Receiver<Vec<u8>>) -> Option<Piece> {
    let mut piece = returned.try_recv().unwrap_or_default();
    piece.resize(PIECE_SIZE, 0);
    loop {
        match blob.read(&mut piece) {
            Ok(0) => return None,
            Ok(count) => {
                piece.truncate(count);
                return Some(Ok(piece));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.piece.len()
            && let Some((full, empty)) = &self.channels
        {
            match full.recv() {
                Ok(piece) => {
                    let used = std::mem::replace(&mut self.piece, piece?);
                    // If there is no room, the buffer goes; if nobody takes it, the blob has been read.
                    let _ = empty.try_send(used);
                    self.used = 0;
                }
                // The end. An error of the blob has been handed over before.
                Err(_) => self.channels = None,
            }
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.piece.len() - self.used);
        self.used += count;
        self.position += count as u64;
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
