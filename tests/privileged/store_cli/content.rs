//! Changes as lists, archives, layers and images; archives in and out.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Fixture;
use crate::image::{Image, Layer};
use crate::machine::{Bounded, names_in, said};
use crate::tree::Tree;

/// The names in an archive, each with its content.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    };
    entries.map(read).collect()
}

#[test]
#[ignore = "needs root: mounts"]
fn changes_are_listed_written_as_an_archive_and_committed() {
    let fixture = Fixture::filled();
    let target = fixture.mount_box();
    assert_eq!(
        fixture.tool(&["store", "changes", "box"]).succeed(),
        "",
        "nothing was changed"
    );
    let committed = fixture.json(&["store", "commit", "box"]);
    assert_eq!(committed["diff_id"], Value::Null);
    fs::write(target.join("etc/new"), "new").unwrap();
    fs::remove_file(target.join("etc/hosts")).unwrap();
    fs::write(target.join("etc/passwd"), "changed").unwrap();
    let listed = fixture.tool(&["store", "changes", "box"]).succeed();
    assert_eq!(listed, "C /etc\nD /etc/hosts\nA /etc/new\nC /etc/passwd\n");
    let json = fixture.json(&["store", "changes", "box"]);
    assert_eq!(
        json[1],
        serde_json::json!({"path": "/etc/hosts", "status": "deleted"})
    );
    let archive = fixture.tool(&["store", "diff", "box"]).output().stdout;
    let names: Vec<_> = members(&archive)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["etc/", "etc/.wh.hosts", "etc/new", "etc/passwd"]);
    let file = fixture.path("changes.tar.zst").display().to_string();
    let written = fixture.json(&["store", "diff", "box", "-c", "zstd", "-o", &file]);
    assert_eq!(written["size"], fs::metadata(&file).unwrap().len());
    assert_eq!(
        fixture.fails(&["store", "diff", "box"])["reason"],
        Value::Null
    );
    let committed = fixture.json(&["store", "commit", "box"]);
    let chain = committed["chain_id"].as_str().unwrap();
    let digest = Bounded::new("sh", 10)
        .args(&["-c", &format!("zstd -dc {file} | sha256sum")])
        .succeed();
    let diff_id = committed["diff_id"].as_str().unwrap();
    assert!(digest.starts_with(&diff_id["sha256:".len()..]), "{digest}");
    let view = fixture.directory("view of the chain");
    fixture
        .tool(&["store", "mount", chain])
        .arg(&view)
        .succeed();
    assert_eq!(names_in(&view.join("etc")), ["group", "new", "passwd"]);
    assert_eq!(fs::read(view.join("etc/passwd")).unwrap(), b"changed");
    assert_eq!(fs::read(view.join("again")).unwrap(), [7; 10_000]);
    fixture.tool(&["store", "shutdown"]).succeed();
}

#[test]
#[ignore = "needs root: mounts"]
fn a_container_becomes_an_image_of_its_layout() {
    let fixture = Fixture::filled();
    let target = fixture.mount_box();
    fs::write(target.join("new"), "new").unwrap();
    fixture.tool(&["store", "umount", "box"]).succeed();
    let new = format!("{}:new", fixture.path("layout").display());
    let committed = fixture.json(&["store", "commit", "--image", &new, "--tag", "mine", "box"]);
    fixture
        .scratch
        .tool(&["validate", "--layout"])
        .arg(fixture.path("layout"))
        .succeed();
    let files = fixture.scratch.tool(&["files", "--image", &new]).succeed();
    assert_eq!(files, "again\ndata\netc\nnew\n");
    let inspected = fixture.json(&["store", "inspect", "mine"]);
    assert_eq!(inspected["image"]["digest"], committed["image"]);
    assert_eq!(
        inspected["image"]["names"],
        serde_json::json!([new, "mine"])
    );
    let changes = fixture.tool(&["store", "changes", "mine", &fixture.image]);
    assert_eq!(changes.succeed(), "C /\nA /new\n");
    let archive = fixture.tool(&["store", "diff", "mine", &fixture.image]);
    let last = members(&archive.output().stdout).pop();
    assert_eq!(last, Some(("new".to_owned(), b"new".to_vec())));
    let whole = fixture.tool(&["store", "diff", &fixture.image]).output();
    let names: Vec<_> = members(&whole.stdout)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(
        names.contains(&"etc/passwd".to_owned()) && names.contains(&"again".to_owned()),
        "{names:?}"
    );
    fs::rename(fixture.path("layout"), fixture.path("elsewhere")).unwrap();
    let elsewhere = format!("{}:x", fixture.path("elsewhere").display());
    fixture
        .tool(&["store", "commit", "--image", &elsewhere, "box"])
        .succeed();
}

