//! An open file that the process was started with, to write to.

use std::fs::File;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

use super::syscall::duplicate_inherited;
use crate::{Error, Result};

/// Takes the file that has this number in the process. Programs that are started from now on do not inherit it, so that
/// a reader of a pipe sees its end when this process ends.
///
/// # Errors
///
/// [`crate::ErrorKind::Io`] if nothing is open under that number, or it is open for reading only.
pub fn inherited(fd: i32) -> Result<File> {
    let fail = |errno: Errno| Error::io("write to", format!("file descriptor {fd}"), errno);
    let file = File::from(duplicate_inherited(fd).map_err(fail)?);
    let access = fcntl_getfl(&file).map_err(fail)? & OFlags::RWMODE;
    if access == OFlags::RDONLY {
        return Err(fail(Errno::BADF));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_pipe_is_written_to_and_what_cannot_be_is_refused() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut file = inherited(writer.as_raw_fd()).unwrap();
        drop(writer);
        file.write_all(b"x").unwrap();
        drop(file);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(inherited(reader.as_raw_fd()).is_err());
        assert!(inherited(-1).is_err());
    }
}
