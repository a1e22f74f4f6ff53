//! What snapshots show.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use oci_bundle::snapshots::{Mount, SnapshotOptions};

use super::{Stage, plain, read};

fn write(root: &Path, name: &str, text: &str) {
    fs::write(root.join(name), text).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn what_is_committed_is_seen_in_those_on_top(stage: &Stage<'_>) {
    stage.layer("base", None, |root| {
        write(root, "foo", "foo\n");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
    });
    stage.edit("next", Some("base"), |root| {
        assert_eq!(read(root.join("foo")), "foo\n");
        write(root, "bar", "bar\n");
        fs::remove_dir(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("a/b/d")).unwrap();
    });
    stage.snapshots.commit("second", "next", &plain()).unwrap();
    stage.look("base", |root| {
        assert!(!root.join("bar").exists() && root.join("a/b/c").exists());
    });
    stage.look("second", |root| {
        assert_eq!(
            (read(root.join("foo")), read(root.join("bar"))),
            ("foo\n".into(), "bar\n".into())
        );
        assert!(root.join("a/b/d").is_dir() && !root.join("a/b/c").exists());
    });
    assert!(stage.snapshots.remove("base").is_err());
    stage.snapshots.remove("second").unwrap();
    stage.snapshots.remove("base").unwrap();
}

pub fn snapshots_see_through_a_chain_of_three(stage: &Stage<'_>) {
    let mut parent = None;
    for name in ["one", "two", "three"] {
        stage.layer(name, parent, |root| write(root, name, name));
        assert_eq!(
            stage.snapshots.stat(name).unwrap().parent.as_deref(),
            parent
        );
        parent = Some(name);
    }
    stage.look("three", |root| {
        for name in ["one", "two", "three"] {
            assert_eq!(read(root.join(name)), name);
        }
    });
    stage.look("one", |root| assert!(!root.join("two").exists()));
}

/// docker#21555.
pub fn a_file_changed_in_several_layers_is_the_topmost(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir(root.join("etc")).unwrap();
        write(root, "etc/passwd", "1");
        write(root, "etc/other", "1");
    });
    stage.layer("two", Some("one"), |root| write(root, "etc/passwd", "2"));
    stage.layer("three", Some("two"), |root| {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(root.join("etc/passwd"))
            .unwrap();
        file.write_all(b"3").unwrap();
    });
    stage.look("three", |root| {
        assert_eq!(read(root.join("etc/passwd")), "23");
        assert_eq!(read(root.join("etc/other")), "1");
    });
    stage.look("two", |root| assert_eq!(read(root.join("etc/passwd")), "2"));
    stage.look("one", |root| assert_eq!(read(root.join("etc/passwd")), "1"));
}

/// docker#25244.
pub fn a_directory_removed_and_made_again_has_nothing_of_the_old_one(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("lib/deep")).unwrap();
        write(root, "lib/hidden", "old");
        write(root, "lib/deep/hidden", "old");
    });
    stage.layer("removed", Some("one"), |root| {
        fs::remove_dir_all(root.join("lib")).unwrap();
    });
    stage.layer("again", Some("removed"), |root| {
        fs::create_dir(root.join("lib")).unwrap();
        write(root, "lib/not-hidden", "new");
    });
    stage.layer("at once", Some("one"), |root| {
        fs::remove_dir_all(root.join("lib")).unwrap();
        fs::create_dir_all(root.join("lib/deep")).unwrap();
        write(root, "lib/not-hidden", "new");
    });
    stage.look("removed", |root| assert!(!root.join("lib").exists()));
    for name in ["again", "at once"] {
        stage.look(name, |root| {
            assert_eq!(read(root.join("lib/not-hidden")), "new");
            assert!(!root.join("lib/hidden").exists(), "{name}");
            assert!(!root.join("lib/deep/hidden").exists(), "{name}");
        });
    }
    stage.look("one", |root| {
        assert_eq!(read(root.join("lib/hidden")), "old");
    });
}

