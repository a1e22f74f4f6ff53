//! Changes of a root.

use super::*;

/// A file with content (sevens) at these offsets.
fn holes(fixture: &Fixture, path: &str, size: u64, pieces: &[(u64, usize)]) {
    use std::os::unix::fs::FileExt;
    let path = fixture.file(path, "");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    for &(offset, length) in pieces {
        file.write_all_at(&vec![7; length], offset).unwrap();
    }
    filetime::set_file_mtime(&path, FileTime::from_unix_time(MTIME, 0)).unwrap();
}

#[test]
fn large_holes_are_neither_read_nor_written() {
    let fixture = Fixture::new();
    holes(&fixture, "f", 1 << 42, &[(1 << 41, 5)]);
    let (layer, packed) = fixture.changes_to(&[modified("f")], &Silent).unwrap();
    assert!(layer.len() < 80_000, "{}", layer.len());
    let items = read(&layer);
    assert_eq!((items.len(), items[0].0.size), (1, 1 << 42));
    assert_eq!(items[0].0.pieces, Some(vec![(1 << 41, 64 << 10)]));
    assert_eq!(items[0].1[..5], [7; 5]);
    assert!(items[0].1[5..].iter().all(|&byte| byte == 0));
    let recorded = packed[0].sha256.unwrap();
    let read = crate::fs::hash_file(fixture.root().dir(), b"f", &mut Vec::new());
    assert_eq!(recorded, read.unwrap());
}

#[test]
fn a_file_with_small_holes_is_written_as_one_without() {
    let fixture = Fixture::new();
    let size = 3 << 19;
    holes(&fixture, "f", size, &[(1 << 19, 5), (1 << 20, 5)]);
    let sparse = fixture.changes_to(&[modified("f")], &Silent).unwrap().0;
    let mut content = vec![0; usize::try_from(size).unwrap()];
    content[1 << 19..][..5].fill(7);
    content[1 << 20..][..5].fill(7);
    fs::write(fixture.path("f"), content).unwrap();
    filetime::set_file_mtime(fixture.path("f"), FileTime::from_unix_time(MTIME, 0)).unwrap();
    let plain = fixture.changes_to(&[modified("f")], &Silent).unwrap().0;
    assert!(sparse == plain);
    assert!(read(&plain)[0].0.pieces.is_none());
}

#[test]
fn entries_and_whiteouts_come_in_the_order_of_the_paths() {
    let fixture = Fixture::new();
    fixture.file("a/b", "1");
    fixture.file("a-b", "2");
    fixture.file("c/z", "3");
    let order = ["c/z", "a/b", "a-b", "a", ".", "c"];
    let mut changes: Vec<Change> = order.iter().map(|path| modified(path)).collect();
    changes.extend([deleted("a.gone"), deleted("c/b/x")]);
    let items = fixture.changes(&changes).unwrap();
    assert_eq!(
        names(&items),
        [
            ".",
            "a/",
            "a-b",
            ".wh.a.gone",
            "a/b",
            "c/",
            "c/b/.wh.x",
            "c/z"
        ]
    );
    let whiteout = &items[3].0;
    assert_eq!(
        (
            whiteout.kind,
            whiteout.mode,
            whiteout.uid,
            whiteout.size,
            whiteout.mtime
        ),
        (EntryKind::File, 0, 0, 0, FileTime::zero())
    );
}

#[test]
fn a_directory_that_became_a_symbolic_link_takes_nothing_from_where_the_link_leads() {
    let fixture = Fixture::new();
    fixture.file("elsewhere/x", "stays");
    symlink("elsewhere", fixture.path("d")).unwrap();
    symlink("c", fixture.path("c")).unwrap();
    symlink("nowhere", fixture.path("n")).unwrap();
    fixture.file("f", "a file now");
    let changes = [
        modified("c"),
        deleted("c/x"),
        modified("n"),
        deleted("n/x"),
        modified("d"),
        deleted("d/x"),
        deleted("d-x"),
        deleted("d/y/z"),
        modified("f"),
        deleted("f/x"),
    ];
    let items = fixture.changes(&changes).unwrap();
    assert_eq!(
        names(&items),
        ["c", "d", ".wh.d-x", "f", "f/.wh.x", "n", "n/.wh.x"]
    );
}

