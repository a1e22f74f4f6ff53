//! Archives for tests: any header, well-formed or not, byte by byte.

use super::{Entry, Event, Limits, Parser};
use crate::Result;

pub(super) const USTAR: &[u8; 8] = b"ustar\x0000";
pub(super) const GNU: &[u8; 8] = b"ustar  \0";
pub(super) const V7: &[u8; 8] = &[0; 8];
/// The modification time of every entry that does not say otherwise.
pub(super) const MTIME: i64 = 1_600_000_000;
/// The end of an archive.
pub(super) const END: &[u8] = &[0; 1024];

/// One header block; `size` is independent of what follows.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) name: Vec<u8>,
    pub(super) mode: i128,
    pub(super) uid: i128,
    pub(super) gid: i128,
    pub(super) size: i128,
    pub(super) mtime: i128,
    pub(super) flag: u8,
    pub(super) link: Vec<u8>,
    pub(super) magic: &'static [u8; 8],
    pub(super) device: (i128, i128),
    /// Raw bytes at offsets, written last but before the checksum.
    pub(super) raw: Vec<(usize, Vec<u8>)>,
    /// Added to the right checksum.
    pub(super) checksum_delta: i64,
}

impl Head {
    pub(super) fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: i128::from(MTIME),
            flag,
            link: Vec::new(),
            magic: USTAR,
            device: (0, 0),
            raw: Vec::new(),
            checksum_delta: 0,
        }
    }

    pub(super) fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    pub(super) fn raw(self, offset: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.with(|head| head.raw.push((offset, bytes.as_ref().to_vec())))
    }

    pub(super) fn block(&self) -> Vec<u8> {
        let mut block = vec![0; 512];
        let mut put = |offset: usize, bytes: &[u8]| {
            block[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &self.name);
        put(100, &number(self.mode, 8));
        put(108, &number(self.uid, 8));
        put(116, &number(self.gid, 8));
        put(124, &number(self.size, 12));
        put(136, &number(self.mtime, 12));
        put(156, &[self.flag]);
        put(157, &self.link);
        put(257, self.magic);
        if self.magic != V7 {
            put(329, &number(self.device.0, 8));
            put(337, &number(self.device.1, 8));
        }
        for (offset, bytes) in &self.raw {
            put(*offset, bytes);
        }
        let sum = checksum(&block, i64::from) + self.checksum_delta;
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// The header with this content and its size.
    pub(super) fn content(mut self, data: &[u8]) -> Vec<u8> {
        self.size = data.len() as i128;
        [self.block(), pad(data)].concat()
    }
}

pub(super) fn checksum(block: &[u8], value: impl Fn(u8) -> i64) -> i64 {
    let part = |bytes: &[u8]| bytes.iter().map(|&byte| value(byte)).sum::<i64>();
    part(&block[..148]) + 8 * 32 + part(&block[156..])
}

/// Octal with a NUL if it fits, else base-256.
pub(super) fn number(value: i128, width: usize) -> Vec<u8> {
    if value >= 0 && value < 1 << (3 * (width - 1)) {
        return format!("{value:0digits$o}\0", digits = width - 1).into_bytes();
    }
    let mut bytes = value.to_be_bytes()[16 - width..].to_vec();
    bytes[0] |= 0x80;
    bytes
}

/// Fills up to whole blocks.
pub(super) fn pad(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(512), 0);
    padded
}

pub(super) fn file(name: &str, data: &[u8]) -> Vec<u8> {
    Head::new(b'0', name).content(data)
}

/// PAX records, without their header.
pub(super) fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..rest + 20)
            .find(|length| length.to_string().len() + rest == *length)
            .unwrap();
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    body
}

pub(super) fn pax(list: &[(&str, &[u8])]) -> Vec<u8> {
    Head::new(b'x', "PaxHeaders/entry").content(&records(list))
}

pub(super) fn global(list: &[(&str, &[u8])]) -> Vec<u8> {
    Head::new(b'g', "pax_global_header").content(&records(list))
}

/// A GNU long name (`L`) or long link (`K`).
pub(super) fn gnu_long(flag: u8, text: &[u8]) -> Vec<u8> {
    Head::new(flag, "././@LongLink")
        .with(|head| head.magic = GNU)
        .content(&[text, b"\0"].concat())
}

