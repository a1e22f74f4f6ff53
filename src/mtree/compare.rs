//! Comparing a manifest with a directory, by gomtree's rules.
//!
//! The walk drives: each visited path is looked up in its parent's sorted children and marked as seen; what is never
//! seen is missing. Beside the manifest this takes one bit's worth of memory per entry. Two records of one path are
//! compared as sorted lists of words: values are text (`0644` is not `644`), a key on one side only is a difference,
//! and nothing is special about directories or about `optional` and `nochange`.

use super::manifest::words;
use super::parse::prefix_keyword;
use super::{
    Attributes, Difference, Entry, Keyword, KeywordSet, Manifest, Visitor, WalkOptions, walk,
};
use crate::Result;
use crate::fs::Dir;
use std::borrow::Cow;
use std::cmp::Ordering;

/// A key, what the manifest says, and what is there now.
type Change = (String, Option<String>, Option<String>);

/// Walks a directory and tells how it differs from a manifest, in the keywords of `options`; sorted by path.
///
/// # Errors
///
/// Those of [`walk`].
///
/// ```
/// use oci_bundle::fs::{Access, Dir};
/// use oci_bundle::mtree::{Keyword, Manifest, WalkOptions, compare};
///
/// # let scratch = tempfile::tempdir()?;
/// # let path = scratch.path();
/// std::fs::write(path.join("file"), "four")?;
/// let text = "#mtree v2.0\n. type=dir\n    file type=file size=5\n..\n";
/// let manifest = Manifest::parse(text.as_bytes())?;
/// let options = WalkOptions { keywords: &[Keyword::Type, Keyword::Size], owners: None };
///
/// let found = compare(&manifest, &Dir::open(path, Access::Plain)?, &options)?;
/// let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
/// assert!(lines.contains(&"\"file\": keyword \"size\": expected 5; got 4".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(
    manifest: &Manifest,
    tree: &Dir,
    options: &WalkOptions<'_>,
) -> Result<Vec<Difference>> {
    let mut comparer = Comparer::new(manifest, options.keywords);
    walk(tree, options, &mut comparer)?;
    Ok(comparer.finish())
}

/// Tells how an inode differs from its entry in a manifest, in the given keywords: key, old value, new value, in the
/// order of [`Keyword`]. `time` and `tar_time` stand for each other: if one side has only the latter, both are
/// compared in whole seconds.
pub fn differences(
    entry: Entry<'_>,
    attributes: &Attributes<'_>,
    keywords: &[Keyword],
) -> Vec<Change> {
    let mut text = Vec::new();
    for keyword in keywords {
        attributes.append(*keyword, &mut text);
    }
    let wanted = with_both_times(keywords.iter().copied().collect());
    changes(record(entry), (b"", &text), wanted)
}

/// The words of a record: those of the `/set` line, and those of the entry itself, which win.
type Record<'a> = (&'a [u8], &'a [u8]);

fn record(entry: Entry<'_>) -> Record<'_> {
    (entry.set_text(), entry.own_text())
}

fn with_both_times(mut wanted: KeywordSet) -> KeywordSet {
    if wanted.contains(Keyword::Time) || wanted.contains(Keyword::TarTime) {
        wanted.insert(Keyword::Time);
        wanted.insert(Keyword::TarTime);
    }
    wanted
}

struct Word<'a> {
    keyword: Keyword,
    /// Name of an xattr, encoded.
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

impl Word<'_> {
    /// Words of both sides with an equal key are compared with each other.
    fn key(&self) -> (Keyword, &[u8]) {
        (self.keyword, self.name)
    }

    fn change(&self, old: Option<&Self>, new: Option<&Self>) -> Change {
        let mut key = self.keyword.to_string();
        if self.keyword == Keyword::Xattr {
            key.push('.');
            key.push_str(&String::from_utf8_lossy(self.name));
        }
        let value = |word: &Self| String::from_utf8_lossy(&word.value).into_owned();
        (key, old.map(value), new.map(value))
    }
}

fn changes(old: Record<'_>, new: Record<'_>, wanted: KeywordSet) -> Vec<Change> {
    let (mut old, mut new) = (sorted_words(old), sorted_words(new));
    reconcile_times(&mut old, &mut new);
    old.retain(|word| wanted.contains(word.keyword));
    new.retain(|word| wanted.contains(word.keyword));
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.key().cmp(&new.key()),
        };
        let old = old.next_if(|_| order.is_le());
        let new = new.next_if(|_| order.is_ge());
        if let Some(word) = old.or(new)
            && old.map(|word| &word.value) != new.map(|word| &word.value)
        {
            changes.push(word.change(old, new));
        }
    }
}

