//! Insertions.

use super::*;

#[test]
fn a_tree_is_inserted_depth_first() {
    let fixture = Fixture::new();
    fixture.file("src/a/b", "1");
    fixture.file("src/a-b", "2");
    fixture.file("src/a/.c", "3");
    let items = fixture
        .insert(&[fixture.tree("src", "//opt/./x/")], |_| {})
        .unwrap();
    assert_eq!(
        names(&items),
        ["opt/x/", "opt/x/a/", "opt/x/a/.c", "opt/x/a/b", "opt/x/a-b"]
    );
}

#[test]
fn the_root_of_the_image_keeps_its_metadata() {
    let fixture = Fixture::new();
    fixture.file("src/etc/motd", "1");
    let items = fixture.insert(&[fixture.tree("src", "/")], |_| {}).unwrap();
    assert_eq!(names(&items), ["etc/", "etc/motd"]);
    // A file goes into it, as with cp.
    let items = fixture
        .insert(&[fixture.tree("src/etc/motd", "/")], |_| {})
        .unwrap();
    assert_eq!(names(&items), ["motd"]);
}

#[test]
fn a_source_with_leading_dots_is_what_the_user_names() {
    let fixture = Fixture::new();
    fixture.file("src/f", "1");
    fs::create_dir(fixture.path("src/sub")).unwrap();
    let items = fixture
        .insert(&[fixture.tree("src/sub/..", "/x")], |_| {})
        .unwrap();
    assert_eq!(names(&items), ["x/", "x/f", "x/sub/"]);
    let items = fixture
        .insert(&[fixture.tree("src/sub/../f", "/x")], |_| {})
        .unwrap();
    assert_eq!(
        (names(&items), items[0].1.as_slice()),
        (vec!["x"], &b"1"[..])
    );
}

#[test]
fn a_symbolic_link_is_inserted_not_followed() {
    let fixture = Fixture::new();
    fixture.file("src/f", "1");
    symlink("src", fixture.path("link")).unwrap();
    let items = fixture
        .insert(&[fixture.tree("link", "/l")], |_| {})
        .unwrap();
    assert_eq!(
        (names(&items), items[0].0.kind),
        (vec!["l"], EntryKind::Symlink)
    );
    // On the way to the source, links are the user's business.
    let items = fixture
        .insert(&[fixture.tree("link/f", "/l")], |_| {})
        .unwrap();
    assert_eq!(items[0].0.kind, EntryKind::File);
}

#[test]
fn insertions_come_in_the_order_given_with_whiteouts_first() {
    let fixture = Fixture::new();
    let file = fixture.file("src/f", "1");
    fs::hard_link(file, fixture.path("src/g")).unwrap();
    let source = fixture.path("src");
    let insertions = [
        tree(&source, "z", true),
        whiteout("/a/b"),
        tree(&source, "y", false),
        tree(&source, "/", true),
        tree(&fixture.path("src/f"), "x", true),
    ];
    let items = fixture.insert(&insertions, |_| {}).unwrap();
    assert_eq!(
        names(&items),
        [
            "z/.wh..wh..opq",
            "z/",
            "z/f",
            "z/g",
            "a/.wh.b",
            "y/",
            "y/f",
            "y/g",
            ".wh..wh..opq",
            "f",
            "g",
            "x"
        ]
    );
    // Each tree has its own files, and links only to these.
    let links: Vec<&[u8]> = items
        .iter()
        .filter(|(entry, _)| entry.kind == EntryKind::HardLink)
        .map(|(entry, _)| entry.link.as_slice())
        .collect();
    assert_eq!(links, [&b"z/f"[..], b"y/f", b"f"]);
}

