//! A bounded walk down the descriptors, depth first and in the order of the documents.
//!
//! The walk keeps the way by which it came to each descriptor. It reads nothing itself: whoever drives it decides what a
//! descriptor means, reads each document once, and pushes what the document lists.

use super::Limits;
use crate::image::Descriptor;
use crate::{Error, ErrorKind, Result};

pub(super) struct Walk<'a> {
    limits: &'a Limits,
    nodes: Vec<Node>,
    pending: Vec<usize>,
}

/// A place in the walk.
pub(super) type Place = usize;

struct Node {
    descriptor: Descriptor,
    above: Option<Place>,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            nodes: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Adds what the document at `above` lists; `None` for the entries of `index.json`. They come next.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LimitExceeded`] when that would be too deep or too many.
    pub(super) fn push(
        &mut self,
        above: Option<Place>,
        descriptors: Vec<Descriptor>,
    ) -> Result<()> {
        let depth = above.map_or(0, |above| self.nodes[above].depth + 1);
        if depth > self.limits.index_depth {
            let message = format!(
                "documents are nested deeper than the limit of {}",
                self.limits.index_depth
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let first = self.nodes.len();
        if descriptors.len() > self.limits.descriptor_count.saturating_sub(first) {
            let message = format!(
                "more descriptors than the limit of {}",
                self.limits.descriptor_count
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        self.nodes
            .extend(descriptors.into_iter().map(|descriptor| Node {
                descriptor,
                above,
                depth,
            }));
        self.pending.extend((first..self.nodes.len()).rev());
        Ok(())
    }

    /// The next place that has not been looked at.
    pub(super) fn next(&mut self) -> Option<Place> {
        self.pending.pop()
    }

    pub(super) fn descriptor(&self, place: Place) -> &Descriptor {
        &self.nodes[place].descriptor
    }

    /// From the entry of `index.json` down to `place`.
    pub(super) fn path(&self, place: Place) -> Vec<Descriptor> {
        let mut path: Vec<_> = std::iter::successors(Some(place), |place| self.nodes[*place].above)
            .map(|place| self.nodes[place].descriptor.clone())
            .collect();
        path.reverse();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(size: u64) -> Descriptor {
        Descriptor::new(
            "a/b",
            format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            size,
        )
    }

    #[test]
    fn the_walk_is_depth_first_in_order_and_knows_its_way() {
        let limits = Limits::default();
        let mut walk = Walk::new(&limits);
        walk.push(None, vec![descriptor(0), descriptor(3)]).unwrap();
        let mut sizes = Vec::new();
        while let Some(place) = walk.next() {
            let size = walk.descriptor(place).size();
            sizes.push(size);
            if size == 0 {
                walk.push(Some(place), vec![descriptor(1), descriptor(2)])
                    .unwrap();
            }
            if size == 2 {
                let path: Vec<_> = walk.path(place).iter().map(Descriptor::size).collect();
                assert_eq!(path, [0, 2]);
            }
        }
        assert_eq!(sizes, [0, 1, 2, 3]);
    }

    #[test]
    fn depth_and_count_are_limited() {
        let limits = Limits {
            index_depth: 1,
            descriptor_count: 4,
            ..Limits::default()
        };
        let mut walk = Walk::new(&limits);
        walk.push(None, vec![descriptor(0)]).unwrap();
        let top = walk.next().unwrap();
        walk.push(Some(top), vec![descriptor(1), descriptor(1)])
            .unwrap();
        let inner = walk.next().unwrap();
        assert_eq!(
            walk.push(Some(inner), vec![descriptor(2)])
                .unwrap_err()
                .kind(),
            ErrorKind::LimitExceeded
        );
        let error = walk
            .push(Some(top), vec![descriptor(1), descriptor(1)])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        walk.push(Some(top), vec![descriptor(1)]).unwrap();
    }
}