/// The words of a record with a known keyword and a value, sorted by key, the one that holds for each.
fn sorted_words<'a>((set, own): Record<'a>) -> Vec<Word<'a>> {
    let mut list: Vec<Word<'a>> = Vec::with_capacity(16);
    for (key, value) in words(set).chain(words(own)) {
        if let (Some(keyword), Some(value)) = (prefix_keyword(key), value) {
            let dot = key.iter().position(|byte| *byte == b'.');
            let name = dot.map_or(&key[key.len()..], |dot| &key[dot + 1..]);
            let value = Cow::Borrowed(value);
            list.push(Word {
                keyword,
                name,
                value,
            });
        }
    }
    // Of words with one key the last holds, so the stable sort must see it first. But a name with `=` makes several
    // xattrs look like one: these are all kept, in the order of their values, so that no change hides behind another.
    list.reverse();
    list.sort_by(|a, b| {
        a.key().cmp(&b.key()).then_with(|| match a.keyword {
            Keyword::Xattr => a.value.cmp(&b.value),
            _ => Ordering::Equal,
        })
    });
    list.dedup_by(|second, first| {
        first.keyword != Keyword::Xattr && first.keyword == second.keyword
    });
    list
}

/// If one side knows whole seconds only, compares whole seconds only.
fn reconcile_times<'a>(old: &mut Vec<Word<'a>>, new: &mut Vec<Word<'a>>) {
    let has = |list: &[Word<'_>], keyword| list.iter().any(|word| word.keyword == keyword);
    let either = |keyword| has(old, keyword) || has(new, keyword);
    if !(either(Keyword::Time) && either(Keyword::TarTime)) {
        return;
    }
    for list in [old, new] {
        if has(list, Keyword::TarTime) {
            list.retain(|word| word.keyword != Keyword::Time);
        } else if let Some(word) = list.iter_mut().find(|word| word.keyword == Keyword::Time) {
            let seconds = word.value.split(|byte| *byte == b'.').next();
            let whole = [seconds.unwrap_or_default(), b".000000000"].concat();
            word.value = Cow::Owned(whole);
            // Its place stays: the two keywords are neighbours in the order.
            word.keyword = Keyword::TarTime;
        }
    }
}

/// Compares what a walk visits with a manifest.
struct Comparer<'a> {
    manifest: &'a Manifest,
    keywords: &'a [Keyword],
    wanted: KeywordSet,
    seen: Vec<bool>,
    /// The open directories: the entry if the manifest has the path, and the length of `path` before it.
    open: Vec<(Option<Entry<'a>>, usize)>,
    path: Vec<u8>,
    text: Vec<u8>,
    found: Vec<Difference>,
}

