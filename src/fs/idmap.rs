//! User and group id maps: from the ids in an image ("container") to those on disk ("host") and back.

use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// One range of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the image.
    pub container: u32,
    /// First id on disk.
    pub host: u32,
    /// Number of ids.
    pub size: u32,
}

impl FromStr for IdRange {
    type Err = Error;

    /// Parses `container:host[:size]`, each a decimal number of 32 bits; `size` is 1 when left out.
    fn from_str(text: &str) -> Result<Self> {
        let fail = |why: &str| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("parse id map {text:?}: {why}"),
            )
            .with_hint("an id map reads <container>:<host>[:<size>]")
        };
        let fields: Vec<&str> = text.split(':').collect();
        let (container, host, size) = match fields[..] {
            [container, host] => (container, host, "1"),
            [container, host, size] => (container, host, size),
            _ => return Err(fail("wrong number of fields")),
        };
        let number = |field: &str| {
            if !field.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(fail("not a number"));
            }
            field
                .parse::<u32>()
                .map_err(|_| fail("not a number of 32 bits"))
        };
        let range = Self {
            container: number(container)?,
            host: number(host)?,
            size: number(size)?,
        };
        let fits = |first: u32| first.checked_add(range.size).is_some();
        if fits(range.container) && fits(range.host) {
            Ok(range)
        } else {
            Err(fail("the range goes beyond 32 bits"))
        }
    }
}

impl std::fmt::Display for IdRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.size)
    }
}

/// A map of ids: the first range that holds an id counts. Without ranges it maps every id to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap(pub Vec<IdRange>);

impl IdMap {
    /// The id on disk of an id in the image.
    ///
    /// # Errors
    ///
    /// Fails if no range holds the id, or if the kernel has no such id.
    pub fn to_host(&self, id: u32) -> Result<u32> {
        self.translate(id, "map to the host", |range| (range.container, range.host))
    }

    /// The id in the image of an id on disk.
    ///
    /// # Errors
    ///
    /// Fails if no range holds the id.
    pub fn to_container(&self, id: u32) -> Result<u32> {
        self.translate(id, "map from the host", |range| {
            (range.host, range.container)
        })
    }

    fn translate(
        &self,
        id: u32,
        what: &str,
        sides: impl Fn(&IdRange) -> (u32, u32),
    ) -> Result<u32> {
        let mapped = if self.0.is_empty() {
            Some(id)
        } else {
            self.0.iter().find_map(|range| {
                let (from, to) = sides(range);
                let offset = id.checked_sub(from).filter(|&offset| offset < range.size)?;
                to.checked_add(offset)
            })
        };
        match mapped {
            // To chown, the last id means "leave it as it is".
            Some(u32::MAX) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{what}: {id} is not a usable id"),
            )),
            Some(mapped) => Ok(mapped),
            None => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{what}: id {id} is in no range of the map"),
            )
            .with_hint("give the range with --uid-map or --gid-map")),
        }
    }
}

/// How owners in an image become owners on disk (umoci's `MapOptions`).
///
/// ```
/// use oci_bundle::fs::{IdMap, MapOptions};
///
/// # fn main() -> oci_bundle::Result<()> {
/// let ids = IdMap(vec!["0:100000:65536".parse()?]);
/// let maps = MapOptions { uid: ids.clone(), gid: ids, rootless: false };
/// assert_eq!(maps.to_host(0, 50)?, (100_000, 100_050));
/// assert!(maps.to_host(70_000, 0).is_err(), "in no range");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapOptions {
    /// Map of user ids.
    pub uid: IdMap,
    /// Map of group ids.
    pub gid: IdMap,
    /// Whether an ordinary user works alone: nothing is given away, every owner in the image counts as 0:0 and the real
    /// one is kept in the attribute `user.rootlesscontainers`.
    pub rootless: bool,
}

impl MapOptions {
    /// Adds the maps that `--rootless` means where none are given: 0 is the caller.
    #[must_use]
    pub fn with_rootless_defaults(mut self) -> Self {
        if self.rootless {
            let own = |host| {
                IdMap(vec![IdRange {
                    container: 0,
                    host,
                    size: 1,
                }])
            };
            if self.uid.0.is_empty() {
                self.uid = own(rustix::process::geteuid().as_raw());
            }
            if self.gid.0.is_empty() {
                self.gid = own(rustix::process::getegid().as_raw());
            }
        }
        self
    }

    /// The owner on disk for an owner in the image. With `rootless`, every owner counts as 0:0.
    ///
    /// # Errors
    ///
    /// Fails if an id is in no range of its map.
    pub fn to_host(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        let (uid, gid) = if self.rootless { (0, 0) } else { (uid, gid) };
        Ok((self.uid.to_host(uid)?, self.gid.to_host(gid)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[&str]) -> IdMap {
        IdMap(ranges.iter().map(|range| range.parse().unwrap()).collect())
    }

    #[test]
    fn the_first_range_that_holds_an_id_counts() {
        let map = map(&["0:1000", "1:100000:65535", "1:5:1"]);
        assert_eq!(map.to_host(0).unwrap(), 1000);
        assert_eq!(map.to_host(1).unwrap(), 100_000);
        assert_eq!(map.to_host(65535).unwrap(), 165_534);
        assert!(map.to_host(65536).is_err());
        assert_eq!(map.to_container(1000).unwrap(), 0);
        assert_eq!(map.to_container(100_001).unwrap(), 2);
        assert!(map.to_container(999).is_err());
    }

    #[test]
    fn without_ranges_ids_stay_but_the_last_one_is_refused() {
        assert_eq!(
            IdMap::default().to_host(4_294_967_294).unwrap(),
            4_294_967_294
        );
        assert!(IdMap::default().to_host(u32::MAX).is_err());
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for text in [
            "",
            "1",
            "1:",
            ":1",
            "1:2:3:4",
            "a:1",
            "-1:1",
            "+1:1",
            "1:1:x",
            "4294967296:1",
            "1:4294967295:2",
        ] {
            assert!(text.parse::<IdRange>().is_err(), "{text:?}");
        }
    }
}
