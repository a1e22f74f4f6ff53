//! A bundle against the record that unpacking its image left in it: no layer is read.
//!
//! What has changed is found as for a repack, by the stat index: of what nobody has touched nothing is read but `statx`.
//! The manifest, which tells what the changed paths were like, is only read if there are any.

use super::bundle::{Bundle, hash};
use super::{Aspect, Change, Dir, InodeKind, Result, Side, Status, file_size};
use crate::fs::names::split;
use crate::fs::{self, ChangeKind, Stat};
use crate::mtree::{self, Attributes, DiffOptions, Entry, Keyword, Manifest, UMOCI_KEYWORDS};
use crate::ops::record::Recorded;
use crate::progress::Progress;

/// Tells what differs between the record of this name and the bundle's root.
pub(super) fn diff(
    bundle: &Bundle,
    name: &str,
    progress: &dyn Progress,
    found: &mut dyn FnMut(&Change<'_>) -> Result<()>,
) -> Result<()> {
    let recorded = Recorded::load(&bundle.dir, name)?;
    let mtree::Diff {
        changes, sockets, ..
    } = changes(bundle, &recorded)?;
    for path in sockets {
        progress.warn(format_args!(
            "/{} is a socket, which no layer can hold, and is left out",
            fs::escape_name(&path)
        ));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let manifest = recorded.into_manifest(&bundle.dir, name)?;
    for fs::Change { path, kind } in in_order(changes, &manifest) {
        let old = manifest.find(&path).filter(|entry| entry.is_recorded());
        let now = match kind {
            ChangeKind::Deleted => None,
            ChangeKind::Added | ChangeKind::Modified => Place::find(bundle, &path)?,
        };
        let aspects = match (old, &now) {
            (Some(old), Some(now)) => {
                let aspects = aspects(old, now)?;
                if aspects.is_empty() {
                    continue;
                }
                aspects
            }
            // What is gone again since it was found to be new.
            (None, None) => continue,
            _ => Vec::new(),
        };
        found(&Change {
            status: match (old, &now) {
                (None, _) => Status::Added,
                (_, None) => Status::Deleted,
                _ => Status::Changed,
            },
            path: if path == b"." { b"" } else { &path },
            old: old.map(recorded_side),
            new: now.map(|now| Side {
                kind: now.stat.kind,
                size: file_size(now.stat.kind, now.stat.size),
            }),
            aspects: &aspects,
        })?;
    }
    Ok(())
}

/// The paths that may differ.
fn changes(bundle: &Bundle, recorded: &Recorded) -> Result<mtree::Diff> {
    let options = DiffOptions {
        baseline: recorded.baseline(),
        masks: &[],
        record: None,
    };
    mtree::diff(bundle.root.dir(), &options)
}

/// Adds what was below the paths that are gone, and puts a directory before what is in it: `a/b` before `a-b`.
fn in_order(changes: Vec<fs::Change>, manifest: &Manifest) -> Vec<fs::Change> {
    let mut all = Vec::with_capacity(changes.len());
    for change in changes {
        if change.kind == ChangeKind::Deleted {
            let mut below: Vec<_> = manifest.find(&change.path).into_iter().collect();
            while let Some(entry) = below.pop() {
                below.extend(entry.children());
                if entry.is_recorded() {
                    let (path, kind) = (entry.path(), ChangeKind::Deleted);
                    all.push(fs::Change { path, kind });
                }
            }
        } else {
            all.push(change);
        }
    }
    all.sort_by(|a, b| components(&a.path).cmp(components(&b.path)));
    all
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = if path == b"." { b"" } else { path };
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
}

/// A path of the bundle's root, where there is something.
struct Place {
    dir: Dir,
    /// `None` for the directory itself, which is the root.
    name: Option<Vec<u8>>,
    stat: Stat,
}

impl Place {
    fn find(bundle: &Bundle, path: &[u8]) -> Result<Option<Self>> {
        if path == b"." {
            let dir = bundle.root.open_self()?;
            let stat = dir.stat_self()?;
            let name = None;
            return Ok(Some(Self { dir, name, stat }));
        }
        let (parent, name) = split(path);
        let Some(resolved) = bundle.root.find(parent)? else {
            return Ok(None);
        };
        let stat = resolved.dir.try_stat(name)?;
        Ok(stat.map(|stat| Self {
            dir: resolved.dir,
            name: Some(name.to_vec()),
            stat,
        }))
    }
}

/// In what a path differs from its entry. The record has no numbers of devices, but whoever found the path may have known
/// them.
fn aspects(old: Entry<'_>, now: &Place) -> Result<Vec<Aspect>> {
    let Place { dir, name, stat } = now;
    let was = recorded_side(old);
    let (mut link, mut sha256, mut xattrs) = (Vec::new(), None, Vec::new());
    match (stat.kind, name) {
        (InodeKind::Symlink, Some(name)) => link = dir.read_link(name)?,
        (InodeKind::File, Some(name)) => {
            xattrs = dir.xattrs(name)?;
            // Of another size, the content is another one too.
            if was.kind == InodeKind::File && was.size == stat.size {
                sha256 = Some(hash(dir, name)?);
            }
        }
        (InodeKind::Directory, Some(name)) => xattrs = dir.xattrs(name)?,
        (InodeKind::Directory, None) => xattrs = dir.xattrs_self()?,
        _ => {}
    }
    let attributes = Attributes {
        kind: stat.kind,
        size: stat.size,
        uid: stat.uid,
        gid: stat.gid,
        mode: stat.mode,
        nlink: stat.nlink,
        mtime: stat.mtime,
        link: &link,
        sha256,
        xattrs: &xattrs,
        other: Vec::new(),
    };
    let kinds = (was.kind, stat.kind);
    let differences = mtree::differences(old, &attributes, UMOCI_KEYWORDS);
    let keys = differences.iter().map(|(key, _, _)| key.as_str());
    let mut aspects: Vec<Aspect> = keys.filter_map(|key| aspect(key, kinds)).collect();
    let linked = links(stat.kind, stat.nlink);
    if recorded_links(old, was.kind).is_some_and(|count| count != linked) {
        aspects.push(Aspect::HardLinks);
    }
    let is_device = matches!(stat.kind, InodeKind::CharDevice | InodeKind::BlockDevice);
    if aspects.is_empty() && is_device {
        aspects.push(Aspect::Device);
    }
    aspects.sort_unstable();
    aspects.dedup();
    Ok(aspects)
}

/// How many names something has, as far as they are hard links: those of directories are the file system's affair.
fn links(kind: InodeKind, count: u64) -> u64 {
    if kind == InodeKind::Directory {
        1
    } else {
        count
    }
}

fn recorded_links(entry: Entry<'_>, kind: InodeKind) -> Option<u64> {
    let count = str::from_utf8(entry.get(Keyword::Nlink)?).ok()?;
    Some(links(kind, count.parse().ok()?))
}

/// What a keyword of the record means to us, as for two images: what only one type has counts only if both are of it.
/// Numbers of links are compared apart.
fn aspect(key: &str, kinds: (InodeKind, InodeKind)) -> Option<Aspect> {
    let both = |kind| kinds == (kind, kind);
    Some(match key {
        "type" => Aspect::Type,
        "size" | "sha256digest" if !both(InodeKind::File) => return None,
        "link" if !both(InodeKind::Symlink) => return None,
        "nlink" => return None,
        "size" => Aspect::Size,
        "uid" | "gid" => Aspect::Owner,
        "mode" => Aspect::Mode,
        "link" => Aspect::Target,
        "time" | "tar_time" => Aspect::Mtime,
        "sha256digest" => Aspect::Content,
        _ => Aspect::Xattrs,
    })
}

fn recorded_side(entry: Entry<'_>) -> Side {
    let kind = match entry.get(Keyword::Type) {
        Some(b"dir") => InodeKind::Directory,
        Some(b"link") => InodeKind::Symlink,
        Some(b"char") => InodeKind::CharDevice,
        Some(b"block") => InodeKind::BlockDevice,
        Some(b"fifo") => InodeKind::Fifo,
        Some(b"socket") => InodeKind::Socket,
        _ => InodeKind::File,
    };
    let size = entry
        .get(Keyword::Size)
        .and_then(|text| str::from_utf8(text).ok());
    let size = size.and_then(|text| text.parse().ok()).unwrap_or(0);
    let size = file_size(kind, size);
    Side { kind, size }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;
    use crate::fs::MapOptions;
    use crate::image::Reference;
    use crate::layer::{GenerateOptions, InsertOptions as LayerOptions, Insertion};
    use crate::ops::{self, InsertOptions, RepackOptions, UnpackOptions};
    use crate::progress::Silent;

    #[test]
    fn of_a_bundle_that_nobody_touched_no_file_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(path("tree/d")).unwrap();
        std::fs::write(path("tree/a"), "a").unwrap();
        std::fs::write(path("tree/d/b"), "b").unwrap();
        let layout = path("layout");
        ops::init(&layout).unwrap();
        let image: Reference = format!("{}:tag", layout.display()).parse().unwrap();
        ops::new(&image, None).unwrap();
        let map_options = MapOptions {
            rootless: true,
            ..MapOptions::default()
        }
        .with_rootless_defaults();
        let insertion = Insertion::Tree {
            source: path("tree"),
            target: b"tree".to_vec(),
            opaque: false,
        };
        let generate = GenerateOptions {
            map_options: map_options.clone(),
            ..GenerateOptions::default()
        };
        let options = InsertOptions {
            layer: LayerOptions {
                generate,
                ..LayerOptions::default()
            },
            ..InsertOptions::default()
        };
        ops::insert(&image, &[insertion], &options, &Silent).unwrap();
        let options = UnpackOptions {
            map_options,
            ..UnpackOptions::default()
        };
        let bundle = path("bundle");
        ops::unpack(&image, &bundle, &options, &Silent).unwrap();
        // A record proves nothing of what was made in the same tick of the clock.
        sleep(Duration::from_millis(100));
        let options = RepackOptions {
            refresh: true,
            ..RepackOptions::default()
        };
        ops::repack(&image, &bundle, &options, &Silent).unwrap();

        let files_read = || {
            let opened = Bundle::open(&bundle).unwrap();
            let mut names = std::fs::read_dir(&bundle).unwrap().map(|entry| {
                let name = entry.unwrap().file_name();
                name.to_str().unwrap().to_owned()
            });
            let name = names
                .find(|name| name.starts_with("sha256_") && !name.ends_with("stat"))
                .unwrap();
            let recorded = Recorded::load(&opened.dir, &name).unwrap();
            changes(&opened, &recorded).unwrap().files_read
        };
        assert_eq!(files_read(), 0);
        std::fs::write(bundle.join("rootfs/tree/d/b"), "c").unwrap();
        let modified = filetime::FileTime::from_last_modification_time(
            &std::fs::metadata(path("tree/d/b")).unwrap(),
        );
        let modified = filetime::FileTime::from_unix_time(modified.unix_seconds(), 0);
        filetime::set_file_mtime(bundle.join("rootfs/tree/d/b"), modified).unwrap();
        assert_eq!(files_read(), 1);
        let mut told = Vec::new();
        let target = ops::diff::Target::Bundle(&bundle);
        ops::diff(&image, target, None, &Silent, &mut |change| {
            told.push((change.path.to_vec(), change.aspects.to_vec()));
            Ok(())
        })
        .unwrap();
        assert_eq!(told, [(b"tree/d/b".to_vec(), vec![Aspect::Content])]);
    }
}