impl<'a> Comparer<'a> {
    fn new(manifest: &'a Manifest, keywords: &'a [Keyword]) -> Self {
        Self {
            manifest,
            keywords,
            wanted: with_both_times(keywords.iter().copied().collect()),
            seen: vec![false; manifest.node_count()],
            open: Vec::new(),
            path: Vec::new(),
            text: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Compares the inode whose path is `self.path`.
    fn visit(&mut self, entry: Option<Entry<'a>>, attributes: &Attributes<'_>) {
        let path = || match &self.path[..] {
            b"" => b".".to_vec(),
            path => path.to_vec(),
        };
        let Some(entry) = entry.filter(|entry| entry.is_recorded()) else {
            self.found.push(Difference::Extra { path: path() });
            return;
        };
        self.seen[entry.index()] = true;
        self.text.clear();
        for keyword in self.keywords {
            attributes.append(*keyword, &mut self.text);
        }
        let keywords = changes(record(entry), (b"", &self.text), self.wanted);
        if !keywords.is_empty() {
            let path = path();
            self.found.push(Difference::Modified { path, keywords });
        }
    }

    /// Goes to a name in the open directory; returns its entry and the length of the path before.
    fn step(&mut self, name: &[u8]) -> (Option<Entry<'a>>, usize) {
        let before = self.path.len();
        let Some((parent, _)) = self.open.last() else {
            return (Some(self.manifest.root()), before);
        };
        if before > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        (parent.and_then(|parent| parent.child(name)), before)
    }

    fn finish(mut self) -> Vec<Difference> {
        let unseen = self
            .manifest
            .entries()
            .filter(|entry| !self.seen[entry.index()]);
        self.found
            .extend(unseen.map(|entry| Difference::Missing { path: entry.path() }));
        self.found.sort_by(|a, b| a.path().cmp(b.path()));
        self.found
    }
}

impl Visitor for Comparer<'_> {
    fn enter(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        let (entry, before) = self.step(name);
        self.visit(entry, attributes);
        self.open.push((entry, before));
        Ok(())
    }

    fn leaf(&mut self, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        let (entry, before) = self.step(name);
        self.visit(entry, attributes);
        self.path.truncate(before);
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        if let Some((_, before)) = self.open.pop() {
            self.path.truncate(before);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{UMOCI_KEYWORDS, sample};
    use super::*;
    use crate::fs::InodeKind;
    use filetime::FileTime;

    fn wanted(list: &str) -> KeywordSet {
        let keywords = super::super::parse_keywords(list).unwrap();
        with_both_times(keywords.into_iter().collect())
    }

    /// The changes from one entry to another, as text.
    fn compared(old: &str, new: &str, keywords: &str) -> String {
        let old = format!("f {old}\n");
        let old = old.split_once('|').map_or(old.clone(), |(own, set)| {
            format!("/set {}{own}\n", set.trim().to_owned() + "\n")
        });
        let manifest = Manifest::parse(old.as_bytes()).unwrap();
        let entry = manifest.find(b"f").unwrap();
        let found = changes(record(entry), (b"", new.as_bytes()), wanted(keywords));
        let side = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let lines = found
            .into_iter()
            .map(|(key, old, new)| format!("{key} {} {}", side(old), side(new)));
        lines.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_rule_of_comparing_two_records_holds() {
        for (old, new, keywords, expected) in [
            // Equal, in any order; entry before set; the last of a key.
            ("size=1 mode=0644", "mode=0644 size=1", "size mode", ""),
            ("size=1 | size=2 uid=0", "size=1 uid=0", "size uid", ""),
            ("size=1 size=2", "size=2", "size", ""),
            ("| uid=0 uid=5", "uid=5", "uid", ""),
            // A difference, and one that nobody asked for.
            (
                "size=1 uid=0",
                "size=2 uid=1",
                "uid size",
                "size 1 2, uid 0 1",
            ),
            ("size=1 uid=0", "size=2 uid=1", "uid", "uid 0 1"),
            // A key on one side only.
            ("", "sha256digest=ab", "sha256", "sha256digest - ab"),
            ("link=a", "", "link", "link a -"),
            ("", "", "sha256", ""),
            // Values are text.
            ("mode=0644", "mode=644", "mode", "mode 0644 644"),
            (
                "sha256digest=AB",
                "sha256digest=ab",
                "sha256",
                "sha256digest AB ab",
            ),
            ("link=a\\040b", "link=a\\sb", "link", "link a\\040b a\\sb"),
            // Synonyms are one key.
            ("sha256=ab", "sha256digest=ab", "sha256digest", ""),
            (
                "rmd160=ab",
                "ripemd160digest=cd",
                "rmd160",
                "ripemd160digest ab cd",
            ),
            // tar_time on one side makes both whole seconds.
            (
                "time=5.123456789",
                "time=5.2",
                "time",
                "time 5.123456789 5.2",
            ),
            ("tar_time=5.000000000", "time=5.123456789", "time", ""),
            ("time=5.123456789", "tar_time=5.000000000", "tar_time", ""),
            ("time=5.9", "time=5.1 tar_time=5.000000000", "tar_time", ""),
            (
                "tar_time=5.000000000",
                "time=6.1",
                "time",
                "tar_time 5.000000000 6.000000000",
            ),
            (
                "time=5.1",
                "tar_time=6.000000000",
                "tar_time",
                "tar_time 5.000000000 6.000000000",
            ),
            ("tar_time=5.000000000", "", "time", "tar_time 5.000000000 -"),
            ("time=5.1", "time=6.1", "tar_time", "time 5.1 6.1"),
            ("tar_time=5.000000000", "tar_time=6.000000000", "size", ""),
            // Xattrs by the part before the first dot.
            (
                "xattr.user.a=YQ==",
                "xattr.user.a=Yg==",
                "xattr",
                "xattr.user.a YQ== Yg==",
            ),
            (
                "xattr.user.a=YQ==",
                "xattr.user.b=YQ==",
                "xattr",
                "xattr.user.a YQ== -, xattr.user.b - YQ==",
            ),
            ("xattrs.user.a=YQ==", "xattr.user.a=YQ==", "xattrs", ""),
            ("xattr.user.a=YQ==", "", "size", ""),
            // Names with `=` look alike; a change in any of them shows.
            (
                "xattr.a=b=YQ== xattr.a=YQ==",
                "xattr.a=YQ== xattr.a=b=YQ==",
                "xattr",
                "",
            ),
            (
                "xattr.a=YQ== xattr.a=b=YQ==",
                "xattr.a=Yg== xattr.a=b=YQ==",
                "xattr",
                "xattr.a YQ== Yg==",
            ),
            (
                "xattr.a=YQ== xattr.a=b=YQ==",
                "xattr.a=b=YQ==",
                "xattr",
                "xattr.a YQ== b=YQ==, xattr.a b=YQ== -",
            ),
            // Words that only input has, and words without a value.
            ("optional nochange ignore contents=x size", "", "size", ""),
            ("size optional", "size=1", "size", "size - 1"),
            ("size.x=1", "", "size", ""),
        ] {
            assert_eq!(
                compared(old, new, keywords),
                expected,
                "{old:?} {new:?} {keywords:?}"
            );
        }
    }

    fn compare_sample(text: &str) -> Vec<String> {
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let mut comparer = Comparer::new(&manifest, UMOCI_KEYWORDS);
        sample::visit(&mut comparer).unwrap();
        let lines = comparer.finish();
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_tree_of_a_manifest_of_umoci_does_not_differ_from_it() {
        assert_eq!(compare_sample(sample::TEXT), [""; 0]);
    }

    #[test]
    fn missing_extra_and_modified_paths_are_told_in_the_order_of_paths() {
        let text = sample::TEXT
            .replace("    fifo size=0", "    gone size=0")
            .replace("    9 size=1", "    9 size=2")
            .replace(
                "    10 size=1 mode=0644",
                "    10 optional nochange size=1 mode=0600",
            )
            .replace(
                "0 size=4096 type=dir mode=01777",
                "d type=dir\n..\n0 size=4096 type=file mode=01777",
            );
        let expected = [
            r#""d/fifo": unexpected path"#,
            r#""d/gone": missing path"#,
            r#""e/0": keyword "type": expected file; got dir"#,
            r#""e/10": keyword "mode": expected 0600; got 0644"#,
            r#""e/9": keyword "size": expected 2; got 1"#,
            r#""e/d": missing path"#,
        ];
        assert_eq!(compare_sample(&text), expected);
    }

    #[test]
    fn a_path_that_only_leads_to_others_is_unexpected_on_disk() {
        let found = compare_sample("./own/x/gone type=file\n");
        assert!(found.contains(&r#"".": unexpected path"#.to_owned()));
        assert!(found.contains(&r#""own/x": unexpected path"#.to_owned()));
        assert!(found.contains(&r#""own/x/gone": missing path"#.to_owned()));
        assert_eq!(found.len(), 28);
    }

    #[test]
    fn what_is_below_a_directory_that_is_a_file_now_is_missing() {
        let text = "own type=file size=1\n./d/f/a/b type=file\n";
        let found = compare_sample(text);
        assert!(found.contains(&r#""own": keyword "type": expected file; got dir"#.to_owned()));
        assert!(found.contains(&r#""own/z": unexpected path"#.to_owned()));
        assert!(found.contains(&r#""d/f": unexpected path"#.to_owned()));
        assert!(found.contains(&r#""d/f/a/b": missing path"#.to_owned()));
    }

    #[test]
    fn one_inode_can_be_compared_without_a_walk() {
        let xattrs = [(b"user.a".to_vec(), vec![0; 2000])];
        let attributes = Attributes {
            kind: InodeKind::File,
            size: 3,
            uid: 1,
            gid: 2,
            mode: 0o4755,
            nlink: 1,
            mtime: FileTime::from_unix_time(-1, 5),
            link: b"",
            sha256: None,
            xattrs: &xattrs,
            other: Vec::new(),
        };
        let text =
            "/set type=file nlink=1 uid=1\nf size=4 gid=2 mode=04755 tar_time=-1.000000000\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let entry = manifest.find(b"f").unwrap();
        let found = differences(entry, &attributes, UMOCI_KEYWORDS);
        let keys: Vec<_> = found.iter().map(|(key, ..)| key.as_str()).collect();
        // umoci would not see an xattr of that size.
        assert_eq!(keys, ["size", "xattr.user.a"]);
    }
}
