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
//! **Gzip has a member for each 512 KiB of content**, made by libdeflate, which needs half the time of a deflate that can
//! be joined into one member. Umoci, skopeo, buildah, tar and bsdtar read them all (a test shows it), as all do that
//! take eStargz layers, which are made alike; small layers have one. The bytes depend neither on the number of threads
//! nor on how the input is cut.
//!
//! **Without a level, gzip tries as hard as the content deserves**: samples of each block tell what is stored, what gets
//! level 1, and what, with many repetitions, level 3. That keeps layers within about 3 percent of umoci's sizes. One
//! level for all that does so takes a third longer.
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
//!
//! **One file takes the layers that settle it, from the top down**
//! ([`UpperLayers`](crate::layer::view::UpperLayers)). Entries are read downwards and merged upwards by the same code. A
//! view of upper layers holds whatever is below, as long as no entry in it led through a name that is not there; so there
//! is no second meaning of whiteouts and links, only a question when to stop. Layers that leave directories out of their
//! archive, as repack's do, are seldom enough by themselves: a lower layer may have a link in that place.
//!
//! # The layer store
//!
//! **Layers are unpacked without those below them**, keyed by the digest of their stream, several at a time, and shared by
//! every chain that has them. What this loses is looked up for each chain when it is first stacked
//! ([`store`](crate::store), `register/`): most layers say nothing of others, and cost nothing then.
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
//! # The systems that this one answers
//!
//! What each name of theirs is here. A test checks that the targets exist.
//!
//! ## overmount
//!
//! | theirs | here |
//! |---|---|
//! | package `overmount` | [`store::repository`](crate::store::repository) |
//! | `ErrParentNotMounted` | [`store::Reason::ParentNotMounted`](crate::store::Reason::ParentNotMounted) |
//! | `ErrMountFailed` | [`store::Reason::MountFailed`](crate::store::Reason::MountFailed) |
//! | `ErrUnmountFailed` | [`store::Reason::UnmountFailed`](crate::store::Reason::UnmountFailed) |
//! | `ErrMountCannotProceed` | [`store::Reason::MountPrecondition`](crate::store::Reason::MountPrecondition) |
//! | `ErrImageCannotBeComposed` | [`store::Reason::ImageCompose`](crate::store::Reason::ImageCompose) |
//! | `ErrInvalidAsset` | [`store::Reason::InvalidAsset`](crate::store::Reason::InvalidAsset) |
//! | `ErrInvalidLayer` | [`store::Reason::InvalidLayer`](crate::store::Reason::InvalidLayer) |
//! | `ErrLayerExists` | [`store::Reason::LayerExists`](crate::store::Reason::LayerExists) |
//! | `ErrMountExists` | [`store::Reason::MountExists`](crate::store::Reason::MountExists) |
//! | `ErrTagDoesNotExist` | [`store::Reason::TagNotFound`](crate::store::Reason::TagNotFound) |
//! | `Asset` | [`store::asset::LayerContent`](crate::store::asset::LayerContent) |
//! | `NewAsset` | [`store::asset::DirAsset::new`](crate::store::asset::DirAsset::new), [`store::asset::TarAsset::new`](crate::store::asset::TarAsset::new) |
//! | `Asset.Digest` | [`store::asset::LayerContent::digest`](crate::store::asset::LayerContent::digest) |
//! | `Asset.LoadDigest` | [`store::asset::LayerContent::load_digest`](crate::store::asset::LayerContent::load_digest) |
//! | `Asset.Path` | [`store::asset::LayerContent::path`](crate::store::asset::LayerContent::path) |
//! | `Asset.Unpack` | [`store::asset::LayerContent::unpack`](crate::store::asset::LayerContent::unpack) |
//! | `Asset.Pack` | [`store::asset::LayerContent::pack`](crate::store::asset::LayerContent::pack) |
//! | `Exporter`, `Export` | [`store::archive::Exporter`](crate::store::archive::Exporter) |
//! | `Importer`, `Import` | [`store::archive::Importer`](crate::store::archive::Importer) |
//! | `Image`, `Repository.NewImage` | [`store::repository::Image`](crate::store::repository::Image), [`store::repository::Repository::new_image`](crate::store::repository::Repository::new_image) |
//! | `Image.Mount` | [`store::repository::Image::mount`](crate::store::repository::Image::mount), [`store::repository::Image::mount_read_only`](crate::store::repository::Image::mount_read_only) |
//! | `Image.Unmount` | [`store::repository::Image::unmount`](crate::store::repository::Image::unmount) |
//! | `Image.Commit` | [`store::repository::Image::commit`](crate::store::repository::Image::commit) |
//! | `Layer`, `Layer.ID` | [`store::repository::RepositoryLayer`](crate::store::repository::RepositoryLayer), [`store::repository::RepositoryLayer::id`](crate::store::repository::RepositoryLayer::id) |
//! | `Layer.Config`, `Layer.SaveConfig` | [`store::repository::Image::config`](crate::store::repository::Image::config), [`store::repository::RepositoryLayer::save_config`](crate::store::repository::RepositoryLayer::save_config) |
//! | `Layer.Create` | [`store::repository::Repository::create_layer`](crate::store::repository::Repository::create_layer) |
//! | `Layer.Digest` | [`store::repository::RepositoryLayer::digest`](crate::store::repository::RepositoryLayer::digest) |
//! | `Layer.Exists` | [`store::repository::RepositoryLayer::exists`](crate::store::repository::RepositoryLayer::exists) |
//! | `Layer.LoadParent`, `Layer.SaveParent` | [`store::repository::RepositoryLayer::load_parent`](crate::store::repository::RepositoryLayer::load_parent), [`store::repository::RepositoryLayer::save_parent`](crate::store::repository::RepositoryLayer::save_parent) |
//! | `Layer.RestoreParent` | [`store::repository::RepositoryLayer::restore_parent`](crate::store::repository::RepositoryLayer::restore_parent) |
//! | `Layer.MountPath` | [`store::repository::RepositoryMount::target`](crate::store::repository::RepositoryMount::target) |
//! | `Layer.Pack` | [`store::repository::RepositoryLayer::pack`](crate::store::repository::RepositoryLayer::pack) |
//! | `Layer.Path` | [`store::repository::RepositoryLayer::path`](crate::store::repository::RepositoryLayer::path) |
//! | `Layer.Remove`, `Repository.RemoveLayer` | [`store::repository::RepositoryLayer::remove`](crate::store::repository::RepositoryLayer::remove), [`store::repository::Repository::remove_layer`](crate::store::repository::Repository::remove_layer) |
//! | `Layer.Unpack` | [`store::repository::Repository::unpack_layer`](crate::store::repository::Repository::unpack_layer) |
//! | `Mount`, `Repository.NewMount` | [`store::repository::RepositoryMount`](crate::store::repository::RepositoryMount), [`store::repository::RepositoryMount::new`](crate::store::repository::RepositoryMount::new) |
//! | `Mount.Open` | [`store::repository::RepositoryMount::open`](crate::store::repository::RepositoryMount::open) |
//! | `Mount.Close`, `Repository.RemoveMount` | [`store::repository::RepositoryMount::close`](crate::store::repository::RepositoryMount::close), [`store::repository::RepositoryMount::detach`](crate::store::repository::RepositoryMount::detach) |
//! | `Mount.Mounted` | [`store::repository::RepositoryMount::mounted`](crate::store::repository::RepositoryMount::mounted) |
//! | `Mount.Equals` | [`store::repository::RepositoryMount`](crate::store::repository::RepositoryMount) |
//! | `Repository`, `NewRepository` | [`store::repository::Repository`](crate::store::repository::Repository), [`store::repository::Repository::new`](crate::store::repository::Repository::new) |
//! | `Repository.IsVirtual` | [`store::archive::Importer`](crate::store::archive::Importer) |
//! | `Repository.AddLayer`, `Repository.CreateLayerFromAsset` | [`store::repository::Repository::add_layer`](crate::store::repository::Repository::add_layer), [`store::repository::Repository::create_layer_from_asset`](crate::store::repository::Repository::create_layer_from_asset) |
//! | `Repository.AddMount` | [`store::Store::mounts`](crate::store::Store::mounts) |
//! | `Repository.CreateLayer` | [`store::repository::Repository::create_layer`](crate::store::repository::Repository::create_layer) |
//! | `Repository.Export` | [`store::repository::Repository::export`](crate::store::repository::Repository::export) |
//! | `Repository.Import` | [`store::repository::Repository::import`](crate::store::repository::Repository::import) |
//! | `Repository.NewLayer` | [`store::repository::Repository::layer`](crate::store::repository::Repository::layer) |
//! | `Repository.TempDir` | [`store::repository::Repository::temp_dir`](crate::store::repository::Repository::temp_dir) |
//! | `AddTag`, `GetTag`, `RemoveTag` | [`store::Store::tag`](crate::store::Store::tag), [`store::Store::image`](crate::store::Store::image), [`store::Store::untag`](crate::store::Store::untag) |
//! | config converter | [`store::archive::DockerArchive`](crate::store::archive::DockerArchive) |
//!
//! ## The overlay graph driver
//!
//! | theirs | here |
//! |---|---|
//! | `Init` | [`store::driver::OverlayDriver::open`](crate::store::driver::OverlayDriver::open) |
//! | `SupportsNativeOverlay` | [`store::driver::OverlayDriver::supports_native`](crate::store::driver::OverlayDriver::supports_native) |
//! | `Driver` | [`store::driver::Driver`](crate::store::driver::Driver), [`store::driver::OverlayDriver`](crate::store::driver::OverlayDriver) |
//! | `AdditionalImageStores` | [`store::Store::additional_stores`](crate::store::Store::additional_stores) |
//! | `ApplyDiff` | [`store::driver::DiffDriver::apply`](crate::store::driver::DiffDriver::apply) |
//! | `ApplyDiffWithDiffer` | [`store::driver::StagedApply::stage`](crate::store::driver::StagedApply::stage) |
//! | `ApplyDiffFromStagingDirectory` | [`store::driver::StagedApply::commit_staged`](crate::store::driver::StagedApply::commit_staged) |
//! | `CleanupStagingDirectory` | [`store::driver::StagedApply::abort`](crate::store::driver::StagedApply::abort) |
//! | `DifferTarget` | [`store::driver::StagedLayer::dir`](crate::store::driver::StagedLayer::dir) |
//! | `DriverWithDifferOutput` | [`store::driver::DifferOutput`](crate::store::driver::DifferOutput) |
//! | `Differ` | [`store::driver::Differ`](crate::store::driver::Differ) |
//! | `ApplyDiffOpts` | [`store::UnpackLimits`](crate::store::UnpackLimits) |
//! | `Changes`, `Change` | [`store::driver::DiffDriver::changes`](crate::store::driver::DiffDriver::changes), [`fs::Change`](crate::fs::Change) |
//! | `Cleanup` | [`store::driver::Driver::cleanup`](crate::store::driver::Driver::cleanup) |
//! | `Create`, `CreateOpts` | [`store::driver::Driver::create`](crate::store::driver::Driver::create), [`store::driver::CreateOptions`](crate::store::driver::CreateOptions) |
//! | `CreateReadWrite` | [`store::driver::Driver::create_read_write`](crate::store::driver::Driver::create_read_write) |
//! | `CreateFromTemplate` | [`store::driver::Driver::create_from_template`](crate::store::driver::Driver::create_from_template) |
//! | `Diff` | [`store::driver::DiffDriver::diff`](crate::store::driver::DiffDriver::diff) |
//! | `DiffSize` | [`store::driver::DiffDriver::diff_size`](crate::store::driver::DiffDriver::diff_size) |
//! | `DiffGetter`, `FileGetCloser` | [`store::driver::OverlayDriver::files`](crate::store::driver::OverlayDriver::files), [`store::driver::FileSource`](crate::store::driver::FileSource) |
//! | `Exists` | [`store::driver::Driver::exists`](crate::store::driver::Driver::exists) |
//! | `Get`, `MountOpts` | [`store::driver::Driver::get`](crate::store::driver::Driver::get), [`store::driver::GetOptions`](crate::store::driver::GetOptions) |
//! | `Put` | [`store::driver::Driver::put`](crate::store::driver::Driver::put) |
//! | `LookupAdditionalLayer` | [`store::driver::AdditionalLayers::lookup`](crate::store::driver::AdditionalLayers::lookup) |
//! | `LookupAdditionalLayerByID` | [`store::driver::AdditionalLayers::lookup_by_key`](crate::store::driver::AdditionalLayers::lookup_by_key) |
//! | `AdditionalLayer` | [`store::driver::AdditionalLayer`](crate::store::driver::AdditionalLayer) |
//! | `Metadata` | [`store::driver::Driver::metadata`](crate::store::driver::Driver::metadata) |
//! | `ReadWriteDiskUsage`, `DiskUsage` | [`store::driver::Driver::usage`](crate::store::driver::Driver::usage), [`fs::usage::Usage`](crate::fs::usage::Usage) |
//! | `Remove`, `DeferredRemove`, `GetTempDirRootDirs` | [`store::driver::Driver::remove`](crate::store::driver::Driver::remove) |
//! | `Status` | [`store::driver::Driver::status`](crate::store::driver::Driver::status) |
//! | `String` | [`store::driver::Driver::name`](crate::store::driver::Driver::name) |
//! | `SupportsShifting` | [`store::driver::IdMapUpdater::supports_shifting`](crate::store::driver::IdMapUpdater::supports_shifting) |
//! | `UpdateLayerIDMap` | [`store::driver::IdMapUpdater::remap`](crate::store::driver::IdMapUpdater::remap) |
//! | `ErrNotSupported` | [`store::Reason::NotSupported`](crate::store::Reason::NotSupported) |
//! | `ErrIncompatibleFS` | [`store::Reason::IncompatibleFs`](crate::store::Reason::IncompatibleFs) |
//! | `ErrPrerequisites` | [`store::Reason::Prerequisites`](crate::store::Reason::Prerequisites) |
//! | `ErrLayerUnknown` | [`store::Reason::LayerUnknown`](crate::store::Reason::LayerUnknown) |
//! | `IDMappings` | [`fs::MapOptions`](crate::fs::MapOptions) |
//! | `ListLayers` | [`store::driver::Driver::list`](crate::store::driver::Driver::list) |
//! | `Dedup` | [`store::Store::dedup`](crate::store::Store::dedup) |
//! | `NewNaiveDiffDriver` | [`store::driver::NaiveDiff`](crate::store::driver::NaiveDiff) |
//! | `ReproducesExactDiffs` | [`store::driver::Driver::info`](crate::store::driver::Driver::info) |
//! | quotas | [`fs::quota::set`](crate::fs::quota::set) |
//!
//! ## containerd's rootfs
//!
//! | theirs | here |
//! |---|---|
//! | `ApplyLayer` | [`store::snapshot::apply_layer`](crate::store::snapshot::apply_layer) |
//! | `ApplyLayers` | [`store::snapshot::apply_layers`](crate::store::snapshot::apply_layers) |
//! | `Diff`, `CreateDiff` | [`store::snapshot::create_diff`](crate::store::snapshot::create_diff) |
//! | `InitRootFS` | [`store::snapshot::init_rootfs`](crate::store::snapshot::init_rootfs) |
//! | `Applier` | [`store::snapshot::Applier`](crate::store::snapshot::Applier) |
//! | `Layer` | [`store::snapshot::LayerDesc`](crate::store::snapshot::LayerDesc) |
//! | `MountDiffer` | [`store::snapshot::MountDiffer`](crate::store::snapshot::MountDiffer) |
//! | `Mounter` | [`store::snapshot::Mounter`](crate::store::snapshot::Mounter) |
//! | `Snapshotter` | [`store::snapshot::Snapshotter`](crate::store::snapshot::Snapshotter), [`store::snapshot::StoreSnapshots`](crate::store::snapshot::StoreSnapshots) |
//! | chain IDs | [`image::ChainId::of`](crate::image::ChainId::of) |
//!
//! ## guardian's rootfs
//!
//! | theirs | here |
//! |---|---|
//! | package `rootfs` | [`store::rootfs`](crate::store::rootfs) |
//! | `ErrorId`, `ImplErrorId` | [`store::rootfs::RootfsReason`](crate::store::rootfs::RootfsReason) |
//! | `ErrCreateTempDir` | [`store::rootfs::RootfsReason::CreateTempDir`](crate::store::rootfs::RootfsReason::CreateTempDir) |
//! | `ErrCreateMountDir` | [`store::rootfs::RootfsReason::CreateMountDir`](crate::store::rootfs::RootfsReason::CreateMountDir) |
//! | `ErrBindMountRoot` | [`store::rootfs::RootfsReason::MountRoot`](crate::store::rootfs::RootfsReason::MountRoot) |
//! | `ErrBindMountSubdir` | [`store::rootfs::RootfsReason::MountSubdir`](crate::store::rootfs::RootfsReason::MountSubdir) |
//! | `ErrRootSubdirMissing` | [`store::rootfs::RootfsReason::SubdirMissing`](crate::store::rootfs::RootfsReason::SubdirMissing) |
//! | `ErrUnmountSubdir` | [`store::rootfs::RootfsReason::UnmountSubdir`](crate::store::rootfs::RootfsReason::UnmountSubdir) |
//! | `ErrOverlayTempDir` | [`store::rootfs::RootfsReason::OverlayTempDir`](crate::store::rootfs::RootfsReason::OverlayTempDir) |
//! | `ErrOverlayDir` | [`store::rootfs::RootfsReason::OverlayDir`](crate::store::rootfs::RootfsReason::OverlayDir) |
//! | `ErrRemoveMountDir` | [`store::rootfs::RootfsReason::RemoveMountDir`](crate::store::rootfs::RootfsReason::RemoveMountDir) |
//! | `ErrUnmountRoot` | [`store::rootfs::RootfsReason::UnmountRoot`](crate::store::rootfs::RootfsReason::UnmountRoot) |
//! | `ErrNilSyscallFS` | [`store::rootfs::RootfsReason::NeedPrivilege`](crate::store::rootfs::RootfsReason::NeedPrivilege) |
//! | `ErrRwBaseDirMissing` | [`store::rootfs::RootfsReason::RwBaseMissing`](crate::store::rootfs::RootfsReason::RwBaseMissing) |
//! | `ErrRwBaseDirIsFile` | [`store::rootfs::RootfsReason::RwBaseNotDir`](crate::store::rootfs::RootfsReason::RwBaseNotDir) |
//! | `ErrRwBaseDirNotRw` | [`store::rootfs::RootfsReason::RwBaseNotRw`](crate::store::rootfs::RootfsReason::RwBaseNotRw) |
//! | `RootFS` | [`store::rootfs::RootfsGenerator`](crate::store::rootfs::RootfsGenerator) |
//! | `RootFS.Generate` | [`store::rootfs::RootfsGenerator::generate`](crate::store::rootfs::RootfsGenerator::generate) |
//! | `RootFS.Remove` | [`store::rootfs::RootfsGenerator::remove`](crate::store::rootfs::RootfsGenerator::remove) |
//! | `NewRootFS` | [`store::rootfs::Generator::new`](crate::store::rootfs::Generator::new) |
