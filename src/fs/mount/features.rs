//! What works on this kernel, for this process, in this directory: tried out, not concluded from versions.
//!
//! A version says little: distributions carry features back, filters and security modules forbid them, and file systems
//! differ. So each answer comes from doing the thing, in a directory made for it, and a "no" says why. Nothing is
//! remembered here.

use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir};

use super::super::dir::Dir;
use super::super::idmap::{IdMap, IdRange, MapOptions};
use super::super::live::{self, Live};
use super::super::marks::XattrNamespace;
use super::super::syscall;
use super::attach::Mount;
use super::context;
use super::id::MountId;
use super::idmap::{UserNamespace, id_mapped};
use super::method::MountMethod;
use super::overlay::{MountAttributes, Overlay, Upper};
use crate::error::{Error, ErrorKind, Result};

/// Whether something works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Yes,
    /// It does not, for this reason.
    No(String),
}

impl Support {
    /// Whether it works.
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No(reason) => write!(f, "no: {reason}"),
        }
    }
}

impl<T> From<Result<T>> for Support {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(_) => Self::Yes,
            Err(error) => Self::No(error.chain()),
        }
    }
}

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What `statfs` tells it by (`f_type`, the lower 32 bits).
    pub magic: u32,
    /// Its usual name, or `unknown`.
    pub name: &'static str,
}

/// Names by magic numbers, as in statfs(2).
const FILE_SYSTEMS: &[(u32, &str)] = &[
    (0x0000_ef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlayfs"),
    (0x0000_6969, "nfs"),
    (0x6573_5546, "fuse"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0xca45_1a4e, "bcachefs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x0000_f15f, "ecryptfs"),
    (0x786f_4256, "vboxsf"),
    (0x5346_544e, "ntfs"),
    (0x0000_4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x7371_7368, "squashfs"),
    (0xe0f5_e1e2, "erofs"),
];

impl FileSystem {
    /// The file system that a directory is on.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does.
    pub fn of(dir: &Dir) -> Result<Self> {
        let stat = rustix::fs::fstatfs(dir)
            .map_err(|errno| Error::io("ask for the file system of", dir.path(), errno))?;
        // Whether the field is signed, and how wide it is, differs between architectures.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "magic numbers have 32 bits"
        )]
        let magic = stat.f_type as u32;
        let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
        let name = known.map_or("unknown", |(_, name)| name);
        Ok(Self { magic, name })
    }
}

/// What works in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// What the directory is on.
    pub file_system: FileSystem,
    /// Each way to mount an overlay with layers and an upper directory here.
    pub methods: Vec<(MountMethod, Support)>,
    /// How many lower directories an overlay may have, where the kernel tells; see [`MAX_LOWERS`](super::MAX_LOWERS).
    pub max_lowers: Option<usize>,
    /// Overlays with marks in `user.overlay.*`.
    pub user_marks: Support,
    /// Setting the marks of the namespace that was asked about, and making whiteouts.
    pub marks_writable: Support,
    /// Overlays that need not survive a failure of the machine.
    pub volatile: Support,
    /// Mounts without a path as lower directories.
    pub detached_lowers: Support,
    /// Mounts that show other owners, as lower directories.
    pub id_mapped_lowers: Support,
    /// Directories that tell the types of their entries, without which overlays show no or wrong whiteouts.
    pub entry_types: Support,
    /// Copies that share their content.
    pub reflinks: Support,
    /// Mounts that can be found by a number which is theirs alone.
    pub unique_mount_ids: Support,
}

impl Features {
    /// Tries everything out below a directory, in one named `.probe` and a number, which is removed again. The program
    /// `fuse-overlayfs` is started only where the kernel mounts no overlays.
    ///
    /// # Errors
    ///
    /// Fails if that directory cannot be made or filled; that something does not work is no error.
    pub fn probe(dir: &Dir, marks: XattrNamespace) -> Result<Self> {
        Self::try_out(dir, marks, false)
    }

    /// As [`probe`](Self::probe), with `fuse-overlayfs` in any case.
    ///
    /// # Errors
    ///
    /// As [`probe`](Self::probe).
    pub fn probe_all(dir: &Dir, marks: XattrNamespace) -> Result<Self> {
        Self::try_out(dir, marks, true)
    }

