//! Making roots, and removing them.

use std::path::{Path, PathBuf};

use super::home::{self, Home, PREFIX, ROOT, Record, STAGING};
use super::mounter::{MountPlace, Mounter, OverlayParts};
use super::options::{GeneratorOptions, RootfsMode};
use super::reason::RootfsReason;
use super::stage::{Patch, UPPER, WORK, make_dir, stage};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::{canonical, unique_name};
use crate::fs::staging::Staging;
use crate::fs::{Access, Dir, failpoint, probe};

/// Makes roots for containers, and removes them.
pub trait RootfsGenerator {
    /// Makes a root that looks like the prototype, which is only read. Each call makes another one.
    ///
    /// # Errors
    ///
    /// See [`RootfsReason`]. Nothing is mounted and nothing is left then; should undoing fail too, the message says so,
    /// and [`Generator::recover`] tries again.
    fn generate(&self, prototype: &Path) -> Result<GeneratedRoot>;

    /// Unmounts a root and deletes all that was changed in it. One that is gone is fine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a path that [`generate`](Self::generate) never gave;
    /// [`RootfsReason::UnmountSubdir`], [`RootfsReason::UnmountRoot`], [`RootfsReason::RemoveMountDir`]. Whatever fails,
    /// the rest goes on as far as it can, and the message has all failures. Calling it again goes on from there.
    fn remove(&self, root: &Path) -> Result<()>;
}

/// A root that was made. It stays when this is dropped, and when the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedRoot {
    /// Where it is mounted: an absolute path.
    pub path: PathBuf,
    /// How it is put together.
    pub mode: RootfsMode,
}

/// Makes roots in a directory: overlays or quilts.
///
/// ```no_run
/// use oci_bundle::compat::rootfs::{Generator, GeneratorOptions, KernelMounter, RootfsGenerator};
///
/// # fn main() -> oci_bundle::Result<()> {
/// let base = "/var/lib/containers-rw".as_ref();
/// let generator = Generator::new(KernelMounter::new()?, base, GeneratorOptions::default())?;
/// generator.recover()?;
/// let root = generator.generate("/srv/prototype".as_ref())?;
/// // ... run a container in `root.path` ...
/// generator.remove(&root.path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Generator<M> {
    mounter: M,
    base: Dir,
    /// Of the base: absolute, without symbolic links.
    path: PathBuf,
    options: GeneratorOptions,
}

impl<M: Mounter> Generator<M> {
    /// Makes sure that roots can be made in a directory.
    ///
    /// # Errors
    ///
    /// [`RootfsReason::RwBaseMissing`], [`RootfsReason::RwBaseNotDir`], [`RootfsReason::RwBaseNotRw`];
    /// [`ErrorKind::InvalidInput`] if the options name what is no name of a directory.
    pub fn new(mounter: M, rw_base: &Path, options: GeneratorOptions) -> Result<Self> {
        options.check()?;
        let doing = || format!("make roots in {}", rw_base.display());
        let missing = |error| RootfsReason::RwBaseMissing.of_error(error, doing());
        let path = canonical(rw_base).map_err(missing)?;
        if !probe::is_dir(&path) {
            let message = format!("{}: it is not a directory", doing());
            return Err(RootfsReason::RwBaseNotDir.error(ErrorKind::InvalidInput, message));
        }
        let not_rw = |error| RootfsReason::RwBaseNotRw.of_error(error, doing());
        let base = Dir::open(&path, Access::Plain).map_err(not_rw)?;
        // Trying tells more than asking: of modes, access lists, read-only mounts, and all that comes beside them.
        let trial = unique_name(STAGING);
        base.create_dir(trial.as_bytes(), 0o700)
            .and_then(|_| base.remove_all(trial.as_bytes()))
            .map_err(not_rw)?;
        Ok(Self {
            mounter,
            base,
            path,
            options,
        })
    }

    /// The roots that are there, finished or not, in the order of their paths.
    ///
    /// # Errors
    ///
    /// Fails if the directory or a record cannot be read.
    pub fn roots(&self) -> Result<Vec<GeneratedRoot>> {
        let mut found = Vec::new();
        for name in self.names()? {
            let Some(home) = self.base.open_dir_if_any(name.as_bytes())? else {
                continue;
            };
            let Some(mode) = Record::read(&home)?.mode() else {
                continue;
            };
            let path = self.path.join(&name).join(ROOT);
            found.push(GeneratedRoot { path, mode });
        }
        Ok(found)
    }

