//! The only door to the file system.
//!
//! Everything here works relative to an open directory and on one name at a time; nothing follows a symbolic link unless
//! its documentation says so. There are two ways to a directory: [`Root`] resolves whole paths as if a directory were
//! `/` (`openat2(RESOLVE_IN_ROOT)`), [`Dir`] takes single names. What cannot be said with them cannot escape.
//!
//! | file | what |
//! |---|---|
//! | `root.rs` | paths inside a root |
//! | `beneath.rs` | a tree without what is mounted in it |
//! | `dir.rs`, `make.rs` | one open directory: look, create |
//! | `file.rs` | a new file being written |
//! | `remove.rs` | removing whole trees |
//! | `descent.rs` | going down a tree and up again, however deep it is |
//! | `copy.rs`, `content.rs` | copying whole trees exactly |
//! | `content_hash.rs` | the digest of a file's content, whose holes are not read |
//! | `dedupe.rs` | two files of one content sharing their blocks |
//! | `usage.rs`, `quota.rs` | how much room a tree takes, and may take |
//! | `lock.rs` | locks between processes that tell who holds them |
//! | `reader.rs` | a file being read that must not change meanwhile |
//! | `stat.rs` | what the kernel says of an inode |
//! | `metadata.rs` | owner, mode, xattrs, times, in the one right order |
//! | `xattr.rs` | extended attributes |
//! | `idmap.rs` | user and group id maps |
//! | `named_ids.rs` | ids in ACLs and capabilities, through the maps |
//! | `tree.rs` | a directory tree in memory: what an extraction made |
//! | `marks.rs` | what overlayfs keeps in directories that it stacks: whiteouts, opaque directories |
//! | `staging.rs` | a directory that becomes visible at the end, or not at all |
//! | `stale.rs` | staging directories that dead processes left |
//! | `live.rs` | those that this process has in the making |
//! | `failpoint.rs` | places where tests make a process crash |
//! | `atomic.rs` | a file that is replaced whole |
//! | `input.rs` | a file of the user's, read as a stream |
//! | `output.rs` | an open file that the process was started with, to write to |
//! | `probe.rs` | what this process and this file system can do |
//! | `mount/` | overlays, bind mounts, id-mapped mounts |
//! | `userns.rs` | a command of an ordinary user's with many ids |
//! | `program.rs`, `thread.rs` | other programs, waited for within bounds; threads, which may be refused |
//! | `socket.rs` | a unix socket with a name |
//! | `syscall.rs` | what needs `unsafe` |

pub mod atomic;
mod beneath;
mod change;
mod content;
pub mod content_hash;
pub mod copy;
pub mod dedupe;
pub mod descent;
mod dir;
pub mod failpoint;
mod file;
mod idmap;
pub mod input;
mod live;
pub mod lock;
mod make;
pub mod marks;
mod metadata;
pub mod mount;
mod named_ids;
pub(crate) mod names;
pub mod output;
pub mod probe;
mod program;
pub mod quota;
mod reader;
mod remove;
mod root;
pub mod socket;
pub mod staging;
mod stale;
mod stat;
mod syscall;
#[cfg(test)]
mod tests;
pub(crate) mod thread;
pub mod tree;
pub mod usage;
pub mod userns;
pub mod xattr;

pub use beneath::{Beneath, without_mounts};
pub use change::{Change, ChangeKind};
pub use descent::Descent;
pub use dir::{Access, Dir, escape_name};
pub use file::FileWriter;
pub use idmap::{IdMap, IdRange, MapOptions};
pub use marks::XattrNamespace;
pub use metadata::{Inode, Metadata, Refused, Rules, Times};
pub use named_ids::{Owners, map_named_ids};
pub use reader::{FileReader, hash_file, sha256_of_file};
pub use root::{Resolved, Root};
pub use stat::{InodeId, InodeKind, Stat};
pub use syscall::private_umask;