    /// What a directory must have to keep layers, without mounting anything: [`entry_types`](Self::entry_types) and
    /// [`marks_writable`](Self::marks_writable).
    ///
    /// # Errors
    ///
    /// As [`probe`](Self::probe).
    pub(crate) fn probe_storage(dir: &Dir, marks: XattrNamespace) -> Result<[Support; 2]> {
        let trial = Trial::make(dir)?;
        Ok([
            trial.read_entry_types().into(),
            trial.set_marks(marks).into(),
        ])
    }

    fn try_out(dir: &Dir, marks: XattrNamespace, with_programs: bool) -> Result<Self> {
        let trial = Trial::make(dir)?;
        let own = [trial.lower.as_fd()];
        let marked = |marks, volatile| trial.mount(&own, marks, volatile, None);
        let mut methods: Vec<(MountMethod, Support)> = Vec::new();
        for method in MountMethod::ALL {
            let is_needed = with_programs
                || method != MountMethod::Fuse
                || methods.iter().all(|(_, answer)| !answer.is_yes());
            let answer = if is_needed {
                trial.mount(&own, marks, false, Some(method)).into()
            } else {
                Support::No("not tried, as the kernel mounts overlays".to_owned())
            };
            methods.push((method, answer));
        }
        Ok(Self {
            file_system: FileSystem::of(dir)?,
            methods,
            max_lowers: context::max_lowers(trial.lower.as_fd()),
            user_marks: marked(XattrNamespace::User, false).into(),
            marks_writable: trial.set_marks(marks).into(),
            volatile: marked(marks, true).into(),
            detached_lowers: trial.stack_detached(marks).into(),
            id_mapped_lowers: trial.stack_id_mapped(marks).into(),
            entry_types: trial.read_entry_types().into(),
            reflinks: trial.reflink().into(),
            unique_mount_ids: unique_mount_ids(dir),
        })
    }

    /// Whether the kernel mounts overlays here, by whichever method.
    pub fn kernel_overlay(&self) -> Support {
        let mut kernel = self.methods.iter();
        let works =
            |(method, answer): &&(_, Support)| *method != MountMethod::Fuse && answer.is_yes();
        match kernel.clone().find(works) {
            Some(_) => Support::Yes,
            None => kernel
                .next()
                .map_or_else(|| Support::No(String::new()), |(_, answer)| answer.clone()),
        }
    }
}

fn unique_mount_ids(dir: &Dir) -> Support {
    match MountId::of(dir) {
        Ok(MountId {
            unique: Some(unique),
            ..
        }) => match syscall::mount_exists(unique) {
            Ok(_) => Support::Yes,
            Err(errno) => Support::No(format!("statmount: {}", std::io::Error::from(errno))),
        },
        Ok(_) => Support::No("the kernel has none (before Linux 6.8)".to_owned()),
        Err(error) => Support::No(error.chain()),
    }
}

/// A directory in which things are tried out, removed when it is dropped.
struct Trial<'a> {
    parent: &'a Dir,
    name: Vec<u8>,
    dir: Dir,
    lower: Dir,
    /// Its place among what is removed when the process ends early.
    _live: Live,
}

/// How the names of such directories begin; the number of the process follows.
const PROBE: &str = ".probe-";

/// Removes what killed processes have left of their probes in a directory, and says how many that were.
///
/// # Errors
///
/// Fails if the directory cannot be read, or if something cannot be removed.
pub fn sweep_probes(parent: &Dir) -> Result<usize> {
    let mut swept = 0;
    for name in parent.names()? {
        let text = String::from_utf8_lossy(&name);
        let process = text
            .strip_prefix(PROBE)
            .and_then(|rest| rest.split('-').next());
        let Some(process) = process.filter(|pid| pid.parse::<u32>().is_ok()) else {
            continue;
        };
        if std::path::Path::new("/proc").join(process).exists() {
            continue;
        }
        if let Some(dir) = parent.open_dir_if_any(&name)? {
            super::sweep(&dir)?;
        }
        parent.remove_all(&name)?;
        swept += 1;
    }
    Ok(swept)
}

