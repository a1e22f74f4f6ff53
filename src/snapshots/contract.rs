//! The contract of a snapshotter, and what it speaks of.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::Result;
pub use crate::store::names::{Info, Kind, Labels, SnapshotOptions, SnapshotUsage};

/// A mount as data, for those who mount themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The type: `overlay` or `bind`.
    pub kind: String,
    /// What is mounted: the directory for `bind`, `overlay` for `overlay`.
    pub source: PathBuf,
    /// Where, below the place where all is mounted; empty for that itself.
    pub target: PathBuf,
    /// Options, as mount(8) takes them. In the directories of `overlay`, a backslash stands before `\`, `:` and `,`.
    pub options: Vec<OsString>,
}

impl Mount {
    /// Whether nothing can be written through it.
    pub fn is_read_only(&self) -> bool {
        let has = |test: &dyn Fn(&[u8]) -> bool| {
            self.options.iter().any(|option| test(option.as_bytes()))
        };
        has(&|option| option == b"ro")
            || self.kind == "overlay" && !has(&|option| option.starts_with(b"upperdir="))
    }
}

/// Names and states of root file systems: containerd's contract.
///
/// Keys and names are any text but the empty one, and share one name space. All methods may be called from several threads
/// and processes at once; none of them mounts anything.
///
/// The errors named here carry a [`Reason`](crate::store::Reason); beside them, whatever keeps records and trees from being
/// read or written.
pub trait Snapshotter: Sync {
    /// What is known of a snapshot.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown) if there is none.
    fn stat(&self, key: &str) -> Result<Info>;

    /// Changes the labels of the snapshot that `info` names to those of `info`, and tells what it is then. Without `fields`
    /// all of them; `labels` is all of them, too; `labels.K` is that one, which goes if `info` has none or an empty one.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown) if there is none; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for other fields, and
    /// for labels of more than 4096 bytes. Nothing is changed then.
    fn update(&self, info: &Info, fields: &[&str]) -> Result<Info>;

    /// The room that a snapshot takes: of a committed one when it was committed, of others now.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown) if there is none.
    fn usage(&self, key: &str) -> Result<SnapshotUsage>;

    /// How an active snapshot or a view is mounted: what [`prepare`](Self::prepare) or [`view`](Self::view) said.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown) if there is none,
    /// [`Prerequisites`](crate::store::Reason::Prerequisites) for a committed one.
    fn mounts(&self, key: &str) -> Result<Vec<Mount>>;

    /// Makes an active snapshot on a committed one. Without a parent its root is empty and has mode 0755.
    ///
    /// # Errors
    ///
    /// [`KeyExists`](crate::store::Reason::KeyExists) if something has that name;
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown) if there is no such parent,
    /// [`ParentNotCommitted`](crate::store::Reason::ParentNotCommitted) if it is not committed. Nothing is made then.
    fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>>;

    /// The same to look at: nothing can be written to what the mounts show.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    fn view(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>>;

    /// Makes an active snapshot a committed one of another name. Its key is free then. Sockets are left out.
    ///
    /// A death on the way leaves either snapshot, never both.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown) if there is no such snapshot or parent;
    /// [`KeyExists`](crate::store::Reason::KeyExists) if something has the name;
    /// [`Prerequisites`](crate::store::Reason::Prerequisites) if it is a view or committed;
    /// [`ParentNotCommitted`](crate::store::Reason::ParentNotCommitted) if the parent is not committed;
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it has another parent; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if this snapshotter cannot lay it on
    /// a parent that it was not prepared on. It stays active then.
    fn commit(&self, name: &str, key: &str, options: &SnapshotOptions) -> Result<()>;

    /// Takes a snapshot away.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown) if there is none;
    /// [`HasChildren`](crate::store::Reason::HasChildren) if others are laid on it;
    /// [`InUse`](crate::store::Reason::InUse) if it is known to be mounted. It stays then.
    fn remove(&self, key: &str) -> Result<()>;

    /// Calls `visit` for every snapshot that one of the filters takes (see [`Filter`](super::Filter)), in the order of their
    /// names; without filters for all. `visit` may use the snapshotter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for what is no filter; the error of `visit`, which ends the walk.
    fn walk(&self, filters: &[&str], visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()>;

    /// Deletes what processes that died have left, and what no snapshot leads to any more.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be deleted; the rest is all the same.
    fn cleanup(&self) -> Result<()>;

    /// Lets go of what the snapshotter holds. More than once does nothing.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be written.
    fn close(&self) -> Result<()>;
}
