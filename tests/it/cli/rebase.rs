//! `rebase`.

use serde_json::{Value, json};

use crate::support::{Image, Scratch, descriptor};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Stores an image whose layers are uncompressed archives that differ in their length.
fn image(scratch: &Scratch, tag: &str, layers: &[usize], annotations: Value) -> Value {
    let layout = scratch.path("x");
    let layers: Vec<Value> = layers
        .iter()
        .map(|blocks| descriptor(&layout, LAYER, &vec![0; 512 * blocks]))
        .collect();
    let step = |layer: &Value| json!({"created_by": format!("add {}", layer["size"])});
    let mut history: Vec<Value> = layers.iter().map(step).collect();
    history.push(json!({"created_by": format!("config {tag}"), "empty_layer": true}));
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let mut image = Image::new(json!({
        "os": "linux", "architecture": "amd64", "config": {"Env": [format!("NAME={tag}")]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    }));
    image.layers.clone_from(&layers);
    image.members = vec![("annotations", annotations)];
    image.store(&layout, tag)
}

fn sizes(scratch: &Scratch, image: &str) -> Vec<u64> {
    let layers: Value =
        serde_json::from_str(&scratch.ok(&format!("layers --json --image {image}"))).unwrap();
    let layers = layers.as_array().unwrap();
    layers
        .iter()
        .map(|layer| {
            assert_eq!(layer["descriptor"]["digest"], layer["diff_id"]);
            assert_eq!(
                layer["history"]["created_by"],
                format!("add {}", layer["descriptor"]["size"])
            );
            layer["descriptor"]["size"].as_u64().unwrap() / 512
        })
        .collect()
}

#[test]
fn the_layers_above_the_base_are_put_onto_the_new_one() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    image(&scratch, "old", &[2, 3], json!({}));
    let new = image(&scratch, "new", &[4, 5, 6], json!({}));
    image(&scratch, "a", &[2, 3, 7, 8], json!({"kept": "yes"}));
    scratch.ok("rebase --image x:a --old-base old --new-base new --tag b");
    assert_eq!(sizes(&scratch, "x:a"), [2, 3, 7, 8]);
    assert_eq!(sizes(&scratch, "x:b"), [4, 5, 6, 7, 8]);
    assert_eq!(
        scratch.ok("config --image x:b --get config.env.NAME"),
        "a\n"
    );
    let expected = format!(
        "kept=yes\norg.opencontainers.image.base.digest={}\norg.opencontainers.image.base.name=new\n",
        new["digest"].as_str().unwrap()
    );
    assert_eq!(
        scratch.ok("config --image x:b --get manifest.annotations"),
        expected
    );
    scratch.ok("validate --layout x");

    // Now it knows its base, under whatever name that has by now.
    scratch.ok("tag --image x:new renamed");
    scratch.ok("rm --image x:new");
    scratch.ok("rebase --image x:b --new-base old");
    assert_eq!(sizes(&scratch, "x:b"), [2, 3, 7, 8]);
    scratch.ok("validate --layout x");
}

#[test]
fn an_image_of_another_base_is_refused() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    image(&scratch, "old", &[2, 3], json!({}));
    image(&scratch, "new", &[4], json!({}));
    image(&scratch, "a", &[2, 7], json!({}));
    image(&scratch, "short", &[2], json!({}));
    image(
        &scratch,
        "lost",
        &[2, 3],
        json!({"org.opencontainers.image.base.name": "docker.io/gone"}),
    );
    let before = scratch.read("x/index.json");
    for (arguments, reason) in [
        (
            "--image x:a --old-base old",
            "layer 1 has the diff ID sha256:",
        ),
        (
            "--image x:short --old-base old",
            "it has 1 layers, the base has 2",
        ),
        ("--image x:a", "--old-base"),
        ("--image x:lost", "does not have the image"),
        ("--image x:a --old-base none", "tag not found: none"),
    ] {
        let said = scratch.fails(&format!("rebase --new-base new {arguments}"));
        assert!(said.contains(reason), "{arguments}: {said}");
    }
    let said = scratch.fails("rebase --image x:a --old-base old");
    assert!(
        said.contains("missing mandatory argument: --new-base"),
        "{said}"
    );
    assert_eq!(scratch.read("x/index.json"), before);
}

#[test]
fn the_base_is_found_by_its_name() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    image(&scratch, "old", &[2], json!({}));
    image(&scratch, "new", &[4], json!({}));
    image(
        &scratch,
        "a",
        &[2, 3],
        json!({"org.opencontainers.image.base.name": "old"}),
    );
    scratch.ok("rebase --image x:a --new-base new");
    assert_eq!(sizes(&scratch, "x:a"), [4, 3]);
}