/// docker#20240, #24913, #28391.
pub fn owners_are_changed_in_upper_layers(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("opt/a/b")).unwrap();
        write(root, "opt/a/file", "x");
        symlink("file", root.join("opt/a/link")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        chown(root.join("opt/a"), Some(5), Some(6)).unwrap();
    });
    stage.layer("two", Some("one"), |root| {
        chown(root.join("opt"), Some(1), Some(1)).unwrap();
        chown(root.join("opt/a/b"), Some(2), Some(3)).unwrap();
        chown(root.join("opt/a/file"), Some(70_000), Some(70_001)).unwrap();
        lchown(root.join("opt/a/link"), Some(4), Some(4)).unwrap();
    });
    stage.look("two", |root| {
        let owner = |name: &str| {
            let found = fs::symlink_metadata(root.join(name)).unwrap();
            (found.uid(), found.gid())
        };
        assert_eq!(owner("opt"), (1, 1));
        assert_eq!(owner("opt/a"), (5, 6));
        assert_eq!(owner("opt/a/b"), (2, 3));
        assert_eq!(owner("opt/a/file"), (70_000, 70_001));
        assert_eq!(owner("opt/a/link"), (4, 4));
        assert_eq!(owner("etc"), (0, 0));
        assert_eq!(read(root.join("opt/a/link")), "x");
    });
}

/// docker#27298.
pub fn the_mode_of_a_directory_survives_a_commit(stage: &Stage<'_>) {
    let dirs = ["dir1", "dir2", "dir3", "dir4"];
    stage.layer("one", None, |root| {
        for dir in dirs {
            fs::create_dir(root.join(dir)).unwrap();
        }
        set_mode(&root.join("dir1"), 0o700);
        chown(root.join("dir2"), Some(1), Some(1)).unwrap();
    });
    stage.layer("two", Some("one"), |root| {
        for dir in dirs {
            write(root, &format!("{dir}/file"), "x");
        }
        set_mode(&root.join("dir2"), 0o1777);
        set_mode(&root.join("dir3"), 0o711);
    });
    stage.layer("three", Some("two"), |root| write(root, "dir1/other", "y"));
    stage.look("three", |root| {
        let modes = dirs.map(|dir| mode(&root.join(dir)));
        assert_eq!(modes, [0o700, 0o1777, 0o711, 0o755]);
        assert_eq!(fs::metadata(root.join("dir2")).unwrap().uid(), 1);
    });
}

pub fn deleted_files_are_gone_above_and_there_below(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        for name in ["a", "b", "c"] {
            write(root, name, name);
        }
        fs::create_dir(root.join("d")).unwrap();
        write(root, "d/e", "e");
    });
    stage.layer("two", Some("one"), |root| {
        fs::remove_file(root.join("a")).unwrap();
        fs::remove_file(root.join("d/e")).unwrap();
    });
    stage.layer("three", Some("two"), |root| write(root, "a", "again"));
    stage.look("two", |root| {
        assert!(!root.join("a").exists() && !root.join("d/e").exists());
        assert_eq!(read(root.join("b")), "b");
        assert_eq!(fs::read_dir(root).unwrap().count(), 3);
        assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 0);
    });
    stage.look("three", |root| assert_eq!(read(root.join("a")), "again"));
    stage.look("one", |root| assert_eq!(read(root.join("d/e")), "e"));
}

pub fn a_file_of_a_lower_layer_can_be_moved(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("dir1")).unwrap();
        write(root, "dir1/f1", "f1");
    });
    stage.layer("two", Some("one"), |root| {
        fs::create_dir_all(root.join("dir2")).unwrap();
        fs::rename(root.join("dir1/f1"), root.join("dir2/f2")).unwrap();
    });
    stage.look("two", |root| {
        assert!(!root.join("dir1/f1").exists());
        assert_eq!(read(root.join("dir2/f2")), "f1");
    });
}

pub fn nothing_can_be_written_to_a_view(stage: &Stage<'_>) {
    stage.layer("base", None, |root| write(root, "file", "x"));
    let first = stage.snapshots.view("of nothing", None, &plain()).unwrap();
    let second = stage
        .snapshots
        .view("of base", Some("base"), &plain())
        .unwrap();
    for mounts in [first, second] {
        assert!(mounts.iter().all(Mount::is_read_only));
        let mounted = stage.mount(&mounts);
        let error = fs::write(mounted.target.join("file"), "y").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert!(fs::create_dir(mounted.target.join("dir")).is_err());
    }
    stage.look("base", |root| assert_eq!(read(root.join("file")), "x"));
}

