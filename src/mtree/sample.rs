//! A manifest that umoci 0.4.7 wrote, and the tree that it wrote it of.

use super::{Attributes, Header, Visitor};
use crate::Result;
use crate::fs::InodeKind::{self, BlockDevice, CharDevice, Directory, Fifo, File, Symlink};
use filetime::FileTime;
use sha2::{Digest, Sha256};

/// umoci's file.
pub(super) const TEXT: &str = r"#          user: root
#       machine: host
#          tree: bundle/rootfs
#          date: Sat Nov 21 00:43:29 2026
#      keywords: size,type,uid,gid,mode,link,nlink,tar_time,sha256digest,xattr

# .
/set type=file nlink=1 mode=0664 uid=0 gid=0
. size=4096 type=dir mode=0755 nlink=8 tar_time=1795221810.000000000

# d
d size=4096 type=dir mode=0755 nlink=3 tar_time=1795221810.000000000 xattr.user.foo=YmFy
    a\040b\052\077\133\043\\c size=1 mode=0644 tar_time=1795221810.000000000 sha256digest=2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
    blk size=0 type=block mode=0644 tar_time=1795221810.000000000
    chr size=0 type=char mode=0644 tar_time=1795221810.000000000
    empty size=0 mode=04755 tar_time=1795221810.000000000 sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 xattr.user.b=eA==
    f size=2 mode=0 nlink=2 tar_time=101.000000000 sha256digest=8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4
    fifo size=0 type=fifo mode=0644 tar_time=1795221810.000000000
    hard size=2 mode=0 nlink=2 tar_time=101.000000000 sha256digest=8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4
    l size=1 type=link mode=0777 link=f tar_time=1795221810.000000000
    l2 size=4 type=link mode=0777 link=a\040b\043 tar_time=1795221810.000000000
    nl\012x size=1 mode=0644 tar_time=1795221810.000000000 sha256digest=6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b

# d/sub
sub size=4096 type=dir mode=0755 nlink=2 tar_time=1795221810.000000000
..
..

# e
e size=4096 type=dir mode=0755 nlink=3 tar_time=1795221810.000000000 xattr.user.foo=YmFyPQ==
    10 size=1 mode=0644 tar_time=1795221810.000000000 sha256digest=65c74c15a686187bb6bbf9958f494fc6b80068034a659a9ad44991b08c58f2d2
    9 size=1 mode=0644 tar_time=1795221810.000000000 sha256digest=65c74c15a686187bb6bbf9958f494fc6b80068034a659a9ad44991b08c58f2d2

# e/0
0 size=4096 type=dir mode=01777 nlink=2 tar_time=1795221810.000000000
..
..

# own
/set type=file nlink=1 mode=0664 uid=5 gid=6
own size=4096 type=dir mode=0755 nlink=4 tar_time=1795221810.000000000
    z size=1 uid=0 gid=0 mode=0644 tar_time=1795221810.000000000 sha256digest=594e519ae499312b29433b7dd8a97ff068defcba9755b6d5d00e84c524d67b06

# own/x
x size=4096 type=dir mode=0755 nlink=2 tar_time=1795221810.000000000
    f size=1 mode=0644 tar_time=1795221810.000000000 sha256digest=a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa
..

# own/y
/set type=file nlink=1 mode=0664 uid=7 gid=6
y size=4096 type=dir mode=0755 nlink=2 tar_time=1795221810.000000000
..
..

# own2
/set type=file nlink=1 mode=0664 uid=0 gid=0
own2 size=4096 type=dir mode=0755 nlink=2 tar_time=1795221810.000000000
    q size=1 tar_time=1795221810.000000000 sha256digest=8e35c2cd3bf6641bdb0e2050b76932cbb2e6034a0ddacc1d9bea82a6ba57f7cf
..

# sp ace
sp\040ace size=4096 type=dir mode=0755 nlink=2 tar_time=1795221810.000000000
    \303\274 size=1 mode=0644 tar_time=1795221810.000000000 sha256digest=2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6
..

# ü
\303\274 size=4096 type=dir mode=0755 nlink=2 tar_time=1795221810.000000000
..
..
";

/// The header of the file.
pub(super) fn header() -> Header {
    Header {
        user: Some("root".to_owned()),
        machine: Some("host".to_owned()),
        tree: "bundle/rootfs".to_owned(),
        date: Some("Sat Nov 21 00:43:29 2026".to_owned()),
    }
}

/// The modification time of almost all of the tree.
const TIME: i64 = 1_795_221_810;

