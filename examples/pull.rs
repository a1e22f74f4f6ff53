//! Fetches the manifest and the configuration of an image with the client of registries alone: `pull quay.io/team/app:1`.

use std::io::Read as _;

use oci_bundle::cas::VerifyingReader;
use oci_bundle::image::Manifest;
use oci_bundle::transfer::registry::{Registry, RegistryName, RegistryOptions, UserPaths};
use oci_bundle::{Error, ErrorKind, Result, ResultExt as _};

fn main() -> Result<()> {
    let usage = || {
        Error::new(
            ErrorKind::InvalidInput,
            "usage: pull HOST/NAME[:TAG|@DIGEST]",
        )
    };
    let name: RegistryName = std::env::args().nth(1).ok_or_else(usage)?.parse()?;
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let options = RegistryOptions::for_user(UserPaths {
        home: home.as_deref(),
        ..UserPaths::default()
    });
    let repository = Registry::new(options)?.reader(&name)?;
    let (descriptor, bytes) = repository.manifest(&name.reference())?;
    println!("{} {}", descriptor.digest(), descriptor.media_type());
    // An index has no layers of its own: it is shown, and that is all.
    let Ok(manifest) = Manifest::parse(&bytes, descriptor.media_type()) else {
        println!("{}", String::from_utf8_lossy(&bytes));
        return Ok(());
    };
    let config = manifest.config;
    let blob = repository.blob(&config)?;
    let mut text = String::new();
    // What comes is what the manifest promised, or an error.
    VerifyingReader::new(blob, config.digest().clone(), config.size())
        .read_to_string(&mut text)
        .context(|| "read the configuration")?;
    println!("{text}");
    Ok(())
}
