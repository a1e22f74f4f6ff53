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
//! **A name that cannot be made durable is taken back.** When the sync after the last rename fails, the bundle is there and
//! whole, but a command that has failed must not be in the way of its repetition. An index that was replaced cannot be
//! taken back: there the error says that it is in place.
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
//! **Holes are not read.** A file is known by the SHA-256 of its content, zeros included, up to 4 GiB of zeros; beyond that by
//! a digest of its blocks that are not all zeros ([`fs::content_hash`](crate::fs::content_hash)), which depends on the
//! content alone, so that the same file is the same in whatever form it came. The manifest has no `sha256digest` then:
//! other programs could not compare it, and `repack --verify` goes by size and time there. In layers, holes of 1 MiB or
//! more are holes in PAX sparse 1.0, the one form that Go's reader, GNU tar, bsdtar and Python all expand; their edges are
//! rounded to 64 KiB, so that file systems with other blocks give the same layer. All other files are umoci's, byte for byte.
//!
//! **What is in large layers is remembered.** `insert` must know what the image has at its targets, and a name that is in no
//! layer is only known to be in none when all have been read: two seconds for a gigabyte, more than all the rest. The entries
//! of a layer, by its diff ID, go to the user's cache (`ops/layer_indexes.rs`), which only its owner may write to.
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
//! **Gzip has a member for each 512 KiB of content**, made by libdeflate, which needs half the time of a deflate that can
//! be joined into one member. Umoci, skopeo, buildah, tar and bsdtar read them all (a test shows it), as all do that
//! take eStargz layers, which are made alike; small layers have one. The bytes depend neither on the number of threads
//! nor on how the input is cut.
//!
//! **Without a level, gzip tries as hard as the content deserves**: samples of each block tell what is stored, what gets
//! level 1, and what, with many repetitions, level 3. That keeps layers within about 3 percent of umoci's sizes. One
//! level for all that does so takes a third longer.
//!
//! **Inserting looks at what is there.** The image's layers are read from the top down, without content, because an entry of
//! another type hides all that is below it, and a directory in the place of a link takes `/bin` away. Nothing is left to
//! guess: directories, and links to them, are only replaced by directories. Where the layers are missing, a warning says so.
//!
//! **A repack sees beneath mounts.** It walks a copy of the mount that the root file system is on, without what is mounted
//! on top (`open_tree`), so that what is hidden is compared as ever. Without the right to do so the paths are masked.
//!
//! **Layers are stored first, names change after, under the lock.** Whoever edits resolves, edits and commits while nobody
//! else can change the index ([`LeasedLayout::edit`](crate::layout::LeasedLayout::edit)); repack, whose image is named by its bundle,
//! commits to where it came from.
//!
//! **The lease comes before the name.** A tag leads to blobs, and a name to layers, only until it is moved and a `gc` comes.
//! Resolving and editing are therefore methods of a [`LeasedLayout`](crate::layout::LeasedLayout), and what looks something
//! up in a store takes a [`LeasedStore`](crate::store::LeasedStore): the type is the proof that gc waits. A lease writes
//! nothing, so that a layout may be read-only; where the file system has no locks, gc has none either and refuses.
//!
//! **A squash does not fail because of other edits.** The layout is not locked while layers are read. Layers that were put
//! on top meanwhile stay on top, and an image that was replaced is squashed anew.
//!
//! **Documents are canonical only when all of them is known.** A document in which every member is known comes out as umoci
//! would write it; one with others keeps its order.
//!
//! # What others left in a layout
//!
//! **A name is read more widely than it is made** ([`Name`](crate::image::Name) and [`Tag`](crate::image::Tag)). Without a tag
//! it is `latest`, and only in a layout without that tag the one image that there is, so that umoci's scripts mean what they
//! meant. What is *written* without a tag is `latest` (`repack`), or takes the place of the image that was edited, tagged or not.
//!
//! **`gc` does not refuse a layout that lacks something.** Indexes that list every platform beside the blobs of one are what
//! half of the programs write. What only an absent manifest would need cannot be known and goes; what is there and is not
//! understood stays, or stops gc.
//!
//! **An attestation goes when what it describes is edited.** Kept, it would speak of a manifest that is gone; pointed at the
//! new one, it would say what is not true.
//!
//! **`validate` puts the layers on top of each other** as well, in memory, since only that finds what `unpack` would refuse.
//! It reads them twice for that.
//!
//! # Reading without unpacking
//!
//! **A view is an unpack whose third stage keeps names instead of making files** ([`layer::view`](crate::layer::view)). One
//! property holds the two together: the view of generated layers equals what unpacking them makes. `squash`, `diff`, `cat`
//! and `files` are built on it; content is read from the layer that has it, verified.
//!
//! **One file takes the layers that settle it, from the top down**
//! ([`UpperLayers`](crate::layer::view::UpperLayers)). Entries are read downwards and merged upwards by the same code. A
//! view of upper layers holds whatever is below, as long as no entry in it led through a name that is not there; so there
//! is no second meaning of whiteouts and links, only a question when to stop. Layers that leave directories out of their
//! archive, as repack's do, are seldom enough by themselves: a lower layer may have a link in that place.
//!
//! **The image of a root file system is a view with places** (`erofs/`): one pass decides where each inode and block goes, so
//! that nids are known before directories are written; metadata is written in ascending order, and contents wherever they
//! belong, in the order in which their layers have them. Inodes of one directory are neighbours. What is behind an inode
//! (the rest of a small file, a directory, a link) stays with it in one block, as every kernel wants it; for what does
//! not fit there is a block of its own. The checksum of the superblock is left out: with blocks of 512 bytes `mkfs.erofs`
//! leaves it out too, and dm-verity covers all of the image.
//!
//! # Registries
//!
//! **ureq with rustls, and a protocol module of our own** ([`transfer::registry`](crate::transfer::registry)). Tried were
//! oci-client (214 packages, 97 s more to build on a small machine; it resumes only by a ranged call and sends uploads in
//! pieces of 4 MiB that some registries refuse) and ureq (43 packages, 25 s). What registries answer oddly has to be handled
//! request by request, and nothing else here is asynchronous.
//!
//! **TLS is rustls with ring**, which builds without a C++ compiler; roots are the system's bundle, so that what an
//! administrator trusts or distrusts counts.
//!
//! **Credentials files are read by us.** The crate for it knows Docker's file and the host as its only key; ours has podman's
//! files, keys of namespaces, and errors that do not show the secret.
//!
//! **Plain HTTP and unchecked certificates only when asked for**, for `localhost` too, as skopeo has it.
//!
//! **A blob is sent in one PUT first**, which costs two requests; where a registry or a proxy before it refuses that, in a
//! PATCH, and then in pieces.
//!
//! **An image from elsewhere is opened as a layout** ([`Layout::read_only`](crate::layout::Layout::read_only)): an index in memory,
//! over any content store. An archive in a file is such a store, whose blobs are read where they lie; so is a repository.
//! No command that reads had to learn of either ([`ImageSource`](crate::layout::ImageSource)).
//!
//! **What a repository gives is kept in a layout of the user's cache**, while it is unpacked: that is what repack needs to
//! find its base, and what a second unpack reads. It is an ordinary layout, so that nothing new is needed to look into it
//! or to make room.
//!
//! **An image of a registry is edited in that layout**, where its documents, and layers if they are read, are fetched first,
//! and pushed from there: an edit knows layouts only. The index that it was in is pushed with it, since the images for other
//! platforms are in the repository; where they are not, a warning says so, and the edited one goes alone.
//!
//! **Plain layers of Docker's archives get gzip on their way** to layouts and registries, as skopeo has it; the diff IDs, and
//! with them the configuration, stay. Other layers are copied as they are unless `--recompress` says otherwise.
//!
//! **In an archive in place, names and configurations promise digests**, which are checked when a blob is read, as those in a
//! layout are. Only what nobody promises (a compressed layer of Jib's) is hashed beforehand.
//!
//! **A mirror that fails is passed over without a word**, whatever the failure; the error that is shown is that of the place
//! that the name stands for.
//!
//! # The layer store
//!
//! **Layers are unpacked without those below them**, keyed by the digest of their stream, several at a time, and shared by
//! every chain that has them. What this loses is looked up for each chain when it is first stacked
//! ([`store`](crate::store), `register/`): most layers say nothing of others, and cost nothing then.
//!
//! **Overlays, snapshots, archives and other systems' contracts are modules beside the store**, not in it: [`overlay`](crate::overlay)
//! below it reads a stack of directories without a mount; [`snapshots`](crate::snapshots), [`transfer`](crate::transfer) and
//! `compat` above it use its public face. The names of snapshots are rows of the store's own table
//! ([`store::names`](crate::store::names)), so that `gc` and `check` see what keeps a chain. The names of overlayfs
//! attributes stay in `fs`, because mounts are made with them and reading them is a file-system call.
//!
//! **With `--layers tar`, a layer is its tar file**, and a chain is one EROFS image of the merged tree that refers to such files as
//! extra devices (`store/erofs/`, `erofs/`). The tree is that of [`layer::view`](crate::layer::view), to which the flat unpack is
//! held too, so there are no whiteouts, patches and variants in it. To the rest of the store the image is one layer of its chain,
//! like a merged one, below a patch that has the root only: that overlay has two lower directories, so a view that is only read
//! needs no mount of another kind. An index beside each tar file has its entries, so that a further image does not read the
//! files again. What is not whole in a tar file (sparse files) is written out to a second file beside it.
//!
//! **An image is mounted once, in the store**, as long as a mount of the store needs it; two mounts would be two page caches. A lock
//! that is shared by those who are about to mount something on an image keeps it there. The kernel trusts what it finds in
//! an image: its digest is recorded, and the sizes of the files are looked at before each mount.
//!
//! **Where a chain in this form is in the way of something that needs directories**, a layer laid on it by a commit for one, the
//! directories are unpacked from the tar files. Images that EROFS or an overlay on it cannot show (names and values beyond its
//! limits, attributes of overlayfs) are unpacked into directories, and so are those with digests by SHA-512.
//!
//! **The invariant is flat equality**: the overlay of an image is its flat unpack, entry for entry, link counts of files
//! included. Where a patch of empty directories cannot bring that about, the layer is made once more *over the mounted
//! chain below*, by the very code of the flat unpack; so a variant is right by construction. Overlayfs breaks sets of hard
//! links when it copies one name up; where it has, the layer is applied once more to a view in which these sets have been
//! copied up as a whole. Which sets they are is seen afterwards: paths don't tell, because symbolic links lead elsewhere.
//!
//! **An opaque root** is nothing that the kernel would see in a lower directory; the layers below are left out instead.
//!
//! **Ids in attributes are mapped as owners are**: those of ACLs, and of the root that file capabilities are of. The kernel
//! does so in id-mapped mounts, so copies and the flat unpack do, and repack undoes it. umoci writes them as they are in
//! the image: an ACL then lets in users of the host, and a capability is the host's.
//!
//! **Devices 0:0 have no overlay.** Overlayfs has no escape for them, so the image is refused. Attributes of the image in
//! overlayfs's own namespace are stored escaped.
//!
//! **The blob of a layer that the store has is not read.** The diff ID says that the content is right, whatever the blob is;
//! its size is compared, and `--verify` reads it.
//!
//! **Programs are waited for within bounds** (`fs/program.rs`), and `fuse-overlayfs`, which costs a process and may hang, is
//! tried out only where the kernel mounts no overlays. The process that holds a namespace closes all of its descriptors.
//!
//! **Mounts are detached first** ([`fs::mount`](crate::fs::mount)): `fsopen`, layers by descriptor, `fsmount`, and only at the
//! end `move_mount` onto the directory. What fails leaves nothing mounted, no path is too long, and no character in it means
//! anything. `redirect_dir` is `nofollow`, not `off`: neither makes redirects, and with `off` the kernel refuses
//! `userxattr`, and elsewhere follows redirects that it finds.
//!
//! **Layers are opened one at a time**, given to the kernel and closed: hundreds of them need few descriptors. Where owners are
//! mapped, one id-mapped mount of the whole store shows all of its layers. Only `mount(2)` and fuse-overlayfs, which are
//! told all names at once, need all of them open.
//!
//! **Records are small files, each replaced whole.** Nothing is rewritten for the sake of another object. A chain's record has
//! all of its directories, so that a mount reads one file, whatever the number of layers.
//!
//! **Whoever relies on layers holds the store's lock shared; `gc` holds it alone**, for as long as its renames take. Layers
//! in the making are locked by the first digit of their names, in order: few descriptors, and no circle.
//!
//! **One `syncfs` an image**, between the last byte and the first name. `--no-sync` leaves it out.
//!
//! **The kernel's table says what is mounted**; records only say whose it is, and follow a bundle that is moved. A record of
//! another mount namespace counts as long as some process is in that namespace.
//!
//! **A bundle names its container in `overlay.json`**, beside `umoci.json`, which stays umoci's. A copy of a bundle's
//! directory is no second bundle: the container stays with the one that it was made for as long as that exists.
//!
//! **Repack compares the upper directory with the image of `umoci.json`**, not with what is mounted. So `--refresh-bundle`
//! needs no new mount: what was packed is in the image from then on, and equal.
//!
//! **Containers whose bundle is gone** go with `gc` if nothing was changed in them, and with `gc --abandoned` otherwise.
//!
//! **`gc` keeps what a root names, not only what it stacks.** A layer in the place of which there is a variant, or which was
//! merged with others, takes room as long as its image is there. Without it, nothing could be laid on that image, a commit
//! of a container for one, but from a blob that may be gone by then.
//!
//! **What was committed is a root.** `store commit` makes an image where it is told a layout. Otherwise it makes a committed
//! snapshot of the chain's own name, as containerd names them, and not an image: that would need the blobs of all layers.
//!
//! # The command
//!
//! **Completion is a hidden command of the program, with scripts of our own.** Tags and names in the store are only known
//! when they are asked for. `clap_complete`'s engine finds the candidates, but its script for bash does not join the words
//! that bash splits at the colon before a tag.
//!
//! **Hints come out of the description of the commands**, as completion and manual pages do, so a new command needs none
//! of them; tests walk the same description. A hint stands behind the error, whose text and exit code stay umoci's.
//!
//! **Documents of ours have a `schema_version`; lists, JSON Lines and umoci's documents have none.** The schemas in
//! `docs/json` list every member, so that the tests find what is printed and not described.
//!
//! **A descriptor for progress is closed for programs that are started**: `fuse-overlayfs`, which stays, would keep the
//! reader waiting for the end.
//!
//! **A test that cannot run fails, and `tests/all` counts it as left out**: it names itself and the reason in a file, which
//! the filter of the output reads. Nothing has to be skipped by name, and without `tests/all` a missing peer still fails.
//!
//! # Serving containerd
//!
//! **The server is the store's snapshots behind a socket** (`serve`, feature `serve`): records, chains and containers are those
//! of the command, so both work side by side, and what either brought the other does not unpack again. Message types are
//! written out with containerd's numbers, so that no compiler of protocols is needed to build.
//!
//! **A removed name takes its past along.** A commit writes two records; a death between them leaves the first, which counts
//! for nothing as long as the second is there. Whoever removes the second removes the first before it.
//!
//! # The systems that this one answers
//!
//! What each name of theirs is here. A test checks that the targets exist.
//!
//! ## overmount
//!
//! | theirs | here |
//! |---|---|
//! | package `overmount` | [`compat::repository`](crate::compat::repository) |
//! | `ErrParentNotMounted` | [`store::Reason::ParentNotCommitted`](crate::store::Reason::ParentNotCommitted) |
//! | `ErrMountFailed` | [`store::Reason::MountFailed`](crate::store::Reason::MountFailed) |
//! | `ErrUnmountFailed` | [`store::Reason::UnmountFailed`](crate::store::Reason::UnmountFailed) |
//! | `ErrMountCannotProceed` | [`store::Reason::MountPrecondition`](crate::store::Reason::MountPrecondition) |
//! | `ErrImageCannotBeComposed` | [`store::Reason::ImageCompose`](crate::store::Reason::ImageCompose) |
//! | `ErrInvalidAsset` | [`store::Reason::InvalidAsset`](crate::store::Reason::InvalidAsset) |
//! | `ErrInvalidLayer` | [`store::Reason::InvalidLayer`](crate::store::Reason::InvalidLayer) |
//! | `ErrLayerExists` | [`store::Reason::LayerExists`](crate::store::Reason::LayerExists) |
//! | `ErrMountExists` | [`store::Reason::MountExists`](crate::store::Reason::MountExists) |
//! | `ErrTagDoesNotExist` | [`store::Reason::TagNotFound`](crate::store::Reason::TagNotFound) |
//! | `Asset` | [`compat::asset::LayerContent`](crate::compat::asset::LayerContent) |
//! | `NewAsset` | [`compat::asset::DirAsset::new`](crate::compat::asset::DirAsset::new), [`compat::asset::TarAsset::new`](crate::compat::asset::TarAsset::new) |
//! | `Asset.Digest` | [`compat::asset::LayerContent::digest`](crate::compat::asset::LayerContent::digest) |
//! | `Asset.LoadDigest` | [`compat::asset::LayerContent::load_digest`](crate::compat::asset::LayerContent::load_digest) |
//! | `Asset.Path` | [`compat::asset::LayerContent::path`](crate::compat::asset::LayerContent::path) |
//! | `Asset.Unpack` | [`compat::asset::LayerContent::unpack`](crate::compat::asset::LayerContent::unpack) |
//! | `Asset.Pack` | [`compat::asset::LayerContent::pack`](crate::compat::asset::LayerContent::pack) |
//! | `Exporter`, `Export` | [`transfer::archive::Exporter`](crate::transfer::archive::Exporter) |
//! | `Importer`, `Import` | [`transfer::archive::Importer`](crate::transfer::archive::Importer) |
//! | `Image`, `Repository.NewImage` | [`compat::repository::Image`](crate::compat::repository::Image), [`compat::repository::Repository::new_image`](crate::compat::repository::Repository::new_image) |
//! | `Image.Mount` | [`compat::repository::Image::mount`](crate::compat::repository::Image::mount), [`compat::repository::Image::mount_read_only`](crate::compat::repository::Image::mount_read_only) |
//! | `Image.Unmount` | [`compat::repository::Image::unmount`](crate::compat::repository::Image::unmount) |
//! | `Image.Commit` | [`compat::repository::Image::commit`](crate::compat::repository::Image::commit) |
//! | `Layer`, `Layer.ID` | [`compat::repository::RepositoryLayer`](crate::compat::repository::RepositoryLayer), [`compat::repository::RepositoryLayer::id`](crate::compat::repository::RepositoryLayer::id) |
//! | `Layer.Config`, `Layer.SaveConfig` | [`compat::repository::Image::config`](crate::compat::repository::Image::config), [`compat::repository::RepositoryLayer::save_config`](crate::compat::repository::RepositoryLayer::save_config) |
//! | `Layer.Create` | [`compat::repository::Repository::create_layer`](crate::compat::repository::Repository::create_layer) |
//! | `Layer.Digest` | [`compat::repository::RepositoryLayer::digest`](crate::compat::repository::RepositoryLayer::digest) |
//! | `Layer.Exists` | [`compat::repository::RepositoryLayer::exists`](crate::compat::repository::RepositoryLayer::exists) |
//! | `Layer.LoadParent`, `Layer.SaveParent` | [`compat::repository::RepositoryLayer::load_parent`](crate::compat::repository::RepositoryLayer::load_parent), [`compat::repository::RepositoryLayer::save_parent`](crate::compat::repository::RepositoryLayer::save_parent) |
//! | `Layer.RestoreParent` | [`compat::repository::RepositoryLayer::restore_parent`](crate::compat::repository::RepositoryLayer::restore_parent) |
//! | `Layer.MountPath` | [`compat::repository::RepositoryMount::target`](crate::compat::repository::RepositoryMount::target) |
//! | `Layer.Pack` | [`compat::repository::RepositoryLayer::pack`](crate::compat::repository::RepositoryLayer::pack) |
//! | `Layer.Path` | [`compat::repository::RepositoryLayer::path`](crate::compat::repository::RepositoryLayer::path) |
//! | `Layer.Remove`, `Repository.RemoveLayer` | [`compat::repository::RepositoryLayer::remove`](crate::compat::repository::RepositoryLayer::remove), [`compat::repository::Repository::remove_layer`](crate::compat::repository::Repository::remove_layer) |
//! | `Layer.Unpack` | [`compat::repository::Repository::unpack_layer`](crate::compat::repository::Repository::unpack_layer) |
//! | `Mount`, `Repository.NewMount` | [`compat::repository::RepositoryMount`](crate::compat::repository::RepositoryMount), [`compat::repository::RepositoryMount::new`](crate::compat::repository::RepositoryMount::new) |
//! | `Mount.Open` | [`compat::repository::RepositoryMount::open`](crate::compat::repository::RepositoryMount::open) |
//! | `Mount.Close`, `Repository.RemoveMount` | [`compat::repository::RepositoryMount::close`](crate::compat::repository::RepositoryMount::close), [`compat::repository::RepositoryMount::detach`](crate::compat::repository::RepositoryMount::detach) |
//! | `Mount.Mounted` | [`compat::repository::RepositoryMount::mounted`](crate::compat::repository::RepositoryMount::mounted) |
//! | `Mount.Equals` | [`compat::repository::RepositoryMount`](crate::compat::repository::RepositoryMount) |
//! | `Repository`, `NewRepository` | [`compat::repository::Repository`](crate::compat::repository::Repository), [`compat::repository::Repository::new`](crate::compat::repository::Repository::new) |
//! | `Repository.IsVirtual` | [`transfer::archive::Importer`](crate::transfer::archive::Importer) |
//! | `Repository.AddLayer`, `Repository.CreateLayerFromAsset` | [`compat::repository::Repository::add_layer`](crate::compat::repository::Repository::add_layer), [`compat::repository::Repository::create_layer_from_asset`](crate::compat::repository::Repository::create_layer_from_asset) |
//! | `Repository.AddMount` | [`store::Store::mounts`](crate::store::Store::mounts) |
//! | `Repository.CreateLayer` | [`compat::repository::Repository::create_layer`](crate::compat::repository::Repository::create_layer) |
//! | `Repository.Export` | [`compat::repository::Repository::export`](crate::compat::repository::Repository::export) |
//! | `Repository.Import` | [`compat::repository::Repository::import`](crate::compat::repository::Repository::import) |
//! | `Repository.NewLayer` | [`compat::repository::Repository::layer`](crate::compat::repository::Repository::layer) |
//! | `Repository.TempDir` | [`compat::repository::Repository::temp_dir`](crate::compat::repository::Repository::temp_dir) |
//! | `AddTag`, `GetTag`, `RemoveTag` | [`store::Store::tag`](crate::store::Store::tag), [`store::Store::image`](crate::store::Store::image), [`store::Store::untag`](crate::store::Store::untag) |
//! | config converter | [`transfer::archive::DockerArchive`](crate::transfer::archive::DockerArchive) |
//!
//! ## The overlay graph driver
//!
//! | theirs | here |
//! |---|---|
//! | `Init` | [`compat::driver::OverlayDriver::open`](crate::compat::driver::OverlayDriver::open) |
//! | `SupportsNativeOverlay` | [`compat::driver::OverlayDriver::supports_native`](crate::compat::driver::OverlayDriver::supports_native) |
//! | `Driver` | [`compat::driver::Driver`](crate::compat::driver::Driver), [`compat::driver::OverlayDriver`](crate::compat::driver::OverlayDriver) |
//! | `AdditionalImageStores` | [`store::Store::additional_stores`](crate::store::Store::additional_stores) |
//! | `ApplyDiff` | [`compat::driver::DiffDriver::apply`](crate::compat::driver::DiffDriver::apply) |
//! | `ApplyDiffWithDiffer` | [`compat::driver::StagedApply::stage`](crate::compat::driver::StagedApply::stage) |
//! | `ApplyDiffFromStagingDirectory` | [`compat::driver::StagedApply::commit_staged`](crate::compat::driver::StagedApply::commit_staged) |
//! | `CleanupStagingDirectory` | [`compat::driver::StagedApply::abort`](crate::compat::driver::StagedApply::abort) |
//! | `DifferTarget` | [`compat::driver::StagedLayer::dir`](crate::compat::driver::StagedLayer::dir) |
//! | `DriverWithDifferOutput` | [`compat::driver::DifferOutput`](crate::compat::driver::DifferOutput) |
//! | `Differ` | [`compat::driver::Differ`](crate::compat::driver::Differ) |
//! | `ApplyDiffOpts` | [`store::UnpackLimits`](crate::store::UnpackLimits) |
//! | `Changes`, `Change` | [`compat::driver::DiffDriver::changes`](crate::compat::driver::DiffDriver::changes), [`fs::Change`](crate::fs::Change) |
//! | `Cleanup` | [`compat::driver::Driver::cleanup`](crate::compat::driver::Driver::cleanup) |
//! | `Create`, `CreateOpts` | [`compat::driver::Driver::create`](crate::compat::driver::Driver::create), [`compat::driver::CreateOptions`](crate::compat::driver::CreateOptions) |
//! | `CreateReadWrite` | [`compat::driver::Driver::create_read_write`](crate::compat::driver::Driver::create_read_write) |
//! | `CreateFromTemplate` | [`compat::driver::Driver::create_from_template`](crate::compat::driver::Driver::create_from_template) |
//! | `Diff` | [`compat::driver::DiffDriver::diff`](crate::compat::driver::DiffDriver::diff) |
//! | `DiffSize` | [`compat::driver::DiffDriver::diff_size`](crate::compat::driver::DiffDriver::diff_size) |
//! | `DiffGetter`, `FileGetCloser` | [`compat::driver::OverlayDriver::files`](crate::compat::driver::OverlayDriver::files), [`compat::driver::FileSource`](crate::compat::driver::FileSource) |
//! | `Exists` | [`compat::driver::Driver::exists`](crate::compat::driver::Driver::exists) |
//! | `Get`, `MountOpts` | [`compat::driver::Driver::get`](crate::compat::driver::Driver::get), [`compat::driver::GetOptions`](crate::compat::driver::GetOptions) |
//! | `Put` | [`compat::driver::Driver::put`](crate::compat::driver::Driver::put) |
//! | `LookupAdditionalLayer` | [`compat::driver::AdditionalLayers::lookup`](crate::compat::driver::AdditionalLayers::lookup) |
//! | `LookupAdditionalLayerByID` | [`compat::driver::AdditionalLayers::lookup_by_key`](crate::compat::driver::AdditionalLayers::lookup_by_key) |
//! | `AdditionalLayer` | [`compat::driver::AdditionalLayer`](crate::compat::driver::AdditionalLayer) |
//! | `Metadata` | [`compat::driver::Driver::metadata`](crate::compat::driver::Driver::metadata) |
//! | `ReadWriteDiskUsage`, `DiskUsage` | [`compat::driver::Driver::usage`](crate::compat::driver::Driver::usage), [`fs::usage::Usage`](crate::fs::usage::Usage) |
//! | `Remove`, `DeferredRemove`, `GetTempDirRootDirs` | [`compat::driver::Driver::remove`](crate::compat::driver::Driver::remove) |
//! | `Status` | [`compat::driver::Driver::status`](crate::compat::driver::Driver::status) |
//! | `String` | [`compat::driver::Driver::name`](crate::compat::driver::Driver::name) |
//! | `SupportsShifting` | [`compat::driver::IdMapUpdater::supports_shifting`](crate::compat::driver::IdMapUpdater::supports_shifting) |
//! | `UpdateLayerIDMap` | [`compat::driver::IdMapUpdater::remap`](crate::compat::driver::IdMapUpdater::remap) |
//! | `ErrNotSupported` | [`store::Reason::NotSupported`](crate::store::Reason::NotSupported) |
//! | `ErrIncompatibleFS` | [`store::Reason::IncompatibleFs`](crate::store::Reason::IncompatibleFs) |
//! | `ErrPrerequisites` | [`store::Reason::Prerequisites`](crate::store::Reason::Prerequisites) |
//! | `ErrLayerUnknown` | [`store::Reason::LayerUnknown`](crate::store::Reason::LayerUnknown) |
//! | `IDMappings` | [`fs::MapOptions`](crate::fs::MapOptions) |
//! | `ListLayers` | [`compat::driver::Driver::list`](crate::compat::driver::Driver::list) |
//! | `Dedup` | [`store::Store::dedup`](crate::store::Store::dedup) |
//! | `NewNaiveDiffDriver` | [`compat::driver::NaiveDiff`](crate::compat::driver::NaiveDiff) |
//! | `ReproducesExactDiffs` | [`compat::driver::Driver::info`](crate::compat::driver::Driver::info) |
//! | quotas | [`fs::quota::set`](crate::fs::quota::set) |
//!
//! ## containerd's rootfs
//!
//! | theirs | here |
//! |---|---|
//! | `ApplyLayer` | [`snapshots::apply_layer`](crate::snapshots::apply_layer) |
//! | `ApplyLayers` | [`snapshots::apply_layers`](crate::snapshots::apply_layers) |
//! | `Diff`, `CreateDiff` | [`snapshots::create_diff`](crate::snapshots::create_diff) |
//! | `InitRootFS` | [`snapshots::init_rootfs`](crate::snapshots::init_rootfs) |
//! | `Applier` | [`snapshots::Applier`](crate::snapshots::Applier) |
//! | `Layer` | [`snapshots::LayerDesc`](crate::snapshots::LayerDesc) |
//! | `MountDiffer` | [`snapshots::MountDiffer`](crate::snapshots::MountDiffer) |
//! | `Mounter` | [`snapshots::Mounter`](crate::snapshots::Mounter) |
//! | `Snapshotter` | [`snapshots::Snapshotter`](crate::snapshots::Snapshotter), [`snapshots::StoreSnapshots`](crate::snapshots::StoreSnapshots) |
//! | chain IDs | [`image::ChainId::of`](crate::image::ChainId::of) |
//!
//! ## guardian's rootfs
//!
//! | theirs | here |
//! |---|---|
//! | package `rootfs` | [`compat::rootfs`](crate::compat::rootfs) |
//! | `ErrorId`, `ImplErrorId` | [`compat::rootfs::RootfsReason`](crate::compat::rootfs::RootfsReason) |
//! | `ErrCreateTempDir` | [`compat::rootfs::RootfsReason::CreateTempDir`](crate::compat::rootfs::RootfsReason::CreateTempDir) |
//! | `ErrCreateMountDir` | [`compat::rootfs::RootfsReason::CreateMountDir`](crate::compat::rootfs::RootfsReason::CreateMountDir) |
//! | `ErrBindMountRoot` | [`compat::rootfs::RootfsReason::MountRoot`](crate::compat::rootfs::RootfsReason::MountRoot) |
//! | `ErrBindMountSubdir` | [`compat::rootfs::RootfsReason::MountSubdir`](crate::compat::rootfs::RootfsReason::MountSubdir) |
//! | `ErrRootSubdirMissing` | [`compat::rootfs::RootfsReason::SubdirMissing`](crate::compat::rootfs::RootfsReason::SubdirMissing) |
//! | `ErrUnmountSubdir` | [`compat::rootfs::RootfsReason::UnmountSubdir`](crate::compat::rootfs::RootfsReason::UnmountSubdir) |
//! | `ErrOverlayTempDir` | [`compat::rootfs::RootfsReason::OverlayTempDir`](crate::compat::rootfs::RootfsReason::OverlayTempDir) |
//! | `ErrOverlayDir` | [`compat::rootfs::RootfsReason::OverlayDir`](crate::compat::rootfs::RootfsReason::OverlayDir) |
//! | `ErrRemoveMountDir` | [`compat::rootfs::RootfsReason::RemoveMountDir`](crate::compat::rootfs::RootfsReason::RemoveMountDir) |
//! | `ErrUnmountRoot` | [`compat::rootfs::RootfsReason::UnmountRoot`](crate::compat::rootfs::RootfsReason::UnmountRoot) |
//! | `ErrNilSyscallFS` | [`compat::rootfs::RootfsReason::NeedPrivilege`](crate::compat::rootfs::RootfsReason::NeedPrivilege) |
//! | `ErrRwBaseDirMissing` | [`compat::rootfs::RootfsReason::RwBaseMissing`](crate::compat::rootfs::RootfsReason::RwBaseMissing) |
//! | `ErrRwBaseDirIsFile` | [`compat::rootfs::RootfsReason::RwBaseNotDir`](crate::compat::rootfs::RootfsReason::RwBaseNotDir) |
//! | `ErrRwBaseDirNotRw` | [`compat::rootfs::RootfsReason::RwBaseNotRw`](crate::compat::rootfs::RootfsReason::RwBaseNotRw) |
//! | `RootFS` | [`compat::rootfs::RootfsGenerator`](crate::compat::rootfs::RootfsGenerator) |
//! | `RootFS.Generate` | [`compat::rootfs::RootfsGenerator::generate`](crate::compat::rootfs::RootfsGenerator::generate) |
//! | `RootFS.Remove` | [`compat::rootfs::RootfsGenerator::remove`](crate::compat::rootfs::RootfsGenerator::remove) |
//! | `NewRootFS` | [`compat::rootfs::Generator::new`](crate::compat::rootfs::Generator::new) |
