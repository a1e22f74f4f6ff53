//! Which entry may follow which: the root first, a directory before what is in it, names sorted.

use super::MAX_PATH_SIZE;

/// Where a record is.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Path of the last entry.
    path: Vec<u8>,
    /// How long the path is at each depth, from 1.
    ends: Vec<usize>,
    /// Whether the last entry was a directory; `None` before the root.
    last_is_dir: Option<bool>,
}

impl Order {
    /// Goes to the next entry and returns its path.
    pub(super) fn follow(
        &mut self,
        depth: usize,
        name: &[u8],
        is_dir: bool,
    ) -> Result<&[u8], &'static str> {
        let Some(last_is_dir) = self.last_is_dir.replace(is_dir) else {
            return if depth == 0 && name.is_empty() && is_dir {
                Ok(&[])
            } else {
                Err("the first entry is not the root")
            };
        };
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err("a name is none");
        }
        let deepest = self.ends.len() + usize::from(last_is_dir);
        if depth == 0 || depth > deepest {
            return Err("an entry is in no directory");
        }
        let above = depth.checked_sub(2).map_or(0, |parent| self.ends[parent]);
        let start = above + usize::from(above > 0);
        if let Some(&end) = self.ends.get(depth - 1)
            && self.path[start..end] >= *name
        {
            return Err("names are not sorted");
        }
        if start + name.len() > MAX_PATH_SIZE {
            return Err("a path is too long");
        }
        self.ends.truncate(depth - 1);
        self.path.truncate(above);
        if above > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.ends.push(self.path.len());
        Ok(&self.path)
    }
}
