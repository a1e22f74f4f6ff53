//! A store in a directory.
//!
//! ```text
//! <directory>/
//!   blobs/                       flock: shared by who adds blobs, exclusive while sweeping
//!     sha256/                    flock: exclusive while a named file is changed
//!       <64 hexadecimal digits>  a blob, mode 0600
//!     sha512/
//!       <128 hexadecimal digits>
//!   <name>                       files kept beside the blobs, replaced whole (DirStore::replace_file), mode 0600
//!   .umoci-<8 digits>/           scratch directory of one store object, mode 0700, flock: exclusive while it lives
//!     blob-<n>, file-<n>         being written
//! ```
//!
//! Anything else in the directory is left alone. If the effective user is root, whatever the store makes outside of the
//! scratch directory is given to the owner and group of the directory, so that root can work in a user's directory.
//!
//! # Visibility
//!
//! A blob or a replaced file is written in the scratch directory, synced, renamed into place, and the directory that
//! then holds its name is synced: a name that can be seen has its whole content, also after a crash, and once the call
//! has returned the name outlives a crash too. A process that dies leaves its scratch directory, whose lock dies with
//! it; the next sweep of anyone removes it. The name and the lock of scratch directories are those of umoci, so that
//! either program's `gc` cleans up after the other and spares what is in use.
//!
//! # Locks
//!
//! All locks are advisory `flock`s on directories, which leave no files behind. Every lock is taken on a description of
//! its own, so they hold between threads and store objects of one process as they do between processes.
//!
//! - [`DirStore::lock`] excludes others who change named files: read, change, [`replace_file`](DirStore::replace_file)
//!   under it, and no update is lost. It is on `blobs/sha256` and not on the directory itself, because scripts that
//!   serialise umoci do so with `flock <directory> ...`: we would wait for our own parent.
//! - [`DirStore::lease`] keeps blobs that no file refers to yet from being swept. It is shared: writers don't wait for
//!   each other. Take it before looking at what one will refer to, and hold it until the referring file is replaced.
//! - Without a lease, a commit takes one implicitly. It lasts until this store object next replaces a file or is
//!   dropped, which is enough for one thread that adds blobs and then refers to them.
//! - A sweep holds the lease's lock exclusively, from before the live set is computed until the last blob is removed
//!   ([`DirStore::mark_and_sweep`]). So each blob of another writer is either referred to by a file that the marking
//!   reads, or protected by a lease, or not yet committed.
//!
//! Whoever holds the sweep's lock waits for no other lock, and shared leases never wait for each other, hence no order
//! between `lock` and `lease` can deadlock. Within one process, a sweep through one store object waits for the
//! leases of *another* one, so a thread must not hold the one while it asks for the other.
//!
//! umoci itself takes none of these locks: when it writes while we sweep, or the other way round, it is as unprotected
//! as against itself.
//!
//! # Hostile content
//!
//! Every call is relative to an open directory. Opening something that is not a regular file fails instead of waiting,
//! and names come from validated digests only.
//!
//! # Symbolic links
//!
//! Build systems make stores of links into stores that they share. Reading follows links, because a digest proves the
//! content wherever it lies; so does adding a blob to a linked directory. But what is replaced or removed is the link
//! itself, never its target; blobs in a linked directory are not removed at all ([`DirStore::mark_and_sweep`]); and
//! scratch directories are never links.

mod blobs;
mod files;
mod flock;
mod ingest;
mod lock;
mod scratch;
mod store;
mod sweep;

pub use lock::{Lease, LockGuard};
pub use scratch::SCRATCH_PREFIX;
pub use store::DirStore;
pub use sweep::Swept;
