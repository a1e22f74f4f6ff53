//! The two forms in which layers are kept: directories, and tar files under EROFS images.

use super::id::LayerId;
use crate::error::{Error, ErrorKind};
use crate::image::DiffId;

/// A form of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerForm {
    /// Unpacked, in overlayfs's form.
    Dir,
    /// The tar file; an EROFS image for each chain refers to it.
    Tar,
}

/// In which form new images are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayersOption {
    /// As tar files where that works.
    Auto,
    /// As tar files; an error where that does not work.
    Tar,
    /// As directories.
    #[default]
    Dir,
}

impl LayerForm {
    /// The name of a layer in this form; none if it cannot be in it.
    pub(crate) fn layer(self, diff_id: &DiffId) -> Option<LayerId> {
        match self {
            Self::Dir => Some(LayerId::of(diff_id)),
            Self::Tar => LayerId::tar(diff_id),
        }
    }

    /// The names of a layer in all forms.
    pub(crate) fn all(diff_id: &DiffId) -> impl Iterator<Item = LayerId> + use<> {
        [Self::Dir, Self::Tar]
            .map(|form| form.layer(diff_id))
            .into_iter()
            .flatten()
    }
}

/// Whether an image cannot be kept as tar files because of what is in it, or how many layers it has.
pub(crate) fn is_beyond_erofs(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unsupported | ErrorKind::LimitExceeded
    )
}
