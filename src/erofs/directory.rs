//! Directory blocks: entries, then their names, sorted by bytes over the whole directory with `.` and `..` among them.

use super::format::{DIRENT_SIZE, entry_type};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::InodeKind;
use crate::fs::tree::{NodeId, Tree};

/// Bytes of a name at most (`EROFS_NAME_LEN`).
const MAX_NAME: usize = 255;

/// The names in a directory, in order.
pub(super) fn names(tree: &Tree, dir: NodeId) -> Result<Vec<(&[u8], NodeId)>> {
    let mut names: Vec<_> = tree.children(dir).collect();
    if let Some((name, _)) = names.iter().find(|(name, _)| name.len() > MAX_NAME) {
        let message = format!(
            "it has a name of {} bytes; the limit is {MAX_NAME}",
            name.len()
        );
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    names.push((b".", dir));
    names.push((b"..", tree.parent(dir)));
    names.sort_unstable();
    Ok(names)
}

/// How the names are spread over blocks: where each block's first name is, and the bytes of the last block.
pub(super) fn spread(names: &[(&[u8], NodeId)], block_size: usize) -> (Vec<usize>, usize) {
    let (mut starts, mut used) = (vec![0], 0);
    for (place, (name, _)) in names.iter().enumerate() {
        let needed = DIRENT_SIZE + name.len();
        if used + needed > block_size {
            starts.push(place);
            used = 0;
        }
        used += needed;
    }
    (starts, used)
}

/// Writes one block: `nid`, `nameoff`, `file_type`, reserved; then the names.
pub(super) fn encode<'n>(
    names: impl ExactSizeIterator<Item = (&'n [u8], u64, InodeKind)> + Clone,
    out: &mut Vec<u8>,
) {
    let mut offset = DIRENT_SIZE * names.len();
    for (name, nid, kind) in names.clone() {
        out.extend(nid.to_le_bytes());
        // At most 4096: the size of a block.
        out.extend(u16::try_from(offset).unwrap_or_default().to_le_bytes());
        out.extend([entry_type(kind), 0]);
        offset += name.len();
    }
    for (name, ..) in names {
        out.extend(name);
    }
}
