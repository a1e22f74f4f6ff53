//! A manifest against its config and its layers (`manifest.md`, `config.md`).

use oci_cas::Algorithm;

use super::{Validator, code};
use crate::image::{Descriptor, DiffId, ImageConfig, Manifest, MediaKind};

impl Validator<'_> {
    pub(super) fn image(&mut self, name: &str, manifest: &Manifest) {
        let config = self.image_config(name, &manifest.config);
        let limit = self.layout.limits().layer_count;
        if manifest.layers.len() > limit {
            let message = format!("{} layers, the limit is {limit}", manifest.layers.len());
            return self.find(name, code::LIMIT_EXCEEDED, message);
        }
        let mut unknown = false;
        for (place, layer) in manifest.layers.iter().enumerate() {
            let name = below(name, layer);
            self.descriptor_schema(&name, layer);
            let MediaKind::Layer(compression) = layer.kind() else {
                unknown = true;
                self.verify_blob(&name, layer);
                continue;
            };
            let expected = config
                .as_ref()
                .and_then(|config| config.diff_ids().get(place));
            let algorithm = expected.map_or(Algorithm::Sha256, |diff_id| diff_id.0.algorithm());
            let found = self.layer(
                &name,
                layer,
                compression,
                algorithm,
                (place, manifest.layers.len()),
            );
            if let (Some(DiffId(expected)), Some(found)) = (expected, found)
                && *expected != found
            {
                let message =
                    format!("the uncompressed layer is {found}, the config says {expected}");
                self.find(name, code::DIFF_ID_MISMATCH, message);
            }
        }
        if let Some(config) = config {
            // An image whose layers are of a kind that this program does not know may count them differently.
            self.config_schema(
                &below(name, &manifest.config),
                &config,
                (!unknown).then_some(manifest.layers.len()),
            );
        }
    }

    /// Reads the config when it is an image's; else only the blob is verified.
    fn image_config(&mut self, name: &str, descriptor: &Descriptor) -> Option<ImageConfig> {
        let name = below(name, descriptor);
        self.descriptor_schema(&name, descriptor);
        if descriptor.kind() != MediaKind::Config {
            self.verify_blob(&name, descriptor);
            return None;
        }
        let bytes = self.read_document(&name, descriptor)?;
        match ImageConfig::parse(&bytes) {
            Ok(config) => Some(config),
            Err(error) => {
                self.find_error(&name, &error);
                None
            }
        }
    }

    fn config_schema(&mut self, name: &str, config: &ImageConfig, layer_count: Option<usize>) {
        if config.rootfs_type() != "layers" {
            let message = format!("rootfs.type is {:?}, not \"layers\"", config.rootfs_type());
            self.find(name, code::ROOTFS_TYPE, message);
        }
        for (member, value) in [("os", config.os()), ("architecture", config.architecture())] {
            if value.is_empty() {
                self.find(name, code::PLATFORM_MISSING, format!("{member} is missing"));
            }
        }
        let Some(layer_count) = layer_count else {
            return;
        };
        let diff_ids = config.diff_ids().len();
        if diff_ids != layer_count {
            self.find(
                name,
                code::DIFF_ID_COUNT,
                format!("{diff_ids} diff IDs for {layer_count} layers"),
            );
        }
        let told = config
            .history()
            .iter()
            .filter(|step| !step.empty_layer)
            .count();
        if !config.history().is_empty() && told != layer_count {
            let message =
                format!("the history tells of {told} layers, the image has {layer_count}");
            self.find(name, code::HISTORY_COUNT, message);
        }
    }
}

fn below(name: &str, descriptor: &Descriptor) -> String {
    format!("{name} > {}", descriptor.digest())
}
