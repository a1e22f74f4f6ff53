//! What is noted of a name in the record of a tree while a layer is unpacked without those below it.

/// A directory that was made without an entry of its own.
pub(super) const IMPLIED: u8 = 1;
/// A directory with an entry that came when it was there already; the root with one.
pub(super) const DESCRIBED: u8 = 1 << 1;
/// A directory that hides the children of its lower namesakes.
pub(super) const OPAQUE: u8 = 1 << 2;
/// A directory that has nothing to do with its lower namesakes.
pub(super) const FRESH: u8 = 1 << 3;
/// Something that goes when the hard link of its name finds its target.
pub(super) const GIVES_WAY: u8 = 1 << 4;
/// A directory in which a hard link waits for its target.
pub(super) const HOLDS_LINK: u8 = 1 << 5;
