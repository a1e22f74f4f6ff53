//! Mounting by `fsopen`: one call for each layer, and a log in the kernel's own words.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags};

use super::super::xattr;
use super::attach::refused;
use super::method::{MountMethod, Refusal};
use super::overlay::{OPTIONS, Overlay};
use crate::error::Error;

/// How many messages of the log are read: the kernel keeps 8.
const MAX_MESSAGES: usize = 16;

/// How many lower directories the kernel lets an overlay have; `None` where it cannot be asked one by one.
pub(super) fn max_lowers(lower: BorrowedFd<'_>) -> Option<usize> {
    /// A kernel that has not refused by then is not going to be the limit.
    const ENOUGH: usize = 4096;
    let fd = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    let name = xattr::fd_path(lower);
    // Before 6.5 whatever is said is taken, and looked at later.
    rustix::mount::fsconfig_set_string(&fd, "bundle-probe", "").err()?;
    let add = |_: &usize| rustix::mount::fsconfig_set_string(&fd, "lowerdir+", &name).is_ok();
    let count = (0..ENOUGH).take_while(add).count();
    (count > 0).then_some(count)
}

/// A file system being configured.
struct Context<'a> {
    fd: OwnedFd,
    overlay: &'a Overlay<'a>,
    by_fd: bool,
}

/// Mounts by [`MountMethod::Fd`] or [`MountMethod::String`].
pub(super) fn mount(overlay: &Overlay<'_>, method: MountMethod) -> Result<OwnedFd, Refusal> {
    let fd = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Refusal::NotThere(refused("open file system", "overlay", errno)))?;
    let context = Context {
        fd,
        overlay,
        by_fd: method == MountMethod::Fd,
    };
    context.configure()?;
    context.create()
}

impl Context<'_> {
    fn configure(&self) -> Result<(), Refusal> {
        let lowers = self.overlay.lowers;
        for index in 0..lowers.count() {
            // Closed again before the next one is opened: the kernel has its own reference.
            let lower = lowers.open(index)?;
            let set = self.set_directory("lowerdir+", lower.as_fd());
            set.map_err(|errno| {
                let what = format!("lowerdir+, {} of {}", index + 1, lowers.count());
                let error = self.fail(&what, errno);
                // Nothing was said before: it is the parameter that is not known, by this name or in this form.
                match errno {
                    Errno::INVAL | Errno::NOSYS | Errno::PERM if index == 0 => {
                        Refusal::NotThere(error)
                    }
                    _ => Refusal::Final(error),
                }
            })?;
        }
        if let Some(upper) = &self.overlay.upper {
            for (key, dir) in [("upperdir", upper.dir), ("workdir", upper.work)] {
                self.set_directory(key, dir.as_fd())
                    .map_err(|errno| self.fail(key, errno))?;
            }
        }
        let context = self.overlay.selinux_context;
        let context = context.map(|context| ("context", context));
        let source = [("source", self.overlay.source)];
        for (key, value) in source.into_iter().chain(OPTIONS).chain(context) {
            rustix::mount::fsconfig_set_string(&self.fd, key, value)
                .map_err(|errno| self.fail(&format!("{key}={value}"), errno))?;
        }
        for flag in self.overlay.flags() {
            rustix::mount::fsconfig_set_flag(&self.fd, flag)
                .map_err(|errno| self.fail(flag, errno))?;
        }
        Ok(())
    }

    fn set_directory(&self, key: &str, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.by_fd {
            return rustix::mount::fsconfig_set_fd(&self.fd, key, dir);
        }
        rustix::mount::fsconfig_set_string(&self.fd, key, xattr::fd_path(dir))
    }

    fn create(&self) -> Result<OwnedFd, Refusal> {
        if let Err(errno) = rustix::mount::fsconfig_create(&self.fd) {
            let (error, silent) = self.fail_with_log("create", errno);
            return Err(match errno {
                // Overlays are not for user namespaces here (before 5.11).
                Errno::PERM => Refusal::NotThere(error),
                // Before 6.5 the parameters are collected unseen: an unknown one is found now, and not talked of.
                Errno::INVAL if silent && !self.by_fd => Refusal::NotThere(error),
                _ => Refusal::Final(error),
            });
        }
        let attributes = self.overlay.mount_attributes();
        rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| Refusal::Final(self.fail("mount", errno)))
    }

    fn fail(&self, what: &str, errno: Errno) -> Error {
        self.fail_with_log(what, errno).0
    }

    /// The error, and whether the kernel had nothing to say about it.
    fn fail_with_log(&self, what: &str, errno: Errno) -> (Error, bool) {
        let log = self.log();
        let name = self.overlay.name();
        let what = [name.to_string_lossy().into_owned(), what.to_owned()];
        let what: Vec<&str> = what.iter().chain(&log).map(String::as_str).collect();
        let error = refused("mount", what.join(": "), errno);
        (error, log.is_empty())
    }

    /// What the kernel has to say, oldest first, each message once.
    fn log(&self) -> Vec<String> {
        let mut messages = Vec::new();
        for _ in 0..MAX_MESSAGES {
            let mut buffer = [0; 1024];
            let Ok(size) = rustix::io::read(&self.fd, &mut buffer) else {
                break;
            };
            // "e " for an error, "w " for a warning, "i " for information.
            let message = buffer[..size].get(2..).unwrap_or_default();
            let message = String::from_utf8_lossy(message.trim_ascii()).into_owned();
            if !message.is_empty() && !messages.contains(&message) {
                messages.push(message);
            }
        }
        messages
    }
}
