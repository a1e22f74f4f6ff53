//! Walking a directory in the order of a manifest, and telling a visitor what is there.
//!
//! Every directory is opened once, from its parent, and every regular file once and only if its content is wanted:
//! all digests come from one pass. No path is ever opened by its string, so nothing that moves during the walk leads
//! elsewhere. One directory stays open per level.

use super::digest::{Computed, Digests};
use super::manifest::MAX_PATH;
use super::{Attributes, Keyword, KeywordSet, OwnerNames, Writer};
use crate::fs::{Dir, InodeKind, Stat};
use crate::{Error, ErrorKind, Result, ResultExt};
use std::io::Write;

/// What a walk records.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalkOptions<'a> {
    /// The keywords whose values are gathered; the visitor's attributes have nothing for others that cost a call.
    pub keywords: &'a [Keyword],
    /// Names for `uname` and `gname`.
    pub owners: Option<&'a OwnerNames>,
}

/// Hears of every inode of a walk, in the order that [`Writer`] wants.
pub trait Visitor {
    /// Opens a directory; the root is `.`.
    ///
    /// # Errors
    ///
    /// Whatever must end the walk.
    fn enter(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()>;

    /// Takes anything but a directory.
    ///
    /// # Errors
    ///
    /// Whatever must end the walk.
    fn leaf(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()>;

    /// Closes the directory that was opened last.
    ///
    /// # Errors
    ///
    /// Whatever must end the walk.
    fn leave(&mut self) -> Result<()>;
}

impl<W: Write> Visitor for Writer<W> {
    fn enter(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        Writer::enter(self, name, attributes)
    }

    fn leaf(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        Writer::leaf(self, name, attributes)
    }

    fn leave(&mut self) -> Result<()> {
        Writer::leave(self)
    }
}

/// Walks a directory and all below it.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] for a keyword that cannot be computed, before anything is visited;
/// [`ErrorKind::LimitExceeded`] for a path above 4 KiB; and those of the file system and of the visitor.
pub fn walk(root: &Dir, options: &WalkOptions<'_>, visitor: &mut impl Visitor) -> Result<()> {
    let mut walker = Walker::new(options)?;
    let mut open = Vec::new();
    let names = walker.enter(root, b".", visitor)?;
    open.push((None::<Dir>, names.into_iter(), 0));
    while let Some((dir, names, parent)) = open.last_mut() {
        let Some(name) = names.next() else {
            walker.path.truncate(*parent);
            open.pop();
            visitor.leave()?;
            continue;
        };
        let before = walker.path.len();
        walker.descend(&name)?;
        let opened = dir.as_ref().unwrap_or(root).open_dir(&name);
        let child = opened.context(|| walker.describe())?;
        let names = walker.enter(&child, &name, visitor)?;
        open.push((Some(child), names.into_iter(), before));
    }
    Ok(())
}

struct Walker<'a> {
    wanted: KeywordSet,
    owners: Option<&'a OwnerNames>,
    digests: Digests,
    /// Path of the open directory, for messages and for its limit.
    path: Vec<u8>,
}

impl<'a> Walker<'a> {
    fn new(options: &WalkOptions<'a>) -> Result<Self> {
        let wanted: KeywordSet = options.keywords.iter().copied().collect();
        let names_wanted = wanted.contains(Keyword::Uname) || wanted.contains(Keyword::Gname);
        if names_wanted && options.owners.is_none() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "record uname or gname: the names of owners are not known",
            )
            .with_hint("name the keywords to compare with --use-keywords"));
        }
        Ok(Self {
            wanted,
            owners: options.owners,
            digests: Digests::new(options.keywords)?,
            path: Vec::new(),
        })
    }

    /// Visits a directory and what in it is none; returns the names of its sub-directories.
    fn enter(
        &mut self,
        dir: &Dir,
        name: &[u8],
        visitor: &mut impl Visitor,
    ) -> Result<Vec<Vec<u8>>> {
        let stat = dir.stat_self().context(|| self.describe())?;
        let xattrs = if self.wanted.contains(Keyword::Xattr) {
            dir.xattrs_self().context(|| self.describe())?
        } else {
            Vec::new()
        };
        visitor.enter(
            name,
            &self.attributes(&stat, &[], &xattrs, Computed::default()),
        )?;

        let mut directories = Vec::new();
        for name in dir.names().context(|| self.describe())? {
            let before = self.path.len();
            self.descend(&name)?;
            let stat = dir.stat(&name).context(|| self.describe())?;
            if stat.kind == InodeKind::Directory {
                directories.push(name);
            } else {
                self.leaf(dir, &name, &stat, visitor)?;
            }
            self.path.truncate(before);
        }
        Ok(directories)
    }

    fn leaf(
        &mut self,
        dir: &Dir,
        name: &[u8],
        stat: &Stat,
        visitor: &mut impl Visitor,
    ) -> Result<()> {
        let mut link = Vec::new();
        let mut xattrs = Vec::new();
        let mut computed = Computed::default();
        if stat.kind == InodeKind::Symlink && self.wanted.contains(Keyword::Link) {
            link = dir.read_link(name).context(|| self.describe())?;
        }
        if stat.kind == InodeKind::File {
            if self.wanted.contains(Keyword::Xattr) {
                xattrs = dir.xattrs(name).context(|| self.describe())?;
            }
            if !self.digests.is_empty() {
                let read = dir.open_file(name).and_then(|file| self.digests.read(file));
                computed = read.context(|| self.describe())?;
            }
        }
        visitor.leaf(name, &self.attributes(stat, &link, &xattrs, computed))
    }

    fn attributes<'b>(
        &self,
        stat: &Stat,
        link: &'b [u8],
        xattrs: &'b [(Vec<u8>, Vec<u8>)],
        computed: Computed,
    ) -> Attributes<'b> {
        let mut other = computed.other;
        if let Some(owners) = self.owners {
            let user = owners.user(stat.uid).map(|name| (Keyword::Uname, name));
            let group = owners.group(stat.gid).map(|name| (Keyword::Gname, name));
            let known = user.into_iter().chain(group);
            other.extend(known.map(|(keyword, name)| (keyword, name.to_owned())));
        }
        Attributes {
            kind: stat.kind,
            size: stat.size,
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.mode,
            nlink: stat.nlink,
            mtime: stat.mtime,
            link,
            sha256: computed.sha256,
            xattrs,
            other,
        }
    }

    /// Adds a name to the path.
    fn descend(&mut self, name: &[u8]) -> Result<()> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        if self.path.len() > MAX_PATH {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("walk tree: path longer than {MAX_PATH} bytes"),
            ));
        }
        Ok(())
    }

    /// What is being done, for messages.
    fn describe(&self) -> String {
        match &self.path[..] {
            b"" => "walk tree".to_owned(),
            path => format!("walk tree: {}", String::from_utf8_lossy(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Header, Manifest, UMOCI_KEYWORDS, compare};
    use super::*;
    use crate::fs::Access;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn tree() -> (tempfile::TempDir, Dir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("d/sub/deep")).unwrap();
        fs::create_dir(path.join("a")).unwrap();
        for name in ["z", "d/f", "d/sub/deep/x y", "d.f"] {
            fs::write(path.join(name), "hi").unwrap();
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o640)).unwrap();
        }
        symlink("../z", path.join("d/l")).unwrap();
        symlink("d", path.join("to d")).unwrap();
        fs::hard_link(path.join("z"), path.join("d/z")).unwrap();
        let opened = Dir::open(path, Access::Plain).unwrap();
        (directory, opened)
    }

    fn record(dir: &Dir, keywords: &[Keyword], owners: Option<&OwnerNames>) -> Result<String> {
        let mut writer = Writer::new(Vec::new(), keywords, &Header::default())?;
        walk(dir, &WalkOptions { keywords, owners }, &mut writer)?;
        Ok(String::from_utf8(writer.finish()?).unwrap())
    }

    #[test]
    fn a_tree_is_visited_in_the_order_of_umoci_with_everything_that_is_wanted() {
        let (_directory, dir) = tree();
        let keywords = [
            Keyword::Type,
            Keyword::Mode,
            Keyword::Link,
            Keyword::Nlink,
            Keyword::Cksum,
        ];
        let text = record(&dir, &keywords, None).unwrap();
        let lines = text.lines().filter(|line| {
            let is_comment = line.starts_with('#') || line.starts_with("/set");
            !is_comment && !line.is_empty()
        });
        let names: Vec<_> = lines
            .map(|line| line.trim_start().split(' ').next().unwrap())
            .collect();
        let expected = [
            ".", "d.f", "to\\040d", "z", "a", "..", "d", "f", "l", "z", "sub", "deep", "x\\040y",
            "..", "..", "..", "..",
        ];
        assert_eq!(names, expected);
        assert!(
            text.contains("    d.f mode=0640 cksum=2352138605\n"),
            "{text}"
        );
        assert!(
            text.contains("    l type=link mode=0777 link=../z\n"),
            "{text}"
        );
        assert!(text.contains("    z mode=0640 nlink=2 cksum="), "{text}");
    }

    #[test]
    fn a_tree_does_not_differ_from_its_own_record_and_an_edit_shows() {
        let (directory, dir) = tree();
        let manifest = Manifest::parse(record(&dir, UMOCI_KEYWORDS, None).unwrap().as_bytes());
        let manifest = manifest.unwrap();
        let options = WalkOptions {
            keywords: UMOCI_KEYWORDS,
            owners: None,
        };
        assert_eq!(compare(&manifest, &dir, &options).unwrap(), []);

        let edited = directory.path().join("d/sub/deep/x y");
        let modified = fs::metadata(&edited).unwrap().modified().unwrap();
        fs::write(&edited, "ho").unwrap();
        let file = fs::File::options().write(true).open(&edited).unwrap();
        file.set_modified(modified).unwrap();
        let found = compare(&manifest, &dir, &options).unwrap();
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1);
        let start = r#""d/sub/deep/x y": keyword "sha256digest": expected 8f434346648f6b96"#;
        assert!(lines[0].starts_with(start), "{lines:?}");
    }

    #[test]
    fn names_of_owners_come_from_the_caller_or_not_at_all() {
        let (_directory, dir) = tree();
        let keywords = [Keyword::Uname, Keyword::Gname];
        let error = record(&dir, &keywords, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let stat = dir.stat_self().unwrap();
        let passwd = format!("some one:x:{}:", stat.uid);
        let owners = OwnerNames::parse(passwd.as_bytes(), b"");
        let text = record(&dir, &keywords, Some(&owners)).unwrap();
        assert!(text.contains("\n. uname=some\\040one\n"), "{text}");
    }
}
