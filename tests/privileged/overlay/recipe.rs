//! Layers as lists of entries that can be generated, shrunk and read: names that collide, spelled in many ways.

use std::fmt;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tar::{EntryType, Header};

/// What an entry makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Directory,
    File(u8),
    Symlink(String),
    Link(String),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice,
    /// Hides the name from the layers below.
    Whiteout,
    /// Hides all that the layers below have in the directory.
    Opaque,
}

/// How the name of an entry is written.
#[derive(Clone, Copy, Debug)]
pub enum Spelling {
    Plain,
    /// `./a/b`
    Dot,
    /// `a//b`
    Double,
    /// `/a/b`
    Absolute,
    /// `a/./b`
    DotInside,
    /// `a/x/../b`
    Detour,
    /// `../a/b`
    Above,
}

/// One entry of a layer.
#[derive(Clone)]
pub struct Entry {
    /// Clean; empty for the root.
    pub path: String,
    pub spelling: Spelling,
    pub what: What,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub time: (u64, u32),
    pub xattrs: Vec<(&'static str, Vec<u8>)>,
}

/// One line, from which an entry can be written down again.
impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match &self.what {
            What::Directory => write!(out, "dir   {name:?}")?,
            What::File(byte) => write!(out, "file  {name:?} content {byte}")?,
            What::Symlink(target) => write!(out, "sym   {name:?} -> {target:?}")?,
            What::Link(target) => write!(out, "link  {name:?} to {target:?}")?,
            What::Fifo => write!(out, "fifo  {name:?}")?,
            What::CharDevice(major, minor) => write!(out, "char  {name:?} {major}:{minor}")?,
            What::BlockDevice => write!(out, "block {name:?}")?,
            What::Whiteout | What::Opaque => return write!(out, "hide  {name:?}"),
        }
        write!(out, " {:04o} {:?} {:?}", self.mode, self.owner, self.time)?;
        for (name, value) in &self.xattrs {
            write!(out, " {name}={}", value.escape_ascii())?;
        }
        Ok(())
    }
}

impl Entry {
    /// An entry of root's with nothing special about it.
    pub fn new(path: &str, what: What) -> Self {
        Self {
            path: path.to_owned(),
            spelling: Spelling::Plain,
            mode: if matches!(what, What::Directory) {
                0o755
            } else {
                0o644
            },
            what,
            owner: (0, 0),
            time: (1_600_000_000, 0),
            xattrs: Vec::new(),
        }
    }

    /// The same with a mode and an owner.
    pub fn with(mut self, mode: u32, uid: u32, gid: u32) -> Self {
        self.mode = mode;
        self.owner = (uid, gid);
        self
    }

    /// The same with an extended attribute.
    pub fn xattr(mut self, name: &'static str, value: &[u8]) -> Self {
        self.xattrs.push((name, value.to_vec()));
        self
    }

    /// The name as it is in the archive.
    fn name(&self) -> String {
        let (parent, name) = match self.path.rsplit_once('/') {
            Some((parent, name)) => (format!("{parent}/"), name),
            None => (String::new(), &self.path[..]),
        };
        let plain = match self.what {
            What::Whiteout => format!("{parent}.wh.{name}"),
            What::Opaque if self.path.is_empty() => ".wh..wh..opq".to_owned(),
            What::Opaque => format!("{}/.wh..wh..opq", self.path),
            What::Directory => format!("{}/", self.path),
            _ => self.path.clone(),
        };
        match self.spelling {
            _ if plain == "/" => "./".to_owned(),
            Spelling::Plain => plain,
            Spelling::Dot => format!("./{plain}"),
            Spelling::Double => plain.replace('/', "//"),
            Spelling::Absolute => format!("/{plain}"),
            Spelling::DotInside => plain.replace('/', "/./"),
            Spelling::Detour => plain.replace('/', "/x/../"),
            Spelling::Above => format!("../{plain}"),
        }
    }