    /// Undoes what processes that died in [`generate`](RootfsGenerator::generate) or [`remove`](RootfsGenerator::remove)
    /// left, and returns the paths of these roots. Finished roots, and those that somebody is at, are left alone.
    ///
    /// # Errors
    ///
    /// As [`remove`](RootfsGenerator::remove), of the first root that fails; the others are undone all the same.
    pub fn recover(&self) -> Result<Vec<PathBuf>> {
        let (mut undone, mut failed) = (Vec::new(), None);
        for name in self.names()? {
            match self.recover_one(&name) {
                Ok(true) => undone.push(self.path.join(&name).join(ROOT)),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(undone), Err)
    }

    fn recover_one(&self, name: &str) -> Result<bool> {
        let home = self.base.open_dir(name.as_bytes())?;
        let Some(_lock) = home::try_lock(&home)? else {
            return Ok(false);
        };
        let record = Record::read(&home)?;
        if record.ready {
            return Ok(false);
        }
        self.take_down(name, &home, &record)?;
        Ok(true)
    }

    fn names(&self) -> Result<Vec<String>> {
        let names = self.base.names()?.into_iter();
        let names = names.filter(|name| home::is_root_name(name));
        let names = names.map(|name| String::from_utf8_lossy(&name).into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    fn take_down(&self, name: &str, home: &Dir, record: &Record) -> Result<()> {
        let root = self.path.join(name).join(ROOT);
        let home = Home {
            base: &self.base,
            name,
            dir: home,
            root: &root,
        };
        home.take_down(&self.mounter, record)
            .map_err(|failures| home::all_of("remove root", &root, failures))
    }

    fn make(&self, mode: RootfsMode, prototype: &Dir) -> Result<GeneratedRoot> {
        let create = |error| RootfsReason::CreateTempDir.of_error(error, "make a directory for it");
        let staging = Staging::create(&self.path, STAGING, Access::Plain).map_err(create)?;
        make_dir(staging.dir(), ROOT.as_bytes(), 0o755).map_err(|error| {
            RootfsReason::CreateMountDir.of_error(error, "make a directory to mount it on")
        })?;
        let patches = stage(&self.mounter, mode, &self.options, prototype, staging.dir())?;
        let mut record = Record::new(mode, &patches).map_err(create)?;
        record.write(staging.dir()).map_err(create)?;
        // From before others can see it.
        let _lock = home::lock(staging.dir()).map_err(create)?;
        let name = unique_name(PREFIX);
        failpoint::hit("rootfs-staged");
        staging.publish_as(name.as_bytes()).map_err(create)?;
        failpoint::hit("rootfs-recorded");
        let home = self.base.open_dir(name.as_bytes()).map_err(create)?;
        let path = self.path.join(&name).join(ROOT);
        let mounted = self.mount(mode, prototype, &home, &path, &patches);
        let finished = mounted.and_then(|()| {
            record.ready = true;
            record.write(&home).map_err(create)
        });
        if let Err(error) = finished {
            return Err(match self.take_down(&name, &home, &record) {
                Ok(()) => error,
                Err(undoing) => {
                    error.context(format!("undoing it failed too: {}", undoing.chain()))
                }
            });
        }
        Ok(GeneratedRoot { path, mode })
    }

    fn mount(
        &self,
        mode: RootfsMode,
        prototype: &Dir,
        home: &Dir,
        root: &Path,
        patches: &[Patch],
    ) -> Result<()> {
        let place = MountPlace { root, below: b"" };
        let mounted = match mode {
            RootfsMode::Quilt => self.mounter.bind(prototype, place, true),
            RootfsMode::Overlay => self.mount_overlay(prototype, home, place),
        };
        mounted.map_err(|error| RootfsReason::MountRoot.of_error(error, "mount the root"))?;
        failpoint::hit("rootfs-mounted");
        for patch in patches {
            let below = &patch.below;
            let mounted = home.open_below(&patch.source).and_then(|source| {
                self.mounter
                    .bind(&source, MountPlace { root, below }, false)
            });
            mounted.map_err(|error| {
                let doing = format!("mount {}", String::from_utf8_lossy(below));
                RootfsReason::MountSubdir.of_error(error, doing)
            })?;
            failpoint::hit("rootfs-mounted");
        }
        Ok(())
    }

    fn mount_overlay(&self, prototype: &Dir, home: &Dir, place: MountPlace<'_>) -> Result<()> {
        let parts = OverlayParts {
            lower: prototype,
            upper: &home.open_dir(UPPER)?,
            work: &home.open_dir(WORK)?,
            scratch: home,
        };
        self.mounter.overlay(parts, place)
    }

    /// The name in the base that a path of a root has.
    fn name_of(&self, root: &Path) -> Option<String> {
        let home = root.parent().filter(|_| root.ends_with(ROOT))?;
        let name = home.file_name()?.to_str()?;
        let base = canonical(home.parent()?).ok()?;
        let ours = base == self.path && home::is_root_name(name.as_bytes());
        ours.then(|| name.to_owned())
    }
}

impl<M: Mounter> RootfsGenerator for Generator<M> {
    fn generate(&self, prototype: &Path) -> Result<GeneratedRoot> {
        let doing = || format!("generate root of {}", prototype.display());
        let dir = Dir::open(prototype, Access::Plain)
            .map_err(|error| RootfsReason::MountRoot.of_error(error, doing()))?;
        let made = match self.options.mode {
            Some(mode) => self.make(mode, &dir),
            None => match self.make(RootfsMode::Overlay, &dir) {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    self.make(RootfsMode::Quilt, &dir)
                }
                other => other,
            },
        };
        made.map_err(|error| error.context(doing()))
    }

    fn remove(&self, root: &Path) -> Result<()> {
        let Some(name) = self.name_of(root) else {
            let message = format!(
                "remove root {}: it is none that was made in {}",
                root.display(),
                self.path.display()
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        let Some(home) = self.base.open_dir_if_any(name.as_bytes())? else {
            return Ok(());
        };
        let lock = home::lock(&home);
        // Somebody else has removed it while we waited.
        if self.base.try_stat(name.as_bytes())?.is_none() {
            return Ok(());
        }
        let _lock = lock?;
        let mut record = Record::read(&home)?;
        if record.ready {
            // From now on it is one to finish, should this process die.
            record.ready = false;
            record.write(&home)?;
        }
        failpoint::hit("rootfs-remove");
        self.take_down(&name, &home, &record)
    }
}
