//! A reader for tests: an image, and its devices, as a list of what is in it. It goes by the format alone, looks names up
//! as the kernel does, and shares no code with the writer.

use std::collections::BTreeMap;

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub nid: u64,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub nlink: u32,
    pub size: u64,
    /// Device numbers as they are encoded.
    pub rdev: u32,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Content of a file, target of a link.
    pub data: Vec<u8>,
}

pub(crate) struct Image<'a> {
    bytes: &'a [u8],
    devices: &'a [&'a [u8]],
    block_bits: u32,
}

struct Inode {
    found: Found,
    layout: u16,
    word: u32,
    /// Where what is behind the attributes begins.
    behind: usize,
}

impl<'a> Image<'a> {
    pub(crate) fn open(bytes: &'a [u8], devices: &'a [&'a [u8]]) -> Self {
        let image = Self {
            bytes,
            devices,
            block_bits: u32::from(bytes[1024 + 12]),
        };
        assert_eq!(image.u32(1024), 0xE0F5_E1E2);
        assert_eq!(usize::from(image.u16(1024 + 86)), devices.len());
        let blocks = image.u32(1024 + 36) as usize;
        assert_eq!(blocks << image.block_bits, bytes.len());
        for (place, device) in devices.iter().enumerate() {
            let slot = usize::from(image.u16(1024 + 88)) * 128 + place * 128;
            let size = (image.u32(slot + 64) as usize) << image.block_bits;
            assert_eq!(size, device.len().next_multiple_of(512));
        }
        image
    }

    /// Every path, the root's being empty.
    pub(crate) fn list(&self) -> BTreeMap<Vec<u8>, Found> {
        let root = u64::from(self.u16(1024 + 14));
        let mut out = BTreeMap::new();
        let mut pending = vec![(Vec::new(), root, root)];
        while let Some((path, nid, parent)) = pending.pop() {
            let inode = self.inode(nid);
            if inode.found.mode & 0o170_000 == 0o040_000 {
                let entries = self.entries(&inode);
                let names: Vec<_> = entries.iter().map(|(name, ..)| name.clone()).collect();
                assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
                for (name, child, kind) in entries {
                    match name.as_slice() {
                        b"." => assert_eq!(child, nid),
                        b".." => assert_eq!(child, parent),
                        _ => {
                            assert_eq!(kind, self.kind(child));
                            pending.push(([path.as_slice(), b"/", &name].concat(), child, nid));
                        }
                    }
                }
            }
            out.insert(path, inode.found);
        }
        let mut nids: Vec<u64> = out.values().map(|found| found.nid).collect();
        nids.sort_unstable();
        nids.dedup();
        assert_eq!(self.u64(1024 + 16), nids.len() as u64);
        out
    }

    fn kind(&self, nid: u64) -> u8 {
        let mode = self.u16(usize::try_from(nid).unwrap() * 32 + 4);
        [0, 5, 3, 0, 2, 0, 4, 0, 1, 0, 7, 0, 6][usize::from(mode >> 12)]
    }

    fn inode(&self, nid: u64) -> Inode {
        let at = usize::try_from(nid).unwrap() * 32;
        let format = self.u16(at);
        assert_eq!(format & 1, 1, "extended");
        let count = usize::from(self.u16(at + 2));
        let xattr_size = if count == 0 { 0 } else { 12 + 4 * (count - 1) };
        let mode = self.u16(at + 4);
        let mut inode = Inode {
            found: Found {
                nid,
                mode,
                uid: self.u32(at + 24),
                gid: self.u32(at + 28),
                mtime: (self.u64(at + 32).cast_signed(), self.u32(at + 40)),
                nlink: self.u32(at + 44),
                size: self.u64(at + 8),
                rdev: 0,
                xattrs: self.xattrs(at + 64, xattr_size),
                data: Vec::new(),
            },
            layout: format >> 1,
            word: self.u32(at + 16),
            behind: at + 64 + xattr_size,
        };
        match mode & 0o170_000 {
            0o100_000 | 0o120_000 => inode.found.data = self.data(&inode),
            0o020_000 | 0o060_000 => inode.found.rdev = inode.word,
            _ => {}
        }
        inode
    }

    fn data(&self, inode: &Inode) -> Vec<u8> {
        let size = usize::try_from(inode.found.size).unwrap();
        let block = 1 << self.block_bits;
        let start = (inode.word as usize) << self.block_bits;
        match inode.layout {
            0 => self.bytes[start..].get(..size).unwrap_or_default().to_vec(),
            2 => {
                let (whole, tail) = (size / block * block, size % block);
                assert!(inode.behind % block + tail <= block, "crosses a block");
                let tail = &self.bytes[inode.behind..inode.behind + tail];
                [&self.bytes[start..start + whole], tail].concat()
            }
            4 => {
                assert!(inode.word & 0x20 != 0);
                assert!(size as u64 <= 1u64 << (self.block_bits + (inode.word & 0x1f)));
                let index = inode.behind.next_multiple_of(8);
                let device = self.devices[usize::from(self.u16(index + 2)) - 1];
                let start = (self.u32(index + 4) as usize) << self.block_bits;
                device[start..start + size].to_vec()
            }
            other => panic!("layout {other}"),
        }
    }

    fn entries(&self, inode: &Inode) -> Vec<(Vec<u8>, u64, u8)> {
        let data = self.data(inode);
        let mut out = Vec::new();
        for block in data.chunks(1 << self.block_bits) {
            let count = usize::from(u16::from_le_bytes([block[8], block[9]])) / 12;
            let start = |place: usize| {
                let at = place * 12 + 8;
                usize::from(u16::from_le_bytes([block[at], block[at + 1]]))
            };
            for place in 0..count {
                let end = if place + 1 < count {
                    start(place + 1)
                } else {
                    // The last name ends where zeros begin.
                    let rest = &block[start(place)..];
                    start(place)
                        + rest
                            .iter()
                            .position(|&byte| byte == 0)
                            .unwrap_or(rest.len())
                };
                let nid = block[place * 12..].first_chunk().unwrap();
                out.push((
                    block[start(place)..end].to_vec(),
                    u64::from_le_bytes(*nid),
                    block[place * 12 + 10],
                ));
            }
        }
        out
    }

    fn xattrs(&self, at: usize, size: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut out = BTreeMap::new();
        if size == 0 {
            return out;
        }
        let shared = usize::from(self.bytes[at + 4]);
        let area = (self.u32(1024 + 44) as usize) << self.block_bits;
        for place in 0..shared {
            self.xattr(area + self.u32(at + 12 + 4 * place) as usize * 4, &mut out);
        }
        let mut next = at + 12 + 4 * shared;
        while next < at + size {
            next = self.xattr(next, &mut out);
        }
        assert_eq!(next, at + size);
        out
    }

    fn xattr(&self, at: usize, out: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> usize {
        let prefix: &[u8] = match self.bytes[at + 1] {
            1 => b"user.",
            2 => b"system.posix_acl_access",
            3 => b"system.posix_acl_default",
            4 => b"trusted.",
            6 => b"security.",
            other => panic!("prefix {other}"),
        };
        let name_end = at + 4 + usize::from(self.bytes[at]);
        let value_end = name_end + usize::from(self.u16(at + 2));
        let name = [prefix, &self.bytes[at + 4..name_end]].concat();
        let again = out.insert(name, self.bytes[name_end..value_end].to_vec());
        assert!(again.is_none());
        value_end.next_multiple_of(4)
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(*self.bytes[at..].first_chunk().unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.bytes[at..].first_chunk().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(*self.bytes[at..].first_chunk().unwrap())
    }
}
