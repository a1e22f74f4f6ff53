//! Processes that change one layout at the same time.

use crate::support::Scratch;

/// umoci loses tags here: it reads the index, changes it and writes it back without a lock (its issues 146 and 216).
#[test]
fn twenty_processes_that_tag_at_once_lose_no_tag() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let children: Vec<_> = (0..20)
        .map(|number| {
            let tag = format!("t{number:02}");
            scratch
                .command(["tag", "--image", "x:a", tag.as_str()])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let listed = scratch.ok("ls --layout x");
    let mut tags: Vec<&str> = listed.lines().collect();
    tags.sort_unstable();
    let mut expected = vec!["a".to_owned()];
    expected.extend((0..20).map(|number| format!("t{number:02}")));
    assert_eq!(tags, expected);
    scratch.ok("validate --layout x");
}

#[test]
fn new_images_survive_a_gc_that_runs_beside_them() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let mut children = Vec::new();
    for number in 0..8 {
        let image = format!("x:t{number}");
        children.push(scratch.command(["new", "--image", &image]).spawn().unwrap());
        children.push(scratch.command(["gc", "--layout", "x"]).spawn().unwrap());
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(scratch.ok("ls --layout x").lines().count(), 8);
    scratch.ok("validate --layout x");
}
