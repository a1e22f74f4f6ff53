//! One entry of a record against what is there.

use filetime::FileTime;

use super::finding::{FindingKind, Findings};
use crate::error::Result;
use crate::fs::xattr::{Xattrs, is_masked};
use crate::fs::{InodeKind, Stat, escape_name};
use crate::store::record::{Content, Entry};

/// One entry and what is there.
pub(super) struct Comparison<'a> {
    pub(super) entry: &'a Entry,
    /// The attribute that marks an opaque directory.
    pub(super) opaque: &'static [u8],
    pub(super) findings: &'a Findings,
}

impl Comparison<'_> {
    pub(super) fn add(
        &self,
        what: FindingKind,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.findings.add(&self.entry.path, what, expected, found);
    }

    /// What was looked at; that it cannot be is a finding.
    pub(super) fn readable<T>(&self, looked: Result<T>) -> Option<T> {
        looked
            .inspect_err(|error| self.findings.unreadable(&self.entry.path, error))
            .ok()
    }

    pub(super) fn missing(&self) {
        if self.entry.content == Content::Whiteout {
            self.add(FindingKind::WhiteoutMissing, "a whiteout", "nothing");
        } else {
            let expected = kind_name(self.entry.content.kind());
            self.add(FindingKind::Missing, expected, "nothing");
        }
    }

    pub(super) fn is_of_its_kind(&self, stat: &Stat) -> bool {
        let kind = self.entry.content.kind();
        let is_whiteout = self.entry.content == Content::Whiteout;
        if kind == stat.kind && is_whiteout == stat.is_whiteout() {
            return true;
        }
        let name = |kind, is_whiteout| {
            if is_whiteout {
                "a whiteout"
            } else {
                kind_name(kind)
            }
        };
        let found = name(stat.kind, stat.is_whiteout());
        self.add(FindingKind::Type, name(kind, is_whiteout), found);
        false
    }

    pub(super) fn metadata(&self, stat: &Stat) {
        let entry = self.entry;
        if entry.mode != stat.mode && stat.kind != InodeKind::Symlink {
            let text = |mode| format!("{mode:04o}");
            self.add(FindingKind::Mode, text(entry.mode), text(stat.mode));
        }
        if (entry.uid, entry.gid) != (stat.uid, stat.gid) {
            let text = |uid, gid| format!("{uid}:{gid}");
            let found = text(stat.uid, stat.gid);
            self.add(FindingKind::Owner, text(entry.uid, entry.gid), found);
        }
        if entry.mtime != stat.mtime {
            self.add(FindingKind::Mtime, time(entry.mtime), time(stat.mtime));
        }
    }

    pub(super) fn xattrs(&self, mut found: Xattrs) {
        let before = found.len();
        found.retain(|(name, value)| !(name == self.opaque && value == b"y"));
        if let Content::Directory { opaque } = self.entry.content
            && opaque != (found.len() < before)
        {
            let text = |opaque| if opaque { "opaque" } else { "not opaque" };
            self.add(FindingKind::Opaque, text(opaque), text(!opaque));
        }
        found.retain(|(name, _)| !is_masked(name));
        let recorded = &self.entry.xattrs;
        for (name, value) in recorded {
            let there = found.iter().find(|(there, _)| there == name);
            if there.is_none_or(|(_, there)| there != value) {
                let there = there.map(|(_, there)| &there[..]);
                self.add(
                    FindingKind::Xattr,
                    attribute(name, Some(value)),
                    attribute(name, there),
                );
            }
        }
        for (name, value) in &found {
            if !recorded.iter().any(|(known, _)| known == name) {
                self.add(
                    FindingKind::Xattr,
                    attribute(name, None),
                    attribute(name, Some(value)),
                );
            }
        }
    }

    pub(super) fn target(&self, recorded: &[u8], found: &[u8]) {
        if recorded != found {
            self.add(
                FindingKind::Target,
                escape_name(recorded),
                escape_name(found),
            );
        }
    }

    pub(super) fn device(&self, recorded: Option<(u32, u32)>, found: (u32, u32)) {
        if let Some(recorded) = recorded.filter(|&recorded| recorded != found) {
            let text = |(major, minor)| format!("{major}:{minor}");
            self.add(FindingKind::Device, text(recorded), text(found));
        }
    }

    /// Whether the size is right.
    pub(super) fn size(&self, recorded: u64, found: u64) -> bool {
        if recorded != found {
            let text = |size| format!("{size} bytes");
            self.add(FindingKind::Size, text(recorded), text(found));
        }
        recorded == found
    }

    pub(super) fn link_count(&self, recorded: u64, found: u64) {
        if recorded != found {
            let text = |count| format!("{count} names");
            self.add(FindingKind::Links, text(recorded), text(found));
        }
    }
}

pub(super) fn kind_name(kind: InodeKind) -> &'static str {
    match kind {
        InodeKind::File => "a regular file",
        InodeKind::Directory => "a directory",
        InodeKind::Symlink => "a symbolic link",
        InodeKind::CharDevice => "a character device",
        InodeKind::BlockDevice => "a block device",
        InodeKind::Fifo => "a pipe",
        InodeKind::Socket => "a socket",
    }
}

fn time(time: FileTime) -> String {
    format!("{}.{:09}", time.unix_seconds(), time.nanoseconds())
}

/// An attribute for people, binary values as hexadecimal digits.
fn attribute(name: &[u8], value: Option<&[u8]>) -> String {
    /// Bytes of a value that are shown.
    const SHOWN: usize = 32;
    let name = escape_name(name);
    let Some(value) = value else {
        return format!("no {name}");
    };
    let is_text = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let shown = &value[..value.len().min(SHOWN)];
    let text = if is_text {
        escape_name(shown)
    } else {
        format!("0x{}", hex::encode(shown))
    };
    let rest = if shown.len() < value.len() {
        format!("\u{2026} ({} bytes)", value.len())
    } else {
        String::new()
    };
    format!("{name}={text}{rest}")
}
