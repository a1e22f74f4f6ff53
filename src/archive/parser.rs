//! The push parser: a state machine over chunks of any size.
//!
//! ```text
//!            +-> Extension -> Skip --+
//!            |                       v
//! -> Header -+-> [GnuMap | TextMap] -> Body -> Skip -> Header ... -> Ended
//! ```
//!
//! A step takes what it can from the chunk and says how much; blocks that lie whole in a chunk are looked at in place,
//! split ones are put together in a buffer. A state never waits for zero bytes: whoever enters one with nothing to do
//! enters the next one.
//!
//! # The end
//!
//! Two zero blocks end an archive; what follows is ignored, as all readers do (it still counts for the diff ID, which is
//! not our business). One zero block and then something else is an error: GNU tar stops there, others read on, so two
//! programs would see two images in the same bytes. An archive that just stops between two entries is complete, and so is
//! one whose end blocks or last padding are cut short: nothing is missing.

use super::entry::{Entry, Event};
use super::extension::{Extensions, Folded};
use super::header::{BLOCK, Flag, Header, invalid};
use super::limits::Limits;
use super::sparse::{MapText, Notation, SparseMap};
use crate::{Error, ErrorKind, Result};

/// Reads a tar archive that is fed to it in chunks.
///
/// Reads V7, ustar, PAX and GNU archives, all four notations of sparse files included (POSIX pax, GNU tar manual); see
/// [`Entry`] for what comes out. It does no input or output and holds no content: data events name ranges of the chunk.
///
/// ```
/// use oci_bundle::archive::{Event, Limits, Parser};
///
/// # let mut archive = tar::Builder::new(Vec::new());
/// # let mut header = tar::Header::new_ustar();
/// # header.set_size(5);
/// # archive.append_data(&mut header, "greeting", &b"hello"[..])?;
/// # let archive = archive.into_inner()?;
/// let mut parser = Parser::new(Limits::default());
/// let (mut names, mut content, mut events) = (Vec::new(), Vec::new(), Vec::new());
/// for chunk in archive.chunks(700) {
///     parser.feed(chunk, &mut events)?;
///     for event in events.drain(..) {
///         match event {
///             Event::Entry(entry) => names.push(entry.path),
///             Event::Data { range, .. } => content.extend_from_slice(&chunk[range]),
///             Event::End => {}
///         }
///     }
/// }
/// parser.finish()?;
/// assert_eq!(names, [b"greeting"]);
/// assert_eq!(content, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    state: State,
    /// Bytes fed in earlier chunks.
    position: u64,
    /// Where the last header or map block begins, for messages.
    origin: u64,
    /// A block that is split over chunks, and how much of it is there.
    block: [u8; BLOCK],
    filled: usize,
    /// The body of an extension header that is split over chunks.
    body: Vec<u8>,
    extensions: Extensions,
    map: SparseMap,
    /// The sparse file whose map is being read.
    entry: Option<Box<Entry>>,
    /// Whether the last header block was zeros.
    zero: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    /// The body of an extension header: bytes to come.
    Extension {
        flag: Flag,
        left: u64,
        padding: u64,
    },
    /// Extension blocks of an old GNU sparse map.
    GnuMap {
        stored_size: u64,
    },
    /// The text of a PAX 1.0 sparse map, which is part of the body: bytes of the body to come.
    TextMap {
        text: MapText,
        left: u64,
    },
    Body(Body),
    /// Nothing that we want: the bytes of a body (must come), and padding (may be missing at the end).
    Skip {
        body: u64,
        padding: u64,
    },
    Ended,
    Failed,
}

/// The content of a file: what is still to come.
#[derive(Clone, Copy, Debug)]
struct Body {
    left: u64,
    padding: u64,
    /// The current piece, the whole file if it is not sparse.
    offset: u64,
    piece_left: u64,
    /// The next piece in the sparse map.
    next: usize,
}