#[test]
fn an_unpacked_layer_is_packed_again_to_the_same_bytes() {
    let (fixture, unpacked) = (Fixture::new(), Fixture::new());
    let file = fixture.file("d/sub/f", &"content".repeat(1000));
    fs::hard_link(&file, fixture.path("d/hard")).unwrap();
    symlink("sub/f", fixture.path("d/soft")).unwrap();
    fixture.file(&format!("d/{}/\u{e9}", "long".repeat(40)), "");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o2750)).unwrap();
    set_xattr(&file, "user.a", b"1");
    let (mut layer, mut changes) = (Vec::new(), Vec::new());
    let options = InsertOptions {
        generate: fixture.options.clone(),
        ..InsertOptions::default()
    };
    let insertions = [fixture.tree("d", "d")];
    generate_insert_layer(&mut layer, &insertions, &options, &Silent).unwrap();
    for (entry, _) in read(&layer) {
        let path = entry
            .path
            .strip_suffix(b"/")
            .unwrap_or(&entry.path)
            .to_vec();
        changes.push(Change {
            path,
            kind: ChangeKind::Added,
        });
    }
    // In a layer of changes, paths are sorted as wholes.
    let (sorted, _) = fixture.changes_to(&changes, &Silent).unwrap();
    let apply = crate::layer::ApplyOptions::new(unpacked.options.map_options.clone());
    crate::layer::unpack_layer(&sorted[..], &unpacked.root(), &apply, &Silent).unwrap();
    let (again, _) = unpacked.changes_to(&changes, &Silent).unwrap();
    assert!(again == sorted);
    assert_eq!(read(&sorted).len(), read(&layer).len());
}

#[test]
fn owner_and_mode_can_be_given() {
    let fixture = Fixture::new();
    fixture.file("src/f", "1");
    symlink("f", fixture.path("src/l")).unwrap();
    let edit = |options: &mut InsertOptions| {
        options.owner = Some((12, 34));
        options.mode = Some(0o1705);
        options.generate.map_options.uid.0[0].host += 1;
    };
    let items = fixture.insert(&[fixture.tree("src", "x")], edit).unwrap();
    assert!(
        items
            .iter()
            .all(|(entry, _)| (entry.uid, entry.gid) == (12, 34))
    );
    let modes: Vec<u32> = items.iter().map(|(entry, _)| entry.mode).collect();
    assert_eq!(modes, [0o1705, 0o1705, 0o777]);
}

#[test]
fn parents_get_one_entry_each_unless_they_have_one() {
    let fixture = Fixture::new();
    fixture.file("src/sub/f", "1");
    let insertions = [
        fixture.tree("src/sub/f", "/a/b/f"),
        fixture.tree("src/sub/f", "/a/c/f"),
        fixture.tree("src", "/d"),
        fixture.tree("src/sub/f", "/d/sub/g"),
        whiteout("/e/f"),
    ];
    let items = fixture
        .insert(&insertions, |options| options.parents = true)
        .unwrap();
    assert_eq!(
        names(&items),
        [
            "a/", "a/b/", "a/b/f", "a/c/", "a/c/f", "d/", "d/sub/", "d/sub/f", "d/sub/g", "e/.wh.f"
        ]
    );
    let parent = &items[0].0;
    assert_eq!(
        (
            parent.kind,
            parent.mode,
            parent.uid,
            parent.gid,
            parent.mtime
        ),
        (EntryKind::Directory, 0o755, 0, 0, FileTime::zero())
    );
}

#[test]
fn nothing_is_written_if_an_insertion_makes_no_sense() {
    let fixture = Fixture::new();
    fixture.file("f", "1");
    let good = fixture.tree("f", "/f");
    for (bad, kind) in [
        (fixture.tree("missing", "/x"), ErrorKind::NotFound),
        (fixture.tree("f", ""), ErrorKind::InvalidInput),
        (fixture.tree("f", "/x/.wh.y"), ErrorKind::InvalidInput),
        (whiteout("/"), ErrorKind::InvalidInput),
        (whiteout("a/../.."), ErrorKind::InvalidInput),
        (whiteout(""), ErrorKind::InvalidInput),
        (whiteout("/x/.wh.y"), ErrorKind::InvalidInput),
    ] {
        let mut out = Vec::new();
        let insertions = [good.clone(), bad];
        let options = InsertOptions {
            generate: fixture.options.clone(),
            ..InsertOptions::default()
        };
        let error = generate_insert_layer(&mut out, &insertions, &options, &Silent).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(out.is_empty(), "{}", error.chain());
    }
}

