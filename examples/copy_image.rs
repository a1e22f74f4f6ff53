//! Copies an image: `copy_image docker-archive:app.tar layout:tag`, from any place to any.

use std::io::stdout;
use std::sync::Arc;

use oci_bundle::ops;
use oci_bundle::progress::Silent;
use oci_bundle::transfer::{CopyOptions, ImageName, Source, TransferOptions};

fn main() -> oci_bundle::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        let message = "usage: copy_image SOURCE TARGET";
        return Err(oci_bundle::Error::new(
            oci_bundle::ErrorKind::InvalidInput,
            message,
        ));
    };
    let source = Source {
        name: ImageName::parse(&from)?,
        options: Arc::new(TransferOptions {
            scratch: "/var/tmp".into(),
            cache: "/var/cache/bundle/images".into(),
            #[cfg(feature = "registry")]
            registry: oci_bundle::transfer::registry::RegistryOptions::default(),
        }),
    };
    let (target, options) = (ImageName::parse(&to)?, CopyOptions::default());
    let report = ops::copy(&source, &target, &[], &options, &mut stdout(), &Silent)?;
    eprintln!(
        "{} blobs copied ({} bytes), {} were there",
        report.copied_count, report.copied_size, report.existing_count
    );
    Ok(())
}