/// One step through the tree; a node is name, type, mode, owner, link count, time, content or target, and the only
/// xattr.
enum Step {
    Enter(Node),
    Leaf(Node),
    Leave,
}

type Node = (
    &'static [u8],
    InodeKind,
    u32,
    (u32, u32),
    u64,
    i64,
    &'static [u8],
    Option<(&'static str, &'static str)>,
);

use Step::{Enter, Leaf, Leave};

const STEPS: &[Step] = &[
    Enter((b".", Directory, 0o755, (0, 0), 8, TIME, b"", None)),
    Enter((
        b"d",
        Directory,
        0o755,
        (0, 0),
        3,
        TIME,
        b"",
        Some(("user.foo", "bar")),
    )),
    Leaf((b"a b*?[#\x5cc", File, 0o644, (0, 0), 1, TIME, b"x", None)),
    Leaf((b"blk", BlockDevice, 0o644, (0, 0), 1, TIME, b"", None)),
    Leaf((b"chr", CharDevice, 0o644, (0, 0), 1, TIME, b"", None)),
    Leaf((
        b"empty",
        File,
        0o4755,
        (0, 0),
        1,
        TIME,
        b"",
        Some(("user.b", "x")),
    )),
    Leaf((b"f", File, 0o0, (0, 0), 2, 101, b"hi", None)),
    Leaf((b"fifo", Fifo, 0o644, (0, 0), 1, TIME, b"", None)),
    Leaf((b"hard", File, 0o0, (0, 0), 2, 101, b"hi", None)),
    Leaf((b"l", Symlink, 0o777, (0, 0), 1, TIME, b"f", None)),
    Leaf((b"l2", Symlink, 0o777, (0, 0), 1, TIME, b"a b#", None)),
    Leaf((b"nl\x0ax", File, 0o644, (0, 0), 1, TIME, b"1", None)),
    Enter((b"sub", Directory, 0o755, (0, 0), 2, TIME, b"", None)),
    Leave,
    Leave,
    Enter((
        b"e",
        Directory,
        0o755,
        (0, 0),
        3,
        TIME,
        b"",
        Some(("user.foo", "bar=")),
    )),
    Leaf((b"10", File, 0o644, (0, 0), 1, TIME, b"o", None)),
    Leaf((b"9", File, 0o644, (0, 0), 1, TIME, b"o", None)),
    Enter((b"0", Directory, 0o1777, (0, 0), 2, TIME, b"", None)),
    Leave,
    Leave,
    Enter((b"own", Directory, 0o755, (5, 6), 4, TIME, b"", None)),
    Leaf((b"z", File, 0o644, (0, 0), 1, TIME, b"z", None)),
    Enter((b"x", Directory, 0o755, (5, 6), 2, TIME, b"", None)),
    Leaf((b"f", File, 0o644, (5, 6), 1, TIME, b"y", None)),
    Leave,
    Enter((b"y", Directory, 0o755, (7, 6), 2, TIME, b"", None)),
    Leave,
    Leave,
    Enter((b"own2", Directory, 0o755, (0, 0), 2, TIME, b"", None)),
    Leaf((b"q", File, 0o664, (0, 0), 1, TIME, b"q", None)),
    Leave,
    Enter((b"sp ace", Directory, 0o755, (0, 0), 2, TIME, b"", None)),
    Leaf((b"\xc3\xbc", File, 0o644, (0, 0), 1, TIME, b"c", None)),
    Leave,
    Enter((b"\xc3\xbc", Directory, 0o755, (0, 0), 2, TIME, b"", None)),
    Leave,
    Leave,
];

/// Leads a visitor through the tree. Directories have a size of 4096 bytes.
pub(super) fn visit(visitor: &mut impl Visitor) -> Result<()> {
    for step in STEPS {
        let (Enter(node) | Leaf(node)) = step else {
            visitor.leave()?;
            continue;
        };
        let &(name, kind, mode, (uid, gid), nlink, time, content, xattr) = node;
        let xattrs: Vec<_> = xattr
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .into_iter()
            .collect();
        let attributes = Attributes {
            kind,
            size: if kind == Directory {
                4096
            } else {
                content.len() as u64
            },
            uid,
            gid,
            mode,
            nlink,
            // The fraction must not show.
            mtime: FileTime::from_unix_time(time, 999_999_999),
            link: content,
            sha256: Some(Sha256::digest(content).into()),
            xattrs: &xattrs,
            other: Vec::new(),
        };
        match step {
            Enter(_) => visitor.enter(name, &attributes)?,
            _ => visitor.leaf(name, &attributes)?,
        }
    }
    Ok(())
}
