//! Every step fails once; nothing may be left. The mounter is a list of what would be mounted, so none of this needs root.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Dir, XattrNamespace, probe};

const SUBDIRS: [&str; 7] = ["proc", "dev", "etc", "home", "sbin", "var", "tmp"];

/// What happens at the call with the number in [`Mock::at`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Fail(ErrorKind),
    Die,
}

/// Keeps a list instead of mounting.
#[derive(Debug, Default)]
struct Mock {
    mounted: RefCell<Vec<PathBuf>>,
    unmounted: RefCell<Vec<PathBuf>>,
    calls: Cell<usize>,
    at: Option<(usize, Fault)>,
    /// Last names of what cannot be unmounted.
    busy: RefCell<Vec<&'static str>>,
}

impl Mock {
    fn with(number: usize, fault: Fault) -> Self {
        Self {
            at: Some((number, fault)),
            ..Self::default()
        }
    }

    fn mount(&self, place: MountPlace<'_>) -> Result<()> {
        self.calls.set(self.calls.get() + 1);
        match self.at {
            Some((number, Fault::Fail(kind))) if number == self.calls.get() => {
                return Err(Error::new(kind, "the kernel refuses"));
            }
            Some((number, Fault::Die)) if number == self.calls.get() => panic!("died"),
            _ => {}
        }
        self.mounted.borrow_mut().push(place.path());
        Ok(())
    }
}

impl Mounter for &Mock {
    fn marks(&self) -> XattrNamespace {
        if probe::is_superuser() && !probe::in_user_namespace() {
            XattrNamespace::Trusted
        } else {
            XattrNamespace::User
        }
    }

    fn bind(&self, _source: &Dir, place: MountPlace<'_>, read_only: bool) -> Result<()> {
        assert_eq!(read_only, place.below.is_empty(), "only the root is");
        self.mount(place)
    }

    fn overlay(&self, _parts: OverlayParts<'_>, place: MountPlace<'_>) -> Result<()> {
        self.mount(place)
    }

    fn unmount(&self, place: MountPlace<'_>) -> Result<()> {
        let path = place.path();
        if self.busy.borrow().iter().any(|name| path.ends_with(name)) {
            return Err(Error::new(ErrorKind::Busy, "in use"));
        }
        let last = self.mounted.borrow().iter().rposition(|own| *own == path);
        self.mounted
            .borrow_mut()
            .remove(last.expect("it was mounted"));
        self.unmounted.borrow_mut().push(path);
        Ok(())
    }

    fn is_mounted(&self, place: MountPlace<'_>) -> Result<bool> {
        Ok(self.mounted.borrow().contains(&place.path()))
    }

    fn sweep(&self, _scratch: &Dir) -> Result<()> {
        Ok(())
    }
}

/// A prototype and a base.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory };
        fs::create_dir(world.base()).unwrap();
        fs::create_dir(world.prototype()).unwrap();
        for name in SUBDIRS {
            fs::create_dir(world.prototype().join(name)).unwrap();
            fs::write(world.prototype().join(name).join("file"), name).unwrap();
        }
        world
    }

    fn base(&self) -> PathBuf {
        self.directory.path().join("base")
    }

    fn prototype(&self) -> PathBuf {
        self.directory.path().join("prototype")
    }

    fn generator<'m>(&self, mock: &'m Mock, mode: RootfsMode) -> Generator<&'m Mock> {
        let options = GeneratorOptions {
            mode: Some(mode),
            ..GeneratorOptions::default()
        };
        Generator::new(mock, &self.base(), options).unwrap()
    }

    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.base()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// All that can be seen of the prototype but for the times of access.
    fn seen(&self) -> Vec<(PathBuf, u64, u32, i64, i64)> {
        let entries = walkdir::WalkDir::new(self.prototype()).sort_by_file_name();
        entries
            .into_iter()
            .map(|entry| {
                let entry = entry.unwrap();
                let stat = entry.metadata().unwrap();
                let path = entry.path().to_owned();
                (
                    path,
                    stat.ino(),
                    stat.mode(),
                    stat.ctime(),
                    stat.ctime_nsec(),
                )
            })
            .collect()
    }
}

fn below(root: &Path, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| root.join(name)).collect()
}

