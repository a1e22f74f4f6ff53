//! `registries.conf` (version 2): where the images of a name really are, mirrors first.
//!
//! Of each file's `[[registry]]` tables, a later file's replaces an earlier one's of the same prefix, as
//! containers-registries.conf.d(5) has it. The longest prefix that fits a name is used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::{Table, Value};

use super::name::{RegistryName, is_repository};
use crate::fs::{Access, Dir, input};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Most bytes of a file.
const FILE_SIZE: u64 = 4 << 20;

/// How the names of the files in a directory end.
const ENDING: &[u8] = b".conf";

/// A repository as it is asked for: on this host, under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) repository: String,
    /// Whether certificates are not checked, and plain HTTP is tried.
    pub(super) insecure: bool,
}

impl Place {
    fn new(path: &str, insecure: bool) -> Result<Self> {
        let (host, repository) = path.split_once('/').unwrap_or((path, ""));
        if !is_repository(repository) {
            let message = format!("{path:?}, where registries.conf leads to, is not a repository");
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            insecure,
        })
    }

    /// Host and repository.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }
}

/// The tables of all files.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    registries: BTreeMap<String, Registry>,
}

#[derive(Clone, Debug)]
struct Registry {
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug)]
struct Mirror {
    location: String,
    insecure: bool,
    /// Whether it is asked for digests, and whether for tags.
    digests: bool,
    tags: bool,
}

impl Places {
    /// Reads files, and of directories what ends in `.conf`, sorted. What does not exist is passed over.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut places = Self::default();
        for path in paths {
            let failed = || format!("read {}", path.display());
            for bytes in files(path).context(failed)? {
                places.add(&bytes).context(failed)?;
            }
        }
        Ok(places)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| malformed(error.message().to_owned()))?;
        if table.contains_key("registries") {
            return Err(malformed("it has version 1 of its format")
                .with_hint("write it in version 2, with [[registry]] tables"));
        }
        for registry in tables(&table, "registry")? {
            let (prefix, registry) = Registry::read(registry)?;
            self.registries.insert(prefix, registry);
        }
        Ok(())
    }

    /// The places to pull from, in order; the last one is where a push goes to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`] when the name or its place is blocked.
    pub(super) fn of(&self, name: &RegistryName) -> Result<Vec<Place>> {
        let path = name.path();
        let Some((prefix, registry)) = self.find(&path)? else {
            return Ok(vec![Place::new(&path, false)?]);
        };
        let rest = match prefix.strip_prefix("*.") {
            // All of the host is replaced where there is a location.
            Some(_) => &path[path.find('/').unwrap_or(path.len())..],
            None => &path[prefix.len()..],
        };
        let at = |location: &str, insecure: bool| -> Result<Option<Place>> {
            let path = format!("{location}{rest}");
            match self.find(&path) {
                Ok(_) => Place::new(&path, insecure).map(Some),
                Err(error) if location == registry.location => Err(error),
                Err(_) => Ok(None),
            }
        };
        let mut places = Vec::new();
        for mirror in &registry.mirrors {
            let wanted = if name.digest().is_some() {
                mirror.digests
            } else {
                mirror.tags
            };
            if wanted {
                places.extend(at(&mirror.location, mirror.insecure)?);
            }
        }
        if registry.location.is_empty() {
            places.push(Place::new(&path, registry.insecure)?);
        } else {
            places.extend(at(&registry.location, registry.insecure)?);
        }
        Ok(places)
    }

    /// The table of a place, unless it is blocked.
    fn find(&self, path: &str) -> Result<Option<(&str, &Registry)>> {
        let fits = |prefix: &str| match prefix.strip_prefix('*') {
            Some(domain) => {
                let host = path.split('/').next().unwrap_or(path);
                let host = host.split(':').next().unwrap_or(host);
                host.len() > domain.len() && host.ends_with(domain)
            }
            None => path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@'])),
        };
        let found = self
            .registries
            .iter()
            .filter(|(prefix, _)| fits(prefix))
            .max_by_key(|(prefix, _)| prefix.len());
        match found {
            Some((prefix, registry)) if registry.blocked => {
                let message = format!("registry {prefix} is blocked by registries.conf");
                Err(Error::new(ErrorKind::PermissionDenied, message))
            }
            found => Ok(found.map(|(prefix, registry)| (prefix.as_str(), registry))),
        }
    }
}

impl Registry {
    fn read(table: &Table) -> Result<(String, Self)> {
        let location = text(table, "location")?;
        let prefix = text(table, "prefix")?;
        let prefix = if prefix.is_empty() {
            &location
        } else {
            &prefix
        }
        .clone();
        if prefix.is_empty() {
            return Err(malformed("a registry without location and prefix"));
        }
        if location.is_empty() && !prefix.starts_with("*.") {
            return Err(malformed(format!("registry {prefix} has no location")));
        }
        let only_digests = flag(table, "mirror-by-digest-only")?;
        let mirrors = tables(table, "mirror")?;
        let mirrors = mirrors.into_iter().map(|mirror| {
            let asked_for = text(mirror, "pull-from-mirror")?;
            Ok(Mirror {
                location: text(mirror, "location")?,
                insecure: flag(mirror, "insecure")?,
                digests: asked_for != "tag-only",
                tags: !only_digests && asked_for != "digest-only",
            })
        });
        let registry = Self {
            insecure: flag(table, "insecure")?,
            blocked: flag(table, "blocked")?,
            mirrors: mirrors.collect::<Result<_>>()?,
            location,
        };
        if registry
            .mirrors
            .iter()
            .any(|mirror| mirror.location.is_empty())
        {
            return Err(malformed(format!("a mirror of {prefix} has no location")));
        }
        Ok((prefix, registry))
    }
}

