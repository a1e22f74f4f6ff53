//! `append`.

use serde_json::{Value, json};

use crate::support::{Layer, Scratch, store_layers};

fn layer(name: &str) -> Layer {
    Layer::default().file(name, name)
}

/// Paths of the image, and what its history says.
#[track_caller]
fn shown(scratch: &Scratch, image: &str) -> (String, Vec<Value>) {
    scratch.ok("validate --layout x");
    let stat: Value =
        serde_json::from_str(&scratch.ok(&format!("stat --json --image {image}"))).unwrap();
    let history = stat["history"].as_array().unwrap().iter();
    let told = history.map(|step| step["created_by"].clone()).collect();
    (scratch.ok(&format!("files --image {image}")), told)
}

#[test]
fn the_layers_of_images_of_layouts_and_archives_come_on_top() {
    let scratch = Scratch::new();
    for layout in ["x", "y"] {
        scratch.layout(layout, &[]);
    }
    store_layers(&scratch.path("x"), "base", &[layer("base")]);
    store_layers(&scratch.path("x"), "one", &[layer("base"), layer("one")]);
    store_layers(
        &scratch.path("y"),
        "two",
        &[layer("two"), layer("two-more")],
    );
    scratch.ok("config --image x:base --config.cmd /base");
    scratch.ok("copy y:two oci-archive:two.tar");
    scratch.ok("append --image x:base --tag all x:one oci-archive:two.tar");
    let (files, told) = shown(&scratch, "x:all");
    assert_eq!(files, "base\none\ntwo\ntwo-more\n");
    // The base, which both have, once.
    let layers: Value = serde_json::from_str(&scratch.ok("layers --json --image x:all")).unwrap();
    assert_eq!(layers.as_array().unwrap().len(), 4);
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(
        [&told[0], &told[2], &told[3], &told[4]],
        ["step 0", "step 1", "step 0", "step 1"]
    );
    let cmd = scratch.ok("config --image x:all --get config.cmd");
    assert!(cmd.contains("/base"), "{cmd}");
    // The image that was appended to is as it was.
    assert_eq!(shown(&scratch, "x:base").1.len(), 2);
}

#[test]
fn an_image_that_adds_nothing_is_told_of_and_one_that_is_missing_changes_nothing() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    store_layers(&scratch.path("x"), "a", &[layer("a")]);
    let nothing = scratch.run("append --image x:a --tag b x:a");
    assert_eq!(nothing.code, 0);
    assert!(nothing.stderr.contains("no layers that the image lacks"));
    let before = scratch.read_json("x/index.json");
    assert!(
        scratch
            .fails("append --image x:a x:missing")
            .contains("missing")
    );
    assert!(scratch.fails("append --image x:a").contains("from"));
    assert_eq!(scratch.read_json("x/index.json"), before);
    assert_ne!(before, json!({}));
}