    fn append(&self, tar: &mut tar::Builder<Vec<u8>>) {
        let keys: Vec<String> = self
            .xattrs
            .iter()
            .map(|(name, _)| format!("SCHILY.xattr.{name}"))
            .collect();
        let time = format!("{}.{:09}", self.time.0, self.time.1);
        let values = self.xattrs.iter().map(|(_, value)| &value[..]);
        let records = keys.iter().map(String::as_str).zip(values);
        let time = (self.time.1 > 0).then_some(("mtime", time.as_bytes()));
        tar.append_pax_extensions(records.chain(time)).unwrap();
        let (kind, link, content) = match &self.what {
            What::Directory => (EntryType::Directory, "", Vec::new()),
            What::File(byte) => (EntryType::Regular, "", vec![*byte; usize::from(*byte) % 5]),
            What::Symlink(target) => (EntryType::Symlink, &target[..], Vec::new()),
            What::Link(target) => (EntryType::Link, &target[..], Vec::new()),
            What::Fifo => (EntryType::Fifo, "", Vec::new()),
            What::CharDevice(..) => (EntryType::Char, "", Vec::new()),
            What::BlockDevice => (EntryType::Block, "", Vec::new()),
            What::Whiteout | What::Opaque => (EntryType::Regular, "", Vec::new()),
        };
        let mut header = Header::new_gnu();
        let name = self.name();
        // Set as they are: the methods for it would tidy them.
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0.into());
        header.set_gid(self.owner.1.into());
        header.set_mtime(self.time.0);
        header.set_size(content.len() as u64);
        let (major, minor) = match self.what {
            What::CharDevice(major, minor) => (major, minor),
            _ => (7, 1),
        };
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        tar.append(&header, &content[..]).unwrap();
    }
}

/// The tar stream of a layer.
pub fn tar_of(layer: &[Entry]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in layer {
        entry.append(&mut tar);
    }
    tar.into_inner().unwrap()
}

/// Few names, so that most entries are about what others have made. Names with the prefix of whiteouts are names like
/// others above the last component, which makes any entry a whiteout.
fn path() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            40 => Just("a"),
            30 => Just("b"),
            20 => Just("c"),
            10 => Just("d"),
            1 => Just(".wh.a"),
            1 => Just(".wh..wh..opq"),
        ]
    };
    let length = prop_oneof![6 => 1..3_usize, 4 => 3..4_usize, 1 => 4..7_usize];
    length
        .prop_flat_map(move |length| vec(name(), length))
        .prop_map(|names| names.join("/"))
}

/// Where links lead: into the tree, out of it and back, up, nowhere.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => path(),
        2 => path().prop_map(|path| format!("../{path}")),
        2 => path().prop_map(|path| format!("/{path}")),
        1 => path().prop_map(|path| format!("{path}/..")),
        1 => select(vec![".", "..", "/", "nowhere", "../../..", "a/../b"]).prop_map(str::to_owned),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        7 => Just(What::Directory),
        6 => any::<u8>().prop_map(What::File),
        4 => target().prop_map(What::Symlink),
        5 => path().prop_map(What::Link),
        1 => target().prop_map(What::Link),
        1 => Just(What::Fifo),
        1 => prop_oneof![9 => Just((1, 3)), 3 => Just((0, 1)), 1 => Just((0, 0))]
            .prop_map(|(major, minor)| What::CharDevice(major, minor)),
        1 => Just(What::BlockDevice),
        5 => Just(What::Whiteout),
        3 => Just(What::Opaque),
    ]
}

/// An ACL: what the owner, user 5, the group, the mask and others may do.
const ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x07\0\xff\xff\xff\xff\
    \x02\0\x07\0\x05\0\0\0\
    \x04\0\x05\0\xff\xff\xff\xff\
    \x10\0\x07\0\xff\xff\xff\xff\
    \x20\0\x05\0\xff\xff\xff\xff";