/// The contents of a file, or of the files of a directory.
fn files(path: &std::path::Path) -> Result<Vec<Vec<u8>>> {
    let dir = match Dir::open(path, Access::Plain) {
        Ok(dir) => dir,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(_) => return Ok(vec![input::read(path, FILE_SIZE)?]),
    };
    let mut names = dir.names()?;
    names.retain(|name| name.ends_with(ENDING));
    names.sort();
    let read = |name: &Vec<u8>| input::read(&dir.path_of(name), FILE_SIZE);
    names.iter().map(read).collect()
}

fn tables<'a>(table: &'a Table, key: &str) -> Result<Vec<&'a Table>> {
    let list = match table.get(key) {
        None => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(Value::as_table).collect(),
        Some(_) => None,
    };
    list.ok_or_else(|| malformed(format!("{key} is not a list of tables")))
}

/// A place without the slashes at its end; nothing when it is not given.
fn text(table: &Table, key: &str) -> Result<String> {
    match table.get(key) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.trim_end_matches('/').to_owned()),
        Some(_) => Err(malformed(format!("{key} is not a string"))),
    }
}

fn flag(table: &Table, key: &str) -> Result<bool> {
    match table.get(key) {
        None => Ok(false),
        Some(Value::Boolean(value)) => Ok(*value),
        Some(_) => Err(malformed(format!("{key} is neither true nor false"))),
    }
}

fn malformed(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(conf: &str, name: &str) -> Result<Vec<String>> {
        let mut places = Places::default();
        places.add(conf.as_bytes())?;
        let found = places.of(&name.parse()?)?;
        let shown = |place: &Place| {
            let mark = if place.insecure { "!" } else { "" };
            format!("{}{mark}", place.path())
        };
        Ok(found.iter().map(shown).collect())
    }

    const CONF: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "x.org/team"
        location = "y.org/group"
        [[registry.mirror]]
        location = "m1.org:5000/x"
        insecure = true
        [[registry.mirror]]
        location = "m2.org"
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "bad.org"
        blocked = true
        [[registry]]
        location = "to.bad.org"
        prefix = "z.org"
        [[registry.mirror]]
        location = "bad.org"
        [[registry]]
        prefix = "*.dev.org"
        insecure = true
        [[registry]]
        prefix = "w.org"
        location = "bad.org/inner"
    "#;

    #[test]
    fn mirrors_come_first_and_the_location_last() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(
            places(CONF, "x.org/team/app").unwrap(),
            ["m1.org:5000/x/app!", "y.org/group/app"]
        );
        assert_eq!(
            places(CONF, &format!("x.org/team/app@{digest}")).unwrap(),
            ["m1.org:5000/x/app!", "m2.org/app", "y.org/group/app"]
        );
        assert_eq!(
            places(CONF, "x.org/teams/app").unwrap(),
            ["x.org/teams/app"]
        );
        assert_eq!(places(CONF, "a.dev.org/b").unwrap(), ["a.dev.org/b!"]);
        assert_eq!(places(CONF, "dev.org/b").unwrap(), ["dev.org/b"]);
    }

    #[test]
    fn what_is_blocked_is_blocked_under_the_name_given_and_at_each_place() {
        for name in ["bad.org/a", "w.org/a"] {
            let error = places(CONF, name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{name}");
        }
        assert_eq!(places(CONF, "z.org/a").unwrap(), ["to.bad.org/a"]);
    }

    #[test]
    fn malformed_files_are_errors() {
        for conf in [
            "[registries.search]\nregistries = []",
            "[[registry]]",
            "[[registry]]\nprefix = \"x.org\"",
            "registry = 1",
            "[[registry]]\nlocation = 1",
            "[[registry]]\nlocation = \"x\"\nblocked = \"no\"",
            "[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\ninsecure = true",
            "nonsense",
        ] {
            assert!(places(conf, "x.org/a").is_err(), "{conf}");
        }
    }

    #[test]
    fn a_later_file_replaces_what_an_earlier_one_says_of_a_prefix() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("d");
        std::fs::create_dir(&dir).unwrap();
        let registry = |location: &str| {
            format!("[[registry]]\nprefix = \"x.org\"\nlocation = \"{location}\"\n")
        };
        std::fs::write(scratch.path().join("main"), registry("a.org")).unwrap();
        std::fs::write(dir.join("1.conf"), registry("b.org")).unwrap();
        std::fs::write(dir.join("2.conf"), registry("c.org")).unwrap();
        std::fs::write(dir.join("3.conf.old"), registry("d.org")).unwrap();
        let paths = [
            scratch.path().join("main"),
            scratch.path().join("none"),
            dir,
        ];
        let found = Places::read(&paths)
            .unwrap()
            .of(&"x.org/a".parse().unwrap())
            .unwrap();
        assert_eq!(found[0].path(), "c.org/a");
    }
}
