//! Reading a manifest: line by line, bounded, in any order, from anyone.
//!
//! The grammar is gomtree's: `#` comments, `/set` *replaces* the values in force, `/unset` clears them all, `..` goes
//! up, a backslash at the end joins the next line. A name with a slash is a path from the root, another one lies in
//! the current directory; an entry whose own words say `type=dir` becomes the current directory. Of two entries for
//! one path the later one wins. Names are decoded and cleaned; one that leads out of the tree is an error, since what
//! is missing on disk becomes a whiteout.

use super::lines::{Lines, limit_exceeded};
use super::manifest::{MAX_PATH, Manifest, Node, Span, words};
use super::{Keyword, KeywordSet, vis};
use crate::{Error, ErrorKind, Result, ResultExt};
use std::collections::HashMap;
use std::collections::hash_map::{Entry as Slot, RandomState};
use std::hash::BuildHasher;
use std::io::Read;

/// Longest `/set` line, in bytes. It counts for every entry below it, so a long one would cost its length each time.
const MAX_SET: usize = 1024;
/// Largest manifest in memory, in bytes of names and words.
const MAX_TEXT: usize = 1024 * 1024 * 1024;

impl Manifest {
    /// Reads a manifest to the end of `reader`, which need not be buffered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] for a name with a bad escape or a NUL byte, or one that leads out of the tree;
    /// [`ErrorKind::LimitExceeded`] for a line above 64 KiB, an entry above 16 MiB, a `/set` line above 1 KiB, a path
    /// above 4 KiB or a manifest above 1 GiB; and those of the reader.
    pub fn parse(reader: impl Read) -> Result<Self> {
        let mut lines = Lines::new(reader);
        let mut parser = Parser::new();
        loop {
            let read = lines.next();
            let result = match &read {
                Ok(true) => parser.line(lines.line()),
                Ok(false) => break,
                Err(_) => read.map(|_| ()),
            };
            result.context(|| format!("parse mtree manifest: line {}", lines.number()))?;
        }
        Ok(parser.finish())
    }
}

struct Parser {
    text: Vec<u8>,
    nodes: Vec<Node>,
    sets: Vec<Span>,
    keywords: KeywordSet,
    /// Finds a child by the hash of its parent and name; where two hashes agree, the next number is tried.
    index: HashMap<u64, u32>,
    hasher: RandomState,
    current: u32,
    name: Vec<u8>,
}