/// An old GNU sparse file: pieces are offsets and bytes.
pub(super) fn sparse_gnu(name: &str, real_size: u64, pieces: &[(u64, &[u8])]) -> Vec<u8> {
    let map = map(real_size, pieces);
    let stored: Vec<u8> = pieces
        .iter()
        .flat_map(|(_, data)| data.iter().copied())
        .collect();
    let encode = |pieces: &[(u64, u64)]| -> Vec<u8> {
        pieces
            .iter()
            .flat_map(|&(offset, length)| {
                [number(offset.into(), 12), number(length.into(), 12)].concat()
            })
            .collect()
    };
    let (first, rest) = map.split_at(map.len().min(4));
    let head = Head::new(b'S', name)
        .with(|head| {
            head.magic = GNU;
            head.size = stored.len() as i128;
        })
        .raw(386, encode(first))
        .raw(482, [u8::from(!rest.is_empty())])
        .raw(483, number(real_size.into(), 12));
    let mut archive = head.block();
    let mut left = rest.chunks(21).peekable();
    while let Some(chunk) = left.next() {
        let mut block = encode(chunk);
        block.resize(504, 0);
        block.push(u8::from(left.peek().is_some()));
        archive.extend(pad(&block));
    }
    archive.extend(pad(&stored));
    archive
}

/// The map that GNU tar writes: with an empty piece at the end when the file ends in a hole.
pub(super) fn map(real_size: u64, pieces: &[(u64, &[u8])]) -> Vec<(u64, u64)> {
    let mut map: Vec<_> = pieces
        .iter()
        .map(|&(offset, data)| (offset, data.len() as u64))
        .collect();
    if map
        .last()
        .is_none_or(|&(offset, length)| offset + length < real_size)
    {
        map.push((real_size, 0));
    }
    map
}

/// An entry as read, with its content put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) entry: Entry,
    /// Offset and bytes; neighbours are joined.
    pub(super) data: Vec<(u64, Vec<u8>)>,
    pub(super) ended: bool,
}

impl Item {
    pub(super) fn path(&self) -> &str {
        std::str::from_utf8(&self.entry.path).unwrap()
    }

    /// The whole content, holes as zeros.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(self.entry.size).unwrap()];
        for (offset, bytes) in &self.data {
            let offset = usize::try_from(*offset).unwrap();
            content[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        content
    }
}

/// Reads an archive in chunks of the given sizes (repeated); the entries before a failure, and the outcome.
pub(super) fn read_chunked(
    archive: &[u8],
    sizes: &[usize],
    limits: Limits,
) -> (Vec<Item>, Result<()>) {
    let mut parser = Parser::new(limits);
    let (mut items, mut events) = (Vec::<Item>::new(), Vec::new());
    let (mut rest, mut sizes) = (archive, sizes.iter().cycle());
    let result = loop {
        if rest.is_empty() {
            break parser.finish();
        }
        let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = after;
        let result = parser.feed(chunk, &mut events);
        for event in events.drain(..) {
            collect(&mut items, chunk, event);
        }
        if result.is_err() {
            break result;
        }
    };
    (items, result)
}

fn collect(items: &mut Vec<Item>, chunk: &[u8], event: Event) {
    let last = items.last_mut();
    match event {
        Event::Entry(entry) => {
            assert!(
                last.is_none_or(|item| item.ended),
                "an entry began within another"
            );
            items.push(Item {
                entry: *entry,
                data: Vec::new(),
                ended: false,
            });
        }
        Event::Data { offset, range } => {
            let item = last
                .filter(|item| !item.ended)
                .expect("data belongs to an entry");
            let bytes = &chunk[range];
            assert!(!bytes.is_empty(), "data is never empty");
            assert!(
                offset + bytes.len() as u64 <= item.entry.size,
                "data lies within the file"
            );
            match item.data.last_mut() {
                Some((start, before)) if *start + before.len() as u64 == offset => {
                    before.extend_from_slice(bytes);
                }
                Some((start, before)) => {
                    assert!(*start + (before.len() as u64) < offset, "data ascends");
                    item.data.push((offset, bytes.to_vec()));
                }
                None => item.data.push((offset, bytes.to_vec())),
            }
        }
        Event::End => {
            let item = last
                .filter(|item| !item.ended)
                .expect("an end belongs to an entry");
            item.ended = true;
        }
    }
}

/// Reads an archive, in one chunk and in several ways cut up, which must not matter.
pub(super) fn read(archive: &[u8]) -> Result<Vec<Item>> {
    let (items, result) = read_chunked(archive, &[archive.len().max(1)], Limits::default());
    for sizes in [&[1][..], &[511], &[512], &[513, 7], &[100, 1000]] {
        let (again, outcome) = read_chunked(archive, sizes, Limits::default());
        assert_eq!(again, items, "chunks of {sizes:?}");
        assert_eq!(
            outcome.map_err(|error| error.kind()),
            result.as_ref().copied().map_err(crate::Error::kind)
        );
    }
    result.map(|()| items)
}