#[test]
fn a_quilt_is_a_root_and_seven_directories_and_goes_in_reverse() {
    let (world, mock) = (World::new(), Mock::default());
    let before = world.seen();
    let generator = world.generator(&mock, RootfsMode::Quilt);
    let root = generator.generate(&world.prototype()).unwrap();
    assert_eq!(root.mode, RootfsMode::Quilt);
    let mut expected = vec![root.path.clone()];
    expected.extend(below(&root.path, &SUBDIRS));
    assert_eq!(*mock.mounted.borrow(), expected);
    let rw = root.path.parent().unwrap().join("rw");
    assert_eq!(fs::read_to_string(rw.join("etc/file")).unwrap(), "etc");
    assert_eq!(fs::read_dir(rw.join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::metadata(rw.join("tmp")).unwrap().mode() & 0o7777, 0o777);
    assert_eq!(generator.roots().unwrap(), std::slice::from_ref(&root));
    assert_eq!(
        generator.recover().unwrap(),
        [] as [PathBuf; 0],
        "it is finished"
    );

    generator.remove(&root.path).unwrap();
    expected.reverse();
    assert_eq!(*mock.unmounted.borrow(), expected);
    assert_eq!(world.left(), [] as [PathBuf; 0]);
    generator.remove(&root.path).unwrap();
    assert_eq!(world.seen(), before);
}

#[test]
fn each_root_is_another_one() {
    let (world, mock) = (World::new(), Mock::default());
    let generator = world.generator(&mock, RootfsMode::Overlay);
    let first = generator.generate(&world.prototype()).unwrap();
    let second = generator.generate(&world.prototype()).unwrap();
    assert_ne!(first, second);
    generator.remove(&first.path).unwrap();
    assert_eq!(generator.roots().unwrap(), [second]);
}

#[test]
fn whichever_mount_fails_everything_is_undone_in_reverse() {
    for (mode, count) in [(RootfsMode::Quilt, 8), (RootfsMode::Overlay, 1)] {
        for number in 1..=count {
            let world = World::new();
            let before = world.seen();
            let mock = Mock::with(number, Fault::Fail(ErrorKind::Io));
            let generator = world.generator(&mock, mode);
            let error = generator.generate(&world.prototype()).unwrap_err();
            let reason = match number {
                1 => RootfsReason::MountRoot,
                _ => RootfsReason::MountSubdir,
            };
            assert_eq!(RootfsReason::of(&error), Some(reason), "mount {number}");
            if number > 1 {
                let named = format!("mount {}: ", SUBDIRS[number - 2]);
                assert!(error.chain().contains(&named), "{error:?}");
            }
            assert_eq!(mock.calls.get(), number, "it went on after a failure");
            assert_eq!(*mock.mounted.borrow(), [] as [PathBuf; 0], "mount {number}");
            assert_eq!(mock.unmounted.borrow().len(), number - 1);
            assert!(mock.unmounted.borrow().is_sorted_by(|a, b| {
                let place = |path: &PathBuf| SUBDIRS.iter().position(|name| path.ends_with(name));
                place(a) > place(b)
            }));
            assert_eq!(world.left(), [] as [PathBuf; 0], "mount {number}");
            assert_eq!(world.seen(), before);
        }
        // One more is none: the numbers above are all there are.
        let (world, mock) = (
            World::new(),
            Mock::with(count + 1, Fault::Fail(ErrorKind::Io)),
        );
        world
            .generator(&mock, mode)
            .generate(&world.prototype())
            .unwrap();
    }
}

#[test]
fn what_a_death_at_any_mount_leaves_is_recovered() {
    for number in 1..=8 {
        let world = World::new();
        let mock = Mock::with(number, Fault::Die);
        let generator = world.generator(&mock, RootfsMode::Quilt);
        let died = catch_unwind(AssertUnwindSafe(|| generator.generate(&world.prototype())));
        assert!(died.is_err());
        assert_eq!(mock.mounted.borrow().len(), number - 1);
        let left = generator.roots().unwrap();
        let [left] = &left[..] else {
            panic!("{left:?}");
        };
        assert_eq!(
            generator.recover().unwrap(),
            std::slice::from_ref(&left.path)
        );
        assert_eq!(*mock.mounted.borrow(), [] as [PathBuf; 0]);
        assert_eq!(world.left(), [] as [PathBuf; 0]);
    }
}

#[test]
fn when_undoing_fails_too_the_error_says_both_and_recovering_goes_on() {
    let world = World::new();
    let mock = Mock::with(5, Fault::Fail(ErrorKind::Io));
    mock.busy.borrow_mut().push("dev");
    let generator = world.generator(&mock, RootfsMode::Quilt);
    let error = generator.generate(&world.prototype()).unwrap_err();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::MountSubdir));
    for part in ["mount home", "undoing it failed too", "unmount dev"] {
        assert!(error.chain().contains(part), "{error:?}");
    }
    mock.busy.borrow_mut().clear();
    assert_eq!(generator.recover().unwrap().len(), 1);
    assert_eq!(world.left(), [] as [PathBuf; 0]);
}

