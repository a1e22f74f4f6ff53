//! Writing a manifest as a stream, byte for byte as umoci does.
//!
//! The writer keeps the path of the open directory and the last `/set` line, nothing else: memory does not grow with
//! the tree. It differs from umoci in two places, both where umoci's file cannot be read back: a comment whose text
//! would break its line is vis-encoded, and an entry above [`MAX_LINE`] is continued on further lines.

use super::attributes::push;
use super::manifest::MAX_PATH;
use super::{Attributes, Keyword, vis};
use crate::fs::InodeKind;
use crate::{Error, ErrorKind, Result, ResultExt};
use jiff::Zoned;
use std::borrow::Cow;
use std::io::Write;

/// Length at which an entry is continued on the next line. gomtree refuses lines above 64 KiB, and joins a line that
/// ends with a backslash with the next.
const MAX_LINE: usize = 32 * 1024;

/// The comments on top of a manifest; what is `None` is left out.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// Name of the user who records.
    pub user: Option<String>,
    /// Name of the machine.
    pub machine: Option<String>,
    /// The recorded directory: the path as given, cleaned; absolute if that were `.` or `..`.
    pub tree: String,
    /// When it was recorded, see [`Header::format_date`].
    pub date: Option<String>,
}

impl Header {
    /// Formats a time as the header shows it: `Fri Nov 20 22:00:48 2026`, in the time's own zone.
    pub fn format_date(time: &Zoned) -> String {
        time.strftime("%a %b %-d %H:%M:%S %Y").to_string()
    }
}

/// Streams a manifest.
///
/// The caller gives the order, which is umoci's: the root is `enter(b".")`; in a directory first its non-directories
/// sorted by bytes with `leaf`, then its sub-directories sorted by bytes, each from `enter` to `leave`. The output
/// gets one `write_all` per line: give a buffered one. After an error the output holds a part of the manifest.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    keywords: Vec<Keyword>,
    /// Path of the open directory, without the leading `./`.
    path: Vec<u8>,
    /// Length of `path` before each open directory.
    open: Vec<usize>,
    /// The words of the last `/set`, and the owner that they name.
    set: Vec<u8>,
    owner: Option<(u32, u32)>,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header and makes a writer that records `keywords`, in that order.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn new(mut out: W, keywords: &[Keyword], header: &Header) -> Result<Self> {
        let mut text = Vec::new();
        let mut label = |name: &str, value: &str| {
            push(&mut text, format_args!("#{name:>14}: "));
            text.extend_from_slice(&comment_text(value.as_bytes()));
            text.push(b'\n');
        };
        if let Some(user) = &header.user {
            label("user", user);
        }
        if let Some(machine) = &header.machine {
            label("machine", machine);
        }
        label("tree", &header.tree);
        if let Some(date) = &header.date {
            label("date", date);
        }
        let names: Vec<_> = keywords.iter().map(|keyword| keyword.as_str()).collect();
        label("keywords", &names.join(","));
        out.write_all(&text).context(|| "write mtree manifest")?;
        Ok(Self {
            out,
            keywords: keywords.to_vec(),
            path: Vec::new(),
            open: Vec::new(),
            set: Vec::new(),
            owner: None,
            line: Vec::new(),
        })
    }

    /// Opens a directory: `.` for the root, later names of one component.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a name that is no component, [`ErrorKind::LimitExceeded`] for a path that no
    /// reader would accept, and those of the output.
    pub fn enter(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        let parent = self.path.len();
        if self.open.is_empty() {
            if name != b"." || self.owner.is_some() {
                return Err(misuse("the root must come first, and once, as `.`"));
            }
        } else {
            check_name(name, parent)?;
            if parent > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
        }
        self.open.push(parent);

        self.line.clear();
        self.line.extend_from_slice(b"\n# ");
        let shown = if self.path.is_empty() {
            b"."
        } else {
            &self.path[..]
        };
        self.line.extend_from_slice(&comment_text(shown));
        self.line.push(b'\n');
        self.update_set(attributes);
        self.out
            .write_all(&self.line)
            .context(|| "write mtree manifest")?;
        self.entry(b"", name, attributes)
    }

    /// Writes anything but a directory.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter).
    pub fn leaf(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        if self.open.is_empty() || attributes.kind == InodeKind::Directory {
            return Err(misuse("a leaf is not a directory but is inside one"));
        }
        check_name(name, self.path.len())?;
        self.entry(b"    ", name, attributes)
    }

    /// Closes the directory that was entered last.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is none, and those of the output.
    pub fn leave(&mut self) -> Result<()> {
        let parent = self
            .open
            .pop()
            .ok_or_else(|| misuse("no directory is open"))?;
        self.path.truncate(parent);
        self.out
            .write_all(b"..\n")
            .context(|| "write mtree manifest")
    }

    /// Ends the manifest and hands the output back, flushed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] while a directory is open or when there was none, and those of the output.
    pub fn finish(mut self) -> Result<W> {
        if !self.open.is_empty() || self.owner.is_none() {
            return Err(misuse("the root was not entered and left"));
        }
        self.out.flush().context(|| "write mtree manifest")?;
        Ok(self.out)
    }

    /// Appends a `/set` line to the current line if the directory's owner is not that of the last one.
    fn update_set(&mut self, attributes: &Attributes<'_>) {
        let owner = (attributes.uid, attributes.gid);
        if self.owner == Some(owner) {
            return;
        }
        self.owner = Some(owner);
        self.set.clear();
        for (keyword, word) in [
            (Keyword::Type, " type=file"),
            (Keyword::Nlink, " nlink=1"),
            (Keyword::Flags, " flags=none"),
            (Keyword::Mode, " mode=0664"),
        ] {
            if self.keywords.contains(&keyword) {
                self.set.extend_from_slice(word.as_bytes());
            }
        }
        attributes.append(Keyword::Uid, &mut self.set);
        attributes.append(Keyword::Gid, &mut self.set);
        self.line.extend_from_slice(b"/set");
        self.line.extend_from_slice(&self.set);
        self.line.push(b'\n');
    }

    fn entry(&mut self, indent: &[u8], name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        self.line.clear();
        self.line.extend_from_slice(indent);
        vis::encode_into(name, &mut self.line);
        for &keyword in &self.keywords {
            let start = self.line.len();
            attributes.append(keyword, &mut self.line);
            let word = self.line.get(start + 1..).unwrap_or_default();
            // Only keywords with a single word can be in the set, so the whole addition is that word.
            if self.set.split(|byte| *byte == b' ').any(|set| set == word) {
                self.line.truncate(start);
            }
        }
        if self.line.ends_with(b"\\") {
            // Readers would take it for a continuation.
            self.line.push(b' ');
        }
        self.line.push(b'\n');
        write_folded(&mut self.out, &self.line)
    }
}

