//! Any edit of any image gives one image in both shapes, and so does any further edit of the refreshed bundles.
//!
//! What differs by nature is not done: a name of several is changed in place only after it has been made a file of its own,
//! renamed and given another name too, for a layer does not say that it still is one file with names that have not changed.
//! Symbolic links lead nowhere, for what a layer takes away below a directory that became a link, as umoci has it, is taken
//! away where the link leads to.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::edit::{Tool, name, sh};
use crate::image::{Image, Layer};

use super::pair::Pair;

/// What the steps are made of. A step that is impossible, as a file below a file, is not done, nor anything through a
/// symbolic link, which may lead anywhere.
const STEPS: &str = r#"
there() { [ -e "$1" ] || [ -L "$1" ]; }
file() { [ -f "$1" ] && [ ! -L "$1" ]; }
dir() { [ -d "$1" ] && [ ! -L "$1" ]; }
inside() { case $1 in */*) inside "${1%/*}" && dir "${1%/*}";; esac; }
alone() { dir "$1" || ! there "$1" || { cp -a "$1" "$1~" && mv -fT "$1~" "$1" && touch -h "$1"; }; }
put() { if inside "$1" && { file "$1" || ! there "$1"; }; then alone "$1"; head -c $3 /dev/zero | tr '\0' "$2" >"$1"; fi; }
open() { if inside "$1" && file "$1"; then : >>"$1"; fi; }
make() { if inside "$1" && ! there "$1"; then mkdir "$1"; fi; }
symlink() { if inside "$1" && ! there "$1"; then ln -s none/such "$1"; fi; }
special() { if inside "$1" && ! there "$1"; then mknod "$1" $2; fi; }
link() { if inside "$1" && inside "$2" && there "$1" && ! dir "$1" && ! there "$2"; then alone "$1"; ln -P "$1" "$2"; fi; }
rename() {
    case $2/ in "$1"/*) return;; esac
    if inside "$1" && inside "$2" && there "$1"; then
        if dir "$1" && dir "$2"; then
            if [ "$(ls -A "$2")" ]; then return; fi
        elif there "$2" && { dir "$1" || dir "$2"; }; then
            return
        fi
        for f in $(find "$1" ! -type d); do alone "$f"; done
        mv -fT "$1" "$2"
    fi
}
swap() {
    case $1/ in "$2"/*) return;; esac
    case $2/ in "$1"/*) return;; esac
    if inside "$1" && inside "$2" && there "$1" && there "$2"; then
        for f in $(find "$1" "$2" ! -type d); do alone "$f"; done
        mv -T "$1" "$1~"; mv -T "$2" "$1"; mv -T "$1~" "$2"
    fi
}
over() { if inside "$1" && inside "$2" && file "$1" && ! dir "$2" && [ "$1" != "$2" ]; then alone "$1"; ln -fP "$1" "$2"; fi; }
remove() { if inside "$1"; then rm -rf "$1"; fi; }
gone() { open "$1"; remove "$1"; }
turn() {
    if inside "$1" && there "$1"; then
        rm -r "$1"
        case $2 in d) make "$1";; f) put "$1" z 1;; l) symlink "$1";; p) special "$1" p;; c) special "$1" 'c 1 3';; esac
    fi
}
again() { if inside "$1" && dir "$1"; then rm -r "$1"; mkdir -p "$1/$2"; fi; }
mode() { if inside "$1" && { file "$1" || dir "$1"; }; then alone "$1"; chmod $2 "$1"; fi; }
back() { if inside "$1" && { file "$1" || dir "$1"; }; then m=$(stat -c %a "$1"); chmod 0$2 "$1"; chmod 0$m "$1"; fi; }
owner() { if inside "$1" && { file "$1" || dir "$1"; }; then alone "$1"; chown $2:$2 "$1"; fi; }
group() { if inside "$1" && there "$1"; then alone "$1"; chown -h :$2 "$1"; fi; }
at() { if inside "$1" && { file "$1" || dir "$1"; }; then alone "$1"; touch -d @$2 "$1"; fi; }
rewrite() { if inside "$1" && file "$1"; then alone "$1"; cp "$1" "$1~"; cat "$1~" >"$1"; rm "$1~"; fi; }
label() { if inside "$1" && { file "$1" || dir "$1"; }; then alone "$1"; setfattr -n $2 -v "$3" "$1"; fi; }
plain() { if inside "$1" && { file "$1" || dir "$1"; }; then alone "$1"; setfattr -x $2 "$1" 2>/dev/null || :; fi; }
"#;

/// One step of an edit: a line of a script.
fn step() -> impl Strategy<Value = String> {
    let path = || {
        // Few, so that steps meet.
        let name = prop_oneof![4 => Just("a"), 4 => Just("b"), 1 => Just("c")];
        vec(name, 1..4).prop_map(|names| names.join("/"))
    };
    // `mv` gives directories that it copies into one that passes on its group the bit of that one.
    let mode = || {
        let mode = prop_oneof![0o100..0o1000_u32, 0o100..0o10000_u32];
        mode.prop_map(|mode| mode & !0o2000)
    };
    let attribute = || prop::sample::select(vec!["user.x", "user.y", "trusted.z"]);
    prop_oneof![
        5 => (path(), prop::sample::select(vec!["x", "y"]), 0..3_usize)
            .prop_map(|(path, byte, size)| format!("put {path} {byte} {size}")),
        2 => path().prop_map(|path| format!("open {path}")),
        5 => path().prop_map(|path| format!("make {path}")),
        1 => path().prop_map(|path| format!("symlink {path}")),
        1 => path().prop_map(|path| format!("special {path} p")),
        1 => path().prop_map(|path| format!("special {path} 'c 1 3'")),
        5 => (path(), path()).prop_map(|(from, to)| format!("link {from} {to}")),
        4 => (path(), path()).prop_map(|(from, to)| format!("rename {from} {to}")),
        3 => (path(), path()).prop_map(|(one, other)| format!("swap {one} {other}")),
        2 => (path(), path()).prop_map(|(from, to)| format!("over {from} {to}")),
        3 => path().prop_map(|path| format!("remove {path}")),
        1 => path().prop_map(|path| format!("gone {path}")),
        3 => (path(), prop::sample::select(vec!["d", "f", "l", "p", "c"]))
            .prop_map(|(path, kind)| format!("turn {path} {kind}")),
        3 => (path(), path()).prop_map(|(path, below)| format!("again {path} {below}")),
        1 => (path(), mode()).prop_map(|(path, mode)| format!("mode {path} {mode:o}")),
        2 => (path(), mode()).prop_map(|(path, mode)| format!("back {path} {mode:o}")),
        1 => (path(), 0..3_u32).prop_map(|(path, id)| format!("owner {path} {id}")),
        1 => (path(), 0..3_u32).prop_map(|(path, id)| format!("group {path} {id}")),
        1 => (path(), 0..1_600_000_000_i64).prop_map(|(path, time)| format!("at {path} {time}")),
        1 => path().prop_map(|path| format!("rewrite {path}")),
        2 => (path(), attribute(), 0..3_u32)
            .prop_map(|(path, name, value)| format!("label {path} {name} {value}")),
        1 => (path(), attribute()).prop_map(|(path, name)| format!("plain {path} {name}")),
    ]
}

/// Steps, after which all that they have changed is of this time.
fn script(steps: &[String], time: u32) -> String {
    let mut script = STEPS.to_owned();
    for step in steps {
        writeln!(script, "{step}").unwrap();
    }
    let settle = format!("find . -newermt @1760000000 -exec touch -h -d @{time} {{}} +");
    script + &settle
}

/// Hard links that steps are likely to meet.
const LINKS: &str = "
make a; make a/a; put b x 2; link b c; link b a/b; put a/a/a y 2; link a/a/a a/c
";

/// Makes a bundle of an image with a layer of each edit, and edits it in both shapes.
fn check(layers: &[Vec<String>], edits: &[Vec<String>], mask: &str) {
    let pair = Pair::of_layout(&[], |layout| {
        let root = Layer::new().directory("./", 0o755);
        Image::new().layer(root).write(layout);
    });
    let latest = name(&pair.scratch, "layout", "latest");
    let lines: Vec<String> = LINKS.lines().map(str::to_owned).collect();
    let layers = std::iter::once(&lines).chain(layers);
    for (steps, time) in layers.zip(1_710_000_000..) {
        sh(&pair.flat.join("rootfs"), &script(steps, time));
        Tool::Ours.repack(&pair.scratch, &latest, &pair.flat, &["--refresh-bundle"]);
    }
    pair.renew();
    for (steps, time) in edits.iter().zip(1_720_000_000..) {
        for rootfs in pair.rootfs() {
            sh(&rootfs, &script(steps, time));
        }
        if !mask.is_empty() {
            pair.repack("masked", &["--mask-path", mask]);
        }
        let tag = pair.repack("edited", &["--refresh-bundle"]);
        pair.assert_unpacks(&tag, "edited");
    }
    pair.set_mounted(false);
    let tag = pair.repack("unchanged", &[]);
    assert_eq!(pair.added(&tag), edits.len() - empty(&pair, edits.len()));
    pair.set_mounted(true);
    pair.repack("unchanged since the mount", &[]);
}

/// How many of the edits made no layer.
fn empty(pair: &Pair, edits: usize) -> usize {
    let count = |tag: &str| crate::edit::diff_ids(&pair.layout(), tag).len();
    edits + count("latest") - count("flat")
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn any_edit_gives_one_image_in_both_shapes() {
    let layers = vec(vec(step(), 5..25), 0..3);
    let edits = vec(vec(step(), 1..25), 1..4);
    let mask = prop::sample::select(vec!["", "a", "a/b", "b"]);
    let config = Config {
        cases: std::env::var("PROPTEST_CASES").map_or(24, |cases| cases.parse().unwrap()),
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(layers, edits, mask), |(layers, edits, mask)| {
            check(&layers, &edits, mask);
            Ok(())
        })
        .unwrap();
}
