//! `insert`: files of the host become a layer, as with Debian's umoci, and what is more than umoci's.
//!
//! Left out of the comparison, since umoci is wrong there: a source with `..`, of which it drops the dots; a directory at
//! `/`, whose owner and mode become those of the image's root; `--whiteout=false`, which it takes for true; and the
//! end of the archive, padding included, which Debian's umoci does not write here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::edit::{
    Tool, assert_unpacks_to, assert_valid, base, config, diff_ids, index_entry, name, set_xattr,
    settle, sh, top_archive, top_names,
};
use crate::image::layers_of;
use crate::machine::{Bounded, Scratch, Tmpfs, said};
use crate::tree::{Tree, xattrs};

/// The base image, and things to insert in `source`.
fn prepared(peers: &[&str]) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(peers);
    base().write(&scratch.path("layout"));
    let source = scratch.path("source");
    fs::create_dir(&source).unwrap();
    sh(
        &source,
        "umask 022
        echo file >file; chmod 4711 file; chown 12:34 file
        mkdir -p tree/b/c tree/a; chmod 2750 tree/a; chown 5:6 tree/a tree; echo 1 >tree/a/1; ln tree/a/1 tree/b/one
        echo 0 >tree-0; echo 2 >tree/b/c/2; mkfifo tree/fifo; mknod tree/null c 1 3; ln -s ../../outside tree/b/link; echo é >tree/é
        ln -s tree link; ln -s nowhere dangling; mkdir empty",
    );
    set_xattr(&source.join("tree/b/c/2"), "user.colour", b"blue");
    settle(&source);
    (scratch, source)
}

/// Runs insert in the source directory, from `layout:latest` to a tag.
fn insert(scratch: &Scratch, tool: Tool, tag: &str, arguments: &[&str]) -> Bounded {
    let image = name(scratch, "layout", "latest");
    tool.command(scratch, &["insert", "--image", &image, "--tag", tag])
        .args(arguments)
        .current_dir(&scratch.path("source"))
}

/// Inserts with our tool, and returns the names in the layer.
#[track_caller]
fn names(scratch: &Scratch, arguments: &[&str]) -> Vec<String> {
    insert(scratch, Tool::Ours, "ours", arguments).succeed();
    let layout = scratch.path("layout");
    assert_valid(&layout);
    let (old, new) = (layers_of(&layout, "latest"), layers_of(&layout, "ours"));
    assert_eq!(old[..], new[..old.len()]);
    assert_eq!(new.len(), old.len() + 1);
    top_names(&layout, "ours")
}

/// Unpacks the image that was made last with both tools, which must agree, and returns the root.
#[track_caller]
fn unpacked(scratch: &Scratch, bundle: &str) -> PathBuf {
    let image = name(scratch, "layout", "ours");
    let rootfs = Tool::Ours.unpack(scratch, &image, bundle).join("rootfs");
    let tree = Tree::read(&rootfs);
    assert_unpacks_to(scratch, Tool::Umoci, &image, &tree, "umoci's and ours");
    rootfs
}

