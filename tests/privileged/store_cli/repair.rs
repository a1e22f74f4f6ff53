//! What a check finds, and what a repair puts right.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::Fixture;
use crate::machine::{Bounded, names_in, said};

/// The one variant of a layer in a store.
fn variant(store: &Path) -> PathBuf {
    let layers = store.join("layers/sha256");
    let mut names = names_in(&layers).into_iter();
    layers.join(names.find(|name| name.contains("+c")).unwrap())
}

#[test]
#[ignore = "needs root: mounts"]
fn a_layer_that_was_changed_is_found_and_unpacked_again() {
    for (name, damage) in [
        (
            "content",
            Box::new(|root: &Path| {
                let mut bytes = fs::read(root.join("data")).unwrap();
                bytes[5000] ^= 1;
                let times = fs::metadata(root.join("data")).unwrap();
                fs::write(root.join("data"), bytes).unwrap();
                filetime::set_file_mtime(
                    root.join("data"),
                    filetime::FileTime::from_last_modification_time(&times),
                )
                .unwrap();
            }) as Box<dyn Fn(&Path)>,
        ),
        (
            "missing",
            Box::new(|root: &Path| fs::remove_file(root.join("etc/passwd")).unwrap()),
        ),
        (
            "extra",
            Box::new(|root: &Path| fs::write(root.join("extra"), "x").unwrap()),
        ),
        (
            "mode",
            Box::new(|root: &Path| {
                fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o777)).unwrap();
            }),
        ),
        (
            "owner",
            Box::new(|root: &Path| chown(root.join("data"), Some(5), None).unwrap()),
        ),
        (
            "size",
            Box::new(|root: &Path| {
                fs::OpenOptions::new()
                    .write(true)
                    .open(root.join("data"))
                    .unwrap()
                    .set_len(0)
                    .unwrap();
            }),
        ),
    ] {
        let fixture = Fixture::filled();
        let layer = fixture.layers()[0].clone();
        damage(&layer.join("fs"));
        let (code, report) = fixture.check(&[]);
        assert_eq!(
            (code, Fixture::problems(&report)),
            (1, vec!["layer content none".to_owned()]),
            "{name}"
        );
        let problem = &report["problems"][0];
        let kinds: Vec<_> = problem["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["what"].as_str().unwrap())
            .collect();
        assert!(kinds.contains(&name), "{name}: {kinds:?}");
        assert_eq!(problem["needed_by"][0], format!("image {}", fixture.image));
        let (code, _) = fixture.check(&["--quick"]);
        assert_eq!(code, i32::from(name != "content"), "{name}");
        let others: Vec<_> = fixture.layers()[1..]
            .iter()
            .map(|path| fs::metadata(path).unwrap().modified().unwrap())
            .collect();
        let (code, report) = fixture.check(&["--repair"]);
        assert_eq!(
            (code, Fixture::problems(&report)),
            (2, vec!["layer content repaired".to_owned()]),
            "{name}"
        );
        let after: Vec<_> = fixture.layers()[1..]
            .iter()
            .map(|path| fs::metadata(path).unwrap().modified().unwrap())
            .collect();
        assert_eq!(others, after, "{name}: only that layer");
        fixture.assert_sound();
        assert!(names_in(&fixture.path("store/trash")).is_empty());
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn what_is_made_of_layers_is_made_again() {
    let fixture = Fixture::filled();
    let store = fixture.path("store");
    fs::write(variant(&store).join("fs/again"), "changed").unwrap();
    let patch = store
        .join("patches")
        .join(&names_in(&store.join("patches"))[0]);
    fs::set_permissions(&patch, fs::Permissions::from_mode(0o700)).unwrap();
    let (code, report) = fixture.check(&[]);
    let found = vec![
        "layer content none".to_owned(),
        "patch content none".to_owned(),
    ];
    assert_eq!((code, Fixture::problems(&report)), (1, found));
    let (code, report) = fixture.check(&["--repair"]);
    assert_eq!(code, 2, "{report}");
    fixture.assert_sound();
    // An index is made again from what it is an index of.
    for damage in ["broken", "gone", "layer", "variant", "patch"] {
        let chains = store.join("chains");
        let chain = chains.join(&names_in(&chains)[0]);
        match damage {
            "broken" => fs::write(&chain, "{").unwrap(),
            "gone" => fs::remove_file(&chain).unwrap(),
            "layer" => fs::remove_dir_all(&fixture.layers()[2]).unwrap(),
            "variant" => fs::remove_dir_all(variant(&store)).unwrap(),
            _ => fs::remove_dir_all(&patch).unwrap(),
        }
        let (code, report) = fixture.check(&[]);
        assert_eq!(
            (code, Fixture::problems(&report).len()),
            (1, 1),
            "{damage}: {report}"
        );
        let (code, report) = fixture.check(&["--repair"]);
        assert_eq!(code, 2, "{damage}: {report}");
        fixture.assert_sound();
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn the_chain_of_a_commit_is_made_again_and_gc_leaves_its_layers_meanwhile() {
    let fixture = Fixture::filled();
    let target = fixture.mount_box();
    fs::write(target.join("new"), "new").unwrap();
    let committed = fixture.json(&["store", "commit", "box"]);
    let chain = committed["chain_id"].as_str().unwrap();
    fixture.tool(&["store", "umount", "box"]).succeed();
    let record = fixture
        .path("store/chains")
        .join(chain.replace(':', "-") + ".json");
    for (damage, problem) in [
        ("broken", "chain unreadable"),
        ("gone", "snapshot incomplete"),
    ] {
        if damage == "broken" {
            fs::write(&record, "{").unwrap();
        } else {
            fs::remove_file(&record).unwrap();
            fixture.tool(&["store", "gc"]).succeed();
        }
        let (code, report) = fixture.check(&[]);
        let found = Fixture::problems(&report);
        assert_eq!((code, found), (1, vec![format!("{problem} none")]));
        let (code, report) = fixture.check(&["--repair"]);
        assert_eq!(code, 2, "{report}");
        fixture.assert_sound();
    }
    let users = fixture.json(&["store", "inspect", chain]);
    assert_eq!(users["chain"]["diff_ids"].as_array().unwrap().len(), 4);
    // What is not its own is still told of it.
    let patch = fixture
        .path("store/patches")
        .join(users["chain"]["patch"]["id"].as_str().unwrap());
    fs::set_permissions(&patch, fs::Permissions::from_mode(0o700)).unwrap();
    let (_, report) = fixture.check(&[]);
    let needed_by = report["problems"][0]["needed_by"].to_string();
    assert!(
        needed_by.contains(&format!("snapshot {chain}")),
        "{needed_by}"
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn what_a_mount_shows_and_what_has_no_blob_is_left_as_it_is() {
    let fixture = Fixture::filled();
    let target = fixture.mount_box();
    fs::write(target.join("mine"), "x").unwrap();
    let layer = fixture.layers()[0].clone();
    fs::write(layer.join("fs/extra"), "x").unwrap();
    let (code, report) = fixture.check(&["--repair"]);
    assert_eq!(
        (code, Fixture::problems(&report)),
        (1, vec!["layer content failed".to_owned()])
    );
    let why = report["problems"][0]["action_failed"].as_str().unwrap();
    assert!(why.contains(target.to_str().unwrap()), "{why}");
    fixture.tool(&["store", "umount", "box"]).succeed();
    fs::rename(fixture.path("layout"), fixture.path("elsewhere")).unwrap();
    let (code, report) = fixture.check(&["--repair"]);
    assert_eq!(
        (code, Fixture::problems(&report)),
        (1, vec!["layer content failed".to_owned()])
    );
    let users: Vec<_> = report["problems"][0]["needed_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user.as_str().unwrap())
        .collect();
    assert_eq!(
        users,
        [
            format!("image {}", fixture.image),
            "container box".to_owned()
        ]
    );
    assert!(layer.join("fs/extra").exists());
    fs::rename(fixture.path("elsewhere"), fixture.path("layout")).unwrap();
    assert_eq!(fixture.check(&["--repair"]).0, 2);
    fixture.assert_sound();
    assert_eq!(names_in(&fixture.path("store/active/box/fs")), ["mine"]);
}

#[test]
#[ignore = "needs root: mounts"]
fn records_that_lead_nowhere_go_and_what_nobody_knows_stays() {
    let fixture = Fixture::filled();
    let store = fixture.path("store");
    let digest = fixture.json(&["store", "ls"])[0]["digest"]
        .as_str()
        .unwrap()
        .replace(':', "-");
    fixture
        .tool(&["store", "prepare", "--key", "box", &fixture.image])
        .succeed();
    fs::write(store.join("active/box/meta.json"), "{").unwrap();
    fs::create_dir(store.join("active/.odd")).unwrap();
    fs::create_dir(store.join("layers/odd")).unwrap();
    fs::write(store.join("trash/t-x"), "").unwrap();
    fs::create_dir(store.join("staging/s-dead")).unwrap();
    fs::rename(
        store.join(format!("images/{digest}.json")),
        fixture.path("image"),
    )
    .unwrap();
    let (code, report) = fixture.check(&["--repair"]);
    let expected = [
        "container unreadable failed",
        "entry strange failed",
        "entry strange failed",
        "entry leftover removed",
        "entry leftover removed",
        "name incomplete removed",
    ];
    let mut found = Fixture::problems(&report);
    found.sort_unstable();
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!((code, found), (1, expected), "{report}");
    assert!(store.join("active/box/fs").is_dir());
    let text = fixture.tool(&["store", "check"]).output();
    assert!(
        said(&text).contains("container box: unreadable: "),
        "{}",
        said(&text)
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn a_dead_mount_record_is_told_and_forgotten() {
    let fixture = Fixture::filled();
    let target = fixture.directory("root");
    fixture
        .tool(&["store", "mount", &fixture.image])
        .arg(&target)
        .succeed();
    Bounded::new("umount", 10).arg(&target).succeed();
    assert_eq!(fixture.json(&["store", "ls", "mounts"])[0]["live"], false);
    let (code, report) = fixture.check(&["--repair"]);
    assert_eq!(
        (code, Fixture::problems(&report)),
        (2, vec!["mount dead removed".to_owned()])
    );
    fixture.assert_sound();
}

#[test]
#[ignore = "needs root: mounts"]
fn a_repair_that_was_killed_is_done_by_the_next_one() {
    for (point, is_variant) in [
        ("layer-staged", false),
        ("repair-layer", false),
        ("repaired", false),
        ("repair-taken", true),
        ("layer-variant", true),
        ("repaired", true),
    ] {
        let fixture = Fixture::filled();
        let store = fixture.path("store");
        let layer = if is_variant {
            variant(&store)
        } else {
            fixture.layers()[0].clone()
        };
        fs::write(layer.join("fs/extra"), "x").unwrap();
        let killed = Bounded::new("env", 60)
            .args(&[&format!("BUNDLE_FAULT={point}")])
            .arg(fixture.scratch.binary())
            .args(&["store", "check", "--repair", "--store"])
            .arg(&store)
            .output();
        assert!(
            !matches!(killed.status.code(), Some(0..=2)),
            "{point}: {}",
            said(&killed)
        );
        let (code, report) = fixture.check(&["--repair"]);
        assert!(matches!(code, 0 | 2), "{point}: {report}");
        fixture.assert_sound();
        assert!(names_in(&store.join("trash")).is_empty(), "{point}");
        assert!(!layer.join("fs/extra").exists(), "{point}");
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_copy_with_other_owners_is_made_again_by_the_next_mount() {
    let fixture = Fixture::filled();
    let maps = ["--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536"];
    fixture
        .tool(&["store", "prepare", "--key", "box", &fixture.image])
        .args(&maps)
        .succeed();
    let target = fixture.directory("root");
    let mount = || {
        Bounded::new("env", 60)
            .args(&["BUNDLE_NO_IDMAP=1"])
            .arg(fixture.scratch.binary())
            .args(&["store", "mount", "box"])
            .arg(&target)
            .arg("--store")
            .arg(fixture.path("store"))
            .succeed();
        assert_eq!(fs::metadata(target.join("again")).unwrap().uid(), 100_000);
        assert!(!target.join("extra").exists());
    };
    mount();
    let layers = fixture.path("store/layers/sha256");
    let mut copies = names_in(&layers);
    copies.retain(|name| name.contains("+m"));
    assert_eq!(copies.len(), 3);
    fs::write(layers.join(&copies[0]).join("fs/extra"), "x").unwrap();
    let (code, report) = fixture.check(&["--repair"]);
    assert_eq!(
        (code, Fixture::problems(&report)),
        (1, vec!["layer content failed".to_owned()])
    );
    fixture.tool(&["store", "umount", "box"]).succeed();
    let (code, report) = fixture.check(&["--repair"]);
    assert_eq!(
        (code, Fixture::problems(&report)),
        (2, vec!["layer content removed".to_owned()])
    );
    mount();
    fixture.tool(&["store", "umount", "box"]).succeed();
    assert_eq!(fixture.check(&[]).0, 0);
}
