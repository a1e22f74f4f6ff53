//! The record of a root, mtree manifest and stat index: written of one that was just made, from what making it has told,
//! and read to find out what has changed since.

use std::io::BufWriter;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{Dir, FileWriter, InodeKind, probe};
use crate::mtree::{
    Attributes, Baseline, Header, Manifest, Record, Recorder, Reference, StatIndex,
};

/// The largest manifest that is read, in bytes: that of some millions of files.
const MANIFEST_SIZE: u64 = 1 << 30;

/// What a record says, from whichever of its files is read faster.
pub(super) enum Recorded {
    /// The stat index, which says all that the manifest does.
    Index(StatIndex),
    /// The manifest, where there is no index that could be used.
    Manifest(Manifest),
}

impl Recorded {
    /// Reads the record whose manifest has this name.
    pub(super) fn load(dir: &Dir, name: &str) -> Result<Self> {
        match StatIndex::load(dir, name)? {
            Some(index) => Ok(Self::Index(index)),
            None => Self::load_manifest(dir, name),
        }
    }

    /// The same, but ignores the index.
    pub(super) fn load_manifest(dir: &Dir, name: &str) -> Result<Self> {
        read_manifest(dir, name).map(Self::Manifest)
    }

    pub(super) fn baseline(&self) -> Baseline<'_> {
        match self {
            Self::Index(index) => Baseline::Index(index),
            Self::Manifest(manifest) => Baseline::Manifest(manifest),
        }
    }

    /// The manifest, which is read now if it was not before.
    pub(super) fn into_manifest(self, dir: &Dir, name: &str) -> Result<Manifest> {
        match self {
            Self::Manifest(manifest) => Ok(manifest),
            Self::Index(_) => read_manifest(dir, name),
        }
    }
}

fn read_manifest(dir: &Dir, name: &str) -> Result<Manifest> {
    let text = dir.read_file(name.as_bytes(), MANIFEST_SIZE)?;
    let manifest = Manifest::parse(&text[..]).context(|| format!("read {name}"))?;
    if !manifest.root().is_recorded() {
        let message = format!("read {name}: it does not record the root");
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    Ok(manifest)
}

/// Writes the record of a tree, which lies on the same file system as `dir`, to a new manifest in `dir` and an index
/// beside it. `rootfs` is the path that the manifest shows.
///
/// On failure one of them, or a part, may be there.
pub(super) fn write(dir: &Dir, name: &str, tree: &Tree, rootfs: &Path) -> Result<()> {
    let mut record = record(tree)?;
    let manifest = record.write_manifest(create(dir, name)?, &header(rootfs))?;
    let name = StatIndex::file_name(name);
    let index = create(dir, &name)?;
    // The later, the more is older than this by enough to be proven.
    let reference = Reference::of(dir, name.as_bytes())?;
    record.write_index(BufWriter::new(index), manifest, &reference)
}

fn create(dir: &Dir, name: &str) -> Result<FileWriter> {
    dir.create_file(name.as_bytes(), 0o644)?.ok_or_else(|| {
        Error::new(
            ErrorKind::AlreadyExists,
            format!("create {name}: it exists"),
        )
    })
}

/// The header of a manifest, as umoci writes it.
pub(super) fn header(rootfs: &Path) -> Header {
    Header {
        user: probe::is_superuser().then(|| "root".to_owned()),
        machine: probe::host_name(),
        tree: rootfs.display().to_string(),
        date: Some(Header::format_date(&jiff::Zoned::now())),
    }
}

fn record(tree: &Tree) -> Result<Record> {
    let root = tree.inode(Tree::ROOT);
    // Without a stat stamp of the root nothing is on the device, and nothing is proven.
    let device = root.stat_stamp.map_or(0, |stat_stamp| stat_stamp.id.dev);
    let mut recorder = Recorder::new(device);
    recorder.enter(
        b".",
        &attributes(tree, Tree::ROOT),
        root.stat_stamp.as_ref(),
    );
    // By hand, not by calls: a tree may be deeper than the stack.
    let mut levels = vec![subdirectories(&mut recorder, tree, Tree::ROOT)];
    while let Some(level) = levels.last_mut() {
        if let Some((name, dir)) = level.pop() {
            let stat_stamp = tree.inode(dir).stat_stamp.as_ref();
            recorder.enter(name, &attributes(tree, dir), stat_stamp);
            levels.push(subdirectories(&mut recorder, tree, dir));
        } else {
            recorder.leave();
            levels.pop();
        }
    }
    recorder.finish()
}

/// Records what is in a directory but for its subdirectories, and returns these, last one first.
fn subdirectories<'t>(
    recorder: &mut Recorder,
    tree: &'t Tree,
    dir: NodeId,
) -> Vec<(&'t [u8], NodeId)> {
    let mut subdirectories = Vec::new();
    for (name, node) in tree.children(dir) {
        let inode = tree.inode(node);
        if inode.kind == InodeKind::Directory {
            subdirectories.push((name, node));
        } else {
            recorder.leaf(name, &attributes(tree, node), inode.stat_stamp.as_ref());
        }
    }
    subdirectories.reverse();
    subdirectories
}

