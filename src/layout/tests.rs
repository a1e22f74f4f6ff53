//! Layouts as a whole: made, opened, refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::test_layout::{TestLayout, tag};
use super::*;
use crate::image::{CONFIG, MANIFEST};

#[test]
fn a_new_layout_has_umocis_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("new/layout");
    Layout::create(&path).unwrap();
    assert_eq!(
        fs::read(path.join("oci-layout")).unwrap(),
        b"{\"imageLayoutVersion\":\"1.0.0\"}\n"
    );
    let index = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}\n";
    assert_eq!(fs::read_to_string(path.join("index.json")).unwrap(), index);
    assert!(path.join("blobs/sha256").is_dir());
    let mode = fs::metadata(path.join("index.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o600, 0o600);
    assert!(Layout::open(&path).unwrap().tags().unwrap().is_empty());
}

#[test]
fn a_layout_is_not_made_over_anything() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, make) in [("dir", true), ("file", false)] {
        let path = scratch.path().join(name);
        if make {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, b"x").unwrap();
        }
        assert_eq!(
            Layout::create(&path).err().unwrap().kind(),
            ErrorKind::AlreadyExists
        );
    }
    assert!(Layout::create(Path::new("")).is_err());
    assert!(Layout::create(&scratch.path().join("file/below")).is_err());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_layout_is_not_opened() {
    type Damage = fn(&Path);
    let table: [(&str, Damage); 9] = [
        ("no oci-layout", |path| {
            fs::remove_file(path.join("oci-layout")).unwrap();
        }),
        ("bad oci-layout", |path| {
            fs::write(path.join("oci-layout"), b"{").unwrap();
        }),
        ("array", |path| {
            fs::write(path.join("oci-layout"), b"[]").unwrap();
        }),
        ("version", |path| {
            fs::write(
                path.join("oci-layout"),
                br#"{"imageLayoutVersion":"9.0.0"}"#,
            )
            .unwrap();
        }),
        ("version type", |path| {
            fs::write(path.join("oci-layout"), br#"{"imageLayoutVersion":1}"#).unwrap();
        }),
        ("no index.json", |path| {
            fs::remove_file(path.join("index.json")).unwrap();
        }),
        ("index.json is a directory", |path| {
            fs::remove_file(path.join("index.json")).unwrap();
            fs::create_dir(path.join("index.json")).unwrap();
        }),
        ("no blobs", |path| {
            fs::remove_dir_all(path.join("blobs")).unwrap();
        }),
        ("blobs is a file", |path| {
            fs::remove_dir_all(path.join("blobs")).unwrap();
            fs::write(path.join("blobs"), b"").unwrap();
        }),
    ];
    for (name, damage) in table {
        let layout = TestLayout::new();
        damage(layout.path());
        let error = Layout::open(layout.path()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}: {error:?}");
        assert!(
            error.to_string().contains("invalid image detected"),
            "{name}"
        );
    }
}

#[test]
fn any_part_of_a_layout_may_be_a_link() {
    let shared = tempfile::tempdir().unwrap();
    for part in ["oci-layout", "index.json", "blobs", "blobs/sha256"] {
        let layout = TestLayout::new();
        let image = layout.image("a", "linux/amd64");
        layout.set_index(&[layout.tagged(&image, "a")]);
        let place = layout.path().join(part);
        let target = shared.path().join(part.replace('/', "-"));
        fs::rename(&place, &target).unwrap();
        std::os::unix::fs::symlink(&target, &place).unwrap();

        let opened = layout.open();
        let path = layout.leased().resolve(tag("a"), None).unwrap();
        assert!(opened.manifest(path.target()).is_ok(), "{part}");
        let findings = opened.validate(None, &crate::progress::Silent).unwrap();
        assert!(findings.is_empty(), "{part}: {findings:?}");

        let before = fs::read(&target).ok();
        opened.tag(tag("a"), None, &tag("b")).unwrap();
        assert_eq!(opened.tags().unwrap(), ["a", "b"]);
        assert_eq!(fs::read(&target).ok(), before, "{part}");
        let collected = opened.gc(false).map_err(|error| error.kind());
        if part.starts_with("blobs") {
            assert_eq!(collected.unwrap_err(), ErrorKind::Unsupported);
        } else {
            assert_eq!(collected.unwrap(), GcReport::default());
        }
    }
}

#[test]
fn a_part_that_links_to_no_file_is_refused() {
    for target in ["index.json", "nowhere", "."] {
        for part in ["oci-layout", "index.json"] {
            let layout = TestLayout::new();
            fs::remove_file(layout.path().join(part)).unwrap();
            std::os::unix::fs::symlink(target, layout.path().join(part)).unwrap();
            let error = Layout::open(layout.path()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{part}: {target}");
        }
    }
}

#[test]
fn a_missing_layout_is_not_found_and_hints_at_init() {
    let scratch = tempfile::tempdir().unwrap();
    let error = Layout::open(&scratch.path().join("none")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hints()[0].contains("init"));
}

#[test]
fn a_document_above_the_limit_is_not_read() {
    let layout = TestLayout::new();
    let manifest = layout.document(MANIFEST, &json!({"schemaVersion": 2}));
    let huge = Descriptor::new(MANIFEST, manifest.digest().clone(), 300 << 20);
    assert_eq!(
        layout.open().read_document(&huge).unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
}

#[test]
fn a_blob_that_is_no_file_is_an_error() {
    let layout = TestLayout::new();
    let config = layout.blob(CONFIG, br#"{"os":"linux"}"#);
    let path = layout.blob_path(&config);
    fs::remove_file(&path).unwrap();
    assert_eq!(
        layout.open().config(&config).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    fs::create_dir(&path).unwrap();
    assert_eq!(
        layout.open().config(&config).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    fs::remove_dir(&path).unwrap();
    let embedded = json!({"mediaType": CONFIG, "digest": config.digest().to_string(), "size": 14, "data": "eyJvcyI6ImxpbnV4In0="});
    let embedded = Descriptor::from_value(&embedded).unwrap();
    assert_eq!(
        layout.open().config(&embedded).unwrap().os(),
        "linux",
        "embedded data needs no blob"
    );
}

#[test]
fn only_known_types_are_parsed() {
    let layout = TestLayout::new();
    let config = layout.document("application/vnd.example+json", &json!({}));
    assert_eq!(
        layout.open().config(&config).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(
        layout.open().manifest(&config).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    let empty = layout.document(crate::image::EMPTY, &json!({"a": 1}));
    assert_eq!(
        layout.open().read_document(&empty).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}
