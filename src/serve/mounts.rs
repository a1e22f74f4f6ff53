//! Mounts as containerd can make them: with options that fit in a page, and with paths in which nothing has to be escaped.
//!
//! containerd mounts by mount(2), whose options are one page; where they are longer it changes into the directory that all
//! lower ones have in common, and leaves that away. So where the options of a chain are long, its directories get short
//! names: `links/<5 letters>` in the store lead to them, and 500 of those fit in a page. It splits `lowerdir` at each colon, escaped or not: a store whose path has one is reached by a link in the runtime
//! directory.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_cas::{Algorithm, Digest};

use super::wire;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::staging::MadeDirs;
use crate::fs::{Access, Dir};
use crate::snapshots::{Mount, escape_free, lowers_of};
use crate::store::Store;

/// Options that are longer than this get short names, in bytes. containerd compacts at a page less 512.
const LONG: usize = 3400;
/// The directory of the short names.
const LINKS: &[u8] = b"links";
/// Letters of a short name, of 32 each: 500 names with colons between them take 3000 bytes.
const LENGTH: usize = 5;
/// How many names are tried.
const ATTEMPTS: u8 = 16;
/// Digits of a digest that are used.
const DIGITS: usize = 16;

/// How many mounts, and how many bytes of options, somebody may hand in.
const MAX_MOUNTS: usize = 16;
const MAX_OPTIONS: usize = 256 << 10;

/// Where the store is, as containerd is told.
#[derive(Debug)]
pub(super) struct Places {
    /// The store's path, and the one that stands for it.
    alias: Option<(PathBuf, PathBuf)>,
}

impl Places {
    /// Makes a link to the store if its own path will not do.
    pub(super) fn new(store: &Path, runtime: &Path) -> Result<Self> {
        let is_plain = |path: &Path| escape_free(path) && path.to_str().is_some();
        if is_plain(store) {
            return Ok(Self { alias: None });
        }
        if !is_plain(runtime) {
            let message = format!(
                "containerd cannot mount from {}, nor from {}",
                store.display(),
                runtime.display()
            );
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("a path without colons, commas and backslashes is wanted"));
        }
        if !is_there(runtime) {
            MadeDirs::make(runtime)?.keep();
        }
        let dir = Dir::open(runtime, Access::Plain)?;
        let name = format!("store-{}", digest_of(store.as_os_str().as_bytes()));
        let target = store.as_os_str().as_bytes();
        if !dir.create_symlink(name.as_bytes(), target)? {
            let found = dir.read_link(name.as_bytes())?;
            if found != target {
                let message = format!("{} is something else", dir.path().join(&name).display());
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
        }
        let alias = runtime.join(name);
        Ok(Self {
            alias: Some((store.to_owned(), alias)),
        })
    }

    /// A path that containerd was told, as one in the store.
    pub(super) fn in_store(&self, path: &Path) -> PathBuf {
        match &self.alias {
            Some((store, alias)) => match path.strip_prefix(alias) {
                Ok(rest) => store.join(rest),
                Err(_) => path.to_owned(),
            },
            None => path.to_owned(),
        }
    }

    fn told(&self, path: &Path) -> PathBuf {
        match &self.alias {
            Some((store, alias)) => match path.strip_prefix(store) {
                Ok(rest) => alias.join(rest),
                Err(_) => path.to_owned(),
            },
            None => path.to_owned(),
        }
    }

    /// The same mounts, with paths and options that containerd can handle.
    pub(super) fn shorten(&self, store: &Store, mut mounts: Vec<Mount>) -> Result<Vec<Mount>> {
        for mount in &mut mounts {
            if mount.kind != "overlay" {
                mount.source = self.told(&mount.source);
                continue;
            }
            let mut lowers = lowers_of(mount);
            let length: usize = mount.options.iter().map(|option| option.len() + 1).sum();
            if length > LONG {
                lowers = shorten_paths(store, &lowers)?;
            } else if self.alias.is_none() {
                continue;
            }
            for option in &mut mount.options {
                let (name, value) = split(option);
                let value = match name {
                    b"lowerdir" => {
                        let told = lowers.iter().map(|lower| self.told(lower).into_os_string());
                        told.collect::<Vec<_>>().join(OsStr::new(":"))
                    }
                    b"upperdir" | b"workdir" => {
                        let path = crate::snapshots::paths_of(value).pop();
                        self.told(&path.unwrap_or_default()).into_os_string()
                    }
                    _ => continue,
                };
                let mut told = OsStr::from_bytes(name).to_owned();
                told.push("=");
                told.push(value);
                *option = told;
            }
        }
        Ok(mounts)
    }
}

/// Takes away the short names of directories that are gone.
pub(super) fn sweep(store: &Store) -> Result<()> {
    let Some(links) = store.dir().open_dir_if_any(LINKS)? else {
        return Ok(());
    };
    let _in_use = store.lease()?;
    for name in links.names()? {
        let target = links.read_link(&name)?;
        if !is_there(Path::new(OsStr::from_bytes(&target))) {
            links.remove_all(&name)?;
        }
    }
    Ok(())
}