#[test]
fn removing_goes_on_after_failures_and_tells_all_of_them() {
    let (world, mock) = (World::new(), Mock::default());
    let generator = world.generator(&mock, RootfsMode::Quilt);
    let root = generator.generate(&world.prototype()).unwrap();
    *mock.busy.borrow_mut() = vec!["var", "dev"];
    let error = generator.remove(&root.path).unwrap_err();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::UnmountSubdir));
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error
            .chain()
            .contains("unmount var: in use; unmount dev: in use"),
        "{error:?}"
    );
    let mut stay = vec![root.path.clone()];
    stay.extend(below(&root.path, &["dev", "var"]));
    assert_eq!(*mock.mounted.borrow(), stay, "the root is beneath them");
    assert!(root.path.parent().unwrap().join("rw/var/file").exists());

    *mock.busy.borrow_mut() = vec!["root"];
    let error = generator.remove(&root.path).unwrap_err();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::UnmountRoot));
    mock.busy.borrow_mut().clear();
    generator.remove(&root.path).unwrap();
    assert_eq!(world.left(), [] as [PathBuf; 0]);
}

#[test]
fn a_path_that_is_no_root_of_ours_is_refused() {
    let (world, mock) = (World::new(), Mock::default());
    let generator = world.generator(&mock, RootfsMode::Quilt);
    let root = generator.generate(&world.prototype()).unwrap();
    let elsewhere = world.prototype().join("rootfs-0123456789abcdef/root");
    fs::create_dir_all(&elsewhere).unwrap();
    let home = root.path.parent().unwrap();
    for path in [
        &world.prototype(),
        &world.base(),
        home,
        &root.path.join("etc"),
        &elsewhere,
        &world.base().join("x/root"),
        Path::new("/"),
        Path::new(""),
        Path::new("root"),
    ] {
        let error = generator.remove(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error:?}");
    }
    assert_eq!(mock.mounted.borrow().len(), 8);
}

#[test]
fn a_directory_that_the_prototype_lacks_is_named_and_no_matter_to_an_overlay() {
    for name in SUBDIRS {
        let (world, mock) = (World::new(), Mock::default());
        fs::remove_dir_all(world.prototype().join(name)).unwrap();
        let generator = world.generator(&mock, RootfsMode::Quilt);
        let error = generator.generate(&world.prototype()).unwrap_err();
        assert_eq!(RootfsReason::of(&error), Some(RootfsReason::SubdirMissing));
        assert!(
            error
                .chain()
                .ends_with(&format!("the prototype has no {name}"))
        );
        assert_eq!(world.left(), [] as [PathBuf; 0]);
        assert_eq!(mock.calls.get(), 0);
        let generator = world.generator(&mock, RootfsMode::Overlay);
        generator.generate(&world.prototype()).unwrap();
    }
}

#[test]
fn a_link_to_a_directory_inside_is_followed_and_one_that_leads_out_is_refused() {
    let (world, mock) = (World::new(), Mock::default());
    let sbin = world.prototype().join("sbin");
    fs::create_dir_all(world.prototype().join("usr/sbin")).unwrap();
    fs::write(world.prototype().join("usr/sbin/init"), "").unwrap();
    fs::remove_dir_all(&sbin).unwrap();
    symlink("usr/sbin", &sbin).unwrap();
    let generator = world.generator(&mock, RootfsMode::Quilt);
    let root = generator.generate(&world.prototype()).unwrap();
    assert!(mock.mounted.borrow().contains(&root.path.join("usr/sbin")));
    assert!(root.path.parent().unwrap().join("rw/sbin/init").exists());
    generator.remove(&root.path).unwrap();

    for target in ["/etc", "../base", "usr/../../base"] {
        fs::remove_file(&sbin).unwrap();
        symlink(target, &sbin).unwrap();
        let error = generator.generate(&world.prototype()).unwrap_err();
        assert_eq!(RootfsReason::of(&error), Some(RootfsReason::OverlayDir));
        assert!(error.chain().contains("sbin of the prototype"), "{error:?}");
        assert_eq!(world.left(), [] as [PathBuf; 0]);
    }
}