impl Parser {
    fn new() -> Self {
        let root = Node {
            parent: 0,
            name: Span::default(),
            path_len: 0,
            own: None,
            set: 0,
            children: Span::default(),
        };
        Self {
            text: Vec::new(),
            nodes: vec![root],
            sets: vec![Span::default()],
            keywords: KeywordSet::default(),
            index: HashMap::new(),
            hasher: RandomState::new(),
            current: 0,
            name: Vec::new(),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        let start = line.iter().position(|b| !is_blank(*b));
        let line = &line[start.unwrap_or(line.len())..];
        let end = line.iter().position(|b| is_blank(*b));
        let (first, rest) = line.split_at(end.unwrap_or(line.len()));
        match first {
            [] | [b'#', ..] => Ok(()),
            b".." => {
                self.current = self.nodes[self.current as usize].parent;
                Ok(())
            }
            b"/set" => self.set(rest),
            b"/unset" => {
                self.sets.push(Span::default());
                Ok(())
            }
            [b'/', ..] => Ok(()),
            name => self.entry(name, rest),
        }
    }

    fn set(&mut self, rest: &[u8]) -> Result<()> {
        if rest.len() > MAX_SET {
            return Err(limit_exceeded("/set longer", MAX_SET));
        }
        let span = self.words(rest)?;
        self.sets.push(span);
        Ok(())
    }

    fn entry(&mut self, name: &[u8], rest: &[u8]) -> Result<()> {
        let node = self.resolve(name)?;
        let own = self.words(rest)?;
        let last_type = words(&self.text[own.start as usize..])
            .filter(|(key, _)| *key == b"type")
            .last();
        if last_type.is_some_and(|(_, value)| value == Some(b"dir")) {
            self.current = node;
        }
        let set = as_u32(self.sets.len() - 1)?;
        let node = &mut self.nodes[node as usize];
        node.own = Some(own);
        node.set = set;
        Ok(())
    }

    /// Finds or makes the node that an encoded name means.
    fn resolve(&mut self, encoded: &[u8]) -> Result<u32> {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        vis::decode_into(encoded, &mut name)?;
        if name.contains(&0) {
            return Err(invalid("name with a NUL byte"));
        }
        let mut node = if encoded.contains(&b'/') {
            0
        } else {
            self.current
        };
        for component in name.split(|byte| *byte == b'/') {
            node = match component {
                b"" | b"." => node,
                b".." if node == 0 => return Err(invalid("path that leads out of the tree")),
                b".." => self.nodes[node as usize].parent,
                component => self.child(node, component)?,
            };
        }
        self.name = name;
        Ok(node)
    }

    /// Finds or makes the node of a name in a directory.
    fn child(&mut self, parent: u32, name: &[u8]) -> Result<u32> {
        let mut hash = self.hasher.hash_one((parent, name));
        loop {
            let slot = match self.index.entry(hash) {
                Slot::Occupied(slot) => slot,
                Slot::Vacant(slot) => {
                    let parent_size = self.nodes[parent as usize].path_len as usize;
                    let separator = usize::from(parent != 0);
                    let path_len = parent_size + separator + name.len();
                    if path_len > MAX_PATH {
                        return Err(limit_exceeded("path longer", MAX_PATH));
                    }
                    let start = as_u32(self.text.len())?;
                    self.text.extend_from_slice(name);
                    let index = as_u32(self.nodes.len())?;
                    slot.insert(index);
                    self.nodes.push(Node {
                        parent,
                        name: Span {
                            start,
                            len: as_u32(name.len())?,
                        },
                        path_len: as_u32(path_len)?,
                        own: None,
                        set: 0,
                        children: Span::default(),
                    });
                    return Ok(index);
                }
            };
            let node = &self.nodes[*slot.get() as usize];
            let known = &self.text[node.name.start as usize..][..node.name.len as usize];
            if node.parent == parent && known == name {
                return Ok(*slot.get());
            }
            hash = hash.wrapping_add(1);
        }
    }

    /// Stores the words of a line, separated by single blanks.
    fn words(&mut self, rest: &[u8]) -> Result<Span> {
        let start = self.text.len();
        let found = rest.split(|byte| is_blank(*byte));
        for word in found.filter(|word| !word.is_empty()) {
            if self.text.len() > start {
                self.text.push(b' ');
            }
            self.text.extend_from_slice(word);
        }
        if self.text.len() > MAX_TEXT {
            return Err(limit_exceeded("manifest larger", MAX_TEXT));
        }
        for (key, value) in words(&self.text[start..]) {
            if let (Some(keyword), Some(_)) = (prefix_keyword(key), value) {
                self.keywords.insert(keyword);
            }
        }
        Ok(Span {
            start: as_u32(start)?,
            len: as_u32(self.text.len() - start)?,
        })
    }

    /// Sorts the children of every node and makes the manifest.
    fn finish(self) -> Manifest {
        let (mut text, mut nodes) = (self.text, self.nodes);
        drop(self.index);
        text.shrink_to_fit();
        nodes.shrink_to_fit();
        // The number of nodes fits, or the last one could not have been made.
        let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let mut children: Vec<u32> = (1..count).collect();
        children.sort_by_key(|index| {
            let node = &nodes[*index as usize];
            let name = &text[node.name.start as usize..][..node.name.len as usize];
            (node.parent, name)
        });
        for (place, index) in (0..).zip(&children) {
            let parent = nodes[*index as usize].parent as usize;
            let span = &mut nodes[parent].children;
            if span.len == 0 {
                span.start = place;
            }
            span.len += 1;
        }
        Manifest {
            text,
            nodes,
            sets: self.sets,
            children,
            keywords: self.keywords,
        }
    }
}

/// The keyword of a key, where only the part before the first dot counts for xattrs.
pub(super) fn prefix_keyword(key: &[u8]) -> Option<Keyword> {
    match key.iter().position(|byte| *byte == b'.') {
        Some(dot) => Keyword::from_name(&key[..dot]).filter(|k| *k == Keyword::Xattr),
        None => Keyword::from_name(key),
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn as_u32(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| limit_exceeded("manifest larger", MAX_TEXT))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::super::lines::{MAX_ENTRY, MAX_LINE};
    use super::super::sample;
    use super::*;
    use proptest::prelude::*;

    fn parse(text: impl AsRef<[u8]>) -> Manifest {
        Manifest::parse(text.as_ref()).unwrap()
    }

    fn paths(manifest: &Manifest) -> Vec<String> {
        let path = |entry: super::super::Entry<'_>| entry.path().escape_ascii().to_string();
        manifest.entries().map(path).collect()
    }

    fn kind_of_error(text: impl AsRef<[u8]>) -> ErrorKind {
        Manifest::parse(text.as_ref()).unwrap_err().kind()
    }

    fn get(manifest: &Manifest, path: &str, keyword: Keyword) -> Option<String> {
        let value = manifest.find(path.as_bytes())?.get(keyword)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_manifest_of_umoci_is_read_with_names_decoded_and_sets_applied() {
        let manifest = parse(sample::TEXT);
        let paths = paths(&manifest);
        assert_eq!(paths.len(), 27);
        assert_eq!(paths[..4], [".", "d", r"d/a b*?[#\\c", "d/blk"]);
        assert!(paths.contains(&r"d/nl\nx".to_owned()));
        assert_eq!(paths.last().unwrap(), r"\xc3\xbc");
        let get = |path, keyword| get(&manifest, path, keyword);
        assert_eq!(get("d/f", Keyword::Mode).unwrap(), "0");
        assert_eq!(get("own2/q", Keyword::Mode).unwrap(), "0664");
        assert_eq!(get("own/x/f", Keyword::Uid).unwrap(), "5");
        assert_eq!(get("own/z", Keyword::Uid).unwrap(), "0");
        assert_eq!(get("own/z", Keyword::Type).unwrap(), "file");
        assert_eq!(get("d/fifo", Keyword::Sha256), None);
        let umoci: KeywordSet = super::super::UMOCI_KEYWORDS.iter().copied().collect();
        assert_eq!(manifest.keywords(), umoci);
    }

    #[test]
    fn set_replaces_and_unset_clears_and_the_entry_wins() {
        let manifest = parse(
            "/set uid=1 gid=2\na uid=3\n/set mode=0644\nb\n/unset mode\nc size=1\n/other x=1\nd\n",
        );
        assert_eq!(get(&manifest, "a", Keyword::Uid).unwrap(), "3");
        assert_eq!(get(&manifest, "a", Keyword::Gid).unwrap(), "2");
        assert_eq!(get(&manifest, "b", Keyword::Gid), None);
        assert_eq!(get(&manifest, "b", Keyword::Mode).unwrap(), "0644");
        assert_eq!(get(&manifest, "c", Keyword::Mode), None);
        assert_eq!(paths(&manifest), ["a", "b", "c", "d"]);
    }

    #[test]
    fn full_paths_mixed_order_and_bsd_layout_make_the_same_tree() {
        let nested =
            parse(". type=dir\nb type=dir\n  x type=file\n  c type=dir\n  ..\n..\na\n..\n");
        let full = parse("./b/c type=dir\n..\n./b/x type=file\nb/ type=dir\n./a\n./ type=dir\n");
        assert_eq!(paths(&nested), [".", "a", "b", "b/c", "b/x"]);
        assert_eq!(paths(&full), paths(&nested));
    }

    #[test]
    fn a_directory_that_is_only_set_does_not_become_the_current_one() {
        let manifest = parse("/set type=dir\na\nb type=dir\nc type=dir type=file\nd\n");
        assert_eq!(paths(&manifest), ["a", "b", "b/c", "b/d"]);
    }

    #[test]
    fn comments_blank_lines_carriage_returns_and_continuations_are_understood() {
        let manifest = parse(
            "#mtree\r\n\r\n \t# x type=dir \\\n. type=dir\r\na si\\\nze=1\t \\\n  mode=0644\nb\\\\ uid=1\n..\n..\n..\nc",
        );
        assert_eq!(paths(&manifest), [".", "a", r"b\\", "c"]);
        assert_eq!(get(&manifest, "a", Keyword::Size).unwrap(), "1");
        assert_eq!(get(&manifest, "a", Keyword::Mode).unwrap(), "0644");
        assert_eq!(paths(&parse("a size=1\\\n")), ["a"]);
        // The second line is empty, and the carriage return is of the first.
        assert_eq!(paths(&parse("a\r\\\n\nb\n")), ["a", "b"]);
    }

    #[test]
    fn of_two_entries_for_a_path_the_later_wins_with_its_set() {
        let manifest = parse(
            "/set uid=1\nd type=dir mode=0700\nf\n..\n/set uid=2\nd type=dir size=4\n\\146 size=9\n",
        );
        assert_eq!(paths(&manifest), ["d", "d/f"]);
        assert_eq!(get(&manifest, "d", Keyword::Mode), None);
        assert_eq!(get(&manifest, "d", Keyword::Uid).unwrap(), "2");
        assert_eq!(get(&manifest, "d/f", Keyword::Size).unwrap(), "9");
        let manifest = parse("f size=1 size=2\n");
        assert_eq!(get(&manifest, "f", Keyword::Size).unwrap(), "2");
    }

    #[test]
    fn words_without_a_value_and_unknown_keys_are_kept_but_are_no_keywords() {
        let manifest = parse(
            "f optional nochange ignore device=native,1,3 contents=x size xattrs.user.a=Yg==\n",
        );
        let entry = manifest.find(b"f").unwrap();
        assert_eq!(entry.own().count(), 7);
        assert_eq!(entry.own().next(), Some((&b"optional"[..], None)));
        assert_eq!(entry.get(Keyword::Size), None);
        let used: Vec<_> = manifest.keywords().iter().collect();
        assert_eq!(used, [Keyword::Xattr]);
    }

    #[test]
    fn names_that_lead_out_of_the_tree_or_hold_a_nul_are_refused() {
        for text in [
            "../a",
            "a/../../b",
            r"\056\056",
            r"a\000b",
            r"\057..",
            r"a\",
        ] {
            assert_eq!(
                kind_of_error(format!("{text} size=1\n")),
                ErrorKind::InvalidData,
                "{text}"
            );
        }
        let clean = parse("./a//b/../c size=1\n\\057x size=1\n");
        assert_eq!(paths(&clean), ["a/c", "x"]);
    }

    #[test]
    fn an_error_names_the_line() {
        let error = Manifest::parse(&b"a\n\nb\\\n\\400\n"[..]).unwrap_err();
        assert_eq!(
            error.chain(),
            r#"parse mtree manifest: line 4: bad escape in "b\\400""#
        );
    }

    #[test]
    fn what_exceeds_a_limit_is_refused_and_what_meets_it_is_not() {
        let line = |length: usize| format!("a {}\nb\n", "x".repeat(length - 2));
        assert_eq!(paths(&parse(line(MAX_LINE))), ["a", "b"]);
        assert_eq!(kind_of_error(line(MAX_LINE + 1)), ErrorKind::LimitExceeded);
        let folded =
            format!("{}\\\n", "a ".repeat(MAX_LINE / 2 - 1)).repeat(MAX_ENTRY / MAX_LINE + 2);
        assert_eq!(kind_of_error(folded), ErrorKind::LimitExceeded);
        let path = |length: usize| format!("./{}\n", "a".repeat(length));
        assert_eq!(parse(path(MAX_PATH)).entries().count(), 1);
        assert_eq!(kind_of_error(path(MAX_PATH + 1)), ErrorKind::LimitExceeded);
        assert_eq!(
            kind_of_error("a type=dir\n".repeat(MAX_PATH)),
            ErrorKind::LimitExceeded
        );
        let set = format!("/set x={}\n", "a".repeat(MAX_SET));
        assert_eq!(kind_of_error(set), ErrorKind::LimitExceeded);
    }

    #[test]
    fn errors_of_the_reader_are_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("broken"))
            }
        }
        let error = Manifest::parse((&b"a\n"[..]).chain(Broken)).unwrap_err();
        assert_eq!(error.chain(), "parse mtree manifest: line 1: read: broken");
    }

    /// Text made of what means something to the parser, and of noise.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::sample::select(vec![
                "\n",
                "\n",
                "\n..",
                "/set ",
                "/unset",
                " type=dir",
                " type=file",
                "\\\n",
                "\\",
                "/",
                "..",
                ".",
                "#",
                " ",
                "a",
                "b",
                " size=1",
                "=",
                "\\057",
                "\\056",
                "xattr.",
                "\r",
                "\x0b",
            ])
            .prop_map(|piece| piece.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused_and_what_is_parsed_stays_in_the_tree(text in hostile()) {
            if let Ok(manifest) = Manifest::parse(&text[..]) {
                let mut last = None;
                for entry in manifest.entries() {
                    let path = entry.path();
                    let found = manifest.find(&path).map(super::super::Entry::path);
                    prop_assert_eq!(found.as_ref(), Some(&path));
                    let components: Vec<Vec<u8>> = match &path[..] {
                        b"." => Vec::new(),
                        path => path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect(),
                    };
                    prop_assert!(components.iter().all(|c| !matches!(&c[..], b"" | b"." | b"..")));
                    prop_assert!(last.is_none_or(|last| last < components));
                    last = Some(components);
                }
            }
        }
    }
}
