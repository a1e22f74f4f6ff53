//! The commands on the layer store: what they print, what they refuse, what they repair.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::image::{Image, Layer};
use crate::machine::{Bounded, NOBODY, Scratch, names_in, said};

/// A store, and a layout with an image that has a plain layer, one that needs a variant, and one with implied directories.
struct Fixture {
    scratch: Scratch,
    image: String,
}

impl Fixture {
    fn new() -> Self {
        let scratch = Scratch::new(&[]);
        let base = Layer::new()
            .directory("etc/", 0o750)
            .file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n")
            .file("data", 0o640, &[7; 10_000]);
        let link = Layer::new()
            .hard_link("again", "data")
            .file("etc/group", 0o644, b"root:x:0:\n");
        let top = Layer::new().file("etc/hosts", 0o644, b"127.0.0.1 localhost\n");
        let image = Image::new().layer(base).layer(link).layer(top);
        image.write(&scratch.path("layout"));
        let image = format!("{}:latest", scratch.path("layout").display());
        Self { scratch, image }
    }

    /// The same, with the image in the store.
    fn filled() -> Self {
        let fixture = Self::new();
        let target = fixture.directory("view");
        fixture
            .tool(&["mount", "--image", &fixture.image])
            .arg(&target)
            .succeed();
        fixture.tool(&["umount"]).arg(&target).succeed();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A command with the flag for the store behind its other arguments so far.
    fn tool(&self, arguments: &[&str]) -> Bounded {
        let store = self.path("store").display().to_string();
        self.scratch.tool(arguments).args(&["--store", &store])
    }

    /// What a command prints as JSON.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.tool(arguments).args(&["--json"]).succeed();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs a check; its exit code and what it prints.
    fn check(&self, arguments: &[&str]) -> (i32, Value) {
        let words = [&["store", "check", "--json"], arguments].concat();
        let output = self.tool(&words).output();
        let text = said(&output);
        let value = serde_json::from_slice(&output.stdout);
        let value = value.unwrap_or_else(|error| panic!("{error}: {text}"));
        (output.status.code().unwrap(), value)
    }

    /// The error of a command that fails, as JSON.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> Value {
        let output = self.tool(arguments).args(&["--json"]).output();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(!output.stderr.is_empty());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The directories of the plain layers of the image, bottom first.
    fn layers(&self) -> Vec<PathBuf> {
        let image = self.json(&["store", "inspect", &self.image]);
        let ids = image["chain"]["diff_ids"].as_array().unwrap().iter();
        let path = |id: &Value| {
            self.path("store/layers")
                .join(id.as_str().unwrap().replace(':', "/"))
        };
        ids.map(path).collect()
    }

    /// What is wrong, as `kind what action`, in the order of the report.
    fn problems(report: &Value) -> Vec<String> {
        let problems = report["problems"].as_array().unwrap().iter();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        problems
            .map(|problem| {
                let kind = word(&problem["object"]["kind"]);
                format!(
                    "{kind} {} {}",
                    word(&problem["what"]),
                    word(&problem["action"])
                )
            })
            .collect()
    }

    /// Asserts that the image is seen as it was made.
    #[track_caller]
    fn assert_sound(&self) {
        let (code, report) = self.check(&[]);
        assert_eq!((code, Self::problems(&report)), (0, vec![]));
        let target = self.path("sound");
        let _ = fs::create_dir(&target);
        self.tool(&["store", "mount", &self.image])
            .arg(&target)
            .succeed();
        assert_eq!(fs::read(target.join("again")).unwrap(), [7; 10_000]);
        assert_eq!(names_in(&target), ["again", "data", "etc"]);
        assert_eq!(names_in(&target.join("etc")), ["group", "hosts", "passwd"]);
        let mode = fs::metadata(target.join("etc"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o750);
        self.tool(&["store", "umount"]).arg(&target).succeed();
    }
}

/// The one variant of a layer in a store.
fn variant(store: &Path) -> PathBuf {
    let layers = store.join("layers/sha256");
    let mut names = names_in(&layers).into_iter();
    layers.join(names.find(|name| name.contains("+c")).unwrap())
}

#[test]
#[ignore = "needs root: mounts"]
fn an_image_is_listed_inspected_and_measured() {
    let fixture = Fixture::filled();
    let listed = fixture.json(&["store", "ls"]);
    assert_eq!(listed[0]["names"][0], fixture.image.as_str());
    assert_eq!(listed[0]["layers"], 3);
    let table = fixture.tool(&["store", "ls"]).succeed();
    assert!(
        table.starts_with("NAME ") && table.contains(&fixture.image),
        "{table}"
    );
    for (kind, count) in [
        ("layers", 4),
        ("chains", 1),
        ("containers", 0),
        ("mounts", 0),
    ] {
        let listed = fixture.json(&["store", "ls", kind]);
        assert_eq!(listed.as_array().unwrap().len(), count, "{kind}");
        let table = fixture.tool(&["store", "ls", kind]).succeed();
        assert_eq!(table.lines().count(), count + 1, "{kind}");
    }
    let inspected = fixture.json(&["store", "inspect", &fixture.image]);
    let layers = inspected["chain"]["layers"].as_array().unwrap();
    let kinds: Vec<_> = layers.iter().map(|layer| &layer["kind"]).collect();
    assert_eq!(kinds, ["plain", "variant", "plain"]);
    for layer in layers {
        assert!(Path::new(layer["path"].as_str().unwrap()).is_dir());
    }
    assert!(Path::new(inspected["chain"]["patch"]["path"].as_str().unwrap()).is_dir());
    let chain = inspected["chain"]["chain_id"].as_str().unwrap();
    assert_eq!(
        fixture.json(&["store", "inspect", chain])["chain"],
        inspected["chain"]
    );
    let layer = fixture.json(&["store", "inspect", layers[0]["id"].as_str().unwrap()]);
    assert_eq!(layer["chains"][0], chain);
    let usage = fixture.json(&["store", "usage"]);
    assert!(usage["total"]["bytes"].as_u64().unwrap() > 10_000);
    assert_eq!(usage["images"][0]["shared"]["bytes"], 0);
    let status = fixture.json(&["store", "status", "--usage"]);
    assert_eq!(
        (&status["version"], &status["marks"]),
        (&1.into(), &"trusted".into())
    );
    assert_eq!(
        (&status["images"], &status["layers"]),
        (&1.into(), &4.into())
    );
    assert_eq!(status["usage"], usage["total"]);
    assert_eq!(status["features"]["overlay"]["works"], true);
    assert_eq!(fixture.json(&["store", "version"])["store"], 1);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_container_is_prepared_mounted_unmounted_and_removed() {
    let fixture = Fixture::filled();
    let made = fixture.json(&["store", "prepare", "--key", "box", &fixture.image]);
    assert_eq!(made["key"], "box");
    assert_eq!(
        fixture.fails(&["store", "prepare", "--key", "box", &fixture.image])["reason"],
        "key-exists"
    );
    let target = fixture.directory("root");
    let mount = |target: &Path| fixture.tool(&["store", "mount", "box"]).arg(target);
    mount(&target).succeed();
    // A second time is fine, elsewhere is not.
    mount(&target).succeed();
    let other = fixture.directory("other");
    let output = mount(&other).output();
    assert!(said(&output).contains("mounted on"), "{}", said(&output));
    fs::write(target.join("new"), "x").unwrap();
    let inspected = fixture.json(&["store", "inspect", "box"]);
    let upper = inspected["container"]["upper"].as_str().unwrap();
    assert_eq!(names_in(Path::new(upper)), ["new"]);
    assert!(Path::new(inspected["container"]["work"].as_str().unwrap()).is_dir());
    assert_eq!(
        inspected["container"]["mount"]["target"],
        target.to_str().unwrap()
    );
    assert_eq!(inspected["mounts"][0]["key"], "box");
    assert_eq!(
        fixture.fails(&["store", "remove", "box"])["reason"],
        "in-use"
    );
    let error = fixture.fails(&["store", "remove", &fixture.image]);
    assert_eq!(error["reason"], "in-use");
    assert!(
        error["error"].as_str().unwrap().contains("container box"),
        "{error}"
    );
    let unmounted = fixture.json(&["store", "umount", "box"]);
    assert_eq!(unmounted["target"], target.to_str().unwrap());
    assert_eq!(
        fixture.json(&["store", "umount", "box"])["unmounted"],
        false
    );
    assert!(names_in(&target).is_empty());
    fixture
        .tool(&["store", "rm", "box", &fixture.image])
        .succeed();
    assert_eq!(fixture.json(&["store", "ls"]), Value::Array(vec![]));
    assert_eq!(
        fixture.fails(&["store", "inspect", "box"])["reason"],
        "image-unknown"
    );
    let freed = fixture.json(&["store", "gc"]);
    assert_eq!(freed["layers"].as_array().unwrap().len(), 4);
    assert!(names_in(&fixture.path("store/layers/sha256")).is_empty());
}

#[test]
#[ignore = "needs root: mounts"]
fn names_move_and_images_without_one_stay() {
    let fixture = Fixture::filled();
    fixture
        .tool(&["store", "tag", &fixture.image, "example.org/x:1"])
        .succeed();
    let digest = fixture.json(&["store", "ls"])[0]["digest"].clone();
    let found = fixture.json(&["store", "inspect", "example.org/x:1"]);
    assert_eq!(found["image"]["digest"], digest);
    fixture
        .tool(&["store", "untag", "example.org/x:1"])
        .succeed();
    fixture.tool(&["store", "untag", &fixture.image]).succeed();
    assert_eq!(
        fixture.fails(&["store", "untag", "none"])["reason"],
        "tag-not-found"
    );
    let listed = fixture.tool(&["store", "ls"]).succeed();
    assert!(listed.contains("<none>"), "{listed}");
    fixture
        .tool(&["store", "gc", "--all", "--dry-run"])
        .succeed();
    assert_eq!(fixture.json(&["store", "ls"]).as_array().unwrap().len(), 1);
    let freed = fixture.json(&["store", "gc", "--all"]);
    assert_eq!(freed["images"][0], digest);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_shutdown_unmounts_what_nobody_uses_and_says_who_uses_the_rest() {
    let fixture = Fixture::filled();
    let (idle, busy) = (fixture.directory("idle"), fixture.directory("busy"));
    for target in [&idle, &busy] {
        fixture
            .tool(&["store", "mount", &fixture.image])
            .arg(target)
            .succeed();
    }
    fs::create_dir(fixture.path("store/trash/t-left")).unwrap();
    let held = fs::File::open(busy.join("data")).unwrap();
    let output = fixture.tool(&["store", "shutdown", "--json"]).output();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["unmounted"][0]["target"], idle.to_str().unwrap());
    assert_eq!(report["busy"][0]["target"], busy.to_str().unwrap());
    let why = report["busy"][0]["why"].as_str().unwrap();
    assert!(why.contains(&std::process::id().to_string()), "{why}");
    assert!(names_in(&fixture.path("store/trash")).is_empty());
    drop(held);
    fixture.tool(&["store", "shutdown"]).succeed();
    assert_eq!(
        fixture.json(&["store", "ls", "mounts"]),
        Value::Array(vec![])
    );
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
fn what_a_mount_shows_and_what_has_no_blob_is_left_as_it_is() {
    let fixture = Fixture::filled();
    let target = fixture.directory("root");
    fixture
        .tool(&["store", "prepare", "--key", "box", &fixture.image])
        .succeed();
    fixture
        .tool(&["store", "mount", "box"])
        .arg(&target)
        .succeed();
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
#[ignore = "needs root: becomes another user"]
fn an_ordinary_user_runs_commands_with_many_ids() {
    let fixture = Fixture::new();
    let scratch = &fixture.scratch;
    let home = scratch.home_of_nobody();
    let run = |arguments: &[&str]| scratch.tool(arguments).run_by_nobody(&home).output();
    let output = run(&["unshare", "--", "sh", "-c", "id -u; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert_eq!(output.stdout, b"0\n");
    let mapped = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let has_ranges = mapped
        .lines()
        .any(|line| line.starts_with("nobody:") || line.starts_with(&format!("{NOBODY}:")));
    let warned = said(&output).contains("owners of files will be lost");
    assert_eq!(warned, !has_ranges, "{}", said(&output));
    // A store in there is one of the namespace, and root outside does not take it for its own.
    let store = home.join("store").display().to_string();
    let view = home.join("view");
    fs::create_dir(&view).unwrap();
    chown(&view, Some(NOBODY), Some(NOBODY)).unwrap();
    let script = format!(
        "set -e; b={}; $b mount --image {}:latest --store {store} {view}; ls {view}; $b store check --store {store}; \
         $b store status --json --store {store}",
        scratch.binary().display(),
        scratch.path("layout").display(),
        view = view.display(),
    );
    let output = run(&["unshare", "--", "sh", "-c", &script]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("\"marks\":\"user\""),
        "{}",
        said(&output)
    );
    assert!(
        names_in(&view).is_empty(),
        "what is mounted there is not seen outside"
    );
    let output = scratch
        .tool(&["store", "ls", "--json", "--store", &store])
        .output();
    assert!(
        said(&output).contains("namespace-mismatch"),
        "{}",
        said(&output)
    );
    let output = run(&["unshare", "--", "no-such-program-at-all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no-such-program-at-all"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_probe_tells_of_the_nearest_directory_and_leaves_nothing() {
    let fixture = Fixture::new();
    let near = fixture.directory("near");
    let store = near.join("a/b").display().to_string();
    let probe = ["store", "probe", "--store", &store];
    let text = fixture.scratch.tool(&probe).args(&["--json"]).succeed();
    let probed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(probed["path"], near.to_str().unwrap());
    assert_eq!(probed["overlay"]["works"], true);
    let mut answers = probed.as_object().unwrap().values();
    assert!(
        answers.all(
            |answer| answer["works"] != false || !answer["reason"].as_str().unwrap().is_empty()
        )
    );
    assert!(names_in(&near).is_empty());
    let text = fixture.scratch.tool(&probe).succeed();
    assert!(text.contains("\noverlay: yes\n"), "{text}");
}

/// The names in an archive, each with its content.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    };
    entries.map(read).collect()
}

#[test]
#[ignore = "needs root: mounts"]
fn changes_are_listed_written_as_an_archive_and_committed() {
    let fixture = Fixture::filled();
    let target = fixture.directory("root");
    fixture
        .tool(&["store", "prepare", "--key", "box", &fixture.image])
        .succeed();
    fixture
        .tool(&["store", "mount", "box"])
        .arg(&target)
        .succeed();
    assert_eq!(
        fixture.tool(&["store", "changes", "box"]).succeed(),
        "",
        "nothing was changed"
    );
    let committed = fixture.json(&["store", "commit", "box"]);
    assert_eq!(committed["diff_id"], Value::Null);
    fs::write(target.join("etc/new"), "new").unwrap();
    fs::remove_file(target.join("etc/hosts")).unwrap();
    fs::write(target.join("etc/passwd"), "changed").unwrap();
    let listed = fixture.tool(&["store", "changes", "box"]).succeed();
    assert_eq!(listed, "C /etc\nD /etc/hosts\nA /etc/new\nC /etc/passwd\n");
    let json = fixture.json(&["store", "changes", "box"]);
    assert_eq!(
        json[1],
        serde_json::json!({"path": "/etc/hosts", "status": "deleted"})
    );
    let archive = fixture.tool(&["store", "diff", "box"]).output().stdout;
    let names: Vec<_> = members(&archive)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["etc/", "etc/.wh.hosts", "etc/new", "etc/passwd"]);
    let file = fixture.path("changes.tar.zst").display().to_string();
    let written = fixture.json(&["store", "diff", "box", "-c", "zstd", "-o", &file]);
    assert_eq!(written["size"], fs::metadata(&file).unwrap().len());
    assert_eq!(
        fixture.fails(&["store", "diff", "box"])["reason"],
        Value::Null
    );
    let committed = fixture.json(&["store", "commit", "box"]);
    let chain = committed["chain_id"].as_str().unwrap();
    let digest = Bounded::new("sh", 10)
        .args(&["-c", &format!("zstd -dc {file} | sha256sum")])
        .succeed();
    let diff_id = committed["diff_id"].as_str().unwrap();
    assert!(digest.starts_with(&diff_id["sha256:".len()..]), "{digest}");
    let view = fixture.directory("view of the chain");
    fixture
        .tool(&["store", "mount", chain])
        .arg(&view)
        .succeed();
    assert_eq!(names_in(&view.join("etc")), ["group", "new", "passwd"]);
    assert_eq!(fs::read(view.join("etc/passwd")).unwrap(), b"changed");
    assert_eq!(fs::read(view.join("again")).unwrap(), [7; 10_000]);
    fixture.tool(&["store", "shutdown"]).succeed();
}

#[test]
#[ignore = "needs root: mounts"]
fn a_container_becomes_an_image_of_its_layout() {
    let fixture = Fixture::filled();
    let target = fixture.directory("root");
    fixture
        .tool(&["store", "prepare", "--key", "box", &fixture.image])
        .succeed();
    fixture
        .tool(&["store", "mount", "box"])
        .arg(&target)
        .succeed();
    fs::write(target.join("new"), "new").unwrap();
    fixture.tool(&["store", "umount", "box"]).succeed();
    let new = format!("{}:new", fixture.path("layout").display());
    let committed = fixture.json(&["store", "commit", "--image", &new, "--tag", "mine", "box"]);
    fixture
        .scratch
        .tool(&["validate", "--layout"])
        .arg(fixture.path("layout"))
        .succeed();
    let files = fixture.scratch.tool(&["files", "--image", &new]).succeed();
    assert_eq!(files, "again\ndata\netc\nnew\n");
    let inspected = fixture.json(&["store", "inspect", "mine"]);
    assert_eq!(inspected["image"]["digest"], committed["image"]);
    assert_eq!(
        inspected["image"]["names"],
        serde_json::json!([new, "mine"])
    );
    let changes = fixture.tool(&["store", "changes", "mine", &fixture.image]);
    assert_eq!(changes.succeed(), "C /\nA /new\n");
    let archive = fixture.tool(&["store", "diff", "mine", &fixture.image]);
    let last = members(&archive.output().stdout).pop();
    assert_eq!(last, Some(("new".to_owned(), b"new".to_vec())));
    let whole = fixture.tool(&["store", "diff", &fixture.image]).output();
    let names: Vec<_> = members(&whole.stdout)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(
        names.contains(&"etc/passwd".to_owned()) && names.contains(&"again".to_owned()),
        "{names:?}"
    );
    fs::rename(fixture.path("layout"), fixture.path("elsewhere")).unwrap();
    let elsewhere = format!("{}:x", fixture.path("elsewhere").display());
    fixture
        .tool(&["store", "commit", "--image", &elsewhere, "box"])
        .succeed();
}

#[test]
#[ignore = "needs root: mounts"]
fn images_go_out_as_archives_and_come_back() {
    let fixture = Fixture::filled();
    fixture
        .tool(&["store", "tag", &fixture.image, "example.org/x:1"])
        .succeed();
    let digest = fixture.json(&["store", "ls"])[0]["digest"].clone();
    for format in ["combined", "oci", "docker"] {
        let file = fixture.path(&format!("{format}.tar")).display().to_string();
        let format = ["--format", format];
        fixture
            .tool(&["store", "export", "example.org/x:1", "-o", &file])
            .args(&format)
            .succeed();
        let store = fixture
            .path(&format!("from-{}", format[1]))
            .display()
            .to_string();
        let tool = |arguments: &[&str]| {
            let text = fixture
                .scratch
                .tool(arguments)
                .args(&["--store", &store, "--json"])
                .succeed();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let imported = tool(&["store", "import", &file]);
        assert_eq!(
            imported[0]["names"],
            serde_json::json!(["example.org/x:1"]),
            "{format:?}"
        );
        if format[1] != "docker" {
            assert_eq!(imported[0]["digest"], digest, "{format:?}");
        }
        let target = fixture.directory(&format!("view {}", format[1]));
        let view = target.display().to_string();
        tool(&["store", "mount", "example.org/x:1", &view]);
        assert_eq!(fs::read(target.join("again")).unwrap(), [7; 10_000]);
        tool(&["store", "umount", &view]);
        // The blobs are there for a repair, and go with their image.
        assert_eq!(tool(&["store", "check", "--repair"])["clean"], true);
        let layer =
            tool(&["store", "inspect", "example.org/x:1"])["chain"]["layers"][0]["path"].clone();
        fs::write(Path::new(layer.as_str().unwrap()).join("extra"), "x").unwrap();
        let output = fixture
            .scratch
            .tool(&["store", "check", "--repair", "--store", &store])
            .output();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        tool(&["store", "gc"]);
        let blobs = Path::new(&store).join("blobs/images/blobs/sha256");
        assert!(!names_in(&blobs).is_empty());
        tool(&["store", "remove", "example.org/x:1"]);
        tool(&["store", "gc"]);
        assert!(names_in(&blobs).is_empty(), "{format:?}");
    }
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

#[test]
#[ignore = "needs root: no user namespace"]
fn signals_of_the_terminal_are_for_the_program_that_unshare_runs() {
    let scratch = Scratch::new(&[]);
    let script = "kill -INT $PPID; kill -QUIT $PPID; kill -INT $PPID; sleep 0.1; exit 5";
    let output = scratch
        .tool(&["unshare", "--", "sh", "-c", script])
        .output();
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let script = "trap 'exit 6' INT; kill -INT $$; exit 1";
    let output = scratch
        .tool(&["unshare", "--", "sh", "-c", script])
        .output();
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
}