#[test]
fn an_overlay_is_preferred_and_a_quilt_made_where_there_are_none() {
    let world = World::new();
    let options = GeneratorOptions::default;
    for (mock, mode) in [
        (Mock::default(), RootfsMode::Overlay),
        (
            Mock::with(1, Fault::Fail(ErrorKind::Unsupported)),
            RootfsMode::Quilt,
        ),
    ] {
        let generator = Generator::new(&mock, &world.base(), options()).unwrap();
        let root = generator.generate(&world.prototype()).unwrap();
        assert_eq!(root.mode, mode);
        generator.remove(&root.path).unwrap();
        assert_eq!(world.left(), [] as [PathBuf; 0]);
    }
    // Any other failure is the answer.
    let mock = Mock::with(1, Fault::Fail(ErrorKind::PermissionDenied));
    let generator = Generator::new(&mock, &world.base(), options()).unwrap();
    let error = generator.generate(&world.prototype()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(mock.calls.get(), 1);
}

#[test]
fn the_upper_directory_looks_like_the_prototype_and_hides_its_tmp() {
    let (world, mock) = (World::new(), Mock::default());
    fs::set_permissions(world.prototype(), fs::Permissions::from_mode(0o711)).unwrap();
    let generator = world.generator(&mock, RootfsMode::Overlay);
    let root = generator.generate(&world.prototype()).unwrap();
    let upper = root.path.parent().unwrap().join("upper");
    assert_eq!(fs::metadata(&upper).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(
        fs::metadata(upper.join("tmp")).unwrap().mode() & 0o7777,
        0o777
    );
    let tmp = Dir::open(&upper.join("tmp"), crate::fs::Access::Plain).unwrap();
    assert!(tmp.is_opaque((&mock).marks()).unwrap());
}

#[test]
fn a_base_must_be_a_directory_that_can_be_written_to() {
    let (world, mock) = (World::new(), Mock::default());
    let new = |base: &Path| Generator::new(&mock, base, GeneratorOptions::default());
    let reason = |base: &Path| RootfsReason::of(&new(base).unwrap_err());
    assert_eq!(
        reason(&world.base().join("none")),
        Some(RootfsReason::RwBaseMissing)
    );
    let file = world.prototype().join("etc/file");
    assert_eq!(reason(&file), Some(RootfsReason::RwBaseNotDir));
    // Nobody can make a directory there, not even root.
    assert_eq!(
        reason(Path::new("/proc/self")),
        Some(RootfsReason::RwBaseNotRw)
    );
    assert!(new(&world.base()).is_ok());
    assert_eq!(world.left(), [] as [PathBuf; 0], "the trial leaves nothing");
}

#[test]
fn a_base_that_goes_and_a_prototype_that_is_none_are_told() {
    let (world, mock) = (World::new(), Mock::default());
    let generator = world.generator(&mock, RootfsMode::Overlay);
    let error = generator.generate(&world.base().join("none")).unwrap_err();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::MountRoot));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    fs::remove_dir(world.base()).unwrap();
    let error = generator.generate(&world.prototype()).unwrap_err();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::CreateTempDir));
}

#[test]
fn names_of_directories_are_names() {
    let (world, mock) = (World::new(), Mock::default());
    for name in ["", ".", "..", "a/b", "/etc", "tmp"] {
        let options = GeneratorOptions {
            writable: vec![name.to_owned()],
            ..GeneratorOptions::default()
        };
        let error = Generator::new(&mock, &world.base(), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn a_record_that_leads_elsewhere_is_refused() {
    let (world, mock) = (World::new(), Mock::default());
    let generator = world.generator(&mock, RootfsMode::Quilt);
    let root = generator.generate(&world.prototype()).unwrap();
    let record = root.path.parent().unwrap().join("root.json");
    let text = fs::read_to_string(&record).unwrap();
    for bad in ["../../etc", "/etc", "a//b", ""] {
        fs::write(&record, text.replace("\"etc\"", &format!("{bad:?}"))).unwrap();
        let error = generator.remove(&root.path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bad:?}");
    }
    assert_eq!(mock.mounted.borrow().len(), 8);
}

#[test]
fn each_reason_is_found_again_behind_any_context() {
    for &reason in RootfsReason::ALL {
        let error = reason.error(ErrorKind::Io, "it failed").context("generate");
        assert_eq!(RootfsReason::of(&error), Some(reason));
        let outer = reason.of_error(Error::new(ErrorKind::Busy, "x").with_code("other"), "y");
        assert_eq!(RootfsReason::of(&outer), Some(reason));
        assert_eq!(outer.kind(), ErrorKind::Busy);
    }
}