#[test]
#[ignore = "needs root: mounts"]
fn images_go_out_as_archives_and_come_back() {
    let fixture = Fixture::filled();
    fixture
        .tool(&["store", "tag", &fixture.image, "example.org/x:1"])
        .succeed();
    let digest = fixture.json(&["store", "ls"])[0]["digest"].clone();
    for format in ["combined", "oci", "docker"] {
        let file = fixture.path(&format!("{format}.tar")).display().to_string();
        let format = ["--format", format];
        fixture
            .tool(&["store", "export", "example.org/x:1", "-o", &file])
            .args(&format)
            .succeed();
        let store = fixture
            .path(&format!("from-{}", format[1]))
            .display()
            .to_string();
        let tool = |arguments: &[&str]| {
            let text = fixture
                .scratch
                .tool(arguments)
                .args(&["--store", &store, "--json"])
                .succeed();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let imported = tool(&["store", "import", &file]);
        assert_eq!(
            imported[0]["names"],
            serde_json::json!(["example.org/x:1"]),
            "{format:?}"
        );
        if format[1] != "docker" {
            assert_eq!(imported[0]["digest"], digest, "{format:?}");
        }
        let target = fixture.directory(&format!("view {}", format[1]));
        let view = target.display().to_string();
        tool(&["store", "mount", "example.org/x:1", &view]);
        assert_eq!(fs::read(target.join("again")).unwrap(), [7; 10_000]);
        tool(&["store", "umount", &view]);
        // The blobs are there for a repair, and go with their image.
        assert_eq!(tool(&["store", "check", "--repair"])["clean"], true);
        let layer =
            tool(&["store", "inspect", "example.org/x:1"])["chain"]["layers"][0]["path"].clone();
        fs::write(Path::new(layer.as_str().unwrap()).join("extra"), "x").unwrap();
        let output = fixture
            .scratch
            .tool(&["store", "check", "--repair", "--store", &store])
            .output();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        tool(&["store", "gc"]);
        let blobs = Path::new(&store).join("blobs/images/blobs/sha256");
        assert!(!names_in(&blobs).is_empty());
        tool(&["store", "remove", "example.org/x:1"]);
        tool(&["store", "gc"]);
        assert!(names_in(&blobs).is_empty(), "{format:?}");
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn gc_leaves_the_layers_that_an_image_names_though_it_stacks_variants_of_them() {
    let fixture = Fixture::filled();
    let target = fixture.mount_box();
    let collected = fixture.json(&["store", "gc"]);
    assert_eq!(collected["layers"], serde_json::json!([]));
    assert!(fixture.layers().iter().all(|layer| layer.is_dir()));
    // Another chain is made of them: the image's blobs are not wanted.
    fs::rename(fixture.path("layout"), fixture.path("elsewhere")).unwrap();
    fs::write(target.join("new"), "new").unwrap();
    let chain = fixture.json(&["store", "commit", "box"])["chain_id"].clone();
    let view = fixture.directory("view of the chain");
    fixture
        .tool(&["store", "mount", chain.as_str().unwrap()])
        .arg(&view)
        .succeed();
    assert_eq!(names_in(&view), ["again", "data", "etc", "new"]);
    fixture.tool(&["store", "shutdown"]).succeed();
}

#[test]
#[ignore = "needs root: mounts"]
fn what_was_committed_stays_until_it_is_removed() {
    let fixture = Fixture::filled();
    let target = fixture.mount_box();
    fs::write(target.join("new"), "new").unwrap();
    let committed = fixture.json(&["store", "commit", "box"]);
    let chain = committed["chain_id"].as_str().unwrap();
    fixture.tool(&["store", "umount", "box"]).succeed();
    fixture
        .tool(&["store", "remove", "box", &fixture.image])
        .succeed();
    fixture.tool(&["store", "gc", "--all"]).succeed();
    let listed = fixture.json(&["store", "ls", "snapshots"]);
    assert_eq!(listed[0]["name"], chain);
    assert_eq!(listed[0]["kind"], "committed");
    let text = fixture.tool(&["store", "ls", "snapshots"]).succeed();
    assert!(text.contains(chain), "{text}");
    let view = fixture.directory("view of the chain");
    let view_path = view.to_str().unwrap();
    fixture
        .tool(&["store", "mount", chain, view_path])
        .succeed();
    assert_eq!(names_in(&view), ["again", "data", "etc", "new"]);
    let refused = fixture.fails(&["store", "remove", chain]);
    assert_eq!(refused["reason"], "in-use", "{refused}");
    fixture.tool(&["store", "umount", view_path]).succeed();
    let (code, report) = fixture.check(&[]);
    assert_eq!(code, 0, "{report}");

    let removed = fixture.json(&["store", "remove", chain]);
    assert_eq!(removed, serde_json::json!([{"snapshot": chain}]));
    assert_eq!(
        fixture.json(&["store", "ls", "snapshots"]),
        serde_json::json!([])
    );
    fixture.tool(&["store", "gc"]).succeed();
    assert_eq!(
        fixture.json(&["store", "ls", "layers"]),
        serde_json::json!([])
    );
    fixture.fails(&["store", "remove", chain]);
}

/// What systemd 262 mounts of a stack: the layers by the order of their numbers, with `userxattr`, which makes overlayfs follow
/// no other marks (`findings/systemd-mstack-follows-user-marks-only.sh`).
fn mount_as_systemd_does(stack: &Path, target: &Path) {
    let mut places: Vec<usize> = names_in(stack)
        .iter()
        .filter_map(|name| name.strip_prefix("layer@")?.parse().ok())
        .collect();
    places.sort_unstable();
    let layers = places.iter().rev().map(|place| {
        let link = fs::read_link(stack.join(format!("layer@{place}"))).unwrap();
        link.display().to_string()
    });
    let layers = layers.collect::<Vec<_>>().join(":");
    Bounded::new("mount", 60)
        .args(&["-t", "overlay", "-o"])
        .arg(format!("userxattr,redirect_dir=nofollow,lowerdir={layers}"))
        .arg("overlay")
        .arg(target)
        .succeed();
}

#[test]
#[ignore = "needs root: mounts"]
fn an_image_becomes_a_mount_stack_unless_systemd_would_show_another_tree() {
    let fixture = Fixture::filled();
    let stack = fixture.path("app.mstack");
    fixture
        .tool(&["store", "export", &fixture.image])
        .arg("--mstack")
        .arg(&stack)
        .succeed();
    let target = fixture.directory("stacked");
    mount_as_systemd_does(&stack, &target);
    let shown = Tree::read(&target);
    Bounded::new("umount", 60).arg(&target).succeed();
    fixture.scratch.unpack("layout", "flat");
    Tree::read(&fixture.path("flat/rootfs")).assert_same(&shown, "mount stack");
    assert!(stack.join("rw").is_dir());

    // It is there already; and a name that systemd would not take.
    for (name, words) in [("app.mstack", "exists"), ("app", "must end with .mstack")] {
        let output = fixture
            .tool(&["store", "export", &fixture.image])
            .arg("--mstack")
            .arg(fixture.path(name))
            .output();
        assert!(!output.status.success());
        assert!(said(&output).contains(words), "{}", said(&output));
    }

    let hiding = Image::new()
        .layer(
            Layer::new()
                .directory("d/", 0o755)
                .file("d/old", 0o644, b"1"),
        )
        .layer(
            Layer::new()
                .file("d/.wh..wh..opq", 0o644, b"")
                .file("d/new", 0o644, b"2"),
        );
    hiding.write(&fixture.path("hiding"));
    let hiding = format!("{}:latest", fixture.path("hiding").display());
    let view = fixture.directory("hiding-view");
    fixture
        .tool(&["mount", "--image", &hiding])
        .arg(&view)
        .succeed();
    fixture.tool(&["umount"]).arg(&view).succeed();
    let output = fixture
        .tool(&["store", "export", &hiding])
        .arg("--mstack")
        .arg(fixture.path("hiding.mstack"))
        .output();
    assert!(!output.status.success());
    assert!(said(&output).contains("/d is opaque"), "{}", said(&output));
    assert!(!fixture.path("hiding.mstack").exists());
}
