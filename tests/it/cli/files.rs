//! `files`

use serde_json::{Value, json};

use crate::support::{Layer, Scratch, store_layers};

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let lower = Layer::default()
        .dir("d")
        .file("d/b", "12345")
        .file("d/gone", "")
        .file("d.x", "")
        .symlink("link", "d")
        .symlink("nowhere", "a b");
    let upper = Layer::default()
        .file("d/.wh.gone", "")
        .file("d/sub/deep", "")
        .entry(b"d/\xff\n\\", tar::EntryType::Fifo, "", b"")
        .link("d/hard", "d/b");
    store_layers(&scratch.path("x"), "a", &[lower, upper]);
    scratch
}

#[test]
fn a_directory_is_listed_by_name() {
    let scratch = scratch();
    let names = "d\nd.x\nlink\nnowhere\n";
    assert_eq!(scratch.ok("files --image x:a"), names);
    assert_eq!(scratch.ok("files --image x:a /"), names);
    let names = "b\nhard\nsub\n\\xff\\n\\\\\n";
    for path in ["d", "/d/", "link", "d/sub/.."] {
        assert_eq!(
            scratch.ok(&format!("files --image x:a {path}")),
            names,
            "{path}"
        );
    }
    let below = "b\nhard\nsub\nsub/deep\n\\xff\\n\\\\\n";
    assert_eq!(scratch.ok("files -R --image x:a d"), below);
    let all = scratch.ok("files --recursive --image x:a");
    assert!(
        all.starts_with("d\nd/b\nd/hard\nd/sub\nd/sub/deep\n"),
        "{all}"
    );
    assert_eq!(scratch.ok("files --image x:a link/b"), "link/b\n");
    assert_eq!(scratch.ok("files --image x:a nowhere"), "nowhere\n");
    for path in ["d/gone", "missing", "d/b/x"] {
        let said = scratch.fails(&format!("files --image x:a {path}"));
        assert!(
            said.contains(&format!("{path}: no such file in the image")),
            "{said}"
        );
    }
}

#[test]
fn the_long_form_has_one_file_a_line() {
    let scratch = scratch();
    assert_eq!(
        scratch.ok("files -l --image x:a"),
        "drwxr-xr-x 0/0                  0 2020-09-13T12:26:40Z d\n\
         -rw-r--r-- 0/0                  0 2020-09-13T12:26:40Z d.x\n\
         lrwxrwxrwx 0/0                  1 2020-09-13T12:26:40Z link -> d\n\
         lrwxrwxrwx 0/0                  3 2020-09-13T12:26:40Z nowhere -> a b\n"
    );
    // Nobody said anything of this directory.
    let sub = scratch.ok("files --long --image x:a d");
    assert!(
        sub.contains("drwxr-xr-x 0/0                  0 1970-01-01T00:00:00Z sub\n"),
        "{sub}"
    );
}

#[test]
fn json_has_an_object_for_each_file() {
    let scratch = scratch();
    let lines = scratch.ok("files --json --image x:a link");
    let files: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut file = json!({
        "path": "/d/b", "type": "file", "mode": "0644", "uid": 0, "gid": 0,
        "mtime": "2020-09-13T12:26:40Z", "size": 5, "layer": 0, "nlink": 2,
        "sha256": "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5",
    });
    assert_eq!(files[0], file);
    file["path"] = json!("/d/hard");
    assert_eq!(files[1], file);
    assert_eq!(files[2]["path"], json!("/d/sub"));
    assert_eq!(files[3]["path"], json!("/d/\u{fffd}\n\\"));
    assert_eq!(files[3]["path_base64"], json!("L2Qv/wpc"));
    assert_eq!(files[3]["type"], json!("fifo"));
    let link = scratch.ok("files --json --image x:a nowhere");
    let link: Value = serde_json::from_str(&link).unwrap();
    assert_eq!(
        (&link["type"], &link["target"]),
        (&json!("symlink"), &json!("a b"))
    );
}
