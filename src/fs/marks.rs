//! What overlayfs keeps in the directories that it stacks.
//!
//! A whiteout is a character device 0:0; a directory that hides what is below it, instead of being merged with it, has
//! the attribute `overlay.opaque` with the value `y`. The kernel reads and writes such attributes in one of two namespaces,
//! fixed per mount: `trusted.` by default, `user.` with the option `userxattr`, the only one open to whoever is not root
//! outside of every user namespace. A directory written under one does not mean the same under the other.
//!
//! An image may have attributes of these names itself. Raw, they would steer the kernel, so they are stored with one more
//! `overlay.` in them ([`XattrNamespace::escape`]), which the kernel takes away again (since 6.7).

use std::os::fd::AsFd;

use rustix::fs::XattrFlags;

use super::dir::Dir;
use super::stat::InodeKind;
use super::xattr::at_path;
use crate::error::Result;

/// Which attributes overlayfs takes for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XattrNamespace {
    /// `trusted.overlay.*`: for root outside of every user namespace.
    Trusted,
    /// `user.overlay.*` (mount option `userxattr`).
    User,
}

impl XattrNamespace {
    /// What all of the attributes begin with.
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    /// The attribute that makes a directory opaque.
    pub const fn opaque(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.opaque",
            Self::User => b"user.overlay.opaque",
        }
    }

    /// What follows the prefix in the name of an attribute of overlayfs: `opaque`, `redirect`, `metacopy`, `origin`, ...
    /// `None` for any other attribute, and for those that are escaped.
    pub fn mark(self, name: &[u8]) -> Option<&[u8]> {
        let mark = name.strip_prefix(self.prefix())?;
        (!mark.starts_with(b"overlay.")).then_some(mark)
    }

    /// The name under which an attribute of an image is stored.
    pub fn escape(self, name: Vec<u8>) -> Vec<u8> {
        match name.strip_prefix(self.prefix()) {
            Some(rest) => [self.prefix(), b"overlay.", rest].concat(),
            None => name,
        }
    }

    /// The name that an attribute has in the image, from the one under which it is stored. `None` for attributes that
    /// overlayfs made.
    pub fn unescape(self, name: Vec<u8>) -> Option<Vec<u8>> {
        let Some(rest) = name.strip_prefix(self.prefix()) else {
            return Some(name);
        };
        let rest = rest.strip_prefix(b"overlay.")?;
        Some([self.prefix(), rest].concat())
    }
}

impl Dir {
    /// Makes a whiteout. `false` if the name exists.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does: in a user namespace before Linux 5.8, on file systems without devices.
    pub fn create_whiteout(&self, name: &[u8]) -> Result<bool> {
        self.create_node(name, InodeKind::CharDevice, 0, (0, 0))
    }

    /// Makes the directory hide what is below it.
    ///
    /// # Errors
    ///
    /// Fails if the file system has no such attributes, or if they are not for this process to set.
    pub fn set_opaque(&self, marks: XattrNamespace) -> Result<()> {
        rustix::fs::fsetxattr(self.as_fd(), marks.opaque(), b"y", XattrFlags::empty())
            .map_err(self.fail("make opaque", b""))
    }

    /// Whether the directory hides what is below it.
    ///
    /// # Errors
    ///
    /// Fails if its attributes cannot be read.
    pub fn is_opaque(&self, marks: XattrNamespace) -> Result<bool> {
        let attributes = self.xattrs_self()?;
        let opaque = |(name, value): &(Vec<u8>, Vec<u8>)| name == marks.opaque() && value == b"y";
        Ok(attributes.iter().any(opaque))
    }

    /// Takes away the marks of a name (empty for the directory itself) that only mean something where overlayfs has set
    /// them: where a copy came from, what was merged. That a directory is opaque stays.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read or removed.
    pub fn remove_other_marks(&self, name: &[u8], marks: XattrNamespace) -> Result<()> {
        let attributes = match name {
            b"" => self.xattrs_self()?,
            name => self.xattrs(name)?,
        };
        let is_other =
            |attribute: &[u8]| marks.mark(attribute).is_some_and(|mark| mark != b"opaque");
        for (attribute, _) in attributes.iter().filter(|(name, _)| is_other(name)) {
            let removed = match name {
                b"" => rustix::fs::fremovexattr(self.as_fd(), attribute),
                name => rustix::fs::lremovexattr(at_path(self.as_fd(), name), attribute),
            };
            removed.map_err(self.fail("remove mark from", name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_images_never_look_like_marks() {
        for marks in [XattrNamespace::Trusted, XattrNamespace::User] {
            for name in ["opaque", "redirect", "overlay.opaque", "overlay."] {
                let name = [marks.prefix(), name.as_bytes()].concat();
                let stored = marks.escape(name.clone());
                assert_eq!(marks.mark(&stored), None);
                assert_eq!(marks.unescape(stored), Some(name));
            }
            assert_eq!(marks.mark(marks.opaque()), Some(&b"opaque"[..]));
            assert_eq!(marks.unescape(marks.opaque().to_vec()), None);
        }
        let other = b"user.overlay.opaque".to_vec();
        assert_eq!(XattrNamespace::Trusted.escape(other.clone()), other);
        assert_eq!(XattrNamespace::Trusted.mark(&other), None);
    }
}