#[test]
fn a_file_is_described_and_its_digest_reported() {
    let fixture = Fixture::new();
    let path = fixture.file("f", &"content ".repeat(100_000));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let (archive, packed) = fixture
        .changes_to(&[modified("f"), deleted("g")], &Silent)
        .unwrap();
    let (entry, content) = &read(&archive)[0];
    assert_eq!(
        (entry.uid, entry.gid, entry.mode, entry.size),
        (0, 0, 0o4751, 800_000)
    );
    assert_eq!(
        entry.mtime,
        FileTime::from_unix_time(MTIME, 0),
        "rounded down"
    );
    assert!(*content == fs::read(&path).unwrap());
    assert_eq!(packed.len(), 1);
    let digest = oci_cas::Digest::of(oci_cas::Algorithm::Sha256, content);
    assert_eq!(hex::encode(packed[0].sha256.unwrap()), digest.encoded());
    assert_eq!(
        (packed[0].path.as_slice(), packed[0].stat.size),
        (&b"f"[..], 800_000)
    );
}

#[test]
fn the_first_name_in_order_is_the_file_and_the_others_are_links() {
    let fixture = Fixture::new();
    let path = fixture.file("z", "content");
    fs::create_dir(fixture.path("a")).unwrap();
    fs::hard_link(&path, fixture.path("a/first")).unwrap();
    let (archive, packed) = fixture
        .changes_to(&[modified("z"), modified("a/first")], &Silent)
        .unwrap();
    let items = read(&archive);
    assert_eq!(names(&items), ["a/first", "z"]);
    assert_eq!(
        (items[0].0.kind, items[0].1.as_slice()),
        (EntryKind::File, &b"content"[..])
    );
    assert_eq!(
        (items[1].0.kind, items[1].0.link.as_slice()),
        (EntryKind::HardLink, &b"a/first"[..])
    );
    assert_eq!(items[1].0.mode, 0o644);
    assert_eq!(packed[1].sha256, packed[0].sha256);
    // Alone, it is a file.
    assert_eq!(fixture.one("z").unwrap().0.kind, EntryKind::File);
}

#[test]
fn files_that_are_told_to_be_one_are_links_whatever_the_file_system_says() {
    let fixture = Fixture::new();
    for name in ["a", "b", "c"] {
        fixture.file(name, "same");
    }
    fs::hard_link(fixture.path("c"), fixture.path("d")).unwrap();
    let changes = ["a", "b", "c", "d"].map(modified);
    let generate = |names: &[&str]| {
        let links = names.iter().map(|name| (name.as_bytes().to_vec(), 7));
        let (root, links, mut out) = (fixture.root(), links.collect(), Vec::new());
        let options = &fixture.options;
        generate_linked_layer(
            &mut out,
            &root,
            &changes,
            &links,
            options,
            &Silent,
            &mut |_| {},
        )?;
        Ok::<_, Error>(read(&out))
    };
    let targets = |items: Vec<Item>| {
        items
            .into_iter()
            .map(|item| item.0.link)
            .collect::<Vec<_>>()
    };
    let items = generate(&["a", "b"]).unwrap();
    assert_eq!(targets(items), [&b""[..], b"a", b"", b"c"]);
    let items = generate(&["a", "c", "d"]).unwrap();
    assert_eq!(targets(items), [&b""[..], b"", b"a", b"a"]);
    fixture.file("b", "other");
    let error = generate(&["a", "b"]).unwrap_err();
    assert!(error.chain().contains("not the same as a"), "{error}");
}

#[test]
fn links_and_pipes_are_packed_as_what_they_are() {
    let fixture = Fixture::new();
    symlink("/etc/passwd", fixture.path("link")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(fixture.path("pipe"))
            .status()
            .unwrap()
            .success()
    );
    let (entry, content) = fixture.one("link").unwrap();
    assert_eq!(
        (entry.kind, entry.link.as_slice()),
        (EntryKind::Symlink, &b"/etc/passwd"[..])
    );
    assert!(content.is_empty());
    assert_eq!(fixture.one("pipe").unwrap().0.kind, EntryKind::Fifo);
}

#[test]
fn times_after_the_epoch_are_lowered_to_it() {
    let mut fixture = Fixture::new();
    fixture.file("new", "");
    filetime::set_file_mtime(
        fixture.file("old", ""),
        FileTime::from_unix_time(-7, 500_000_000),
    )
    .unwrap();
    fixture.options.source_date_epoch = Some(1000);
    let items = fixture
        .changes(&[modified("new"), modified("old"), deleted("x")])
        .unwrap();
    let seconds: Vec<i64> = items
        .iter()
        .map(|(entry, _)| entry.mtime.unix_seconds())
        .collect();
    assert_eq!(seconds, [1000, -7, 0]);
}

