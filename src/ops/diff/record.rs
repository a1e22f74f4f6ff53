//! A bundle against the record that unpacking its image left in it: no layer is read.

use oci_cas::Digest;

use super::bundle::Bundle;
use super::{Aspect, Change, InodeKind, Result, Side, Status, file_size};
use crate::mtree::{self, Keyword, Manifest, UMOCI_KEYWORDS, WalkOptions};
use crate::ops::unpack::record_name;

/// Reads the record; `None` if there is none.
pub(super) fn read(bundle: &Bundle, manifest: &Digest) -> Result<Option<Manifest>> {
    let name = record_name(manifest);
    if bundle.dir.try_stat(name.as_bytes())?.is_none() {
        return Ok(None);
    }
    Manifest::parse(bundle.dir.open_file(name.as_bytes())?).map(Some)
}

/// Tells what differs between the record and the bundle's root.
pub(super) fn diff(
    bundle: &Bundle,
    manifest: &Manifest,
    found: &mut dyn FnMut(&Change<'_>) -> Result<()>,
) -> Result<()> {
    let options = WalkOptions {
        keywords: UMOCI_KEYWORDS,
        owners: None,
    };
    let mut differences = mtree::compare(manifest, bundle.root.dir(), &options)?;
    // A directory before what is in it: `a/b` before `a-b`.
    differences.sort_by(|a, b| components(a.path()).cmp(components(b.path())));
    for difference in &differences {
        let path = difference.path();
        let old = recorded(manifest, path);
        let (status, old, new, keywords) = match difference {
            mtree::Difference::Missing { .. } => (Status::Deleted, old, None, &[][..]),
            mtree::Difference::Extra { .. } => {
                (Status::Added, None, on_disk(bundle, path)?, &[][..])
            }
            mtree::Difference::Modified { keywords, .. } => {
                (Status::Changed, old, on_disk(bundle, path)?, &keywords[..])
            }
        };
        let is_directory =
            |side: Option<Side>| side.is_some_and(|side| side.kind == InodeKind::Directory);
        let directories = is_directory(old) && is_directory(new);
        let keys = keywords.iter().map(|(key, _, _)| key.as_str());
        let mut aspects: Vec<Aspect> = keys.filter_map(|key| aspect(key, directories)).collect();
        aspects.sort_unstable();
        aspects.dedup();
        if status == Status::Changed && aspects.is_empty() {
            continue;
        }
        found(&Change {
            status,
            path: if path == b"." { b"" } else { path },
            old,
            new,
            aspects: &aspects,
        })?;
    }
    Ok(())
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = if path == b"." { b"" } else { path };
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
}

/// What a keyword of the record means to us. Sizes and link counts of directories are the file system's affair.
fn aspect(key: &str, directories: bool) -> Option<Aspect> {
    Some(match key {
        "type" => Aspect::Type,
        "size" | "nlink" if directories => return None,
        "size" => Aspect::Size,
        "nlink" => Aspect::HardLinks,
        "uid" | "gid" => Aspect::Owner,
        "mode" => Aspect::Mode,
        "link" => Aspect::Target,
        "time" | "tar_time" => Aspect::Mtime,
        "sha256digest" => Aspect::Content,
        _ => Aspect::Xattrs,
    })
}

fn recorded(manifest: &Manifest, path: &[u8]) -> Option<Side> {
    let entry = manifest.find(path)?;
    let kind = match entry.get(Keyword::Type)? {
        b"dir" => InodeKind::Directory,
        b"link" => InodeKind::Symlink,
        b"char" => InodeKind::CharDevice,
        b"block" => InodeKind::BlockDevice,
        b"fifo" => InodeKind::Fifo,
        b"socket" => InodeKind::Socket,
        _ => InodeKind::File,
    };
    let size = entry
        .get(Keyword::Size)
        .and_then(|text| str::from_utf8(text).ok());
    let size = size.and_then(|text| text.parse().ok()).unwrap_or(0);
    let size = file_size(kind, size);
    Some(Side { kind, size })
}

fn on_disk(bundle: &Bundle, path: &[u8]) -> Result<Option<Side>> {
    let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let Some(dir) = bundle.root.resolve(parent, &mut |_| Ok(false))? else {
        return Ok(None);
    };
    Ok(dir.dir.try_stat(name)?.map(|stat| Side {
        kind: stat.kind,
        size: file_size(stat.kind, stat.size),
    }))
}
