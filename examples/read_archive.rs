//! Lists the layers of an image wherever it is, and unpacks its root file system: `read_archive docker-archive:app.tar DIR`.

use std::path::Path;
use std::sync::Arc;

use oci_bundle::layout::ImageSource as _;
use oci_bundle::ops::{UnpackOptions, raw_unpack};
use oci_bundle::progress::Silent;
use oci_bundle::transfer::{ImageName, Source, TransferOptions};

fn main() -> oci_bundle::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(image), Some(root)) = (arguments.next(), arguments.next()) else {
        let message = "usage: read_archive IMAGE DIRECTORY";
        return Err(oci_bundle::Error::new(
            oci_bundle::ErrorKind::InvalidInput,
            message,
        ));
    };
    let source = Source {
        name: ImageName::parse(&image)?,
        options: Arc::new(TransferOptions {
            scratch: "/var/tmp".into(),
            cache: "/var/cache/bundle/images".into(),
            #[cfg(feature = "registry")]
            registry: oci_bundle::transfer::registry::RegistryOptions::default(),
        }),
    };
    let (layout, path) = source.open(None)?;
    for layer in layout.manifest(path.target())?.layers {
        println!("{} {} bytes", layer.digest(), layer.size());
    }
    let mut options = UnpackOptions::default();
    options.map_options.rootless = true;
    options.map_options = options.map_options.with_rootless_defaults();
    raw_unpack(&source, Path::new(&root), &options, &Silent)
}
