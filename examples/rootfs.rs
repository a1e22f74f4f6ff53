//! Makes a root for a container out of a directory, runs a command in it, and removes the root with all its changes:
//!
//! ```text
//! cargo run --example rootfs -- /var/lib/roots /srv/prototype /bin/sh -c 'echo changed > /etc/motd'
//! ```
//!
//! It needs root, or `bundle unshare -- COMMAND`.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use oci_bundle::compat::rootfs::{Generator, GeneratorOptions, KernelMounter, RootfsGenerator};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, prototype, command @ ..] = &arguments[..] else {
        return Err("usage: rootfs <base> <prototype> [<command> [<argument>...]]".into());
    };

    let generator = Generator::new(
        KernelMounter::new()?,
        Path::new(base),
        GeneratorOptions::default(),
    )?;
    // What a process that was killed here has left half-way.
    for root in generator.recover()? {
        eprintln!("undone: {}", root.display());
    }

    let root = generator.generate(Path::new(prototype))?;
    println!("{} ({:?})", root.path.display(), root.mode);
    let ran = match command {
        [] => Ok(()),
        command => Command::new("chroot")
            .arg(&root.path)
            .args(command)
            .status()
            .map(|status| println!("{status}")),
    };
    generator.remove(&root.path)?;
    Ok(ran?)
}
