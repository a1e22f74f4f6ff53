//! What precedes an entry (PAX headers, GNU long names), and its folding into one [`Entry`].

use super::entry::{Entry, EntryKind};
use super::header::{Flag, Header, invalid, show, until_nul};
use super::limits::Limits;
use super::pax::{Extended, Shared, Xattrs, keep_last};
use super::sparse::Notation;
use crate::{Error, ErrorKind, Result};
use filetime::FileTime;
use std::mem;

/// What has been said about the next entry, and about all of them.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    global: Shared,
    next: Next,
}

/// What has been said about the next entry.
#[derive(Debug, Default)]
struct Next {
    extended: Extended,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// Bytes of bodies so far.
    size: u64,
    /// Whether there was a header at all: an empty one counts too.
    any: bool,
}

/// An entry and the framing of its body.
pub(super) struct Folded {
    pub(super) entry: Box<Entry>,
    /// Bytes of the body in the archive.
    pub(super) stored_size: u64,
    /// The map of a sparse file in a PAX notation, with the file's real size.
    pub(super) sparse: Option<(u64, Notation)>,
}

impl Extensions {
    /// Checks that the body of an extension header may be held, before any of it comes.
    pub(super) fn announce(&mut self, flag: Flag, size: u64, limits: &Limits) -> Result<()> {
        let total = if flag == Flag::Global {
            size
        } else {
            self.next.any = true;
            self.next.size = self.next.size.saturating_add(size);
            self.next.size
        };
        if total > limits.header_size {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "extended headers of {total} bytes: the limit is {}",
                    limits.header_size
                ),
            ));
        }
        Ok(())
    }

    /// Takes the body of an extension header.
    pub(super) fn take(&mut self, flag: Flag, body: &[u8], limits: &Limits) -> Result<()> {
        let text = |body| Some(until_nul(body).to_vec()).filter(|text| !text.is_empty());
        match flag {
            Flag::LongName => self.next.long_name = text(body),
            Flag::LongLink => self.next.long_link = text(body),
            Flag::Global => self.global.read_global(body)?,
            _ => self.next.extended.read(body, limits)?,
        }
        Ok(())
    }

    /// Whether an entry must follow.
    pub(super) fn is_pending(&self) -> bool {
        self.next.any
    }

    /// Folds everything into the entry of this header.
    pub(super) fn fold(
        &mut self,
        header: &Header<'_>,
        flag: Flag,
        limits: &Limits,
    ) -> Result<Folded> {
        let Next {
            extended,
            long_name,
            long_link,
            ..
        } = mem::take(&mut self.next);
        let Extended {
            path,
            link,
            size,
            mut shared,
            mut sparse,
        } = extended;
        shared.read_acls();
        let (mut kind, has_body) = match flag {
            Flag::Entry(kind) => (kind, kind == EntryKind::File),
            Flag::DumpDirectory => (EntryKind::Directory, true),
            _ => (EntryKind::File, true),
        };
        // Only for files: a body after a directory, a link or a device is none, whatever the size says (POSIX; for hard
        // links POSIX would allow one, but what reads layers does not look for it).
        let stored_size = match size {
            _ if !has_body => 0,
            Some(size) => size,
            None => header.size()?,
        };

        let mut path = match choose("path", long_name, path)? {
            Some(path) => path,
            None => header.path(),
        };
        let mut notation = None;
        if flag == Flag::Entry(EntryKind::File) {
            let name = sparse.name.take();
            notation = sparse.notation()?;
            match (name, &notation) {
                (Some(name), Some(_)) => path = name,
                (Some(_), None) => {
                    return Err(invalid(
                        "the name of a sparse file without its map".to_owned(),
                    ));
                }
                (None, _) => {}
            }
        }
        check_path(&path, limits)?;
        if flag == Flag::Entry(EntryKind::File) && path.ends_with(b"/") {
            // The old format had no directories, and wrote them so.
            if stored_size != 0 {
                return Err(invalid(format!(
                    "the directory {} has content",
                    show(&path)
                )));
            }
            kind = EntryKind::Directory;
        }
        let is_file = kind == EntryKind::File;
        let entry = Entry {
            kind,
            link: take_link(
                kind,
                choose("link target", long_link, link)?,
                header,
                &path,
                limits,
            )?,
            device: match kind {
                EntryKind::CharDevice | EntryKind::BlockDevice => header.device()?,
                _ => (0, 0),
            },
            path,
            size: if is_file { stored_size } else { 0 },
            ..self.metadata(shared, header)?
        };
        Ok(Folded {
            entry: Box::new(entry),
            stored_size,
            sparse: notation.filter(|_| is_file),
        })
    }

    /// An entry with nothing but the metadata: own records before global ones before the header block.
    fn metadata(&self, own: Shared, header: &Header<'_>) -> Result<Entry> {
        let global = &self.global;
        let uid = own.uid.or(global.uid).map_or_else(|| header.uid(), Ok)?;
        let gid = own.gid.or(global.gid).map_or_else(|| header.gid(), Ok)?;
        let mtime: FileTime = own
            .mtime
            .or(global.mtime)
            .map_or_else(|| header.mtime(), Ok)?;
        Ok(Entry {
            path: Vec::new(),
            kind: EntryKind::File,
            mode: header.mode()?,
            uid,
            gid,
            size: 0,
            mtime,
            atime: own.atime.or(global.atime).or_else(|| header.atime()),
            link: Vec::new(),
            device: (0, 0),
            xattrs: merge(&global.xattrs, own.xattrs),
            pieces: None,
        })
    }
}

fn merge(global: &Xattrs, own: Xattrs) -> Xattrs {
    let mut xattrs = own;
    if !global.is_empty() {
        xattrs.splice(0..0, global.iter().cloned());
    }
    keep_last(&mut xattrs);
    xattrs
}

/// Chooses between a GNU long name and a PAX record. GNU tar believes the record, Go the long name: they must agree.
fn choose(what: &str, long: Option<Vec<u8>>, record: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match (long, record) {
        (Some(long), Some(record)) if long != record => Err(invalid(format!(
            "two different long names: the GNU {what} is {}, the PAX {what} {}",
            show(&long),
            show(&record)
        ))),
        (long, record) => Ok(record.or(long)),
    }
}

/// The link target of a link, nothing for the other kinds.
fn take_link(
    kind: EntryKind,
    long: Option<Vec<u8>>,
    header: &Header<'_>,
    path: &[u8],
    limits: &Limits,
) -> Result<Vec<u8>> {
    if !matches!(kind, EntryKind::Symlink | EntryKind::HardLink) {
        return Ok(Vec::new());
    }
    let link = long.unwrap_or_else(|| header.link());
    if link.is_empty() {
        return Err(invalid(format!("the link {} has no target", show(path))));
    }
    check_size("link target", &link, limits)?;
    Ok(link)
}

fn check_path(path: &[u8], limits: &Limits) -> Result<()> {
    check_size("path", path, limits)?;
    // Only what could be too deep is worth counting.
    if path.len() / 2 < limits.path_depth {
        return Ok(());
    }
    let depth = path
        .split(|&byte| byte == b'/')
        .filter(|component| !matches!(component, [] | [b'.']))
        .count();
    if depth > limits.path_depth {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "a path of {depth} components, {}: the limit is {}",
                show(path),
                limits.path_depth
            ),
        ));
    }
    Ok(())
}

fn check_size(what: &str, name: &[u8], limits: &Limits) -> Result<()> {
    if name.len() > limits.path_size {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "a {what} of {} bytes, {}: the limit is {}",
                name.len(),
                show(name),
                limits.path_size
            ),
        ));
    }
    Ok(())
}
