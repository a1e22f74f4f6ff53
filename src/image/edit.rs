//! The documents of a new layout and of a new, empty image, byte for byte as umoci writes them.

use serde_json::json;

use super::{Descriptor, INDEX, MANIFEST, Platform, insert_in_order, to_go_json};

/// Members of an image config in the order in which peers write them.
const CONFIG_ORDER: &[&str] = &[
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
];

/// `index.json` of a layout without images.
pub fn empty_index() -> Vec<u8> {
    to_go_json(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}))
}

/// The config of an image without layers. `created` is RFC 3339 text.
pub fn empty_config(created: &str, platform: &Platform) -> Vec<u8> {
    let mut config = json!({
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    if let (Some(variant), Some(config)) = (&platform.variant, config.as_object_mut()) {
        insert_in_order(config, CONFIG_ORDER, "variant", variant.as_str().into());
    }
    to_go_json(&config)
}

/// The manifest of an image without layers.
pub fn empty_manifest(config: &Descriptor) -> Vec<u8> {
    to_go_json(
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_value(), "layers": []}),
    )
}

#[cfg(test)]
mod tests {
    use oci_cas::{Algorithm, Digest};
    use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};

    use super::*;
    use crate::image::{CONFIG, ImageConfig, Manifest};

    #[test]
    fn the_documents_have_umocis_bytes() {
        let platform = "linux/amd64".parse().unwrap();
        let config = empty_config("2020-01-01T00:00:00Z", &platform);
        let expected = concat!(
            r#"{"created":"2020-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{},"#,
            r#""rootfs":{"type":"layers","diff_ids":[]}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(config.clone()).unwrap(), expected);
        let digest = Digest::of(Algorithm::Sha256, &config);
        let manifest = empty_manifest(&Descriptor::new(
            CONFIG,
            digest.clone(),
            config.len() as u64,
        ));
        let expected = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\"{CONFIG}\",\"digest\":\"{digest}\",\
             \"size\":{}}},\"layers\":[]}}\n",
            config.len()
        );
        assert_eq!(String::from_utf8(manifest).unwrap(), expected);
        let expected =
            format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[]}}\n");
        assert_eq!(String::from_utf8(empty_index()).unwrap(), expected);
    }

    #[test]
    fn a_variant_stands_before_the_config() {
        let config = empty_config("2020-01-01T00:00:00Z", &"linux/arm64/v8".parse().unwrap());
        let text = String::from_utf8(config).unwrap();
        assert!(
            text.contains(r#""os":"linux","variant":"v8","config":{}"#),
            "{text}"
        );
    }

    #[test]
    fn a_second_reader_understands_the_documents() {
        let config = empty_config("2020-01-01T00:00:00Z", &"linux/arm64/v8".parse().unwrap());
        let theirs = ImageConfiguration::from_reader(&*config).unwrap();
        let ours = ImageConfig::parse(&config).unwrap();
        assert_eq!(theirs.variant().as_deref(), Some(ours.variant()));
        assert_eq!(theirs.rootfs().typ(), ours.rootfs_type());
        let descriptor = Descriptor::new(
            CONFIG,
            Digest::of(Algorithm::Sha256, &config),
            config.len() as u64,
        );
        let manifest = empty_manifest(&descriptor);
        let theirs = ImageManifest::from_reader(&*manifest).unwrap();
        let ours = Manifest::parse(&manifest, MANIFEST).unwrap();
        assert_eq!(
            theirs.config().digest().to_string(),
            ours.config.digest().to_string()
        );
        assert!(
            ImageIndex::from_reader(&*empty_index())
                .unwrap()
                .manifests()
                .is_empty()
        );
    }
}
