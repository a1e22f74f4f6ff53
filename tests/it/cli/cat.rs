//! `cat`

use std::fs;

use crate::support::{Layer, Scratch, store_layers};

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let lower = Layer::default()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("up", "../../../usr/lib/os")
        .symlink("loop", "loop")
        .symlink("nowhere", "missing")
        .file("usr/lib/os", "lower\n")
        .file("gone", "x")
        .file("empty", "");
    let upper = Layer::default()
        .file("lib/new", &"y".repeat(300_000))
        .file(".wh.gone", "")
        .link("hard", "lib/os");
    store_layers(&scratch.path("x"), "a", &[lower, upper]);
    scratch
}

#[test]
fn files_come_from_the_layer_that_has_them_and_links_are_followed() {
    let scratch = scratch();
    for path in [
        "usr/lib/os",
        "/usr/lib/os",
        "lib/os",
        "up",
        "hard",
        "/../lib/../lib/./os",
    ] {
        assert_eq!(
            scratch.ok(&format!("cat --image x:a {path}")),
            "lower\n",
            "{path}"
        );
    }
    assert_eq!(scratch.ok("cat --image x:a empty"), "");
    let all = scratch.ok("cat --image x:a lib/os usr/lib/new empty up");
    assert_eq!(all, format!("lower\n{}lower\n", "y".repeat(300_000)));
}

#[test]
fn what_is_no_file_is_an_error_before_anything_is_printed() {
    let scratch = scratch();
    for (path, why) in [
        ("gone", "no such file in the image"),
        ("missing", "no such file in the image"),
        ("nowhere", "no such file in the image"),
        ("usr/lib/os/below", "no such file in the image"),
        ("usr", "is a directory"),
        ("/", "is a directory"),
        ("loop", "more than 40 symbolic links"),
    ] {
        let said = scratch.fails(&format!("cat --image x:a lib/os {path}"));
        assert!(
            said.contains(&format!("cat {path}: ")) && said.contains(why),
            "{said}"
        );
    }
    scratch.fails("cat --image x:a");
    scratch.fails("cat --image x:b lib/os");
}

#[test]
fn a_layer_that_is_not_what_it_should_be_prints_nothing() {
    let scratch = scratch();
    let manifest: serde_json::Value =
        serde_json::from_str(&scratch.ok("stat --json --image x:a")).unwrap();
    let digest = &manifest["manifest"]["blob"]["layers"][1]["digest"];
    let digest = digest.as_str().unwrap().replace(':', "/");
    let blob = scratch.path(format!("x/blobs/{digest}"));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[600] = b'z';
    fs::write(&blob, bytes).unwrap();
    let said = scratch.fails("cat --image x:a lib/os");
    let expected = format!(
        "layer {}: verified reader digest mismatch",
        digest.replace('/', ":")
    );
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn layers_below_the_one_that_settles_a_path_are_not_read() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let bottom = Layer::default().dir("etc").file("etc/old", "o").dir("usr");
    let middle = Layer::default().dir("etc").file("etc/issue", "middle\n");
    let top = Layer::default().dir("etc").file("etc/motd", "top\n");
    let top = top
        .symlink("etc/link", "motd")
        .file("etc/hidden", "")
        .file("etc/.wh.issue", "");
    store_layers(&scratch.path("x"), "a", &[bottom.clone(), middle.clone()]);
    store_layers(&scratch.path("x"), "b", &[bottom, middle, top]);
    let stat: serde_json::Value =
        serde_json::from_str(&scratch.ok("stat --json --image x:a")).unwrap();
    let lost = stat["manifest"]["blob"]["layers"][0]["digest"].as_str();
    let blob = lost.unwrap().replace(':', "/");
    fs::remove_file(scratch.path(format!("x/blobs/{blob}"))).unwrap();
    assert_eq!(scratch.ok("cat --image x:a etc/issue"), "middle\n");
    assert_eq!(
        scratch.ok("cat --image x:b /etc/motd etc/link"),
        "top\ntop\n"
    );
    assert_eq!(scratch.ok("files --image x:b etc/link"), "etc/link\n");
    let file = scratch.ok("files --json --image x:b etc/motd");
    assert!(file.contains("\"layer\":2"), "{file}");
    // What only the lost layer knows.
    for line in [
        "cat --image x:b etc/motd etc/old",
        "cat --image x:b etc/issue",
        "files --image x:b etc",
    ] {
        let said = scratch.fails(line);
        assert!(said.contains(lost.unwrap()), "{said}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::io::Read;
    let scratch = scratch();
    let mut child = scratch
        .command(["cat", "--image", "x:a", "lib/new"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), &*said), (Some(0), ""));
}
