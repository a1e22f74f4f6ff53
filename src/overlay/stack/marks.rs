//! What the attributes of overlayfs say, as they are stored.

use crate::error::{Error, ErrorKind, Result};
use crate::fs::xattr::Xattrs;
use crate::fs::{XattrNamespace, escape_name};

/// Whether attributes, as stored, have a mark.
pub(crate) fn has_mark(marks: XattrNamespace, xattrs: &Xattrs, mark: &[u8]) -> bool {
    let mut names = xattrs.iter().map(|(name, _)| name);
    names.any(|name| marks.mark(name) == Some(mark))
}

/// Whether attributes, as stored, make a directory opaque.
pub(crate) fn is_opaque(marks: XattrNamespace, xattrs: &Xattrs) -> bool {
    let opaque = |(name, value): &(Vec<u8>, Vec<u8>)| name == marks.opaque() && value == b"y";
    xattrs.iter().any(opaque)
}

/// Refuses attributes that say that the content of their inode lies elsewhere.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`].
pub(super) fn check_marks(marks: XattrNamespace, xattrs: &Xattrs) -> Result<()> {
    for (mark, option) in [("redirect", "redirect_dir"), ("metacopy", "metacopy")] {
        if has_mark(marks, xattrs, mark.as_bytes()) {
            let prefix = escape_name(marks.prefix());
            let message =
                format!("it has the attribute {prefix}{mark}: its content lies elsewhere");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint(format!("mount overlays with {option}=off")));
        }
    }
    Ok(())
}
