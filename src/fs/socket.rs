//! A unix socket with a name, for this user alone.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Makes a socket with mode 0600 and listens on it; directories that are missing are made, with mode 0700. A socket that
/// nobody listens on any more, as a killed process leaves it, is replaced.
///
/// Until the mode is set, others may be able to connect: who accepts asks for their uid.
///
/// # Errors
///
/// [`ErrorKind::AlreadyExists`] if somebody listens on it, or if the path is something else; and if it cannot be made.
pub fn bind_private(path: &Path) -> Result<UnixListener> {
    bind(path).context(|| format!("listen on {}", path.display()))
}

/// The socket that the process was started with, by the number of its descriptor (3 for the first of `LISTEN_FDS`). It can
/// be had once.
///
/// # Errors
///
/// Fails if there is none, or if it is no unix socket.
pub fn inherited(number: i32) -> Result<UnixListener> {
    let failed = || format!("use descriptor {number} as a socket");
    let fd = super::syscall::inherited(number).map_err(io::Error::from);
    let listener = UnixListener::from(fd.context(failed)?);
    listener.local_addr().context(failed)?;
    Ok(listener)
}

fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(parent) = path.parent() {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(parent);
        made.context(|| format!("make {}", parent.display()))?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "something else is there",
            ));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).context(|| "remove the socket of a process that is gone")?;
            }
            _ => {
                let message = "another process listens on it";
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(|| "look at it"),
    }
    let listener = UnixListener::bind(path).context(|| "bind")?;
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, mode).context(|| "set its mode")?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_over_only_from_a_process_that_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new/socket");
        let first = bind_private(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = bind_private(&path).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AlreadyExists);
        drop(first);
        drop(bind_private(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        let file = bind_private(&path).unwrap_err();
        assert_eq!(file.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