/// Fails the test unless the topmost layers of `ours` and `theirs` are the same, but for the end of theirs.
#[track_caller]
fn assert_same_archive(layout: &Path, what: &str) {
    let ours = top_archive(layout, "ours");
    let mut theirs = top_archive(layout, "theirs");
    theirs.resize(theirs.len().next_multiple_of(512) + 1024, 0);
    assert!(ours == theirs, "{what}: {} {}", ours.len(), theirs.len());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_are_those_of_umoci() {
    let (scratch, source) = prepared(&["umoci"]);
    let layout = scratch.path("layout");
    let absolute = source.join("tree").display().to_string();
    let long = format!("/{}/{}", "p".repeat(160), "n".repeat(120));
    for arguments in [
        &["file", "/new"][..],
        &["file", "new"],
        &["file", "/d/new"],
        &["file", "/d/sub/../new"],
        &["file", "//d//./a"],
        &["file", "/f"],
        &["./file", "/f"],
        &["tree", "/new"],
        &["tree", "/d"],
        &["tree", "new/er"],
        &["tree/", "/new/"],
        &[&*absolute, "/new"],
        &["link", "/link2"],
        &["dangling", "/dangling"],
        &["empty", "/empty"],
        &["tree/fifo", "/pipe"],
        &["tree/null", "/dev/null"],
        &["tree/é", "/grün/é"],
        &["file", &*long],
        &["--opaque", "tree", "/d"],
        &["--opaque", "empty", "/d"],
        &["--whiteout", "/d"],
        &["--whiteout", "d/a"],
        &["--whiteout", "/d/sub/../b"],
        &["--whiteout", "/none"],
        &[
            "--uid-map",
            "0:0:10",
            "--uid-map=20:12:1",
            "--gid-map=7:0:90",
            "tree",
            "/m",
        ],
    ] {
        insert(&scratch, Tool::Umoci, "theirs", arguments).succeed();
        insert(&scratch, Tool::Ours, "ours", arguments).succeed();
        assert_same_archive(&layout, &format!("{arguments:?}"));
    }
    assert_valid(&layout);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_tree_is_inserted_as_it_is() {
    let (scratch, source) = prepared(&["umoci"]);
    let expected = [
        "srv/t/",
        "srv/t/a/",
        "srv/t/a/1",
        "srv/t/b/",
        "srv/t/b/c/",
        "srv/t/b/c/2",
        "srv/t/b/link",
        "srv/t/b/one",
        "srv/t/fifo",
        "srv/t/null",
        "srv/t/é",
    ];
    assert_eq!(names(&scratch, &["tree", "/srv/t"]), expected);
    let image = name(&scratch, "layout", "ours");
    let rootfs = Tool::Ours.unpack(&scratch, &image, "b").join("rootfs");
    Tree::read(&rootfs.join("srv/t"))
        .assert_same(&Tree::read(&source.join("tree")), "image and source");
    let step = config(&scratch.path("layout"), "ours")["history"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(step["created_by"], "umoci insert");
    assert_eq!(step["empty_layer"], Value::Null);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn without_a_tag_the_image_itself_is_changed() {
    let (scratch, _) = prepared(&["umoci"]);
    let image = name(&scratch, "layout", "latest");
    for tool in [Tool::Ours, Tool::Umoci, Tool::Ours] {
        tool.command(&scratch, &["insert", "--image", &image, "source/file"])
            .arg(format!("/{tool:?}"))
            .current_dir(&scratch.path(""))
            .succeed();
    }
    let layout = scratch.path("layout");
    assert_valid(&layout);
    assert_eq!(diff_ids(&layout, "latest").len(), 5);
    let rootfs = scratch.unpack("layout", "b").join("rootfs");
    assert!(rootfs.join("Ours").exists() && rootfs.join("Umoci").exists());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_there_is_merged_hidden_or_removed() {
    let (scratch, source) = prepared(&["umoci"]);
    names(&scratch, &["tree", "/d"]);
    let merged = unpacked(&scratch, "merged");
    assert!(merged.join("d/sub/deep").exists() && merged.join("d/b/c/2").exists());

    let opaque = names(&scratch, &["--opaque", "tree", "/d"]);
    assert_eq!(opaque[..2], ["d/.wh..wh..opq", "d/"]);
    let hidden = unpacked(&scratch, "hidden");
    Tree::read(&hidden.join("d"))
        .assert_same(&Tree::read(&source.join("tree")), "nothing else is there");

    assert_eq!(names(&scratch, &["--whiteout", "/d"]), [".wh.d"]);
    let removed = unpacked(&scratch, "removed");
    assert!(!removed.join("d").exists() && removed.join("d-x").exists());

    names(&scratch, &["tree", "/f"]);
    assert!(unpacked(&scratch, "replaced").join("f/a").is_dir());
    // A file over a directory is what umoci loses it for.
    assert_fails(&scratch, &["file", "/d"], "a directory with");
    // As cp has it, the slash makes the difference.
    assert_eq!(names(&scratch, &["file", "/d/"]), ["d/file"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn several_pairs_make_one_layer() {
    let (scratch, _) = prepared(&["umoci"]);
    let found = names(
        &scratch,
        &[
            "file", "/z", "empty", "/y", "file", "/d/file", "link", "empty/l",
        ],
    );
    assert_eq!(found, ["z", "y/", "d/file", "empty/l"]);
    let rootfs = unpacked(&scratch, "b");
    // The same source twice is two files.
    assert_eq!(fs::metadata(rootfs.join("z")).unwrap().nlink(), 1);
    assert_eq!(fs::read(rootfs.join("d/file")).unwrap(), b"file\n");
    assert_eq!(
        fs::read_link(rootfs.join("empty/l")).unwrap(),
        Path::new("tree")
    );
    let found = names(&scratch, &["--opaque", "empty", "/d", "tree", "/e"]);
    assert_eq!(found[..4], ["d/.wh..wh..opq", "d/", "e/.wh..wh..opq", "e/"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owner_and_mode_can_be_given() {
    let (scratch, _) = prepared(&["umoci"]);
    names(
        &scratch,
        &[
            "--chown",
            "1000:3000000",
            "--chmod",
            "640",
            "tree",
            "/t",
            "file",
            "/x",
        ],
    );
    let rootfs = unpacked(&scratch, "b");
    for path in [
        "t", "t/a", "t/a/1", "t/b/link", "t/fifo", "t/null", "t/é", "x",
    ] {
        let metadata = fs::symlink_metadata(rootfs.join(path)).unwrap();
        let owner = (metadata.uid(), metadata.gid());
        assert_eq!(owner, (1000, 3_000_000), "{path}");
        if metadata.is_file() || metadata.is_dir() {
            assert_eq!(metadata.mode() & 0o7777, 0o640, "{path}");
        }
    }
    assert_eq!(xattrs(&rootfs.join("t/b/c/2"))["user.colour"], b"blue");
    // The image's own files are not concerned.
    let metadata = fs::metadata(rootfs.join("f")).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o644));
    names(&scratch, &["--chmod=06755", "file", "/x"]);
    let rootfs = unpacked(&scratch, "setuid");
    let metadata = fs::metadata(rootfs.join("x")).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o6755);
    assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
    for bad in [
        "--chown=root:root",
        "--chown=1",
        "--chown=1:",
        "--chown=-1:0",
        "--chown=4294967296:0",
        "--chmod=8",
        "--chmod=10000",
        "--chmod=u+x",
        "--chmod=",
    ] {
        let output = insert(&scratch, Tool::Ours, "bad", &[bad, "file", "/x"]).output();
        assert_eq!(output.status.code(), Some(1), "{bad}: {}", said(&output));
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn parents_get_entries_of_their_own_once() {
    let (scratch, _) = prepared(&["umoci"]);
    let found = names(
        &scratch,
        &[
            "--parents",
            "file",
            "/a/b/c",
            "file",
            "/a/b/d",
            "empty",
            "/a/e",
            "file",
            "/a/e/f",
            "file",
            "/x",
        ],
    );
    assert_eq!(
        found,
        ["a/", "a/b/", "a/b/c", "a/b/d", "a/e/", "a/e/f", "x"]
    );
    let rootfs = unpacked(&scratch, "b");
    for path in ["a", "a/b"] {
        let metadata = fs::metadata(rootfs.join(path)).unwrap();
        let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
        assert_eq!((uid, gid, mode), (0, 0, 0o755), "{path}");
        assert_eq!(metadata.mtime(), 0, "{path}");
    }
    assert_eq!(names(&scratch, &["file", "/a/b/c"]), ["a/b/c"]);
}

/// umoci reads `x` for `../x`.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn sources_are_what_they_say() {
    let (scratch, source) = prepared(&["umoci"]);
    fs::write(scratch.path("outside"), "outside").unwrap();
    fs::write(source.join("outside"), "inside").unwrap();
    let content = |arguments: &[&str], bundle: &str, path: &str| {
        names(&scratch, arguments);
        let rootfs = unpacked(&scratch, bundle);
        fs::read_to_string(rootfs.join(path)).unwrap()
    };
    assert_eq!(content(&["../outside", "/x"], "b1", "x"), "outside");
    assert_eq!(content(&["tree/../outside", "/x"], "b2", "x"), "inside");
    assert_eq!(content(&["../source/file", "/x"], "b3", "x"), "file\n");
    // `link` leads to `tree`, and its parent is where it leads.
    assert_eq!(content(&["link/a/1", "/x"], "b4", "x"), "1\n");
    assert_eq!(content(&["tree/..", "/x"], "b5", "x/file"), "file\n");
    assert_eq!(content(&[".", "/x"], "b6", "x/tree/a/1"), "1\n");
}

/// umoci gives the image's root the owner, mode and time of the source.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_directory_at_the_root_leaves_the_root_alone() {
    let (scratch, _) = prepared(&["umoci"]);
    let before = scratch.unpack("layout", "before").join("rootfs");
    for target in ["/", ".", "/d/..", "//"] {
        let found = names(&scratch, &["tree", target]);
        assert_eq!(found[..2], ["a/", "a/1"], "{target}");
        let rootfs = unpacked(&scratch, "b");
        let [old, new] = [&before, &rootfs].map(|path| fs::metadata(path).unwrap());
        assert_eq!(
            (new.uid(), new.gid(), new.mode(), new.mtime()),
            (old.uid(), old.gid(), old.mode(), old.mtime())
        );
        assert!(rootfs.join("b/c/2").exists() && rootfs.join("d/sub").exists());
        fs::remove_dir_all(scratch.path("b")).unwrap();
    }
}

/// Inserts, which must fail, say these words, and leave no trace.
#[track_caller]
fn assert_fails(scratch: &Scratch, arguments: &[&str], word: &str) {
    let layout = scratch.path("layout");
    let read = || Tree::read(&layout).without_times_of(&["", "blobs/sha256"]);
    let before = read();
    let output = insert(scratch, Tool::Ours, "failed", arguments).output();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(word), "{arguments:?}: no {word:?} in {said}");
    read().assert_same(&before, "the layout after and before");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_cannot_be_inserted_leaves_the_image_alone() {
    let (scratch, source) = prepared(&[]);
    for (arguments, word) in [
        (&["none", "/x"][..], "none"),
        (&["file/none", "/x"], "file: Not a directory"),
        (&["file", "/x", "none", "/y"], "none"),
        (&["file", "/.wh.x"], ".wh."),
        (&["file", "/d/.wh..wh..opq"], ".wh."),
        (&["--whiteout", "/"], "root"),
        (&["--whiteout", "/.wh.x"], ".wh."),
        (&["--whiteout", "file", "/x"], "positional"),
        (&["file"], "positional"),
        (&["file", "/x", "file"], "positional"),
        (&["file", ""], "empty"),
        (&["", "/x"], "empty"),
        (&["--whiteout", ""], "empty"),
        (&["--uid-map", "0:1000:1", "file", "/x"], "12"),
        (&["--compress", "lzma", "file", "/x"], "lzma"),
        (
            &["--no-history", "--history.author=me", "file", "/x"],
            "mutually exclusive",
        ),
        (&["--history.created=x", "file", "/x"], "time"),
    ] {
        assert_fails(&scratch, arguments, word);
    }
    // Found late, behind much that could be packed.
    sh(&source, "mkdir late; seq 200000 >late/a");
    fs::write(source.join("late/.wh.z"), "").unwrap();
    assert_fails(&scratch, &["late", "/x"], "x/.wh.z");
    let output = scratch
        .tool(&["insert", "--image", &name(&scratch, "layout", "none")])
        .args(&["source/file", "/x"])
        .current_dir(&scratch.path(""))
        .output();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("tag not found: none"));
}

/// The flag is a flag with a value like any other.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn whiteout_false_is_no_whiteout() {
    let (scratch, _) = prepared(&[]);
    let found = names(
        &scratch,
        &["--whiteout=false", "--opaque=false", "empty", "/x"],
    );
    assert_eq!(found, ["x/"]);
    assert_eq!(names(&scratch, &["--whiteout=true", "/x"]), [".wh.x"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_full_disk_leaves_the_image_as_it_was() {
    let (scratch, source) = prepared(&[]);
    let small = Tmpfs::mount(scratch.path("small"), "size=2m");
    base().write(&small.path().join("layout"));
    Bounded::new("dd", 60)
        .args(&["if=/dev/urandom", "bs=1M", "count=4", "status=none"])
        .arg(format!("of={}", source.join("big").display()))
        .succeed();
    let before = Tree::read(small.path()).without_times_of(&["layout", "layout/blobs/sha256"]);
    let image = name(&scratch, "small/layout", "latest");
    let output = scratch
        .tool(&["insert", "--image", &image, "big", "/big"])
        .current_dir(&source)
        .output();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("o space left"), "{}", said(&output));
    Tree::read(small.path())
        .without_times_of(&["layout", "layout/blobs/sha256"])
        .assert_same(&before, "the disk after and before");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn with_an_epoch_the_result_is_always_the_same() {
    let (scratch, source) = prepared(&["env", "umoci"]);
    let layout = scratch.path("layout");
    let mut digests = Vec::new();
    for compression in ["gzip", "zstd", "none"] {
        for tag in ["one", "two"] {
            // All times are new, and later than the epoch.
            sh(&source, "touch file tree tree/a tree/a/1 tree/b");
            let image = name(&scratch, "layout", "latest");
            Bounded::new("env", 60)
                .args(&["SOURCE_DATE_EPOCH=1500000000"])
                .arg(scratch.binary())
                .args(&["insert", "--image", &image, "--tag", tag])
                .args(&["--compress", compression, "--parents"])
                .args(&["tree", "/new/t", "file", "/f"])
                .current_dir(&source)
                .succeed();
            digests.push(index_entry(&layout, tag)["digest"].clone());
        }
        assert_eq!(digests.pop(), digests.pop(), "{compression}");
        let layer = layers_of(&layout, "one").pop().unwrap();
        let media_type = layer["mediaType"].as_str().unwrap();
        let expected = ["gzip", "zstd"].contains(&compression);
        assert_eq!(media_type.ends_with(&format!("+{compression}")), expected);
        let archive = top_archive(&layout, "one");
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mtime = entry.unwrap().header().mtime().unwrap();
            assert_eq!(mtime, 1_500_000_000);
        }
    }
    assert_valid(&layout);
}

/// An ordinary user inserts files as root's.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_ordinary_user_inserts_files_of_root() {
    let (scratch, _) = prepared(&["umoci", "setpriv"]);
    let home = scratch.home_of_nobody();
    sh(
        &scratch.path(""),
        "mv layout source home; chown -R 65534:65534 home; chmod 0 home/source/tree/a; rm home/source/tree/null",
    );
    settle(&home.join("source"));
    let layout = home.join("layout");
    let image = format!("{}:latest", layout.display());
    for (tool, tag) in [(Tool::Ours, "ours"), (Tool::Umoci, "theirs")] {
        tool.command(&scratch, &["insert", "--rootless", "--image", &image])
            .args(&["--tag", tag, "source/tree", "/t"])
            .run_by_nobody(&home)
            .succeed();
    }
    assert_same_archive(&layout, "rootless");
    assert_valid(&layout);
    let bundle = Tool::Ours.unpack(&scratch, &format!("{}:ours", layout.display()), "b");
    for path in ["t", "t/a", "t/a/1", "t/b/link"] {
        let metadata = fs::symlink_metadata(bundle.join("rootfs").join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{path}");
    }
    // Changing a mode to 0 by number leaves a directory its set-group-ID bit.
    let mode = fs::metadata(home.join("source/tree/a")).unwrap().mode();
    assert_eq!(mode & 0o777, 0, "the source is closed as before");
}