impl Parser {
    /// Makes a parser that stands before the first header.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Header,
            position: 0,
            origin: 0,
            block: [0; BLOCK],
            filled: 0,
            body: Vec::new(),
            extensions: Extensions::default(),
            map: SparseMap::default(),
            entry: None,
            zero: false,
        }
    }

    /// Takes the next bytes of the archive, any number of them, and appends what it finds to `events`.
    ///
    /// The ranges of data events refer to this `chunk`. After the end of the archive everything is ignored.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidData`]: the archive is malformed, or ambiguous (see the rules of [`archive`](super)).
    /// - [`ErrorKind::Unsupported`]: an entry of unknown type, an owner or a device number that Linux does not have.
    /// - [`ErrorKind::LimitExceeded`]: see [`Limits`].
    ///
    /// The message says at which byte. The events before it are in `events`. The parser is of no more use: every further
    /// call fails.
    pub fn feed(&mut self, chunk: &[u8], events: &mut Vec<Event>) -> Result<()> {
        let mut at = 0;
        while at < chunk.len() {
            match self.step(chunk, at, events) {
                Ok(count) => at += count,
                Err(error) => {
                    self.state = State::Failed;
                    return Err(
                        error.context(format!("read tar archive, block at byte {}", self.origin))
                    );
                }
            }
        }
        self.position = self.position.saturating_add(chunk.len() as u64);
        Ok(())
    }

    /// After an entry: takes its content as seen, all of it, and says how many bytes the caller leaves out. Events that
    /// these bytes would make are not made.
    pub(crate) fn skip_content(&mut self) -> u64 {
        let (mut skipped, mut events) = (0_u64, Vec::new());
        while let State::Body(body) = self.state {
            let left = usize::try_from(body.left).unwrap_or(usize::MAX);
            skipped += self.step_body(body, 0, left, &mut events) as u64;
            events.clear();
        }
        self.position = self.position.saturating_add(skipped);
        skipped
    }

    /// Says that the input has ended. Calling it again gives success or failure as before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`]: the archive is cut within an entry or a header.
    pub fn finish(&mut self) -> Result<()> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let missing = match state {
            // Zeros at the end are an end block that was cut; no header begins with so many.
            State::Header if self.block[..self.filled].iter().any(|&byte| byte != 0) => {
                "within a header".to_owned()
            }
            State::Extension { .. } => "within an extended header".to_owned(),
            State::GnuMap { .. } | State::TextMap { .. } => "within a sparse map".to_owned(),
            State::Body(Body { left: body, .. }) | State::Skip { body, .. } if body > 0 => {
                format!("{body} bytes before the end of an entry")
            }
            State::Failed => {
                self.state = State::Failed;
                return Err(failed());
            }
            State::Header | State::Skip { .. } if self.extensions.is_pending() && !self.zero => {
                "after an extended header, before its entry".to_owned()
            }
            _ => return Ok(()),
        };
        self.state = State::Failed;
        Err(invalid(format!(
            "the tar archive is truncated: it ends at byte {}, {missing}",
            self.position
        )))
    }

    /// Takes something from `chunk[at..]`, at least one byte; how much.
    fn step(&mut self, chunk: &[u8], at: usize, events: &mut Vec<Event>) -> Result<usize> {
        let input = &chunk[at..];
        match self.state {
            State::Header | State::GnuMap { .. } | State::TextMap { .. } => {
                if self.filled == 0 {
                    self.origin = self.position.saturating_add(at as u64);
                }
                self.step_block(input, events)
            }
            State::Extension {
                flag,
                left,
                padding,
            } => self.step_extension(input, flag, left, padding),
            State::Body(body) => Ok(self.step_body(body, at, input.len(), events)),
            State::Skip { body, padding } => {
                let from_body = portion(input.len(), body);
                let from_padding = portion(input.len() - from_body, padding);
                self.skip(body - from_body as u64, padding - from_padding as u64);
                Ok(from_body + from_padding)
            }
            State::Ended => Ok(input.len()),
            State::Failed => Err(failed()),
        }
    }

    fn step_block(&mut self, input: &[u8], events: &mut Vec<Event>) -> Result<usize> {
        if self.filled == 0
            && let Some(block) = input.first_chunk::<BLOCK>()
        {
            self.take_block(block, events)?;
            return Ok(BLOCK);
        }
        let count = input.len().min(BLOCK - self.filled);
        self.block[self.filled..self.filled + count].copy_from_slice(&input[..count]);
        self.filled += count;
        if self.filled == BLOCK {
            self.filled = 0;
            let block = self.block;
            self.take_block(&block, events)?;
        }
        Ok(count)
    }

    fn take_block(&mut self, block: &[u8; BLOCK], events: &mut Vec<Event>) -> Result<()> {
        match self.state {
            State::GnuMap { stored_size } => {
                if !self.map.read_gnu_extension(block, &self.limits)? {
                    self.begin_sparse(stored_size, events)?;
                }
                Ok(())
            }
            State::TextMap { mut text, left } => {
                let Some(left) = left.checked_sub(BLOCK as u64) else {
                    return Err(invalid(
                        "the sparse map is longer than the entry".to_owned(),
                    ));
                };
                if text.read(block, &mut self.map, &self.limits)? {
                    return self.begin_sparse(left, events);
                }
                self.state = State::TextMap { text, left };
                Ok(())
            }
            _ => self.take_header(block, events),
        }
    }

    fn take_header(&mut self, block: &[u8; BLOCK], events: &mut Vec<Event>) -> Result<()> {
        let Some(header) = Header::parse(block)? else {
            if self.zero {
                self.state = State::Ended;
            }
            self.zero = true;
            return Ok(());
        };
        if self.zero {
            return Err(invalid(
                "a lone zero block, neither header nor end of the archive".to_owned(),
            ));
        }
        let flag = header.flag()?;
        match flag {
            Flag::LongName | Flag::LongLink | Flag::Extended | Flag::Global => {
                let left = header.size()?;
                self.extensions.announce(flag, left, &self.limits)?;
                self.body.clear();
                self.state = State::Extension {
                    flag,
                    left,
                    padding: padding(left),
                };
                if left == 0 {
                    self.end_extension(flag, 0, None)?;
                }
            }
            Flag::Label => {
                let size = header.size()?;
                self.skip(size, padding(size));
            }
            Flag::Entry(_) | Flag::SparseFile | Flag::DumpDirectory => {
                let folded = self.extensions.fold(&header, flag, &self.limits)?;
                self.begin(&header, flag, folded, events)?;
            }
        }
        Ok(())
    }

    fn step_extension(
        &mut self,
        input: &[u8],
        flag: Flag,
        left: u64,
        padding: u64,
    ) -> Result<usize> {
        let count = portion(input.len(), left);
        let left = left - count as u64;
        let piece = &input[..count];
        if left == 0 && self.body.is_empty() {
            self.end_extension(flag, padding, Some(piece))?;
            return Ok(count);
        }
        self.body.extend_from_slice(piece);
        if left == 0 {
            self.end_extension(flag, padding, None)?;
        } else {
            self.state = State::Extension {
                flag,
                left,
                padding,
            };
        }
        Ok(count)
    }

    /// The body is complete: in `whole`, or put together in `self.body`.
    fn end_extension(&mut self, flag: Flag, padding: u64, whole: Option<&[u8]>) -> Result<()> {
        let body = whole.unwrap_or(&self.body);
        self.extensions.take(flag, body, &self.limits)?;
        self.skip(0, padding);
        Ok(())
    }

    /// Begins an entry, or the map of a sparse one.
    fn begin(
        &mut self,
        header: &Header<'_>,
        flag: Flag,
        folded: Folded,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let Folded {
            mut entry,
            stored_size,
            sparse,
        } = folded;
        if flag == Flag::DumpDirectory {
            events.extend([Event::Entry(entry), Event::End]);
            self.skip(stored_size, padding(stored_size));
            return Ok(());
        }
        if flag == Flag::SparseFile {
            self.map.clear();
            let (real_size, extended) = self.map.read_gnu(header.gnu()?, &self.limits)?;
            entry.size = real_size;
            self.entry = Some(entry);
            if extended {
                self.state = State::GnuMap { stored_size };
                return Ok(());
            }
            return self.begin_sparse(stored_size, events);
        }
        let Some((real_size, notation)) = sparse else {
            events.push(Event::Entry(entry));
            let body = Body {
                left: stored_size,
                padding: padding(stored_size),
                offset: 0,
                piece_left: stored_size,
                next: 0,
            };
            self.go_on(body, events);
            return Ok(());
        };
        entry.size = real_size;
        self.entry = Some(entry);
        self.map.clear();
        match notation {
            Notation::Text => {
                self.state = State::TextMap {
                    text: MapText::default(),
                    left: stored_size,
                };
                Ok(())
            }
            Notation::Records(pieces) => {
                for (offset, length) in pieces {
                    self.map.push(offset, length, &self.limits)?;
                }
                self.begin_sparse(stored_size, events)
            }
        }
    }

    /// The map is complete: begins the sparse file whose entry was put aside.
    fn begin_sparse(&mut self, stored_size: u64, events: &mut Vec<Event>) -> Result<()> {
        let Some(mut entry) = self.entry.take() else {
            return Err(failed());
        };
        self.map.check(entry.size, stored_size)?;
        if self.map.has_holes(entry.size) {
            entry.pieces = Some(self.map.pieces().to_vec());
        }
        events.push(Event::Entry(entry));
        let body = Body {
            left: stored_size,
            padding: padding(stored_size),
            offset: 0,
            piece_left: 0,
            next: 0,
        };
        self.go_on(body, events);
        Ok(())
    }

    fn step_body(
        &mut self,
        mut body: Body,
        at: usize,
        available: usize,
        events: &mut Vec<Event>,
    ) -> usize {
        let count = portion(available, body.piece_left);
        events.push(Event::Data {
            offset: body.offset,
            range: at..at + count,
        });
        body.offset += count as u64;
        body.piece_left -= count as u64;
        body.left -= count as u64;
        self.go_on(body, events);
        count
    }

    /// Enters the body at a place where content comes, or leaves it.
    fn go_on(&mut self, mut body: Body, events: &mut Vec<Event>) {
        if body.left == 0 {
            events.push(Event::End);
            self.skip(0, body.padding);
            return;
        }
        if body.piece_left == 0
            && let Some(&(offset, length)) = self.map.pieces().get(body.next)
        {
            // The pieces have been checked to be as long as what is stored, and none is empty.
            (body.offset, body.piece_left) = (offset, length);
            body.next += 1;
        }
        self.state = State::Body(body);
    }

    fn skip(&mut self, body: u64, padding: u64) {
        self.state = if body == 0 && padding == 0 {
            State::Header
        } else {
            State::Skip { body, padding }
        };
    }
}

/// Bytes from the end of a body to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// How many of `wanted` bytes are among `available` ones.
fn portion(available: usize, wanted: u64) -> usize {
    usize::try_from(wanted).map_or(available, |wanted| wanted.min(available))
}

fn failed() -> Error {
    Error::new(
        ErrorKind::InvalidData,
        "the tar archive has failed to parse before",
    )
}
