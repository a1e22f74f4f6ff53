//! `raw runtime-config` and `raw mtree-validate`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Image, Scratch};

#[test]
fn runtime_config_writes_the_file_whole_or_not_at_all() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    scratch.ok("raw runtime-config --image x:a config.json");
    let config = scratch.read_json("config.json");
    assert_eq!(config["root"]["path"], json!("."));
    assert_eq!(config["process"]["args"], json!(["sh"]));
    let text = scratch.read("config.json");
    assert!(
        text.starts_with("{\n\t\"") && text.ends_with("}\n"),
        "{text}"
    );
    let mode = fs::metadata(scratch.path("config.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o133, 0, "{mode:o}");

    Image::new(json!({
        "architecture": "amd64", "os": "windows", "config": {},
        "rootfs": {"type": "layers", "diff_ids": []}
    }))
    .store(&scratch.path("x"), "bad");
    // A failure leaves the old file, and no other.
    scratch.write("config.json", "old");
    scratch.fails("raw config --image x:bad config.json");
    scratch.fails("raw config --image x:missing config.json");
    scratch.fails("raw config --image x:bad other.json");
    assert_eq!(scratch.read("config.json"), "old");
    let mut names: Vec<_> = fs::read_dir(scratch.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "x"]);
}

#[test]
fn runtime_config_takes_users_from_the_rootfs_and_its_name_as_root_path() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    Image::new(json!({
        "architecture": "amd64", "os": "linux", "config": {"User": "alice"},
        "rootfs": {"type": "layers", "diff_ids": []}
    }))
    .store(&scratch.path("x"), "a");
    fs::create_dir_all(scratch.path("b/tree/etc")).unwrap();
    scratch.write(
        "b/tree/etc/passwd",
        "alice:x:1337:8888::/home/alice:/bin/sh\n",
    );
    scratch.write("b/tree/etc/group", "");
    scratch.ok("raw runtime-config --image x:a --rootfs b/tree config.json");
    let config = scratch.read_json("config.json");
    assert_eq!(config["root"]["path"], json!("tree"));
    assert_eq!(config["process"]["user"]["uid"], json!(1337));
    assert_eq!(config["process"]["user"]["gid"], json!(8888));
    scratch.write("b/tree/etc/passwd", "");
    scratch.fails("raw runtime-config --image x:a --rootfs b/tree other.json");
    assert!(!scratch.path("other.json").exists());
}

/// As root, renaming a file over `/dev/stdout` would take that name away from the whole machine. The link here is a
/// stand-in for it.
/// As umoci takes it.
#[test]
fn an_empty_path_of_a_rootfs_is_none() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let args = ["raw", "config", "--image", "x:a", "--rootfs", "", "c.json"];
    assert_eq!(scratch.run_args(args).code, 0);
    assert_eq!(scratch.read_json("c.json")["root"]["path"], ".");
}

#[test]
fn runtime_config_writes_through_links_and_to_pipes() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    std::os::unix::fs::symlink("/proc/self/fd/1", scratch.path("stdout")).unwrap();
    let printed = scratch.ok("raw runtime-config --image x:a stdout");
    assert!(printed.starts_with('{'), "{printed}");
    let target = |name: &str| fs::read_link(scratch.path(name)).unwrap();
    assert_eq!(target("stdout"), std::path::Path::new("/proc/self/fd/1"));

    scratch.write("file", "old");
    std::os::unix::fs::symlink("file", scratch.path("link")).unwrap();
    scratch.ok("raw runtime-config --image x:a link");
    assert_eq!(target("link"), std::path::Path::new("file"));
    assert!(scratch.read("file").starts_with('{'));

    fs::create_dir(scratch.path("directory")).unwrap();
    scratch.fails("raw runtime-config --image x:a directory");
}

#[test]
fn mtree_validate_prints_what_differs() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("d")).unwrap();
    scratch.write("d/f", "abc");
    scratch.write("m", ". type=dir\n    f type=file size=3\n..\n");
    assert_eq!(
        scratch.ok("raw mtree-validate --manifest m --path d -k type"),
        ""
    );
    scratch.write(
        "m",
        ". type=dir\n    f type=file size=4 mode=0644\n    gone type=file\n..\n",
    );
    scratch.write("d/new\nline", "");
    for line in [
        "raw mtree-validate -f m -p d -k size",
        "raw mtree-validate --file m --path d --use-keywords size,size",
        "raw mtree-validate -p d --manifest m -k type -K size",
    ] {
        let outcome = scratch.run(line);
        assert_eq!(outcome.code, 1, "{line}");
        let lines: Vec<&str> = outcome
            .stdout
            .lines()
            .filter(|line| !line.starts_with("\".\""))
            .collect();
        assert_eq!(
            lines,
            [
                "\"f\": keyword \"size\": expected 4; got 3",
                "\"gone\": missing path",
                "\"new\\nline\": unexpected path",
            ],
            "{line}"
        );
        let count = outcome.stdout.lines().count();
        assert!(outcome.stderr.starts_with(&format!(
            "   ⨯ validation failed: {count} differences found"
        )));
    }
}
