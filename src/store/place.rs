//! A store on disk: opened or made, its locks, its directories.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::form::LayersOption;
use super::id::LayerId;
use super::json;
use super::reason::Reason;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::fs::lock::{LockFile, LockMode};
use crate::fs::mount::MountMethod;
use crate::fs::names::absolute;
use crate::fs::staging::{MadeDirs, Staging};
use crate::fs::{Access, Dir, XattrNamespace, atomic, failpoint, probe};

/// The form of the store that this library writes.
const VERSION: u32 = 1;

/// The file that makes a directory a store; it is written last.
const CONFIG: &str = "store.json";

/// The file whose lock says that the store is in use: shared by whoever relies on layers, exclusive for whoever takes
/// layers away.
const LOCK: &[u8] = b"lock";

/// The lock, among those of `locks/`, that whoever comes to the store passes. Who waits to have the store alone holds it,
/// so that the store gets empty at some time however many come.
const GATE: &[u8] = b"gate";

/// The lock, among those of `locks/`, of those who are about to mount something on an EROFS image.
pub(crate) const IMAGES: &[u8] = b"images";

/// How long the gate is kept shut before those who wait there are let in again: somebody may be in the store for hours.
const SHUT: Duration = Duration::from_secs(1);

/// The directories of a store.
const DIRECTORIES: [&str; 11] = [
    "active", "blobs", "chains", "images", "layers", "locks", "mounts", "names", "patches",
    "staging", "trash",
];

/// When content is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before the names of an image's layers appear, once for all of them.
    #[default]
    Image,
    /// Whenever the kernel likes: after a power cut, layers may be incomplete (`check` finds that).
    None,
}

/// How long to wait for somebody who makes the same store.
const MAKING: Duration = Duration::from_secs(60);

/// How a store is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Its directory.
    pub path: PathBuf,
    /// Whether it is made if it does not exist.
    pub create: bool,
    /// Stores whose layers are used and which are never written to, in the order in which they are asked.
    pub additional: Vec<PathBuf>,
    /// When content is on disk.
    pub sync: SyncPolicy,
    /// The one way to mount, for tests; `None` takes the best that the kernel has.
    pub mount_method: Option<MountMethod>,
    /// Whether id-mapped mounts are used where the kernel has them; layers are copied with changed owners otherwise.
    pub id_mapped_mounts: bool,
    /// How long to wait for others.
    pub lock_timeout: Duration,
    /// How many layers are unpacked at once.
    pub jobs: usize,
    /// In which form new images are kept.
    pub layers: LayersOption,
}

impl StoreOptions {
    /// A store at this path, made if it does not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            path: path.into(),
            create: true,
            additional: Vec::new(),
            sync: SyncPolicy::default(),
            mount_method: None,
            id_mapped_mounts: true,
            lock_timeout: Duration::from_secs(600),
            jobs: cores.min(8),
            layers: LayersOption::default(),
        }
    }
}

/// What `store.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    version: u32,
    /// `trusted` or `user`.
    marks: String,
}

/// A layer store: layers unpacked once, chains of them, containers on top, and the records of what is mounted.
#[derive(Debug)]
pub struct Store {
    dir: Dir,
    path: PathBuf,
    marks: XattrNamespace,
    additional: Vec<Self>,
    options: StoreOptions,
    /// The lock that all leases of this object share.
    leased: Mutex<Weak<LockFile>>,
}