pub fn the_root_of_a_first_snapshot_is_empty_with_mode_755(stage: &Stage<'_>) {
    stage.edit("active", None, |root| {
        assert_eq!(mode(root), 0o755);
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    });
    stage.layer("base", None, |root| set_mode(root, 0o700));
    stage.edit("next", Some("base"), |root| assert_eq!(mode(root), 0o700));
}

pub fn files_and_directories_of_lower_layers_can_be_renamed(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("dir1/dir2")).unwrap();
        write(root, "dir1/dir2/file", "x");
        write(root, "top", "t");
    });
    stage.layer("two", Some("one"), |root| {
        // Overlayfs refuses to rename directories of lower layers, and mv copies.
        let moved = Command::new("mv")
            .arg(root.join("dir1"))
            .arg(root.join("moved"))
            .status();
        assert!(moved.unwrap().success());
        fs::rename(root.join("top"), root.join("renamed")).unwrap();
        fs::create_dir(root.join("new")).unwrap();
        fs::rename(root.join("new"), root.join("dir1")).unwrap();
    });
    stage.look("two", |root| {
        assert_eq!(read(root.join("moved/dir2/file")), "x");
        assert_eq!(read(root.join("renamed")), "t");
        assert!(!root.join("top").exists());
        assert_eq!(fs::read_dir(root.join("dir1")).unwrap().count(), 0);
    });
}

pub fn a_chain_of_128_layers_shows_all_of_them(stage: &Stage<'_>) {
    let mut parent: Option<String> = None;
    for number in 1..=128 {
        let name = format!("layer {number}");
        stage.layer(&name, parent.as_deref(), |root| {
            write(root, "bottom", &name);
            write(root, &number.to_string(), &name);
            fs::create_dir_all(root.join("top")).unwrap();
            fs::write(root.join("top").join(number.to_string()), "").unwrap();
        });
        parent = Some(name);
    }
    stage.look("layer 128", |root| {
        assert_eq!(read(root.join("bottom")), "layer 128");
        for number in 1..=128 {
            assert_eq!(
                read(root.join(number.to_string())),
                format!("layer {number}")
            );
        }
        assert_eq!(fs::read_dir(root.join("top")).unwrap().count(), 128);
    });
}

pub fn sockets_do_not_keep_a_snapshot_from_being_committed(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        write(root, "file", "x");
        write(root, "covered", "y");
    });
    stage.layer("two", Some("one"), |root| {
        drop(UnixListener::bind(root.join("socket")).unwrap());
        fs::remove_file(root.join("covered")).unwrap();
        drop(UnixListener::bind(root.join("covered")).unwrap());
        write(root, "other", "z");
    });
    stage.edit("next", Some("two"), |root| {
        assert_eq!(
            (read(root.join("file")), read(root.join("other"))),
            ("x".into(), "z".into())
        );
        // Nothing but a socket, if that.
        assert!(fs::read(root.join("covered")).is_err());
    });
}

pub fn a_directory_stays_the_same_inode_when_something_is_made_in_it(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        write(root, "a/file", "x");
    });
    stage.edit("next", Some("one"), |root| {
        let number = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
        let before = (number("a"), number("a/b"));
        write(root, "a/b/new", "y");
        set_mode(&root.join("a"), 0o711);
        assert_eq!((number("a"), number("a/b")), before);
    });
}

pub fn an_open_file_is_the_file_of_its_name(stage: &Stage<'_>) {
    stage.layer("one", None, |root| write(root, "file", "old"));
    stage.edit("next", Some("one"), |root| {
        let path = root.join("file");
        let number = fs::metadata(&path).unwrap().ino();
        let mut open = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        assert_eq!(open.metadata().unwrap().ino(), number);
        open.write_all(b"new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), number);
        open.seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!((text, read(path)), ("new".into(), "new".into()));
    });
}

pub fn the_working_directory_is_found_by_its_name(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        write(root, "a/b/file", "x");
    });
    stage.edit("next", Some("one"), |root| {
        let root = root.canonicalize().unwrap();
        let script = "rm file && touch other && chmod 700 . && exec pwd -P";
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", script])
            .current_dir(root.join("a/b"))
            .output()
            .unwrap();
        assert!(output.status.success());
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(Path::new(shown.trim_end()), root.join("a/b"));
    });
}

