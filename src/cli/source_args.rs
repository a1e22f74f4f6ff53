//! `--image` of commands that read an image, wherever it is, and what the way there needs.

use std::env::var_os;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{OsStringValueParser, TypedValueParser};
use oci_bundle::Result;
use oci_bundle::image::{Platform, Reference, Tag};
#[cfg(feature = "registry")]
use oci_bundle::ops::RegistryImage;
use oci_bundle::progress::Progress;
#[cfg(feature = "registry")]
use oci_bundle::transfer::registry::{AuthFile, Proxies, RegistryOptions, UserPaths};
use oci_bundle::transfer::{ImageName, Source, TransferOptions};

use super::args::{CompressArgs, PlatformArgs, TagArgs, not_in_a_layout, path_parser};
use super::exit::Exit;
use super::ui::Ui;

/// `--image`.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// image: path[:tag] of an OCI layout (default tag: latest), oci-archive:file[:name], docker-archive:file[:name],
    /// `docker://host/name[:tag|@digest]`, or '-' for an archive on stdin
    #[arg(long, required = true, value_name = "image", value_parser = name_parser())]
    image: ImageName,

    #[command(flatten)]
    transfer: TransferArgs,
}

/// How images are read that are in registries and archives.
#[derive(Debug, clap::Args)]
pub struct TransferArgs {
    /// require TLS and verify certificates of registries, true or false (default: true)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "bool")]
    tls_verify: Option<bool>,

    /// credentials file for registries (default: those of podman, skopeo and docker)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "file", value_parser = path_parser())]
    authfile: Option<PathBuf>,

    /// OCI layout that caches images of registries (default: `$XDG_CACHE_HOME/bundle/images`)
    #[arg(long, value_name = "path", value_parser = path_parser())]
    cache: Option<PathBuf>,
}

impl SourceArgs {
    /// The image, with what is needed to open it.
    pub fn source(&self) -> Source {
        self.transfer.source(&self.image)
    }

    /// Another image, opened likewise.
    pub fn source_of(&self, name: &ImageName) -> Source {
        self.transfer.source(name)
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

/// `--image` of a command that writes an image.
#[derive(Debug, clap::Args)]
pub struct TargetArgs {
    /// image: path[:tag] or path@digest of an OCI layout (default tag: latest, or the only image if there is no such
    /// tag), or `docker://host/name[:tag]`, to which the result is pushed
    #[arg(long, required = true, value_name = "image", value_parser = name_parser())]
    image: ImageName,

    #[command(flatten)]
    transfer: TransferArgs,
}

impl TargetArgs {
    /// Makes an image of this name, which `work` gets: in its layout, or, of a registry, in the layout that keeps those, from
    /// where it is pushed.
    pub fn make(
        &self,
        ui: &Ui,
        work: &dyn Fn(&Reference, &dyn Progress) -> Result<()>,
    ) -> Result<Exit> {
        #[cfg(feature = "registry")]
        if let ImageName::Registry(name) = &self.image {
            let options = &self.transfer.options();
            let target = RegistryImage { name, options };
            let (kept, _) = target.kept()?;
            work(&kept, &ui.progress())?;
            target.push(None, &ui.progress())?;
            return Ok(Exit::Success);
        }
        work(self.layout()?, &ui.progress())?;
        Ok(Exit::Success)
    }

    /// Whether the result is pushed to a registry.
    pub fn is_in_registry(&self) -> bool {
        #[cfg(feature = "registry")]
        return matches!(self.image, ImageName::Registry(_));
        #[cfg(not(feature = "registry"))]
        false
    }

    /// The image in a layout, for what needs one.
    fn layout(&self) -> Result<&Reference> {
        match &self.image {
            ImageName::Layout(reference) => Ok(reference),
            other => Err(not_in_a_layout(other)),
        }
    }
}

/// `--image` of a command that edits an image, and what the result is called.
#[derive(Debug, clap::Args)]
pub struct EditArgs {
    #[command(flatten)]
    image: TargetArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    #[command(flatten)]
    tag: TagArgs,
}

/// An image that gets a layer, what the result is called, and how the layer is compressed.
#[derive(Debug, clap::Args)]
pub struct LayerArgs {
    #[command(flatten)]
    pub image: EditArgs,

    #[command(flatten)]
    pub compress: CompressArgs,
}

/// Edits an image of a layout; the result gets the tag.
type EditWork<'a> = dyn Fn(&Reference, Option<Tag>, &dyn Progress) -> Result<()> + 'a;

/// What an edit reads of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    Documents,
    Layers,
}

impl EditArgs {
    /// The image as it is.
    pub fn source(&self) -> Source {
        self.source_of(&self.image.image)
    }

    /// Another image, opened likewise.
    pub fn source_of(&self, name: &ImageName) -> Source {
        self.image.transfer.source(name)
    }

    pub fn platform(&self) -> Option<&Platform> {
        self.platform.platform.as_ref()
    }

    pub fn has_tag(&self) -> bool {
        self.tag.tag.is_some()
    }

    /// Edits the image, which `work` gets with the tag of the result: in its layout, or, of a registry, in the layout that
    /// keeps those, from where the result is pushed.
    pub fn edit(&self, reads: Reads, ui: &Ui, work: &EditWork<'_>) -> Result<Exit> {
        let tag = &self.tag.tag;
        #[cfg(feature = "registry")]
        if let ImageName::Registry(name) = &self.image.image {
            let options = &self.image.transfer.options();
            let target = match tag {
                Some(tag) => &name.with_tag(tag.as_str())?,
                None => name,
            };
            let target = RegistryImage {
                name: target,
                options,
            };
            let (_, tag) = target.kept()?;
            let image = RegistryImage { name, options };
            let image = image.fetch(self.platform(), reads == Reads::Layers)?;
            work(&image, Some(tag), &ui.progress())?;
            target.push(self.platform(), &ui.progress())?;
            return Ok(Exit::Success);
        }
        let _ = reads;
        work(self.image.layout()?, tag.clone(), &ui.progress())?;
        Ok(Exit::Success)
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
