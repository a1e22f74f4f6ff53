//! Operating system, architecture and variant, in Go's names, and which image runs where.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// What an image runs on: `os/architecture[/variant]`, such as `linux/arm64` or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// Operating system, by Go's name (`linux`).
    pub os: String,
    /// Architecture, by Go's name (`amd64`, `arm64`).
    pub architecture: String,
    /// Variant of the architecture (`v7`), where that is told apart.
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's. Only ARM has a variant, which on 32 bits is the one that this program was compiled for.
    pub fn host() -> Self {
        let architecture = go_architecture(std::env::consts::ARCH);
        let variant = match architecture {
            "arm64" => Some("v8"),
            "arm" if cfg!(target_feature = "v7") => Some("v7"),
            "arm" if cfg!(target_feature = "v6") => Some("v6"),
            "arm" => Some("v5"),
            _ => None,
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Whether an image for `candidate` is what `self` asks for.
    ///
    /// Operating system and architecture must be equal. A variant matters only when `self` has one: it must be the
    /// same, or an older one of a family whose newer members run the older's programs (32-bit ARM, amd64). A candidate
    /// without a variant counts as its architecture's usual one.
    pub fn accepts(&self, candidate: &Self) -> bool {
        self.preference(candidate).is_some()
    }

    /// How well an image for `candidate` fits: `None` for not at all, and among those that fit the higher the better.
    pub(crate) fn preference(&self, candidate: &Self) -> Option<u32> {
        if self.os != candidate.os || self.architecture != candidate.architecture {
            return None;
        }
        let offered = candidate.variant_or_usual();
        match self.variant.as_deref() {
            None => Some(u32::from(offered == self.variant_or_usual())),
            Some(wanted) if wanted == offered => Some(u32::MAX),
            Some(wanted) if matches!(self.architecture.as_str(), "arm" | "amd64") => {
                let (wanted, offered) = (variant_level(wanted)?, variant_level(offered)?);
                (offered <= wanted).then_some(offered)
            }
            Some(_) => None,
        }
    }

    fn variant_or_usual(&self) -> &str {
        let usual = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm" => "v7",
            "arm64" => "v8",
            _ => "",
        };
        self.variant
            .as_deref()
            .filter(|variant| !variant.is_empty())
            .unwrap_or(usual)
    }

    /// Whether this is the `unknown/unknown` that marks an index entry which is no image (a build attestation).
    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

fn variant_level(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

/// Go's name of an architecture that others (Rust, the kernel, users) name differently.
fn go_architecture(name: &str) -> &str {
    let little = cfg!(target_endian = "little");
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" | "i586" | "i686" => "386",
        "loongarch64" => "loong64",
        "powerpc" => "ppc",
        "powerpc64" if little => "ppc64le",
        "powerpc64" => "ppc64",
        "mips" if little => "mipsle",
        "mips64" if little => "mips64le",
        other => other,
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_ascii_lowercase();
        let parts: Vec<_> = lower.split('/').collect();
        let is_name = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let (os, architecture, variant) = match *parts.as_slice() {
            [os, architecture] if parts.iter().all(is_name) => (os, architecture, None),
            [os, architecture, variant] if parts.iter().all(is_name) => {
                (os, architecture, Some(variant))
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("invalid platform {text:?}"),
                )
                .with_hint(
                    "a platform is os/architecture or os/architecture/variant, such as linux/arm64",
                ));
            }
        };
        // Names that say the byte order belong to Go already; only spellings that are nobody's but others' are read so.
        let architecture = match architecture {
            "x86_64" | "aarch64" | "i386" | "i586" | "i686" | "loongarch64" => {
                go_architecture(architecture)
            }
            name => name,
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_platform_is_read_and_written() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/386", "linux/mips"] {
            assert_eq!(platform(text).to_string(), text);
        }
        assert_eq!(platform("Linux/x86_64").to_string(), "linux/amd64");
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/amd64/",
            "linux/arm/v7/x",
            "linux/am d64",
        ] {
            assert_eq!(
                text.parse::<Platform>().unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_hosts_platform_has_names_of_go() {
        let host = Platform::host();
        assert_eq!(host.os, "linux");
        assert_eq!(
            oci_spec::image::Arch::default().to_string(),
            host.architecture
        );
        assert!(host.accepts(&host));
    }

    #[test]
    fn acceptance_follows_variants() {
        let table = [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64/v8", "linux/arm64/v9", false),
            ("linux/arm/v7", "linux/arm", true),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm/v6", "linux/arm", false),
            ("linux/arm", "linux/arm/v5", true),
            ("linux/amd64/v3", "linux/amd64", true),
            ("linux/amd64/v2", "linux/amd64/v3", false),
            ("linux/riscv64", "linux/riscv64/rva20u64", true),
        ];
        for (asked, offered, accepted) in table {
            assert_eq!(
                platform(asked).accepts(&platform(offered)),
                accepted,
                "{asked} {offered}"
            );
        }
    }

    #[test]
    fn the_nearest_variant_is_preferred() {
        let asked = platform("linux/arm/v7");
        let preference = |text| asked.preference(&platform(text));
        assert!(preference("linux/arm/v7") > preference("linux/arm/v6"));
        assert!(preference("linux/arm/v6") > preference("linux/arm/v5"));
        let asked = platform("linux/amd64");
        assert!(
            asked.preference(&platform("linux/amd64"))
                > asked.preference(&platform("linux/amd64/v3"))
        );
    }
}