const ACL_ACCESS: &str = "system.posix_acl_access";
const ACL_DEFAULT: &str = "system.posix_acl_default";

fn xattr() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let named = |name: &'static str, value: &'static [u8]| Just((name, value.to_vec()));
    prop_oneof![
        4 => vec(any::<u8>(), 1..9).prop_map(|value| ("user.x", value)),
        3 => vec(any::<u8>(), 0..9).prop_map(|value| ("trusted.x", value)),
        1 => named("trusted.overlay.opaque", b"y"),
        1 => named("trusted.overlay.redirect", b"/a"),
        1 => named("trusted.overlay.metacopy", b""),
        1 => named("trusted.overlay.whiteout", b"y"),
        1 => named("trusted.overlay.overlay.opaque", b"y"),
        1 => named("user.overlay.opaque", b"y"),
        1 => named(ACL_ACCESS, ACL),
        1 => named(ACL_DEFAULT, ACL),
        1 => named("security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ]
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![
        8 => Just(Spelling::Plain),
        1 => Just(Spelling::Dot),
        1 => Just(Spelling::Double),
        1 => Just(Spelling::Absolute),
        1 => Just(Spelling::DotInside),
        1 => Just(Spelling::Detour),
        1 => Just(Spelling::Above),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let mode = prop_oneof![Just(0o755), Just(0o644), 0..0o10000_u32];
    let owner = prop_oneof![2 => Just((0, 0)), 1 => (0..100_u32, 0..100_u32)];
    let time = (
        0..2_000_000_000_u64,
        prop_oneof![Just(0), 0..1_000_000_000_u32],
    );
    let xattrs = prop_oneof![
        5 => Just(Vec::new()),
        1 => xattr().prop_map(|one| vec![one]),
    ];
    let root = option::weighted(0.05, Just(()));
    let attributes = (mode, owner, time, xattrs);
    (path(), root, spelling(), what(), attributes).prop_map(
        |(path, root, spelling, what, (mode, owner, time, mut xattrs))| {
            let is_root = root.is_some();
            let what = match what {
                What::Opaque => what,
                _ if is_root => What::Directory,
                _ => what,
            };
            if what != What::Directory {
                // Nothing else can have it.
                xattrs.retain(|(name, _)| *name != ACL_DEFAULT);
            }
            Entry {
                path: if is_root { String::new() } else { path },
                what,
                spelling,
                mode,
                owner,
                time,
                xattrs,
            }
        },
    )
}

/// The layers of an image, bottom first; some may come several times, or once more with a change, or have nothing in them.
pub fn layers() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    let index = any::<prop::sample::Index>;
    let change = option::weighted(0.5, (index(), entry()));
    let again = vec((index(), index(), change), 0..4);
    let again = prop_oneof![3 => Just(Vec::new()), 1 => again];
    (vec(vec(entry(), 0..8), 1..6), again).prop_map(|(mut layers, again)| {
        for (which, place, change) in again {
            let mut layer = layers[which.index(layers.len())].clone();
            if let Some((at, entry)) = change {
                layer.insert(at.index(layer.len() + 1), entry);
            }
            layers.insert(place.index(layers.len() + 1), layer);
        }
        aim_links(&mut layers);
        layers
    })
}

/// Has most hard links lead to a name that was made before: an image with one that leads nowhere is none.
fn aim_links(layers: &mut [Vec<Entry>]) {
    let mut made: Vec<String> = Vec::new();
    for (number, entry) in layers.iter_mut().flatten().enumerate() {
        if let What::Link(target) = &mut entry.what
            && !made.contains(target)
            && number % 16 > 0
            && let Some(other) = made.get(target.len() * number % made.len().max(1))
        {
            target.clone_from(other);
        }
        if !matches!(entry.what, What::Directory | What::Whiteout | What::Opaque) {
            made.push(entry.path.clone());
        }
    }
}
