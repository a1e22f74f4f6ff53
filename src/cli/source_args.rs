//! `--image` of commands that read an image, wherever it is, and what the way there needs.

use std::env::var_os;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{OsStringValueParser, TypedValueParser};
use oci_bundle::image::Reference;
use oci_bundle::progress::Progress;
#[cfg(feature = "registry")]
use oci_bundle::transfer::registry::{AuthFile, Proxies, RegistryOptions, UserPaths};
use oci_bundle::transfer::{CopyOptions, ImageName, Source, TransferOptions};
use oci_bundle::{Error, ErrorKind, Result, ops};

use super::args::path_parser;

/// `--image`.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// image: path[:tag] of an OCI layout (the tag is 'latest' if none is given), oci-archive:file[:name],
    /// docker-archive:file[:name], `docker://host/name[:tag|@digest]`, or '-' for an archive on stdin
    #[arg(long, required = true, value_name = "image", value_parser = name_parser())]
    image: ImageName,

    #[command(flatten)]
    transfer: TransferArgs,
}

/// How images are read that are in registries and archives.
#[derive(Debug, clap::Args)]
pub struct TransferArgs {
    /// check the certificates of registries and insist on TLS, true or false (default: true)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "bool")]
    tls_verify: Option<bool>,

    /// file with credentials for registries (default: those of podman, skopeo and docker)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "file", value_parser = path_parser())]
    authfile: Option<PathBuf>,

    /// OCI layout that keeps what comes from registries (default: `$XDG_CACHE_HOME/bundle/images`)
    #[arg(long, value_name = "path", value_parser = path_parser())]
    cache: Option<PathBuf>,
}

impl SourceArgs {
    /// The image, with what is needed to open it.
    pub fn source(&self) -> Source {
        self.transfer.source(&self.image)
    }

    /// The image in a layout, for what needs one.
    pub fn layout(&self) -> Result<&Reference> {
        match &self.image {
            ImageName::Layout(reference) => Ok(reference),
            other => {
                let message = format!("{other} is not in an OCI layout");
                Err(Error::new(ErrorKind::Unsupported, message)
                    .with_hint("copy it into one first: bundle copy SOURCE LAYOUT:TAG"))
            }
        }
    }
}

impl TransferArgs {
    /// An image by its name.
    pub fn source(&self, name: &ImageName) -> Source {
        Source {
            name: name.clone(),
            options: Arc::new(self.options()),
        }
    }

    fn options(&self) -> TransferOptions {
        TransferOptions {
            scratch: path_of("TMPDIR").unwrap_or_else(|| "/var/tmp".into()),
            cache: self.cache.clone().unwrap_or_else(default_cache),
            #[cfg(feature = "registry")]
            registry: self.registry(),
        }
    }

    #[cfg(feature = "registry")]
    fn registry(&self) -> RegistryOptions {
        let home = path_of("HOME");
        let (runtime_dir, config_home) = (path_of("XDG_RUNTIME_DIR"), path_of("XDG_CONFIG_HOME"));
        let named = path_of("REGISTRY_AUTH_FILE");
        let conf = path_of("CONTAINERS_REGISTRIES_CONF");
        let mut options = RegistryOptions::for_user(UserPaths {
            auth_file: named.as_deref(),
            runtime_dir: runtime_dir.as_deref(),
            config_home: config_home.as_deref(),
            home: home.as_deref(),
            registries_conf: conf.as_deref(),
        });
        if let Some(file) = &self.authfile {
            options.auth_files = vec![AuthFile {
                path: file.clone(),
                required: true,
            }];
        }
        options.insecure = self.tls_verify == Some(false);
        options.proxies = Proxies {
            http: text_of(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https: text_of(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            exceptions: text_of(&["no_proxy", "NO_PROXY"]),
        };
        options
    }
}

/// Where a command that writes an image works: in its layout, or, for an image of a registry, in the layout that keeps
/// those, from where it is pushed.
impl SourceArgs {
    pub fn working_layout(&self) -> Result<Reference> {
        #[cfg(feature = "registry")]
        if let ImageName::Registry(name) = &self.image {
            return Ok(Reference {
                layout: self.transfer.options().cache,
                name: oci_bundle::image::Tag::new(&name.to_string())?.into(),
            });
        }
        self.layout().cloned()
    }

    /// Pushes the image from there, if it belongs to a registry.
    pub fn push(&self, from: Reference, progress: &dyn Progress) -> Result<()> {
        #[cfg(feature = "registry")]
        if let ImageName::Registry(_) = &self.image {
            let source = self.transfer.source(&ImageName::Layout(from));
            let options = CopyOptions::default();
            ops::copy(
                &source,
                &self.image,
                &[],
                &options,
                &mut std::io::sink(),
                progress,
            )?;
            return Ok(());
        }
        let _ = (from, progress);
        Ok(())
    }
}

/// Parses the name of an image.
pub fn name_parser() -> impl TypedValueParser<Value = ImageName> {
    OsStringValueParser::new().try_map(|text| ImageName::parse(&text))
}

fn path_of(variable: &str) -> Option<PathBuf> {
    let value = var_os(variable).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

#[cfg(feature = "registry")]
fn text_of(variables: &[&str]) -> Option<String> {
    let mut values = variables.iter().filter_map(|name| std::env::var(name).ok());
    values.find(|value| !value.is_empty())
}

fn default_cache() -> PathBuf {
    user_cache().join("images")
}

/// Where this user's cache of ours is.
pub fn user_cache() -> PathBuf {
    let home = || path_of("HOME").map(|home| home.join(".cache"));
    let cache = path_of("XDG_CACHE_HOME").or_else(home);
    let cache = cache.unwrap_or_else(|| Path::new("/var/cache").to_owned());
    cache.join("bundle")
}
