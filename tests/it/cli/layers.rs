//! `layers`. What the JSON says is tested with the commands that make layers.

use serde_json::json;

use crate::support::{Image, Scratch, descriptor};

#[test]
fn the_table_has_a_line_for_each_layer() {
    let scratch = Scratch::new();
    scratch.layout("x", &["empty"]);
    let layout = scratch.path("x");
    let diff_id = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let mut image = Image::new(json!({
        "os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [diff_id("1"), diff_id("2")]},
        "history": [{"created_by": "ENV x", "empty_layer": true}, {"created_by": "ADD a\nb"}],
    }));
    let mut zipped = descriptor(
        &layout,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        &[0; 135],
    );
    zipped["annotations"] = json!({"ci.umo.uncompressed_blob_size": "10240"});
    let unknown = descriptor(
        &layout,
        "application/vnd.oci.image.layer.v1.tar+zstd",
        &[1; 7],
    );
    image.layers = vec![zipped.clone(), unknown.clone()];
    image.store(&layout, "a");
    let digests = [zipped, unknown].map(|layer| layer["digest"].as_str().unwrap().to_owned());
    let expected = format!(
        "{:71}  {:71}  SIZE  UNPACKED   TYPE                                         CREATED BY\n\
         {}  {}  135B  10.24kB    application/vnd.oci.image.layer.v1.tar+gzip  ADD a\\nb\n\
         {}  {}  7B    <unknown>  application/vnd.oci.image.layer.v1.tar+zstd\n",
        "DIGEST",
        "DIFF ID",
        digests[0],
        diff_id("1"),
        digests[1],
        diff_id("2"),
    );
    assert_eq!(scratch.ok("layers --image x:a"), expected);
    assert_eq!(
        scratch.ok("layers --image x:empty"),
        "DIGEST  DIFF ID  SIZE  UNPACKED  TYPE  CREATED BY\n"
    );
    assert_eq!(scratch.ok("layers --json --image x:empty"), "[]\n");
}

#[test]
fn an_artifact_has_no_layers_of_an_image() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let mut image = Image::new(json!({}));
    image.config_type = "application/vnd.example.config";
    image.store(&scratch.path("x"), "a");
    assert!(scratch.fails("layers --image x:a").contains("not an image"));
    scratch.fails("layers --image x:none");
}