/// Writes an entry, on as many lines as [`MAX_LINE`] asks for.
fn write_folded(out: &mut impl Write, mut line: &[u8]) -> Result<()> {
    while line.len() > MAX_LINE {
        // Not before a blank, because a reader may trim the next line, and not behind a backslash, which would make a
        // pair of the one that continues.
        let fold = (1..=MAX_LINE)
            .rev()
            .find(|at| line[*at] != b' ' && line[at - 1] != b'\\')
            .unwrap_or(MAX_LINE);
        let (head, rest) = line.split_at(fold);
        out.write_all(head)
            .and_then(|()| out.write_all(b"\\\n"))
            .context(|| "write mtree manifest")?;
        line = rest;
    }
    out.write_all(line).context(|| "write mtree manifest")
}

/// The text of a comment: as it is, as umoci writes it, unless that would end the line or continue it: a directory
/// name with a newline could otherwise put entries of its own into the manifest.
fn comment_text(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().any(u8::is_ascii_control) || text.ends_with(b"\\") {
        Cow::Owned(vis::encode(text))
    } else {
        Cow::Borrowed(text)
    }
}

fn check_name(name: &[u8], parent_size: usize) -> Result<()> {
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(misuse("a name is one component of a path"));
    }
    if parent_size + 1 + name.len() > MAX_PATH {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("record in mtree manifest: path longer than {MAX_PATH} bytes"),
        ));
    }
    Ok(())
}

