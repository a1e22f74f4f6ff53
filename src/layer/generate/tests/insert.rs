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
    let error = fixture
        .insert(&[fixture.tree("src/etc/motd", "/")], |_| {})
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
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
    let socket = fixture.dir.path().join("src/sub/socket");
    let _socket = UnixListener::bind(&socket).unwrap();
    let error = fixture
        .insert(&[fixture.tree("src", "/opt")], |_| {})
        .unwrap_err();
    let start = format!("insert {}: pack opt/sub/socket: ", socket.display());
    assert!(error.chain().starts_with(&start), "{}", error.chain());
}
