//! Decisions, each with its reason. Compiled for documentation only.
//!
//! # Unpacking
//!
//! **Three stages, and a reader before them, each in a thread.** Inflating a layer is a serial chain that cannot be split;
//! the blob is read and hashed ahead of it, its stream and files are hashed behind it, and the files are made last. Buffers
//! of 256 KiB go round; there are 32 of them, whatever the layer's size. There is no pause between layers: the next one
//! is inflated while the last one is still being written.
//!
//! **The stream's digest is computed inside [`layer`](crate::layer), not by a reader around it.** A layer's stream and the
//! files in it are hashed over the same bytes. Block by block, the two computations run in the processor at the same
//! time, which one after the other they do not. `layer` still verifies nothing: it returns the digest, and
//! [`ops`](crate::ops) compares it with the diff ID.
//!
//! **The error of verification wins.** A corrupt blob makes the decompressor or the archive reader fail long before its
//! digest is known. When a later stage fails, the rest of the blob is read and checked, and a mismatch is reported in
//! place of what came of it.
//!
//! **Make first, ask later.** A new name is created with `O_EXCL` and only looked at when the kernel says that it exists.
//! Mode bits are right from birth because the stage that makes files has a umask of its own (`unshare(CLONE_FS)`), which
//! saves a system call a file.
//!
//! **Directory metadata is written once a layer, at its end, deepest first.** Until then directories are 0700, so that
//! nobody else looks at files whose owner is not set yet, and an archive's order does not matter. What waits is keyed by
//! inode: one directory may be reached by several spellings.
//!
//! **Paths are resolved by the kernel, and by hand only around symbolic links.** `openat2(RESOLVE_BENEATH |
//! RESOLVE_NO_SYMLINKS)` answers nearly always. The walk by hand opens one component at a time, so that it cannot be
//! misled by somebody who exchanges them, and it knows where it is without asking `/proc`.
//!
//! **The record of a tree comes out of making it** ([`fs::tree`](crate::fs::tree)), without a second walk: a file is looked
//! at once more before it is closed, a directory while its metadata is applied, and only the names of inodes that were
//! linked afterwards are looked at again in the end.
//!
//! **Hard links may come before their targets** (umoci refuses them): they wait for the end of the layer.
//!
//! **A hard link to its own name under another spelling is left alone**, as long as the name exists.
//!
//! **Implied directories** are 0755, owned by the mapped 0:0, with times of 1970, wherever and whenever they are made.
//!
//! **A bundle is not synced by default.** It is a copy of an image that is still there; syncing a gigabyte takes longer
//! than making it, and neither umoci nor tar do. `--sync` writes everything to disk before the names appear. Layouts, in
//! which an image may exist only once, are always synced.
//!
//! **Staging is a sibling of a new bundle, and inside an existing one.** The first becomes visible by one rename. The
//! second cannot, so its entries are moved with a journal, `config.json` last; what a killed process had moved is taken
//! back by the next one.
//!
//! **Only what is ours is swept.** A staging directory that a dead process left is removed by the next one if it belongs to
//! the same user, is private and unlocked; in `/tmp`, anybody can make one of that name. A signal that the command can
//! see takes its staging directory with it.
//!
//! **Sparse files are hashed with their holes**, as their readers see them, up to 16 GiB; beyond that they are refused,
//! because the record cannot do without the digest. `raw unpack` onto an existing directory keeps no record and takes any.
//!
//! # Documents
//!
//! **The JSON is the truth, the types are a view.** What is rewritten is the `serde_json` value with its unknown members in
//! their order.
//!
//! **`ociVersion` is the lowest that covers what is used**, because crun 1.8 refuses umoci's 1.3.0.
//!
//! # Repacking
//!
//! **The stat index repeats the record.** It has the words of the mtree manifest and, beside them, device, inode, ctime and
//! device number, so that a repack without a change parses no manifest at all; the manifest is only hashed, to know that
//! the index is its own. An inode counts as proven when all of it is equal and its ctime is older than the index by more
//! than the clock's granularity. Without a usable index, everything is compared with the manifest and hashed.
//!
//! **One `statx` a file while unpacking**, on the descriptor that is still open, is the price of the index: it is the last
//! look before anybody else can reach the file.
//!
//! **An image that lacks a layer gets no other.** umoci adds to it all the same, and the result cannot be unpacked.
//!
//! **Shared memory mappings are the hole that is left.** On tmpfs a write through one changes no time. `--verify` is for
//! whoever has such programs; distrusting every file on a tmpfs would take the index away from all others.
//!
//! **Gzip is one member, deflated in blocks** that each see the 32 KiB before them. Readers that stop after the first
//! member exist; the bytes depend neither on the number of threads nor on how the input is cut. Each block gets a fresh
//! compressor, because a reset one gives other bytes.
//!
//! **The default gzip level is 3**, at which the layers have the size of umoci's.
//!
//! **Layers are stored first, names change after, under the lock.** Whoever edits resolves, edits and commits while nobody
//! else can change the index ([`Layout::edit`](crate::layout::Layout::edit)); repack, whose image is named by its bundle,
//! commits to where it came from.
//!
//! **Documents are canonical only when all of them is known.** A document in which every member is known comes out as umoci
//! would write it; one with others keeps its order.
//!
//! # Reading without unpacking
//!
//! **A view is an unpack whose third stage keeps names instead of making files** ([`layer::view`](crate::layer::view)). One
//! property holds the two together: the view of generated layers equals what unpacking them makes. `squash`, `diff`, `cat`
//! and `files` are built on it; content is read from the layer that has it, verified.
