//! The same edit of the same image gives the same diff ID as with Debian's umoci, and unpacks to the edited tree.
//!
//! Left out, since umoci is wrong there:
//! - a newline in the name of a directory corrupts its manifest, and it writes whiteouts of files that never were
//! - it does not see extended attributes whose names or values take more than 1024 bytes
//! - it does not see that a device has got another number, if the times are the same
//! - it does not see that one name of an inode has become another, which only costs the link
//!
//! `layers` has tests of what ours does then.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::edit::{
    Tool, assert_valid, base, diff_ids, name, set_mtime, set_xattr, settle, sh, top_names,
};
use crate::machine::Scratch;
use crate::tree::Tree;

/// An edit: its name, and what it does to a root.
type Edit = (String, Box<dyn Fn(&Path)>);

fn script(script: &'static str) -> Edit {
    let edit = move |root: &Path| sh(root, script);
    (script.to_owned(), Box::new(edit))
}

fn code(what: &str, edit: impl Fn(&Path) + 'static) -> Edit {
    (what.to_owned(), Box::new(edit))
}

/// Whether the tool can compare by its manifest alone, too.
fn is_with_verify(tool: Tool) -> bool {
    tool == Tool::Ours && std::env::var_os("BUNDLE_TEST_BINARY").is_none()
}

