//! Hard links to names that have not come yet: kept until the end of their layer, within limits.
//!
//! Such a link takes memory but nothing on disk, so that nothing else would end an archive full of them.

use super::lower_dependencies::LinkBelow;
use crate::archive::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::escape_name;

/// How many links of one layer may wait for their targets.
const MAX_COUNT: usize = 1_000_000;

/// How many bytes the paths and targets of these may have together.
const MAX_SIZE: usize = 64 << 20;

/// A hard link that waits for its target.
pub(super) struct ForwardLink {
    /// The path, as the archive writes it.
    pub path: Box<[u8]>,
    /// The target, as the archive writes it.
    pub link: Box<[u8]>,
    /// If the target may be in a lower layer that is not in sight: what the link means then.
    pub below: Option<LinkBelow>,
}

/// The hard links of a layer that wait for their targets, in the order of the archive.
#[derive(Default)]
pub(super) struct ForwardLinks {
    links: Vec<ForwardLink>,
    size: usize,
}

impl ForwardLinks {
    /// Keeps one more.
    pub(super) fn push(&mut self, entry: &Entry, below: Option<LinkBelow>) -> Result<()> {
        self.size += entry.path.len() + entry.link.len();
        let below_size = |it: &LinkBelow| it.path.len() + it.target.len();
        self.size += below.as_ref().map_or(0, below_size);
        if self.links.len() >= MAX_COUNT || self.size > MAX_SIZE {
            let message = format!(
                "hard link to {}: too many links come before their targets; the limit is {MAX_COUNT} with {MAX_SIZE} \
                 bytes of names",
                escape_name(&entry.link)
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        self.links.push(ForwardLink {
            path: entry.path.as_slice().into(),
            link: entry.link.as_slice().into(),
            below,
        });
        Ok(())
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<ForwardLink> {
        std::mem::take(self).links
    }
}

/// A link whose target is not there when it must be.
pub(super) fn missing_target(link: &[u8]) -> Error {
    let message = format!(
        "hard link to {}: no such file in the layer or below",
        escape_name(link)
    );
    Error::new(ErrorKind::NotFound, message)
}