#[test]
fn a_path_that_no_reader_takes_is_refused() {
    let fixture = Fixture::new();
    fixture.file("f", "1");
    let target = "d/".repeat(2050);
    let error = fixture
        .insert(&[fixture.tree("f", &target)], |_| {})
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn an_error_names_the_source_and_the_path_in_the_image() {
    let fixture = Fixture::new();
    fixture.file("src/sub/f", "1");
    let source = fixture.file("src/sub/.wh.f", "1");
    let error = fixture
        .insert(&[fixture.tree("src", "/opt")], |_| {})
        .unwrap_err();
    let start = format!("insert {}: pack opt/sub/.wh.f: ", source.display());
    assert!(error.chain().starts_with(&start), "{}", error.chain());
}

#[test]
fn sockets_in_a_tree_are_left_out_with_a_warning() {
    let fixture = Fixture::new();
    fixture.file("src/sub/f", "1");
    let _socket = UnixListener::bind(fixture.dir.path().join("src/sub/socket")).unwrap();
    let image = Image::new(&[]);
    let (items, warnings) = image
        .insert(&fixture, &[fixture.tree("src", "/opt")])
        .unwrap();
    assert_eq!(names(&items), ["opt/", "opt/sub/", "opt/sub/f"]);
    assert!(
        warnings.contains("src/sub/socket: it is a socket"),
        "{warnings}"
    );
}

/// What an image has.
struct Image(crate::layer::view::View);

impl Image {
    /// Each entry is a name, and a link's target behind an arrow; directories end in a slash.
    fn new(entries: &[&str]) -> Self {
        let mut writer = crate::archive::Writer::new(Vec::new());
        for text in entries {
            let (path, link) = text.split_once(" -> ").unwrap_or((text, ""));
            let kind = match (path.ends_with('/'), link.is_empty()) {
                (true, _) => EntryKind::Directory,
                (_, false) => EntryKind::Symlink,
                _ => EntryKind::File,
            };
            let mode = if path == "tmp/" { 0o1777 } else { 0o755 };
            let entry = Entry {
                path: path.into(),
                kind,
                mode,
                uid: 0,
                gid: 0,
                size: 0,
                mtime: FileTime::zero(),
                atime: None,
                link: link.into(),
                device: (0, 0),
                xattrs: Vec::new(),
                pieces: None,
            };
            writer.entry(&entry).unwrap();
        }
        let layer = writer.finish().unwrap();
        let mut view = crate::layer::view::View::new();
        view.add_layer(&layer[..], &crate::layer::view::ViewOptions::default())
            .unwrap();
        Self(view)
    }

    /// Inserts, with the owner 0:0 and the mode 0755 for all, and `parents`.
    fn insert(&self, fixture: &Fixture, insertions: &[Insertion]) -> Result<(Vec<Item>, String)> {
        let options = InsertOptions {
            generate: fixture.options.clone(),
            owner: Some((0, 0)),
            mode: Some(0o755),
            parents: true,
        };
        let (mut out, warnings) = (Vec::new(), Warnings::default());
        let view = self.0.clone();
        generate_insert_layer_on(&mut out, insertions, view, &options, &warnings)?;
        Ok((read(&out), warnings.text()))
    }
}

#[test]
fn what_an_image_has_is_not_lost_silently() {
    let fixture = Fixture::new();
    fixture.file("f", "1");
    fixture.file("dir/x", "1");
    symlink("f", fixture.path("link")).unwrap();
    let image = Image::new(&[
        "tmp/",
        "opt/",
        "opt/keep",
        "usr/",
        "usr/bin/",
        "usr/bin/sh",
        "bin -> usr/bin",
        "dangling -> none",
        "root -> /",
        "to-file -> opt/keep",
        "file",
    ]);
    // Source, target, and what is in the layer; or, with a ! the word of an error, with a ? that of a warning.
    for (source, target, expected) in [
        ("f", "/opt/", "opt/f"),
        ("f", "/opt/.", "opt/f"),
        ("f", "/bin/", "usr/bin/f"),
        ("f", "/bin/f", "bin/f"),
        ("f", "/root/", "f"),
        ("f", "/", "f"),
        ("f", "/new/", "new/ new/f"),
        ("f", "/file", "file"),
        ("f", "/opt/new", "opt/new"),
        ("f", "/opt/a/b", "opt/a/ opt/a/b"),
        ("dir", "/opt", "opt/ opt/x"),
        ("dir", "/opt/", "opt/ opt/x"),
        ("dir", "/bin/", "usr/bin/ usr/bin/x"),
        ("dir", "/root/", "x"),
        ("dir/x", "/tmp/x", "tmp/x"),
        ("link", "/dangling", "dangling"),
        ("link", "/bin/", "usr/bin/link"),
        ("f", "/opt", "!a directory with 1 name in it"),
        ("link", "/opt", "!a directory with 1 name in it"),
        (
            "f",
            "/bin",
            "!a symbolic link to usr/bin there, which leads to a directory",
        ),
        ("dir", "/bin", "!a symbolic link to usr/bin"),
        ("dir", "/file", "?a file of 0 bytes"),
        ("dir", "/to-file", "?a symbolic link to opt/keep"),
        ("f", "/file/", "!not a directory"),
        ("dir", "/to-file/", "!not a directory"),
        ("f", "/file/f", "!/file is a file"),
        ("f", "/to-file/f", "!/to-file is a file"),
        ("f", "/to-file", "?a symbolic link to opt/keep"),
        ("f", "/dangling", "?a symbolic link to none"),
        ("link", "/file", "?a file of 0 bytes"),
        ("dir", "/tmp", "?with mode 1777 and owner 0:0 gets 0755"),
    ] {
        let result = image.insert(&fixture, &[fixture.tree(source, target)]);
        let what = format!("{source} {target}");
        if let Some(word) = expected.strip_prefix('!') {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{what}");
            assert!(error.chain().contains(word), "{what}: {}", error.chain());
            continue;
        }
        let (items, warnings) = result.unwrap();
        if let Some(word) = expected.strip_prefix('?') {
            assert!(warnings.contains(word), "{what}: {warnings}");
        } else {
            assert_eq!(names(&items).join(" "), expected, "{what}");
            assert_eq!(warnings, "", "{what}");
        }
    }
}

#[test]
fn what_is_deep_in_a_tree_is_compared_too_unless_it_is_hidden() {
    let fixture = Fixture::new();
    fixture.file("src/lib/x", "1");
    fixture.file("new/a/lib", "1");
    let image = Image::new(&["usr/", "usr/lib/", "lib -> usr/lib", "a/", "a/lib/"]);
    let error = image
        .insert(&fixture, &[fixture.tree("src", "/")])
        .unwrap_err();
    assert!(
        error
            .chain()
            .contains("/lib: the image has a symbolic link"),
        "{}",
        error.chain()
    );
    let error = image
        .insert(&fixture, &[fixture.tree("new/a", "/a")])
        .unwrap_err();
    assert!(
        error
            .chain()
            .contains("/a/lib: the image has an empty directory"),
        "{}",
        error.chain()
    );
    let opaque = tree(&fixture.path("new/a"), "/a", true);
    assert!(image.insert(&fixture, &[opaque]).is_ok());
    let hidden = [whiteout("/lib"), fixture.tree("src", "/")];
    assert!(image.insert(&fixture, &hidden).is_ok());
}

#[test]
fn what_is_inserted_first_is_there_for_what_comes_next() {
    let fixture = Fixture::new();
    fixture.file("f", "1");
    fixture.file("dir/x", "1");
    symlink("dir/new", fixture.path("link")).unwrap();
    let image = Image::new(&["dir/"]);
    let insertions = [
        fixture.tree("dir", "/dir/new"),
        fixture.tree("link", "/l"),
        fixture.tree("f", "/l/"),
        fixture.tree("f", "/dir/new/"),
    ];
    let (items, _) = image.insert(&fixture, &insertions).unwrap();
    assert_eq!(
        names(&items),
        ["dir/new/", "dir/new/x", "l", "dir/new/f", "dir/new/f"]
    );
    let again = [fixture.tree("dir", "/d"), fixture.tree("f", "/d")];
    let error = image.insert(&fixture, &again).unwrap_err();
    assert!(
        error.chain().contains("a directory with 1 name"),
        "{}",
        error.chain()
    );
}

#[test]
fn root_is_told_whose_owner_rootless_throws_away() {
    if !crate::fs::probe::is_superuser() {
        return;
    }
    let fixture = Fixture::new();
    for name in ["a", "b", "c"] {
        let file = fixture.file(&format!("src/{name}"), "1");
        std::os::unix::fs::chown(file, Some(if name == "a" { 0 } else { 7 }), Some(0)).unwrap();
    }
    let warned = |owner| {
        let mut options = InsertOptions {
            generate: fixture.options.clone(),
            owner,
            ..InsertOptions::default()
        };
        options.generate.map_options.rootless = true;
        let warnings = Warnings::default();
        let insertions = [fixture.tree("src", "/x")];
        generate_insert_layer(std::io::sink(), &insertions, &options, &warnings).unwrap();
        warnings.text()
    };
    assert!(
        warned(None).contains("the owner of x/b and 1 more entry is thrown away"),
        "{}",
        warned(None)
    );
    assert_eq!(warned(Some((1, 2))), "");
}
