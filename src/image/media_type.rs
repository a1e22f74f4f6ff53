//! Media types: the names, and what they stand for.
//!
//! OCI's types are classified through [`oci_spec::image::MediaType`]; Docker's, which differ in name only, are read as
//! their OCI counterparts, and become those when an image is edited.

use oci_spec::image::MediaType;

/// Annotation of an `index.json` entry that holds its tag.
pub const REF_NAME: &str = oci_spec::image::ANNOTATION_REF_NAME;
/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed; `+gzip` or `+zstd` is appended for the compressed forms.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The empty JSON object.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A blob that is itself a descriptor.
pub const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";

/// What a descriptor points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaKind {
    /// An OCI index or a Docker manifest list.
    Index,
    /// An OCI manifest or a Docker schema 2 manifest.
    Manifest,
    /// An OCI or Docker image configuration.
    Config,
    /// A layer, with the compression that its type promises.
    Layer(LayerCompression),
    /// A blob that is itself a descriptor.
    Descriptor,
    /// The empty JSON object.
    Empty,
    /// Anything else.
    Other,
}

/// Compression that a layer's media type promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    /// A plain tar.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Classifies a media type.
///
/// Comparison is exact: an unknown or doubled suffix, a parameter, or other letter case makes [`MediaKind::Other`].
pub fn media_kind(media_type: &str) -> MediaKind {
    use LayerCompression::{Gzip, None, Zstd};
    match MediaType::from(media_type) {
        MediaType::ImageIndex => MediaKind::Index,
        MediaType::ImageManifest => MediaKind::Manifest,
        MediaType::ImageConfig => MediaKind::Config,
        MediaType::ImageLayer | MediaType::ImageLayerNonDistributable => MediaKind::Layer(None),
        MediaType::ImageLayerGzip | MediaType::ImageLayerNonDistributableGzip => {
            MediaKind::Layer(Gzip)
        }
        MediaType::ImageLayerZstd | MediaType::ImageLayerNonDistributableZstd => {
            MediaKind::Layer(Zstd)
        }
        MediaType::EmptyJSON => MediaKind::Empty,
        MediaType::Other(other) if other == DESCRIPTOR => MediaKind::Descriptor,
        MediaType::Other(other) => docker_kind(&other),
        _ => MediaKind::Other,
    }
}

fn docker_kind(media_type: &str) -> MediaKind {
    use LayerCompression::{Gzip, None, Zstd};
    match media_type.strip_prefix("application/vnd.docker.") {
        Some("distribution.manifest.list.v2+json") => MediaKind::Index,
        Some("distribution.manifest.v2+json") => MediaKind::Manifest,
        Some("container.image.v1+json") => MediaKind::Config,
        Some("image.rootfs.diff.tar" | "image.rootfs.foreign.diff.tar") => MediaKind::Layer(None),
        Some("image.rootfs.diff.tar.gzip" | "image.rootfs.foreign.diff.tar.gzip") => {
            MediaKind::Layer(Gzip)
        }
        Some("image.rootfs.diff.tar.zstd") => MediaKind::Layer(Zstd),
        _ => MediaKind::Other,
    }
}

/// The type that OCI has for one of Docker's that a manifest lists; `None` for all others, OCI's own included.
pub(crate) fn oci_type(media_type: &str) -> Option<&'static str> {
    match media_type.strip_prefix("application/vnd.docker.")? {
        "container.image.v1+json" => Some(CONFIG),
        "image.rootfs.diff.tar" => Some(LAYER),
        "image.rootfs.diff.tar.gzip" => Some("application/vnd.oci.image.layer.v1.tar+gzip"),
        "image.rootfs.diff.tar.zstd" => Some("application/vnd.oci.image.layer.v1.tar+zstd"),
        "image.rootfs.foreign.diff.tar" => {
            Some("application/vnd.oci.image.layer.nondistributable.v1.tar")
        }
        "image.rootfs.foreign.diff.tar.gzip" => {
            Some("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_types_of_the_specification_crate() {
        assert_eq!(INDEX, MediaType::ImageIndex.as_ref());
        assert_eq!(MANIFEST, MediaType::ImageManifest.as_ref());
        assert_eq!(CONFIG, MediaType::ImageConfig.as_ref());
        assert_eq!(LAYER, MediaType::ImageLayer.as_ref());
        assert_eq!(EMPTY, MediaType::EmptyJSON.as_ref());
    }

    #[test]
    fn a_type_of_dockers_and_its_counterpart_are_of_one_kind() {
        for theirs in [
            "container.image.v1+json",
            "image.rootfs.diff.tar",
            "image.rootfs.diff.tar.gzip",
            "image.rootfs.diff.tar.zstd",
            "image.rootfs.foreign.diff.tar",
            "image.rootfs.foreign.diff.tar.gzip",
        ] {
            let theirs = format!("application/vnd.docker.{theirs}");
            let ours = oci_type(&theirs).unwrap();
            assert!(ours.starts_with("application/vnd.oci."));
            assert_eq!(media_kind(ours), media_kind(&theirs), "{theirs}");
            assert_eq!(oci_type(ours), None);
        }
    }

    #[test]
    fn every_known_type_has_its_kind() {
        use LayerCompression::{Gzip, None, Zstd};
        let table = [
            (INDEX, MediaKind::Index),
            (MANIFEST, MediaKind::Manifest),
            (CONFIG, MediaKind::Config),
            (EMPTY, MediaKind::Empty),
            (DESCRIPTOR, MediaKind::Descriptor),
            (LAYER, MediaKind::Layer(None)),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                MediaKind::Layer(Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                MediaKind::Layer(Zstd),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                MediaKind::Layer(None),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                MediaKind::Layer(Gzip),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                MediaKind::Layer(Zstd),
            ),
            (
                "application/vnd.docker.distribution.manifest.list.v2+json",
                MediaKind::Index,
            ),
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                MediaKind::Manifest,
            ),
            (
                "application/vnd.docker.container.image.v1+json",
                MediaKind::Config,
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar",
                MediaKind::Layer(None),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                MediaKind::Layer(Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                MediaKind::Layer(Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                MediaKind::Layer(Gzip),
            ),
        ];
        for (media_type, kind) in table {
            assert_eq!(media_kind(media_type), kind, "{media_type}");
        }
    }

    #[test]
    fn what_only_resembles_a_known_type_is_other() {
        for media_type in [
            "",
            "application/xml",
            "application/vnd.oci.image.layer.v1.tar+bzip2",
            "application/vnd.oci.image.layer.v1.tar+gzip+gzip",
            "application/vnd.oci.image.layer.v1.tar+",
            "application/vnd.oci.image.manifest.v1+JSON",
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            "application/vnd.oci.artifact.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+json",
        ] {
            assert_eq!(media_kind(media_type), MediaKind::Other, "{media_type}");
        }
    }
}
