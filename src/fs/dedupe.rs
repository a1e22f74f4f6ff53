//! Two files of one content sharing their blocks.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::syscall;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that one call is asked for: more than this, file systems refuse or do in part.
const STEP: u64 = 16 << 20;

/// What has become of two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deduped {
    /// So many bytes of the second one lie where those of the first one do.
    Bytes(u64),
    /// Their content is not the same. What was the same up to there is shared.
    Differs,
}

/// Has a file take the blocks of another one that has the same content, which the kernel makes sure of. Nothing else of it
/// changes, neither times nor attributes. Both are open for reading; the second one is the caller's own, or the caller is
/// root.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] if the file system cannot share blocks, or not between these files.
pub fn dedupe(from: &File, to: &File, size: u64) -> Result<Deduped> {
    let mut at = 0;
    while at < size {
        match syscall::dedupe_range(from.as_fd(), to.as_fd(), at, STEP.min(size - at)) {
            Ok(Some(0)) => break,
            Ok(Some(shared)) => at += shared,
            Ok(None) => return Ok(Deduped::Differs),
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV)) => {
                let message = "share blocks of files: the file system cannot";
                return Err(Error::new(ErrorKind::Unsupported, message).with_source(errno));
            }
            Err(errno) => return Err(Error::io("share blocks of", "a file", errno)),
        }
    }
    Ok(Deduped::Bytes(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn files_share_their_blocks_or_the_reason_is_told() {
        let file = |byte: u8| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![byte; 65536]).unwrap();
            file
        };
        let (one, same) = (file(7), file(7));
        match dedupe(&one, &same, 65536) {
            Ok(shared) => {
                assert_eq!(shared, Deduped::Bytes(65536));
                let other = dedupe(&one, &file(8), 65536);
                assert_eq!(other.unwrap(), Deduped::Differs);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}"),
        }
        assert_eq!(dedupe(&one, &same, 0).unwrap(), Deduped::Bytes(0));
    }
}