impl<'a> Trial<'a> {
    fn make(parent: &'a Dir) -> Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero();
        for count in 0..1000 {
            let name = format!("{PROBE}{pid}-{count}");
            // From before it exists: a signal may come at any moment.
            let live = live::register(parent, &name)?;
            let name = name.into_bytes();
            if let Some(dir) = parent.create_dir(&name, 0o700)? {
                let lower = dir.create_new_dir("lower".as_bytes(), 0o700)?;
                drop(lower.create_file(b"file", 0o600)?);
                return Ok(Self {
                    parent,
                    name,
                    dir,
                    lower,
                    _live: live,
                });
            }
        }
        let message = format!(
            "probe {}: too many probes left over",
            parent.path().display()
        );
        Err(Error::new(ErrorKind::AlreadyExists, message))
    }

    /// Mounts an overlay over lower directories with an upper of its own.
    fn mount(
        &self,
        lowers: &[BorrowedFd<'_>],
        marks: XattrNamespace,
        volatile: bool,
        how: Option<MountMethod>,
    ) -> Result<Mount> {
        // The kernel writes into both, so each trial needs fresh ones.
        for name in ["upper", "work"] {
            self.dir.remove_all(name.as_bytes())?;
        }
        let (upper, work) = (
            self.dir.create_new_dir("upper".as_bytes(), 0o700)?,
            self.dir.create_new_dir("work".as_bytes(), 0o700)?,
        );
        let overlay = Overlay {
            lowers: &lowers,
            upper: Some(Upper {
                dir: &upper,
                work: &work,
            }),
            marks,
            source: "probe",
            volatile,
            read_only: false,
            attributes: MountAttributes::default(),
            selinux_context: None,
        };
        // Not what another program can do instead: what the kernel says.
        let kernel = [MountMethod::Fd, MountMethod::String, MountMethod::Legacy];
        let tried: &[MountMethod] = how.as_ref().map_or(&kernel, std::slice::from_ref);
        let mut first = None;
        for method in tried {
            match overlay.mount(Some(*method), &self.dir) {
                Ok(mount) => return Ok(mount),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::new(ErrorKind::Unsupported, "no method")))
    }

    fn set_marks(&self, marks: XattrNamespace) -> Result<()> {
        self.dir
            .create_new_dir("marked".as_bytes(), 0o700)?
            .set_opaque(marks)?;
        self.dir.create_whiteout(b"whiteout").map(drop)
    }

    fn stack_detached(&self, marks: XattrNamespace) -> Result<Mount> {
        let detached = super::bind(
            &self.dir.create_new_dir("detached".as_bytes(), 0o700)?,
            true,
            false,
        )?;
        self.mount(&[detached.as_fd()], marks, false, None)
    }

    fn stack_id_mapped(&self, marks: XattrNamespace) -> Result<()> {
        let shift = IdMap(vec![IdRange {
            container: 0,
            host: 100_000,
            size: 65536,
        }]);
        let maps = MapOptions {
            uid: shift.clone(),
            gid: shift,
            rootless: false,
        };
        let namespace = UserNamespace::with_maps(&maps)?;
        let mapped = id_mapped(&self.lower, &namespace, true)?;
        let own = self.lower.stat(b"file")?.uid;
        let mounted = self.mount(&[mapped.as_fd()], marks, false, None)?;
        let seen = mounted.root()?.stat(b"file")?.uid;
        if Ok(seen) == maps.uid.to_host(own).map_err(|_| ()) {
            return Ok(());
        }
        let message = format!("a file of user {own} is seen as of user {seen}");
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn read_entry_types(&self) -> Result<()> {
        let fail = |errno| Error::io("read directory", self.lower.path(), errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.lower, c".", flags, Mode::empty()).map_err(fail)?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut entries = RawDir::new(fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(fail)?;
            if entry.file_name() == c"file" {
                return if entry.file_type() == FileType::RegularFile {
                    Ok(())
                } else {
                    let message = "directories do not tell the types of their entries (xfs: made without ftype=1)";
                    Err(Error::new(ErrorKind::Unsupported, message))
                };
            }
        }
        Err(fail(rustix::io::Errno::NOENT))
    }

    fn reflink(&self) -> Result<()> {
        let source = self.lower.open_file(b"file")?;
        let Some(copy) = self.dir.create_file(b"copy", 0o600)? else {
            return Ok(());
        };
        rustix::fs::ioctl_ficlone(&copy, &source)
            .map_err(|errno| Error::io("share the content of", self.lower.path(), errno))
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // What cannot be removed stays; the name says what it is.
        let _ = self.parent.remove_all(&self.name);
    }
}