/// Keeps everything in a store from being taken away, by `gc` or whoever else, for as long as it lives.
#[derive(Clone, Debug)]
#[must_use = "what is in the store may go as soon as this is dropped"]
pub struct Lease(#[expect(dead_code, reason = "it is held")] Arc<LockFile>);

impl Store {
    /// Opens a store, or makes one.
    ///
    /// Whatever killed processes have left in the making is removed on the way.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it does not exist and is not to be made; [`Reason::NotAStore`] if the directory has
    /// other things in it or is of another version; [`Reason::NamespaceMismatch`] if it was made with the other kind of
    /// privilege; [`Reason::IncompatibleFs`] if the file system cannot hold layers.
    pub fn open(options: StoreOptions) -> Result<Self> {
        let path =
            absolute(&options.path).context(|| format!("open store {}", options.path.display()))?;
        let marks = marks_of_process();
        let dir = open_or_make(&path, options.create, marks)
            .map_err(|error| match error.kind() {
                ErrorKind::PermissionDenied => {
                    error.with_hint("a store is for the user who made it; --store names another")
                }
                _ => error,
            })
            .context(|| format!("open store {}", path.display()))?;
        let mut additional = Vec::new();
        for path in &options.additional {
            let options = StoreOptions {
                create: false,
                additional: Vec::new(),
                ..StoreOptions::new(path)
            };
            additional.push(Self::open(options)?);
        }
        Ok(Self {
            dir,
            path,
            marks,
            additional,
            options,
            leased: Mutex::default(),
        })
    }

    /// Keeps everything in the store from being taken away: for whoever brings something in and then says what it is
    /// for. Until that is said, nothing refers to it. All leases of one object are one lock; those of two objects in
    /// one process are not, and the second may wait for somebody who waits for the first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if somebody takes things away for longer than may be waited for.
    pub fn lease(&self) -> Result<Lease> {
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = leased.upgrade() {
            return Ok(Lease(lock));
        }
        // Where it cannot be made, as in a store that is only read, nobody can take anything away either.
        let gate = self.sub("locks").and_then(|locks| {
            let timeout = Some(self.options.lock_timeout);
            LockFile::acquire(&locks, GATE, LockMode::Shared, timeout)
        });
        if let Err(error) = &gate
            && error.kind() == ErrorKind::Busy
        {
            gate?;
        }
        let lock = Arc::new(self.lock(&self.dir, LOCK, LockMode::Shared)?);
        *leased = Arc::downgrade(&lock);
        Ok(Lease(lock))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where overlayfs keeps its marks in this store.
    pub fn marks(&self) -> XattrNamespace {
        self.marks
    }

    /// How it was opened.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// The stores that are only read, in the order in which they are asked.
    pub fn additional_stores(&self) -> &[Self] {
        &self.additional
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// One of the store's own directories.
    pub(crate) fn sub(&self, name: &str) -> Result<Dir> {
        self.dir.open_dir(name.as_bytes())
    }

    /// A [lease](Self::lease), as the counterpart of [`exclusive`](Self::exclusive).
    pub(crate) fn shared(&self) -> Result<Lease> {
        self.lease()
    }

    /// Keeps everybody else from relying on layers.
    pub(crate) fn exclusive(&self) -> Result<LockFile> {
        let locks = self.sub("locks")?;
        let end = Instant::now().checked_add(self.options.lock_timeout);
        loop {
            let left = end.map_or(Duration::MAX, |end| {
                end.saturating_duration_since(Instant::now())
            });
            let gate = LockFile::acquire(&locks, GATE, LockMode::Exclusive, Some(left));
            let attempt = gate.and_then(|_shut| {
                LockFile::acquire(&self.dir, LOCK, LockMode::Exclusive, Some(left.min(SHUT)))
            });
            match attempt {
                Err(error) if error.kind() == ErrorKind::Busy && left > SHUT => {
                    // Those who wait at the gate look again at least every tenth of a second.
                    std::thread::sleep(SHUT / 5);
                }
                other => return other.context(|| format!("lock store {}", self.path.display())),
            }
        }
    }

    /// One process at a time for each name: a layer in the making, a container.
    pub(crate) fn lock_name(&self, name: &str) -> Result<LockFile> {
        self.lock(&self.sub("locks")?, name.as_bytes(), LockMode::Exclusive)
    }

    /// Keeps images that are mounted from being unmounted because nothing needs them.
    pub(crate) fn keep_images(&self) -> Result<LockFile> {
        self.lock(&self.sub("locks")?, IMAGES, LockMode::Shared)
    }

    fn lock(&self, dir: &Dir, name: &[u8], mode: LockMode) -> Result<LockFile> {
        let timeout = Some(self.options.lock_timeout);
        LockFile::acquire(dir, name, mode, timeout)
            .context(|| format!("lock store {}", self.path.display()))
    }

    /// A directory in the making, which becomes visible by one rename.
    pub(crate) fn staging(&self) -> Result<Staging> {
        Staging::create(&self.path.join("staging"), "s-", Access::Plain)
    }

    /// Writes to disk what has been staged.
    pub(crate) fn sync(&self) -> Result<()> {
        match self.options.sync {
            SyncPolicy::Image => self.dir.sync_file_system(),
            SyncPolicy::None => Ok(()),
        }
    }
}

/// Which attributes are for this process to set.
pub(crate) fn marks_of_process() -> XattrNamespace {
    if probe::is_superuser() && !probe::in_user_namespace() {
        XattrNamespace::Trusted
    } else {
        XattrNamespace::User
    }
}

fn marks_word(marks: XattrNamespace) -> &'static str {
    match marks {
        XattrNamespace::Trusted => "trusted",
        XattrNamespace::User => "user",
    }
}

fn open_or_make(path: &Path, create: bool, marks: XattrNamespace) -> Result<Dir> {
    let made = match Dir::open(path, Access::Plain) {
        Ok(dir) if dir.try_stat(CONFIG.as_bytes())?.is_some() => {
            check_config(&dir, marks)?;
            return Ok(dir);
        }
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound && create => Some(MadeDirs::make(path)?),
        Err(error) => return Err(error),
    };
    let dir = Dir::open(path, Access::Plain)?;
    let strange = |name: &Vec<u8>| {
        let known = DIRECTORIES.iter().any(|known| known.as_bytes() == name);
        !known
            && name != LOCK
            && !name.starts_with(atomic::TEMPORARY.as_bytes())
            && name != CONFIG.as_bytes()
    };
    if let Some(name) = dir.names()?.iter().find(|name| strange(name)) {
        let name = crate::fs::escape_name(name);
        let message = format!("{} is not a store: it contains {name:?}", path.display());
        return Err(Reason::NotAStore.error(message));
    }
    if !create {
        let message = format!("{} is not a store", path.display());
        return Err(Reason::NotAStore.error(message));
    }
    if made.is_some() {
        dir.set_mode(0o700)?;
    }
    // Of those who come at once, one makes it, and the others find it made.
    let _alone = LockFile::acquire(&dir, LOCK, LockMode::Exclusive, Some(MAKING))?;
    if dir.try_stat(CONFIG.as_bytes())?.is_some() {
        check_config(&dir, marks)?;
    } else if let Err(error) = make(&dir, marks) {
        if made.is_some() {
            // Nothing stays of what cannot be a store; the error that matters is the one being returned.
            for name in DIRECTORIES.map(str::as_bytes).into_iter().chain([LOCK]) {
                let _ = dir.remove_all(name);
            }
        }
        return Err(error);
    }
    if let Some(made) = made {
        made.keep();
    }
    Ok(dir)
}

/// Makes a store of an empty directory, or of what a killed process left of one.
fn make(dir: &Dir, marks: XattrNamespace) -> Result<()> {
    super::suitable::check(dir, marks)?;
    for name in DIRECTORIES {
        dir.create_dir(name.as_bytes(), 0o700)?;
        failpoint::hit("store-directory");
    }
    let layers = dir.open_dir(b"layers")?;
    for name in LayerId::directories() {
        layers.create_dir(name.as_bytes(), 0o700)?;
        layers.open_dir(name.as_bytes())?.sync_names()?;
    }
    // A file system without a journal keeps no order by itself.
    for name in DIRECTORIES {
        dir.open_dir(name.as_bytes())?.sync_names()?;
    }
    dir.sync_names()?;
    let config = Config {
        version: VERSION,
        marks: marks_word(marks).to_owned(),
    };
    atomic::replace_in(dir, CONFIG, 0o600, &json::write(&config))?;
    dir.sync_names()
}

fn check_config(dir: &Dir, marks: XattrNamespace) -> Result<()> {
    let config: Config =
        json::read(dir, CONFIG).map_err(|error| Reason::NotAStore.of_error(error))?;
    if config.version != VERSION {
        let message = format!(
            "the store has version {}, and this program knows version {VERSION}",
            config.version
        );
        return Err(Reason::NotAStore.error(message));
    }
    if config.marks == marks_word(marks) {
        return Ok(());
    }
    let message = format!(
        "the store keeps the marks of overlayfs as {}.overlay.*, and this process reads them as {}.overlay.*",
        config.marks,
        marks_word(marks)
    );
    let hint = match marks {
        XattrNamespace::Trusted => {
            "it was made in a user namespace: use it there (`bundle unshare`), or another store (--store)"
        }
        XattrNamespace::User => "it was made by root: use another store (--store)",
    };
    Err(Reason::NamespaceMismatch.error(message).with_hint(hint))
}