fn misuse(rule: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("write mtree manifest: {rule}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Manifest, UMOCI_KEYWORDS, sample};
    use super::*;
    use filetime::FileTime;
    use jiff::{Timestamp, tz::TimeZone};

    fn inode(kind: InodeKind) -> Attributes<'static> {
        Attributes {
            kind,
            size: 1,
            uid: 0,
            gid: 0,
            mode: 0o644,
            nlink: 1,
            mtime: FileTime::from_unix_time(-2, 500_000_000),
            link: b"a\\",
            sha256: None,
            xattrs: &[],
            other: Vec::new(),
        }
    }

    fn written(keywords: &[Keyword], leaves: &[(&[u8], Attributes<'_>)]) -> String {
        let mut writer = Writer::new(Vec::new(), keywords, &Header::default()).unwrap();
        writer.enter(b".", &inode(InodeKind::Directory)).unwrap();
        for (name, attributes) in leaves {
            writer.leaf(name, attributes).unwrap();
        }
        writer.leave().unwrap();
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_real_tree_is_written_byte_for_byte_as_umoci_writes_it() {
        let mut writer = Writer::new(Vec::new(), UMOCI_KEYWORDS, &sample::header()).unwrap();
        sample::visit(&mut writer).unwrap();
        let text = String::from_utf8(writer.finish().unwrap()).unwrap();
        assert_eq!(text, sample::TEXT);
    }

    #[test]
    fn keywords_are_written_in_the_requested_order_and_the_set_has_only_those_in_use() {
        let keywords = [
            Keyword::Cksum,
            Keyword::Time,
            Keyword::Mode,
            Keyword::Uname,
            Keyword::Flags,
        ];
        let mut file = inode(InodeKind::File);
        file.other = vec![
            (Keyword::Cksum, "42".to_owned()),
            (Keyword::Uname, "a b".to_owned()),
        ];
        let mut plain = file.clone();
        plain.mode = 0o664;
        let mut fifo = file.clone();
        fifo.kind = InodeKind::Fifo;
        let text = written(&keywords, &[(b"f", file), (b"g", plain), (b"p", fifo)]);
        let expected = r"#          tree: 
#      keywords: cksum,time,mode,uname,flags

# .
/set flags=none mode=0664 uid=0 gid=0
. time=-2.500000000 mode=0644
    f cksum=42 time=-2.500000000 mode=0644 uname=a\040b
    g cksum=42 time=-2.500000000 uname=a\040b
    p time=-2.500000000 mode=0644 uname=a\040b
..
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_newline_in_a_directory_name_or_the_header_makes_no_line_of_its_own() {
        let header = Header {
            tree: "x\n/set uid=9".to_owned(),
            ..Header::default()
        };
        let mut writer = Writer::new(Vec::new(), UMOCI_KEYWORDS, &header).unwrap();
        let directory = inode(InodeKind::Directory);
        writer.enter(b".", &directory).unwrap();
        for name in [&b"a\nphantom type=file"[..], b"b\\", b"plain b"] {
            writer.enter(name, &directory).unwrap();
            writer.leave().unwrap();
        }
        writer.leave().unwrap();
        let bytes = writer.finish().unwrap();
        let text = str::from_utf8(&bytes).unwrap();
        assert!(text.contains("\n# a\\012phantom\\040type=file\n"), "{text}");
        assert!(text.contains("\n# b\\\\\n") && text.contains("\n# plain b\n"));
        let manifest = Manifest::parse(&bytes[..]).unwrap();
        let paths: Vec<_> = manifest.entries().map(super::super::Entry::path).collect();
        assert_eq!(
            paths,
            [&b"."[..], b"a\nphantom type=file", b"b\\", b"plain b"]
        );
        assert_eq!(manifest.root().get(Keyword::Uid), Some(&b"0"[..]));
    }

    #[test]
    fn an_entry_with_large_xattrs_is_folded_and_reads_back() {
        let xattrs: Vec<_> = (0..4_u8)
            .map(|n| (vec![b'\\'; 200 + usize::from(n)], vec![n; 65_536]))
            .collect();
        let mut file = inode(InodeKind::File);
        file.xattrs = &xattrs;
        let text = written(&[Keyword::Xattr, Keyword::Size], &[(b"f", file)]);
        assert!(text.lines().all(|line| line.len() <= MAX_LINE + 1));
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let entry = manifest.find(b"f").unwrap();
        let values: Vec<_> = entry.own().map(|(_, value)| value.unwrap().len()).collect();
        assert_eq!(values, [87_384, 87_384, 87_384, 87_384, 1]);
        let last = entry.own().nth(3).unwrap().0;
        assert_eq!(vis::decode(&last[6..]).unwrap(), xattrs[3].0);
    }

    #[test]
    fn a_backslash_at_the_end_of_an_entry_does_not_continue_it() {
        let text = written(
            &[Keyword::Link],
            &[
                (b"l", inode(InodeKind::Symlink)),
                (b"m", inode(InodeKind::Symlink)),
            ],
        );
        assert!(
            text.contains("    l link=a\\\\ \n    m link=a\\\\ \n"),
            "{text}"
        );
    }

    #[test]
    fn calls_out_of_order_and_names_that_are_paths_are_refused() {
        let new = || Writer::new(Vec::new(), UMOCI_KEYWORDS, &Header::default()).unwrap();
        let (directory, file) = (inode(InodeKind::Directory), inode(InodeKind::File));
        assert!(new().enter(b"usr", &directory).is_err());
        assert!(new().leaf(b"f", &file).is_err());
        assert!(new().leave().is_err());
        assert!(new().finish().is_err());
        let mut writer = new();
        writer.enter(b".", &directory).unwrap();
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0"] {
            assert!(writer.leaf(name, &file).is_err(), "{name:?}");
            assert!(writer.enter(name, &directory).is_err(), "{name:?}");
        }
        assert!(writer.leaf(b"d", &directory).is_err());
        let error = writer.leaf(&[b'a'; MAX_PATH], &file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        writer.leave().unwrap();
        assert!(writer.enter(b".", &directory).is_err());
        writer.finish().unwrap();
    }

    #[test]
    fn dates_have_the_form_of_the_header() {
        let zoned = |text: &str| text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC);
        let date = Header::format_date(&zoned("2026-11-20T22:00:48Z"));
        assert_eq!(date, "Fri Nov 20 22:00:48 2026");
        let date = Header::format_date(&zoned("2026-02-03T04:05:06Z"));
        assert_eq!(date, "Tue Feb 3 04:05:06 2026");
    }
}