/// Gives directories short names.
fn shorten_paths(store: &Store, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let _in_use = store.lease()?;
    drop(store.dir().create_dir(LINKS, 0o700)?);
    let links = store.dir().open_dir(LINKS)?;
    let short = paths.iter().map(|path| {
        let target = path.as_os_str().as_bytes();
        for attempt in 0..ATTEMPTS {
            let name = name_of(target, attempt);
            // Of those who make the same at once, one makes it.
            let is_it = links.create_symlink(name.as_bytes(), target)?
                || links.read_link(name.as_bytes())? == target;
            if is_it {
                return Ok(links.path().join(name));
            }
        }
        let message = format!("no short name is free for {}", path.display());
        Err(Error::new(ErrorKind::AlreadyExists, message))
    });
    short.collect()
}

/// A short name: letters that depend on the path, and others at each attempt.
fn name_of(target: &[u8], attempt: u8) -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let digest = digest_of(&[target, &[attempt]].concat());
    let letters = digest.as_bytes().chunks(2).take(LENGTH).map(|digits| {
        let number = digits.iter().fold(0, |number, &digit| {
            number * 16 + char::from(digit).to_digit(16).unwrap_or_default()
        });
        char::from(LETTERS[number as usize % LETTERS.len()])
    });
    letters.collect()
}

fn digest_of(text: &[u8]) -> String {
    let digest = Digest::of(Algorithm::Sha256, text);
    digest.encoded()[..DIGITS].to_owned()
}

/// Whether a directory is there.
fn is_there(path: &Path) -> bool {
    Dir::open(path, Access::Plain).is_ok()
}

fn split(option: &OsStr) -> (&[u8], &[u8]) {
    let option = option.as_bytes();
    match option.iter().position(|&byte| byte == b'=') {
        Some(at) => (&option[..at], &option[at + 1..]),
        None => (option, b""),
    }
}

/// Mounts as messages.
pub(super) fn to_wire(mounts: Vec<Mount>) -> Result<Vec<wire::Mount>> {
    let text = |text: OsString| {
        text.into_string().map_err(|text| {
            let message = format!("{} cannot be told: it is not UTF-8", text.display());
            Error::new(ErrorKind::Unsupported, message)
        })
    };
    let mounts = mounts.into_iter().map(|mount| {
        Ok(wire::Mount {
            kind: mount.kind,
            source: text(mount.source.into_os_string())?,
            target: text(mount.target.into_os_string())?,
            options: mount.options.into_iter().map(text).collect::<Result<_>>()?,
        })
    });
    mounts.collect()
}

/// Mounts out of messages.
pub(super) fn from_wire(mounts: Vec<wire::Mount>) -> Result<Vec<Mount>> {
    let lengths = mounts.iter().flat_map(|mount| &mount.options);
    let length: usize = lengths.map(|option| option.len() + 1).sum();
    if mounts.len() > MAX_MOUNTS || length > MAX_OPTIONS {
        let message = format!(
            "{} mounts with {length} bytes of options are too many",
            mounts.len()
        );
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let mounts = mounts.into_iter().map(|mount| Mount {
        kind: mount.kind,
        source: mount.source.into(),
        target: mount.target.into(),
        options: mount.options.into_iter().map(OsString::from).collect(),
    });
    Ok(mounts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_depends_on_the_path_and_the_attempt() {
        let names = [name_of(b"/a", 0), name_of(b"/b", 0), name_of(b"/a", 1)];
        assert!(names.iter().all(|name| name.len() == LENGTH));
        assert!(names[0] != names[1] && names[0] != names[2]);
        assert_eq!(names[0], name_of(b"/a", 0));
    }

    #[test]
    fn a_store_with_a_colon_in_its_path_gets_another_one() {
        let scratch = tempfile::tempdir().unwrap();
        let store = scratch.path().join("a:b");
        std::fs::create_dir(&store).unwrap();
        let runtime = scratch.path().join("run");
        let places = Places::new(&store, &runtime).unwrap();
        let upper = store.join("active/x/fs");
        let told = places.told(&upper);
        assert!(escape_free(&told) && told.starts_with(&runtime));
        assert_eq!(places.in_store(&told), upper);
        // The same after a restart.
        let again = Places::new(&store, &runtime).unwrap();
        assert_eq!(again.told(&upper), told);
        assert!(Places::new(&store, &store).is_err());
    }

    #[test]
    fn what_comes_in_is_bounded() {
        let mount = |options: Vec<String>| wire::Mount {
            options,
            ..wire::Mount::default()
        };
        assert!(from_wire(vec![mount(Vec::new()); MAX_MOUNTS]).is_ok());
        assert!(from_wire(vec![mount(Vec::new()); MAX_MOUNTS + 1]).is_err());
        assert!(from_wire(vec![mount(vec!["x".repeat(MAX_OPTIONS)])]).is_err());
    }
}