pub fn modes_of_lower_files_can_be_changed(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        write(root, "file", "x");
        write(root, "other", "x");
        set_mode(&root.join("other"), 0o600);
        fs::create_dir(root.join("dir")).unwrap();
    });
    stage.layer("two", Some("one"), |root| {
        set_mode(&root.join("file"), 0o4755);
        set_mode(&root.join("dir"), 0o2770);
    });
    stage.look("two", |root| {
        let modes = ["file", "other", "dir"].map(|name| mode(&root.join(name)));
        assert_eq!(modes, [0o4755, 0o600, 0o2770]);
        assert_eq!(read(root.join("file")), "x");
    });
    stage.look("one", |root| assert_eq!(mode(&root.join("dir")), 0o755));
}

pub fn hard_links_stay_one_file(stage: &Stage<'_>) {
    stage.layer("one", None, |root| {
        write(root, "a", "x");
        for name in ["b", "c"] {
            fs::hard_link(root.join("a"), root.join(name)).unwrap();
        }
    });
    // A set of which the layer hides a part has to be made anew, all of it.
    stage.layer("two", Some("one"), |root| {
        fs::remove_file(root.join("a")).unwrap();
    });
    stage.look("two", |root| {
        let found = |name: &str| fs::metadata(root.join(name)).unwrap();
        assert!(!root.join("a").exists());
        assert_eq!(found("b").ino(), found("c").ino());
        assert_eq!((found("b").nlink(), read(root.join("c"))), (2, "x".into()));
    });
    stage.look("one", |root| {
        assert_eq!(fs::metadata(root.join("a")).unwrap().nlink(), 3);
    });
}

/// containerd#13030.
pub fn what_was_removed_is_not_seen_after_a_rebase(stage: &Stage<'_>) {
    stage.layer("base", None, |root| {
        fs::create_dir(root.join("d")).unwrap();
        write(root, "d/gone", "x");
        write(root, "gone", "x");
        write(root, "kept", "x");
        set_mode(root, 0o711);
    });
    let mounts = stage.snapshots.prepare("key", None, &plain()).unwrap();
    {
        let mounted = stage.mount(&mounts);
        write(&mounted.target, "new", "y");
        write(&mounted.target, "kept", "z");
    }
    // An applier that knows overlays writes whiteouts into the upper directory itself.
    let options = mounts[0].options.iter();
    let mut upper = options.filter_map(|option| option.to_str()?.strip_prefix("upperdir="));
    let upper = Path::new(upper.next_back().unwrap());
    let whiteout = Command::new("mknod")
        .arg(upper.join("gone"))
        .args(["c", "0", "0"])
        .status();
    assert!(whiteout.unwrap().success());
    let onto = SnapshotOptions::onto("base");
    stage.snapshots.commit("rebased", "key", &onto).unwrap();
    stage.look("rebased", |root| {
        assert!(!root.join("gone").exists());
        assert_eq!(
            (read(root.join("kept")), read(root.join("new"))),
            ("z".into(), "y".into())
        );
        assert_eq!(read(root.join("d/gone")), "x");
        // Nobody said anything of the root.
        assert_eq!(mode(root), 0o711);
    });
}

pub fn an_active_snapshot_shows_its_changes_when_it_is_mounted_again(stage: &Stage<'_>) {
    stage.layer("base", None, |root| write(root, "file", "x"));
    stage.edit("key", Some("base"), |root| {
        write(root, "new", "y");
        fs::remove_file(root.join("file")).unwrap();
    });
    let mounts = stage.snapshots.mounts("key").unwrap();
    let mounted = stage.mount(&mounts);
    assert_eq!(read(mounted.target.join("new")), "y");
    assert!(!mounted.target.join("file").exists());
}