fn attributes(tree: &Tree, node: NodeId) -> Attributes<'_> {
    let inode = tree.inode(node);
    Attributes {
        kind: inode.kind,
        size: inode.size,
        uid: inode.uid,
        gid: inode.gid,
        mode: inode.mode,
        nlink: inode.nlink,
        mtime: inode.mtime,
        link: &inode.link,
        sha256: inode.sha256,
        xattrs: &inode.xattrs,
        other: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Access, IdMap, IdRange, MapOptions, Root};
    use crate::layer::{ApplyOptions, LayerSource, apply_layers};
    use crate::mtree::{Baseline, DiffOptions, UMOCI_KEYWORDS, WalkOptions, Writer, diff, walk};
    use crate::progress::Silent;
    use oci_cas::Algorithm;
    use std::fs;
    use std::io::{Cursor, Read};
    use std::os::unix::fs::MetadataExt;
    use tar::EntryType;

    struct Layer(Cursor<Vec<u8>>);

    impl Read for Layer {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl LayerSource for Layer {
        fn verdict(&mut self) -> Result<()> {
            Ok(())
        }
    }

    /// A layer of entries: name, type, and content or target.
    fn layer(entries: &[(&str, EntryType, &str)]) -> Layer {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(7);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_size(0);
                tar.append_link(&mut header, name, text).unwrap();
            } else {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).unwrap();
            }
        }
        Layer(Cursor::new(tar.into_inner().unwrap()))
    }

    /// Two layers that come back to what was made before: links made and lost, names replaced, directories changed.
    fn unpacked(root: &Root) -> Tree {
        const FILE: EntryType = EntryType::Regular;
        const DIR: EntryType = EntryType::Directory;
        let layers = [
            layer(&[
                ("d/", DIR, ""),
                ("d/a", FILE, "one"),
                ("d/b", EntryType::Link, "d/a"),
                ("lost", FILE, "two"),
                ("kept", EntryType::Link, "lost"),
                ("implied/e/f", FILE, "three"),
                ("link", EntryType::Symlink, "d"),
                ("pipe", EntryType::Fifo, ""),
                ("gone/g", FILE, "four"),
            ]),
            layer(&[
                (".wh.lost", FILE, ""),
                ("d/c", EntryType::Link, "d/a"),
                ("link/through", FILE, "five"),
                ("implied/.wh.e", FILE, ""),
                (".wh.gone", FILE, ""),
                ("pipe", FILE, "six"),
            ]),
        ];
        let own = fs::metadata(root.dir().path()).unwrap();
        let map = |host| {
            let (container, size) = (0, 1);
            IdMap(vec![IdRange {
                container,
                host,
                size,
            }])
        };
        let mut options = ApplyOptions::new(MapOptions {
            uid: map(own.uid()),
            gid: map(own.gid()),
            rootless: false,
        });
        (options.file_digests, options.fresh) = (true, true);
        let layers = layers.into_iter().map(|it| Ok((Algorithm::Sha256, it)));
        apply_layers(layers, root, &options, &Silent, |_| Ok(())).unwrap()
    }

    #[test]
    fn what_unpack_records_is_what_a_walk_finds_and_the_index_proves_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let rootfs = directory.path().join("rootfs");
        fs::create_dir(&rootfs).unwrap();
        let root = Root::open(&rootfs, Access::Plain).unwrap();
        let tree = unpacked(&root);
        // The clock must leave the ticks of the last files before they can be proven.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let dir = Dir::open(directory.path(), Access::Plain).unwrap();
        write(&dir, "x.mtree", &tree, &rootfs).unwrap();

        let written = fs::read_to_string(directory.path().join("x.mtree")).unwrap();
        let options = WalkOptions {
            keywords: UMOCI_KEYWORDS,
            owners: None,
        };
        let mut writer = Writer::new(Vec::new(), UMOCI_KEYWORDS, &Header::default()).unwrap();
        walk(root.dir(), &options, &mut writer).unwrap();
        let walked = String::from_utf8(writer.finish().unwrap()).unwrap();
        let entries = |text: &str| text.split_once("\n\n").unwrap().1.to_owned();
        assert_eq!(entries(&written), entries(&walked));

        let index = StatIndex::load(&dir, "x.mtree").unwrap().unwrap();
        let options = DiffOptions {
            baseline: Baseline::Index(&index),
            masks: &[],
            record: None,
        };
        let found = diff(root.dir(), &options).unwrap();
        assert_eq!((found.changes, found.files_read), (Vec::new(), 0));
    }
}
