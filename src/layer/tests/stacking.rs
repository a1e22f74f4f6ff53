//! A layer over others is what a plain unpack of all of them makes: in a model of what overlayfs shows.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;

use proptest::prelude::*;

use super::stacked::{Layer, layer_of, text, try_unpack};
use super::*;

/// What can be told of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    is_dir: bool,
    mode: u32,
    mtime: i64,
    content: String,
    /// The same for all names of an inode.
    inode: String,
}

type View = BTreeMap<String, Shown>;

/// Everything in a directory, whiteouts left out; `prefix` tells its inodes from those of another.
fn view(fixture: &Fixture, prefix: &str) -> View {
    let mut view = View::new();
    for name in fixture.names() {
        let path = fixture.path(&name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() {
            fs::read_to_string(&path).unwrap()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().to_str().unwrap().to_owned()
        } else {
            String::new()
        };
        let shown = Shown {
            is_dir: metadata.is_dir(),
            mode: metadata.mode(),
            mtime: metadata.mtime(),
            content,
            inode: format!("{prefix}{}", metadata.ino()),
        };
        if !metadata.file_type().is_char_device() {
            view.insert(name, shown);
        }
    }
    view
}

/// Calls each inode by its first name.
fn named(mut view: View) -> View {
    let mut firsts = BTreeMap::new();
    for (path, shown) in &mut view {
        let first = firsts.entry(shown.inode.clone());
        shown
            .inode
            .clone_from(first.or_insert_with(|| path.clone()));
    }
    view
}

/// A path and those above it.
fn with_ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| Some(path.rsplit_once('/')?.0))
}

fn is_listed(list: &[Vec<u8>], path: &str) -> bool {
    list.binary_search_by(|listed| listed.as_slice().cmp(path.as_bytes()))
        .is_ok()
}

/// What the kernel shows of a layer over another, put right by what the changeset tells.
fn stack(lower: &View, layer: &Layer) -> View {
    let upper = view(&layer.fixture, "upper ");
    let changeset = layer.changeset();
    let hides_below =
        |path: &str| is_listed(&changeset.fresh, path) || is_listed(&changeset.opaque, path);
    let inherits = |path: &str| {
        let fresh = |path| is_listed(&changeset.fresh, path);
        !with_ancestors(path).any(fresh) && lower.get(path).is_some_and(|shown| shown.is_dir)
    };
    let implied = |path: &str| {
        let same = |dir: &&ImpliedDir| dir.path == path.as_bytes();
        changeset.implied.iter().find(same)
    };
    // A directory that only whiteouts made, and that is not below, is not there at all.
    let is_there = |path: &str| {
        let needs_below = |path| implied(path).is_some_and(|dir| dir.only_marks);
        !with_ancestors(path).any(|path| needs_below(path) && !inherits(path))
    };
    let mut stacked = View::new();
    for (path, shown) in lower {
        let own_is_other = |path| upper.get(path).is_some_and(|own| !own.is_dir);
        let gone = with_ancestors(path).any(|at| {
            is_listed(&changeset.whiteouts, at) && is_there(at)
                || own_is_other(at)
                || at != path && hides_below(at)
        });
        if !gone && !changeset.root_opaque {
            stacked.insert(path.clone(), shown.clone());
        }
    }
    for (path, shown) in upper.iter().filter(|(path, _)| is_there(path)) {
        let mut shown = shown.clone();
        if implied(path).is_some_and(|dir| !dir.described) && inherits(path) {
            shown = Shown {
                inode: shown.inode,
                ..lower[path].clone()
            };
        } else if shown.is_dir {
            let below = format!("{path}/");
            stacked.retain(|other, _| !other.starts_with(&below) || lower[path].is_dir);
        }
        stacked.insert(path.clone(), shown);
    }
    let (found, late): (Vec<_>, Vec<_>) =
        (changeset.links_below.iter()).partition(|link| lower.contains_key(text(&link.target)));
    for link in found.into_iter().chain(late) {
        let (path, target) = (text(&link.path), text(&link.target));
        let target = lower.get(target).or_else(|| stacked.get(target));
        let target = target.cloned().expect("flat would have failed");
        let below = format!("{path}/");
        stacked.retain(|other, _| other != path && !other.starts_with(&below));
        stacked.insert(path.to_owned(), target);
    }
    named(stacked)
}

fn paths() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"))
}

fn entries(kinds: &'static [&'static str]) -> impl Strategy<Value = String> {
    let entry = (proptest::sample::select(kinds), paths(), paths());
    let entry = entry.prop_map(|(kind, path, target)| match kind {
        "o" if path == "c" => "o".to_owned(),
        "l" => format!("l{path}>{target}"),
        "s" => format!("s{path}>/{target}"),
        _ => format!("{kind}{path}"),
    });
    proptest::collection::vec(entry, 0..10).prop_map(|entries| entries.join(" "))
}

fn fresh_fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.options.fresh = true;
    fixture
}

/// The layer by itself, unless what it means cannot be said without those below.
fn unpack_unambiguous(archive: Archive) -> Option<Layer> {
    let fixture = Fixture::new();
    let unpacked = try_unpack(&fixture, archive).unwrap();
    (!unpacked.changeset.needs_below).then_some(Layer { fixture, unpacked })
}

/// Checks a layer over another, or over nothing, against the plain unpack of both, if that works.
fn check_stacked(lower: &str, upper: &str) -> std::result::Result<(), TestCaseError> {
    let mut plain = fresh_fixture();
    prop_assume!(plain.unpack(layer_of(lower)).is_ok());
    let below = view(&plain, "lower ");
    plain.options.fresh = false;
    // Links to nothing, loops: not a matter of form.
    prop_assume!(plain.unpack(layer_of(upper)).is_ok());
    let Some(layer) = unpack_unambiguous(layer_of(upper)) else {
        return Ok(());
    };
    let flat = named(view(&plain, ""));
    let (shown, changeset) = (layer.shown(), layer.changeset());
    prop_assert_eq!(stack(&below, &layer), flat, "{} {:?}", shown, changeset);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_nothing_a_layer_is_what_a_plain_unpack_makes(
        upper in entries(&["f", "f", "f", "d", "w", "o", "s", "l"])
    ) {
        let plain = fresh_fixture();
        prop_assume!(plain.unpack(layer_of(&upper)).is_ok());
        let Some(layer) = unpack_unambiguous(layer_of(&upper)) else { return Ok(()) };
        let mut own = view(&layer.fixture, "");
        for dir in layer.changeset().implied.iter().filter(|dir| dir.only_marks) {
            own.remove(text(&dir.path));
        }
        prop_assert_eq!(named(own), named(view(&plain, "")), "{:?}", layer.changeset());
    }

    #[test]
    fn over_another_layer_it_is_what_a_plain_unpack_of_both_makes(
        lower in entries(&["f", "f", "d"]),
        upper in entries(&["f", "f", "d", "w", "w", "o", "s"])
    ) {
        check_stacked(&lower, &upper)?;
    }

    #[test]
    fn with_links_below_it_is_what_a_plain_unpack_of_both_makes(
        lower in entries(&["f", "f", "d"]),
        upper in entries(&["f", "f", "d", "w", "o", "l", "l"])
    ) {
        check_stacked(&lower, &upper)?;
    }
}
