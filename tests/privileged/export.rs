//! `bundle export`: an EROFS image of the merged root, beside the flat unpack, the kernel and Debian 13's checker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::image::{Image, Layer};
use crate::interop::image_with_everything;
use crate::machine::{Bounded, Scratch};
use crate::tree::Tree;

fn export(scratch: &Scratch, name: &str, block_size: &str) -> PathBuf {
    let image = format!("{}:latest", scratch.path("layout").display());
    let path = scratch.path(name);
    scratch
        .tool(&["export", "--image", &image, "--format", "erofs"])
        .args(&["--block-size", block_size, "-o"])
        .arg(&path)
        .succeed();
    path
}

/// Mounts an image, reads what is in it, and unmounts it.
fn mounted(scratch: &Scratch, image: &Path) -> Tree {
    let target = scratch.path("mounted");
    fs::create_dir_all(&target).unwrap();
    Bounded::new("mount", 20)
        .args(&["-t", "erofs", "-o", "ro,loop"])
        .arg(image)
        .arg(&target)
        .succeed();
    let tree = Tree::read(&target);
    Bounded::new("umount", 20).arg(&target).succeed();
    tree
}

/// Debian 13's checker with its own libraries, or why it cannot be had here.
fn checker(scratch: &Scratch) -> Result<PathBuf, String> {
    const GET: &str = r#"
        set -e; cd "$1"; mkdir -p lists/partial cache/archives/partial root
        mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 | tr -d ' ')
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?apt has no mirror of Debian} trixie main" >list
        get() {
            apt-get -qq -o Dir::Etc::SourceList="$1/list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$1/lists" \
                -o Dir::Cache="$1/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none "$2" $3
        }
        get "$1" update
        get "$1" download 'erofs-utils libc6 libdeflate0 liblz4-1 liblzma5 libselinux1 libuuid1 libxxhash0 libzstd1 zlib1g libpcre2-8-0'
        for package in *.deb; do dpkg-deb -x "$package" root; done
        test -x root/usr/bin/fsck.erofs
    "#;
    let home = scratch.path("debian");
    fs::create_dir(&home).unwrap();
    let got = Bounded::new("sh", 120)
        .args(&["-c", GET, "sh"])
        .arg(&home)
        .output();
    if got.status.success() {
        Ok(home.join("root"))
    } else {
        Err(String::from_utf8_lossy(&got.stderr).trim().to_owned())
    }
}

fn assert_sound(root: &Path, image: &Path) {
    let libraries = fs::read_dir(root.join("usr/lib")).unwrap();
    let libraries = libraries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("libc.so.6").exists())
        .unwrap();
    let loader = fs::read_dir(&libraries).unwrap();
    let loader = loader
        .map(|entry| entry.unwrap().path())
        .find(|path| path.display().to_string().contains("/ld-linux"))
        .unwrap();
    let checked = Command::new(loader)
        .arg("--library-path")
        .arg(&libraries)
        .arg(root.join("usr/bin/fsck.erofs"))
        .args(["-d3", "--extract"])
        .arg(image)
        .output()
        .unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success(), "{}: {said}", image.display());
    assert!(said.contains("No errors found"), "{said}");
}

fn many_sizes() -> Image {
    let mut first = Layer::new().directory("./", 0o711).directory("d/", 0o755);
    for size in (0..200).chain([
        511, 512, 513, 4000, 4031, 4032, 4033, 4095, 4096, 4097, 70_000,
    ]) {
        let name = format!("d/{size}-{}", "n".repeat(size % 90));
        let content = vec![b'a' + u8::try_from(size % 26).unwrap(); size];
        first = first.file(&name, 0o644, &content);
    }
    let second = Layer::new()
        .hard_link(
            "again",
            "d/4033-nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
        )
        .file(
            "d/.wh.511-nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
            0o644,
            b"",
        )
        .symlink("long", &"l/".repeat(1500))
        .xattr("user.large", &[7; 3000])
        .xattr("user.other", b"o")
        .symlink("short", "d")
        .xattr("user.large", &[7; 3000])
        .directory("implied/and/more/", 0o700);
    Image::new().layer(first).layer(second)
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_image_of_the_root_is_mounted_as_what_unpacking_makes_and_found_sound() {
    let scratch = Scratch::new(&[]);
    let checker = checker(&scratch);
    if let Err(reason) = &checker {
        eprintln!("not checked by fsck.erofs of Debian 13, which cannot be had: {reason}");
    }
    for (name, image) in [
        ("everything", image_with_everything()),
        ("sizes", many_sizes()),
        ("empty", Image::new()),
    ] {
        let layout = scratch.path("layout");
        image.write(&layout);
        let flat = Tree::read(&scratch.unpack("layout", "flat").join("rootfs"));
        for block_size in ["4096", "512"] {
            let what = format!("{name} with blocks of {block_size}");
            let image = export(&scratch, "root.erofs", block_size);
            flat.assert_same(&mounted(&scratch, &image), &what);
            if let Ok(root) = &checker {
                assert_sound(root, &image);
            }
            let again = export(&scratch, "again.erofs", block_size);
            assert!(
                fs::read(&image).unwrap() == fs::read(again).unwrap(),
                "{what}"
            );
        }
        fs::remove_dir_all(layout).unwrap();
        fs::remove_dir_all(scratch.path("flat")).unwrap();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_failed_export_leaves_the_file_as_it_was() {
    let scratch = Scratch::new(&[]);
    let layer = Layer::new()
        .xattr("odd.name", b"value")
        .file("strange", 0o644, b"");
    Image::new().layer(layer).write(&scratch.path("layout"));
    fs::write(scratch.path("root.erofs"), "old").unwrap();
    let image = format!("{}:latest", scratch.path("layout").display());
    let failed = scratch
        .tool(&["export", "--image", &image, "--format", "erofs", "-o"])
        .arg(scratch.path("root.erofs"))
        .output();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(
        said.contains("/strange") && said.contains("odd.name"),
        "{said}"
    );
    assert_eq!(fs::read(scratch.path("root.erofs")).unwrap(), b"old");
    let mut names = crate::machine::names_in(&scratch.path(""));
    names.retain(|name| name.starts_with(".bundle"));
    assert!(names.is_empty(), "{names:?}");
}