/// Applies each edit to a bundle of either tool, repacks each with its own, and compares.
#[track_caller]
fn assert_same_layers(edits: &[Edit]) {
    let scratch = Scratch::new(&["umoci"]);
    let layout = scratch.path("layout");
    base().write(&layout);
    let latest = name(&scratch, "layout", "latest");
    let below = diff_ids(&layout, "latest");
    let mut failures = Vec::new();
    for (what, edit) in edits {
        let [ours, theirs] = [(Tool::Ours, "ours"), (Tool::Umoci, "theirs")].map(|(tool, tag)| {
            let bundle = tool.unpack(&scratch, &latest, tag);
            let rootfs = bundle.join("rootfs");
            edit(&rootfs);
            settle(&rootfs);
            let image = name(&scratch, "layout", tag);
            tool.repack(&scratch, &image, &bundle, &[]);
            let ids = diff_ids(&layout, tag);
            if is_with_verify(tool) {
                tool.repack(&scratch, &image, &bundle, &["--verify"]);
                assert_eq!(diff_ids(&layout, tag), ids, "{what}: with --verify");
            }
            let tree = Tree::read(&rootfs);
            fs::remove_dir_all(bundle).unwrap();
            (tree, ids)
        });
        ours.0.assert_same(&theirs.0, "the edit is the same");
        assert_eq!(ours.1[..below.len()], below, "{what}");
        assert_eq!(ours.1.len(), below.len() + 1, "{what}: no layer was added");
        if ours.1 == theirs.1 {
            let image = name(&scratch, "layout", "ours");
            let unpacked = Tool::Ours.unpack(&scratch, &image, "unpacked");
            Tree::read(&unpacked.join("rootfs")).assert_same(&ours.0, what);
            fs::remove_dir_all(unpacked).unwrap();
        } else {
            let names = |tag| top_names(&layout, tag);
            failures.push(format!(
                "{what}:\n  ours   {:?}\n  theirs {:?}",
                names("ours"),
                names("theirs")
            ));
        }
    }
    assert_valid(&layout);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn files_that_come_change_and_go() {
    assert_same_layers(&[
        script("echo new >new"),
        script(": >empty-file"),
        script("echo longer content >f"),
        script("printf CONTENT >f"),
        script("mkdir -m 700 new; mkdir new/er; echo n >new/er/file"),
        script("mkdir new"),
        script("echo n >empty/new"),
        script("rm f"),
        script("rm d/a d/later"),
        script("rm -r d"),
        script("rm -r d/sub; echo x >d/a"),
        script("rm -r empty"),
        script("rm -r ./*"),
        script("rm fifo null link"),
        script("rm d/h3; mv d moved"),
        script("mv d/sub empty"),
        script("mv f g"),
        script("mv f d/a; mv d-x f"),
        script("cp -a d copy"),
        script("rm -r d; mkdir d; echo other >d/other"),
        script("rm -r d; echo now a file >d; rm -r empty; ln -s d empty"),
        script("ln -sfn elsewhere link; ln -sfn / dirlink"),
        script("dd if=/dev/zero of=big bs=1000 count=3001 status=none"),
        script("truncate -s 1023K sparse"),
        script("for i in $(seq 500); do echo $i >d/number$i; done"),
        script("mkfifo d/fifo; mknod d/zero c 1 5; mknod loop b 7 300"),
    ]);
}

/// One after the other, each type of file takes the place of each.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn every_type_replaces_every_type() {
    const OLD: [&str; 8] = ["f", "d", "empty", "link", "dirlink", "fifo", "null", "h2"];
    const NEW: [&str; 8] = [
        "echo new >$old",
        "mkdir $old",
        "mkdir $old; echo new >$old/a",
        "ln -s g $old",
        "mkfifo $old",
        "mknod $old c 1 3",
        "mknod $old b 7 0",
        "ln g $old",
    ];
    let mut edits = Vec::new();
    for old in OLD {
        for new in NEW {
            let text = format!("old={old}; rm -r $old; {new}");
            edits.push(code(&text.clone(), move |root| sh(root, &text)));
        }
    }
    assert_same_layers(&edits);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owners_modes_and_times() {
    assert_same_layers(&[
        script("chmod 600 f"),
        script("chmod 0 f d"),
        script("chmod 7777 f d empty"),
        script("chmod 755 setuid; chmod 2755 g; chmod 1777 d"),
        script("chmod 711 ."),
        script("chown 1:2 f; chown 3:4 d; chown -h 5:6 link; chown 7:8 fifo null"),
        script("chown 2097151:2097151 f; chown 2097152:2097152 g"),
        script("chown 4294967294:4294967294 f d"),
        script("chown 0:0 owned 'owned by a big id'"),
        script("touch -d @1234567890 f d empty; touch -h -d @1234567890 link"),
        script("touch -d @0 f d"),
        script("touch -d @-1 f; touch -d @-1000000000 d; touch -h -d @-5 link"),
        script("touch -d @8589934591 f; touch -d @8589934592 g"),
        script("touch -d @1600000001 ."),
        script("rm f; echo -n content >f; touch -d @1600000000 f .; chmod 640 f"),
    ]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn hard_links() {
    assert_same_layers(&[
        script("ln f f2"),
        script("ln f d/f2; ln f a-first"),
        script("ln h1 h4"),
        script("rm h2"),
        script("rm h1"),
        script("rm h1 h2"),
        script("rm h1 h2 d/h3"),
        script("echo changed >h2"),
        script("cp -a h2 h2-copy; mv h2-copy h2"),
        script("rm h2; ln f h2"),
        script("ln h1 other; ln h1 another; mv d/a h1"),
        script("chmod 600 h1; ln h1 empty/h5; rm d/h3"),
        script("ln -P link link2; ln fifo fifo2; ln null null2"),
        script("echo new >new; ln new new2; ln new d/new3; ln new d-new4"),
        script("ln 'owned by a big id' again; ln na* again2"),
        script("ln $(echo lll*) short; ln f $(echo lll*)2"),
        script("ln coloured coloured2; setfattr -n user.colour -v green coloured"),
    ]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn extended_attributes() {
    let set = |path: &'static str, name: &'static str, value: &'static [u8]| {
        let edit = move |root: &Path| set_xattr(&root.join(path), name, value);
        code(&format!("{name} of {path}"), edit)
    };
    assert_same_layers(&[
        set("f", "user.new", b"new"),
        set("coloured", "user.colour", b"green"),
        set("coloured", "user.second", b"and the first"),
        set("d", "user.new", b"of a directory"),
        set(".", "user.new", b"of the root"),
        set("f", "user.binary", b"\0\n=\xff\x80\0"),
        set("f", "user.dotted.name with blank", b"x"),
        set("f", "trusted.new", b"of root"),
        set(
            "f",
            "security.capability",
            b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
        set("f", "user.large", &[b'x'; 1000]),
        script("setfattr -x user.colour coloured; setfattr -x user.colour coloured.d"),
        script("setfattr -n user.b -v 2 f; setfattr -n user.a -v 1 f; setfattr -n user.C -v 3 f"),
        script("echo new >new; setfattr -n user.new -v 1 new; mkdir n; setfattr -n user.d -v 1 n"),
        script(
            "setfattr -h -n trusted.link -v 1 link; setfattr -n trusted.fifo -v 1 fifo null; touch -h -d @5 link fifo null",
        ),
    ]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn names() {
    let write = |name: &[u8]| {
        let name = name.to_vec();
        let what = format!("a file {}", String::from_utf8_lossy(&name));
        code(&what, move |root| {
            let path = root.join(OsStr::from_bytes(&name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "new").unwrap();
        })
    };
    let component = |letter: u8, length| vec![letter; length];
    let path = |parts: &[(u8, usize)]| {
        let parts = parts
            .iter()
            .map(|(letter, length)| component(*letter, *length));
        parts.collect::<Vec<_>>().join(&b'/')
    };
    let mut edits = vec![
        write(b"new\nline"),
        write(b" "),
        write(b"-rf"),
        write(b"..."),
        write(b"# comment"),
        write(b"a=b %s \\n \\\\ $x `x` \"'"),
        write("gr\u{fc}n/\u{65e5}\u{672c}/\u{1f600}".as_bytes()),
        write(b"not \xff\xfe UTF-8"),
        write(b"\x01\x1f\x7f"),
        write(b"d.wh.x/x.wh."),
    ];
    // Around the sizes of the fields: 100 for the name, 155 for what is before it, 256 with the slash.
    for parts in [
        &[(b'n', 100)][..],
        &[(b'n', 101)],
        &[(b'n', 255)],
        &[(b'p', 99)],
        &[(b'p', 20), (b'n', 79)],
        &[(b'p', 20), (b'n', 80)],
        &[(b'p', 20), (b'n', 100)],
        &[(b'p', 20), (b'n', 101)],
        &[(b'p', 155), (b'n', 100)],
        &[(b'p', 156), (b'n', 100)],
        &[(b'p', 100), (b'q', 54), (b'n', 100)],
        &[(b'p', 100), (b'q', 99), (b'n', 10)],
        &[(b'p', 200), (b'q', 200), (b'n', 200)],
    ] {
        edits.push(write(&path(parts)));
    }
    edits.extend([
        script("rm od*; rm na*; rm lll*"),
        script("mv od* od2; mv na* na2; mv lll* $(echo lll*)x"),
        script("ln -s $(printf '%0100d' 0) l100; ln -s $(printf '%0101d' 0) l101"),
        script("ln -s $(printf '%04000d' 0) l4000; ln -s na\u{ef}ve odd-link"),
        code("directories with long names", |root| {
            let deep = format!("{}/{}/{}", "p".repeat(90), "q".repeat(90), "r".repeat(90));
            fs::create_dir_all(root.join(deep)).unwrap();
            fs::create_dir(root.join("\u{e9}")).unwrap();
        }),
        code("long names with everything else", |root| {
            let path = root.join("\u{e9}".repeat(90));
            fs::write(&path, "x").unwrap();
            set_xattr(&path, "user.new", b"1");
            std::os::unix::fs::chown(&path, Some(5_000_000), None).unwrap();
            set_mtime(&path, -7, 0);
        }),
    ]);
    assert_same_layers(&edits);
}
