//! What has to be written into containerd's configuration.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::absolute;

/// The part of containerd's configuration that makes it use a server, for containerd 1 (`1`: 1.6 and 1.7) or 2 (`2`).
/// `socket` is the server's, `root` the store.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if a path cannot stand in a configuration.
pub fn snippet(major: u32, socket: &Path, root: &Path) -> Result<String> {
    let (socket, root) = (quoted(&absolute(socket)?)?, quoted(&absolute(root)?)?);
    let snapshotter = format!(
        "[proxy_plugins.bundle]\n  type = \"snapshot\"\n  address = {socket}\n\n[proxy_plugins.bundle.exports]\n  root = {root}\n"
    );
    match major {
        // It knows no differs of others.
        1 => Ok(format!(
            "version = 2\n\n{snapshotter}\n# for Kubernetes\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = \"bundle\"\n"
        )),
        2 => {
            let platform = platform();
            let unpack = |snapshotter: &str, differ: &str| {
                format!(
                    "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n  platform = \"{platform}\"\n  \
                     snapshotter = \"{snapshotter}\"\n  differ = \"{differ}\"\n\n"
                )
            };
            Ok(format!(
                "version = 3\n\n{snapshotter}\n[proxy_plugins.bundle-diff]\n  type = \"diff\"\n  address = {socket}\n\n\
                 [plugins.\"io.containerd.service.v1.diff-service\"]\n  default = [\"bundle-diff\", \"walking\"]\n\n\
                 {}{}\
                 # for Kubernetes\n[plugins.\"io.containerd.cri.v1.images\"]\n  snapshotter = \"bundle\"\n",
                unpack("bundle", "bundle-diff"),
                // The first entry takes the place of containerd's own, without which nothing is pulled for overlayfs.
                unpack("overlayfs", "walking"),
            ))
        }
        _ => {
            let message = format!("containerd {major}: not known");
            Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("1 is for 1.6 and 1.7, 2 for 2.0 and later"))
        }
    }
}

/// This machine, as containerd calls it.
fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

/// A path as a string of TOML.
fn quoted(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\\']) && !text.contains(char::is_control) => {
            Ok(format!("\"{text}\""))
        }
        _ => {
            let message = format!("{:?} cannot stand in a configuration", path.display());
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_differ_is_for_containerd_2_only() {
        let of = |major| snippet(major, Path::new("/run/s"), Path::new("/store")).unwrap();
        assert!(of(2).contains("type = \"diff\"") && of(2).starts_with("version = 3"));
        assert!(!of(1).contains("diff") && of(1).starts_with("version = 2"));
        for text in [of(1), of(2)] {
            assert!(text.contains("address = \"/run/s\"") && text.contains("root = \"/store\""));
        }
        assert!(snippet(3, Path::new("/run/s"), Path::new("/store")).is_err());
        assert!(snippet(2, Path::new("/run/\"s"), Path::new("/store")).is_err());
    }
}
