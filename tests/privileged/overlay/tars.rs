//! Layers that are kept as tar files: what is on disk, what is mounted, damage and repair, other owners, odd archives.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Trial;
use super::recipe::{Entry, What};
use crate::machine::{Bounded, Scratch, names_in};
use crate::tree::Tree;

const TAR: &[&str] = &["BUNDLE_LAYERS=tar"];

fn two_layers() -> Vec<Vec<Entry>> {
    let dir = |path| Entry::new(path, What::Directory).with(0o751, 5, 6);
    let file = |path, size| Entry::new(path, What::File(size)).with(0o604, 3, 4);
    vec![
        vec![dir("d"), file("d/a", 50), file("d/gone", 3), file("b", 51)],
        vec![
            Entry::new("d/gone", What::Whiteout),
            file("d/new", 9),
            Entry::new("again", What::Link("b".to_owned())),
        ],
    ]
}

fn images_mounted_below(path: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines = table.lines().filter(|line| line.contains(" - erofs "));
    let targets = lines.map(|line| PathBuf::from(line.split(' ').nth(4).unwrap()));
    targets.filter(|target| target.starts_with(path)).collect()
}

fn kept(store: &Path) -> Vec<PathBuf> {
    let layers = store.join("layers/tar");
    let names = names_in(&layers).into_iter();
    names.map(|name| layers.join(name)).collect()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_is_its_tar_file_and_the_image_is_mounted_as_long_as_it_is_needed() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "kept", &two_layers());
    let flat = trial.flat(&[]);
    trial.unpack_overlay(TAR, &[]).succeed();
    let store = trial.path("store");
    assert_eq!(kept(&store).len(), 2);
    for layer in kept(&store) {
        let name = layer.file_name().unwrap().to_str().unwrap();
        let tar = fs::read(layer.join("layer.tar")).unwrap();
        assert_eq!(hex::encode(Sha256::digest(tar)), name);
    }
    assert_eq!(images_mounted_below(&store).len(), 1);
    flat.assert_same(&Tree::read(&trial.path("over/rootfs")), "the container");

    let view = trial.path("view");
    fs::create_dir(&view).unwrap();
    let mount = trial.command(TAR, "mount");
    mount
        .args(&["--image", &trial.image()])
        .arg(&view)
        .succeed();
    flat.assert_same(&Tree::read(&view), "the view");
    assert_eq!(images_mounted_below(&store).len(), 1, "one mount for both");
    trial.unmount(&view);
    assert_eq!(images_mounted_below(&store).len(), 1);
    trial.unmount(&trial.path("over/rootfs"));
    assert!(images_mounted_below(&store).is_empty());

    trial
        .command(&[], "mount")
        .arg(trial.path("over"))
        .succeed();
    fs::write(trial.path("over/rootfs/d/a"), "changed").unwrap();
    trial
        .command(&[], "remove-bundle")
        .arg(trial.path("over"))
        .succeed();
    assert!(images_mounted_below(&store).is_empty());
}

fn store(trial: &Trial<'_>, words: &[&str]) -> Bounded {
    Bounded::new(trial.scratch.binary(), 60)
        .args(&["store"])
        .args(words)
        .args(&["--store"])
        .arg(trial.path("store"))
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn damage_is_found_and_repaired_and_gc_takes_what_nothing_needs() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "damage", &two_layers());
    let flat = trial.flat(&[]);
    trial.overlay(TAR, &[]);
    store(&trial, &["check"]).succeed();
    let path = trial.path("store");
    let image = path.join("layers/erofs");
    let image = image.join(&names_in(&image)[0]);
    let victims = [
        kept(&path)[0].join("layer.tar"),
        kept(&path)[1].join("index"),
        image.join("image"),
    ];
    for victim in victims {
        let mut bytes = fs::read(&victim).unwrap();
        let place = bytes.len() - 1;
        bytes[place] ^= 1;
        fs::write(&victim, bytes).unwrap();
        let found = store(&trial, &["check", "--json"]).output();
        assert_eq!(found.status.code(), Some(1), "{}", victim.display());
        let said: Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!(said["problems"].as_array().unwrap().len(), 1, "{said}");
        let repaired = store(&trial, &["check", "--repair"]).output();
        assert_eq!(repaired.status.code(), Some(2), "{}", victim.display());
        store(&trial, &["check"]).succeed();
    }
    flat.assert_same(&trial.overlay(&[], &[]), "after the repair");
    store(&trial, &["gc"]).succeed();
    assert_eq!(kept(&path).len(), 2);
    store(&trial, &["gc", "--all"]).succeed();
    assert!(kept(&path).is_empty());
    assert!(names_in(&path.join("layers/erofs")).is_empty());
    assert!(images_mounted_below(&path).is_empty());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owners_are_mapped_over_an_image() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "mapped", &two_layers());
    let maps = ["--uid-map", "0:1000:100", "--gid-map", "0:2000:100"];
    let flat = trial.flat(&maps);
    flat.assert_same(&trial.overlay(TAR, &maps), "with maps");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_committed_on_an_image_is_seen() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "commit", &two_layers());
    trial.unpack_overlay(TAR, &[]).succeed();
    fs::write(trial.path("over/rootfs/d/new"), "more").unwrap();
    let image = trial.image();
    let repack = scratch.tool(&["repack", "--refresh-bundle", "--image", &image]);
    repack.arg(trial.path("over")).succeed();
    trial
        .command(&[], "remove-bundle")
        .arg(trial.path("over"))
        .succeed();
    let flat = trial.flat(&[]);
    assert!(flat.contains("d/new"));
    flat.assert_same(&trial.overlay(TAR, &[]), "as tar files");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn where_images_are_not_mounted_tar_files_are_refused_and_auto_makes_directories() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "memory", &two_layers());
    let memory = crate::machine::Tmpfs::mount(trial.path("store"), "size=64m");
    let refused = trial.unpack_overlay(TAR, &[]).output();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("tar files"), "{said}");
    let flat = trial.flat(&[]);
    flat.assert_same(&trial.overlay(&["BUNDLE_LAYERS=auto"], &[]), "auto");
    assert!(kept(memory.path()).is_empty());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn sparse_and_cut_archives_are_whole() {
    let scratch = Scratch::new(&[]);
    let work = scratch.place();
    fs::write(work.path().join("last"), vec![7; 700]).unwrap();
    let sparse = fs::File::create(work.path().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 3_000_001).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 1_000_001).unwrap();
    for format in ["gnu", "posix"] {
        Bounded::new("tar", 20)
            .args(&["--sparse", "--format", format, "-cf"])
            .arg(work.path().join("tar"))
            .args(&["--owner=0", "--group=0", "sparse", "last"])
            .current_dir(work.path())
            .succeed();
        let whole = fs::read(work.path().join("tar")).unwrap();
        // The archive just ends with the last file: no padding, no end blocks.
        let end = whole.iter().rposition(|&byte| byte == 7).unwrap() + 1;
        for (kind, tar) in [("whole", whole.clone()), ("cut", whole[..end].to_vec())] {
            let trial = Trial {
                scratch: &scratch,
                name: format!("{format}-{kind}"),
            };
            let image = crate::image::Image::new().tar_layer(tar);
            image.write(&trial.path("layout"));
            let flat = trial.flat(&[]);
            flat.assert_same(&trial.overlay(TAR, &[]), &trial.name);
        }
    }
}