#[test]
fn what_no_layer_can_hold_is_refused_by_name() {
    let fixture = Fixture::new();
    let _listener = UnixListener::bind(fixture.path("socket")).unwrap();
    let error = fixture.one("socket").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.chain().starts_with("pack socket: "),
        "{}",
        error.chain()
    );
    fixture.file("d/.wh.f", "");
    let error = fixture.one("d/.wh.f").unwrap_err();
    assert!(
        error.chain().starts_with("pack d/.wh.f: "),
        "{}",
        error.chain()
    );
    assert!(fixture.changes(&[deleted("d/.wh.f")]).is_err());
    assert_eq!(
        fixture.one("missing").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn paths_that_are_not_clean_are_refused() {
    let fixture = Fixture::new();
    fixture.file("d/f", "");
    for path in ["", "/d/f", "d//f", "d/", "./d", "d/..", "../d", "d/../d/f"] {
        let error = fixture.one(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
    }
    assert!(fixture.changes(&[deleted(".")]).is_err());
}

#[test]
fn a_parent_that_became_a_symbolic_link_is_not_followed() {
    let fixture = Fixture::new();
    fixture.file("real/f", "secret");
    let outside = Fixture::new();
    outside.file("f", "secret");
    symlink("real", fixture.path("inside")).unwrap();
    symlink(outside.dir.path(), fixture.path("outside")).unwrap();
    for path in ["inside/f", "outside/f"] {
        let error = fixture.one(path).unwrap_err();
        assert!(error.chain().contains("was replaced"), "{}", error.chain());
    }
}

#[test]
fn an_owner_outside_the_maps_is_an_error() {
    let mut fixture = Fixture::new();
    fixture.file("f", "");
    fixture.options.map_options.uid.0[0].host += 1;
    let error = fixture.one("f").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.chain().starts_with("pack f: "), "{}", error.chain());
}

#[test]
fn attributes_are_packed_but_for_empty_ones() {
    let fixture = Fixture::new();
    let path = fixture.file("f", "");
    if !set_xattr(&path, "user.b", b"2") {
        return;
    }
    set_xattr(&path, "user.a", b"\0\n");
    set_xattr(&path, "user.empty", b"");
    let warnings = Warnings::default();
    let (archive, _) = fixture.changes_to(&[modified("f")], &warnings).unwrap();
    let user: Vec<_> = read(&archive)[0]
        .0
        .xattrs
        .iter()
        .filter(|(name, _)| name.starts_with(b"user."))
        .cloned()
        .collect();
    assert_eq!(
        user,
        [
            (b"user.a".to_vec(), b"\0\n".to_vec()),
            (b"user.b".to_vec(), b"2".to_vec())
        ]
    );
    assert_eq!(
        *warnings.0.lock().unwrap(),
        ["pack f: extended attribute user.empty is empty and is left out"]
    );
    set_xattr(&path, "user.a=b", b"1");
    let error = fixture.one("f").unwrap_err();
    assert!(error.chain().contains("user.a=b"), "{}", error.chain());
}

#[test]
fn a_rootless_tree_has_the_owners_that_it_records() {
    let mut fixture = Fixture::new();
    fixture.options.map_options = MapOptions {
        rootless: true,
        ..MapOptions::default()
    };
    let (plain, closed) = (
        fixture.file("plain", ""),
        fixture.file("d/closed", "content"),
    );
    let name = std::str::from_utf8(ROOTLESS_OWNER).unwrap();
    let recorded = set_xattr(&closed, name, &rootless_owner(992, 0));
    let close = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    close(&closed);
    close(closed.parent().unwrap());
    let items = fixture
        .changes(&[modified("plain"), modified("d"), modified("d/closed")])
        .unwrap();
    let owners: Vec<_> = items
        .iter()
        .map(|(entry, _)| (entry.uid, entry.gid, entry.mode))
        .collect();
    let owner = if recorded { 992 } else { 0 };
    assert_eq!(owners, [(0, 0, 0), (owner, 0, 0), (0, 0, 0o644)]);
    assert_eq!(items[1].1, b"content");
    assert!(
        items[1]
            .0
            .xattrs
            .iter()
            .all(|(name, _)| name != ROOTLESS_OWNER)
    );
    let mode = fs::metadata(fixture.path("d")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0, "what was opened up is closed again");
    fs::set_permissions(fixture.path("d"), fs::Permissions::from_mode(0o700)).unwrap();
    if recorded {
        set_xattr(&plain, name, b"\x08");
        assert_eq!(
            fixture.one("plain").unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    }
}

/// Refuses to take more than so many bytes.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_error_of_the_output_comes_through() {
    let fixture = Fixture::new();
    fixture.file("f", &"x".repeat(10_000));
    for room in [0, 1000, 11_000] {
        let changes = [modified("f")];
        let result: Result<(), Error> = generate_layer(
            Full(room),
            &fixture.root(),
            &changes,
            &fixture.options,
            &Silent,
            &mut |_| {},
        );
        let cause = std::io::Error::from(std::io::ErrorKind::StorageFull).to_string();
        assert!(result.unwrap_err().chain().ends_with(&cause));
    }
}
