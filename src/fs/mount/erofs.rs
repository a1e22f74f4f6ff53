//! EROFS images mounted from their files, with the files that they refer to (Linux 6.12).

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::super::dir::Dir;
use super::super::xattr;
use super::attach::{Mount, refused};
use crate::error::{Error, ErrorKind, Result};

/// A file below an open directory.
#[derive(Clone, Debug)]
pub struct FileBelow<'a> {
    /// The directory.
    pub dir: &'a Dir,
    /// The path of the file: relative, at most 200 bytes.
    pub path: String,
}

impl FileBelow<'_> {
    /// The path by which the kernel finds it: values have 255 bytes at most.
    fn kernel_path(&self) -> Vec<u8> {
        let dir = xattr::fd_path(self.dir.as_fd());
        let mut path = dir.into_os_string().into_encoded_bytes();
        path.push(b'/');
        path.extend(self.path.as_bytes());
        path
    }
}

/// A detached mount of an image, read-only. `devices` are in the order of the image's table.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] where the kernel, this process or the file system does not do that; and if the kernel finds
/// the image or a device unfit.
pub fn mount_erofs(image: &FileBelow<'_>, devices: &[FileBelow<'_>]) -> Result<Mount> {
    let name = image.dir.path().join(&image.path);
    let fail = |what: &str, errno: Errno| {
        let what = format!("EROFS image {}: {what}", name.display());
        match errno {
            // Not a kind of file system that images are read from; not in this namespace.
            Errno::NOTBLK | Errno::PERM => {
                Error::new(ErrorKind::Unsupported, format!("mount {what}"))
                    .with_source(std::io::Error::from(errno))
            }
            errno => refused("mount", what, errno),
        }
    };
    let fd = rustix::mount::fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| fail("open file system", errno))?;
    rustix::mount::fsconfig_set_string(&fd, "source", image.kernel_path())
        .map_err(|errno| fail("source", errno))?;
    for (place, device) in devices.iter().enumerate() {
        rustix::mount::fsconfig_set_string(&fd, "device", device.kernel_path())
            .map_err(|errno| fail(&format!("device {}", place + 1), errno))?;
    }
    rustix::mount::fsconfig_set_flag(&fd, "ro").map_err(|errno| fail("ro", errno))?;
    rustix::mount::fsconfig_create(&fd).map_err(|errno| fail("create", errno))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mounted = rustix::mount::fsmount(&fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|errno| fail("mount", errno))?;
    Ok(Mount::new(mounted, None, name.clone()))
}
