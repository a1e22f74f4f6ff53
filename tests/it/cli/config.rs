//! `config`: what it changes, byte for byte, and what it leaves alone; and `config --get`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Image, Layer, Outcome, Scratch, store_layers};

/// The stored documents of a tag: manifest and config, as text.
fn documents(layout: &Path, tag: &str) -> (String, String) {
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        read(&layout.join("blobs").join(digest))
    };
    let index: Value = serde_json::from_str(&read(&layout.join("index.json"))).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let name = "org.opencontainers.image.ref.name";
    let entry = entries
        .iter()
        .find(|entry| entry["annotations"][name] == tag);
    let manifest = blob(entry.unwrap_or_else(|| panic!("no tag {tag}")));
    let config = blob(&serde_json::from_str::<Value>(&manifest).unwrap()["config"]);
    (manifest, config)
}

/// A small image with nothing but what umoci knows.
fn plain(scratch: &Scratch) {
    scratch.layout("x", &[]);
    Image::new(json!({
        "os": "linux", "architecture": "amd64", "created": "2020-01-02T03:04:05.100Z",
        "config": {"Env": ["PATH=/bin", "A=1"]}, "rootfs": {"type": "layers", "diff_ids": []},
    }))
    .store(&scratch.path("x"), "a");
}

const HISTORY: &str = "--history.created=2021-01-01T00:00:00,120+02:00";

#[test]
fn the_documents_are_umocis() {
    let scratch = Scratch::new();
    plain(&scratch);
    let mut args = vec!["config", "--image", "x:a", HISTORY, "--tag", "b"];
    args.extend(
        "--author me --config.user u --config.env B=1 --config.env A=2 --config.label z=1"
            .split(' '),
    );
    args.extend(
        "--config.label b=2 --config.volume /v --config.exposedports 80 --config.cmd".split(' '),
    );
    args.extend(["", "--config.entrypoint", "-c", "--config.stopsignal", "X"]);
    args.extend([
        "--manifest.annotation",
        "k=<v>&",
        "--history.created_by",
        "",
    ]);
    assert_eq!(scratch.run_args(args).code, 0);
    let (manifest, config) = documents(&scratch.path("x"), "b");
    let expected = concat!(
        r#"{"created":"2020-01-02T03:04:05.1Z","author":"me","architecture":"amd64","os":"linux","config":{"User":"u","#,
        r#""ExposedPorts":{"80":{}},"Env":["PATH=/bin","A=2","B=1"],"Entrypoint":["-c"],"Cmd":[""],"Volumes":{"/v":{}},"#,
        r#""Labels":{"b":"2","z":"1"},"StopSignal":"X"},"rootfs":{"type":"layers","diff_ids":[]},"#,
        r#""history":[{"created":"2021-01-01T00:00:00.12+02:00","author":"me","empty_layer":true}]}"#,
        "\n"
    );
    assert_eq!(config, expected);
    let config_digest =
        serde_json::from_str::<Value>(&manifest).unwrap()["config"]["digest"].clone();
    let expected = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\
         \"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":{config_digest},\"size\":{}}},\
         \"layers\":[],\"annotations\":{{\"k\":\"\\u003cv\\u003e\\u0026\"}}}}\n",
        config.len()
    );
    assert_eq!(manifest, expected);
    assert_eq!(scratch.ok("ls --layout x"), "a\nb\n");
    scratch.ok("validate --layout x");
}

#[test]
fn clearing_comes_before_setting_and_keeps_the_rest() {
    let scratch = Scratch::new();
    plain(&scratch);
    scratch.ok("config --image x:a --no-history --config.label=a=1 --config.cmd=x --config.user=u --manifest.annotation k=v");
    scratch.ok(
        "config --image x:a --no-history --config.env NEW=1 --clear config.env --clear config.labels --clear config.user \
         --clear manifest.annotations --clear created --config.entrypoint e --keep-cmd",
    );
    let (manifest, config) = documents(&scratch.path("x"), "a");
    let expected = concat!(
        r#"{"architecture":"amd64","os":"linux","config":{"Env":["NEW=1"],"Entrypoint":["e"],"Cmd":["x"]},"#,
        r#""rootfs":{"type":"layers","diff_ids":[]}}"#,
        "\n"
    );
    assert_eq!(config, expected);
    assert!(!manifest.contains("annotations"), "{manifest}");
}

#[test]
fn a_new_entrypoint_clears_the_inherited_command_unless_that_is_given_or_kept() {
    let scratch = Scratch::new();
    plain(&scratch);
    scratch.ok("config --image x:a --config.entrypoint old --config.cmd x --config.cmd y");
    let config = |tag: &str| {
        let (_, config) = documents(&scratch.path("x"), tag);
        serde_json::from_str::<Value>(&config).unwrap()["config"].clone()
    };
    let cleared = scratch.run("config --image x:a --tag b --config.entrypoint new");
    assert_eq!(cleared.code, 0);
    assert!(
        cleared.stderr.contains(r#"command ["x","y"]"#) && cleared.stderr.contains("--keep-cmd"),
        "{}",
        cleared.stderr
    );
    assert_eq!(config("b")["Entrypoint"], serde_json::json!(["new"]));
    assert!(config("b").get("Cmd").is_none());
    for (flags, cmd) in [
        (
            "--config.entrypoint new --keep-cmd",
            serde_json::json!(["x", "y"]),
        ),
        (
            "--config.entrypoint new --config.cmd z",
            serde_json::json!(["z"]),
        ),
        ("--config.user u", serde_json::json!(["x", "y"])),
    ] {
        let kept = scratch.run(&format!("config --image x:a --tag c {flags}"));
        assert_eq!((kept.code, &kept.stderr[..]), (0, ""), "{flags}");
        assert_eq!(config("c")["Cmd"], cmd, "{flags}");
    }
}

#[test]
fn one_label_variable_port_volume_or_annotation_is_taken_out() {
    let scratch = Scratch::new();
    plain(&scratch);
    scratch.ok(
        "config --image x:a --config.label a.b=1 --config.label c=2 --clear config.env --config.env A=1 --config.env AB=2 \
         --config.volume /x --config.volume /y --config.exposedports 80/tcp --config.exposedports 80/udp \
         --manifest.annotation k.l=1 --manifest.annotation m=2 --index.annotation i=1 --index.annotation j=2",
    );
    scratch.ok(
        "config --image x:a --clear config.labels.a.b --clear config.env.A --clear config.volume./x \
         --clear config.exposedports.80 --clear manifest.annotations.k.l --clear index.annotations.i \
         --clear config.labels.none",
    );
    let (manifest, config) = documents(&scratch.path("x"), "a");
    let config = serde_json::from_str::<Value>(&config).unwrap()["config"].clone();
    assert_eq!(
        config,
        serde_json::json!({"Labels": {"c": "2"}, "Env": ["AB=2"], "Volumes": {"/y": {}}, "ExposedPorts": {"80/udp": {}}})
    );
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["annotations"], serde_json::json!({"m": "2"}));
    let annotations = scratch.ok("config --image x:a --get index.annotations --json");
    let annotations: Value = serde_json::from_str(&annotations).unwrap();
    assert_eq!(
        (annotations.get("i"), &annotations["j"]),
        (None, &Value::from("2"))
    );
    // The last one takes the member with it.
    scratch.ok("config --image x:a --clear config.volume./y");
    let (_, config) = documents(&scratch.path("x"), "a");
    assert!(!config.contains("Volumes"), "{config}");
    let wrong = scratch
        .run("config --image x:a --clear index.annotations.org.opencontainers.image.ref.name");
    assert!(
        wrong.code != 0 && wrong.stderr.contains("is the tag"),
        "{}",
        wrong.stderr
    );
}

/// umoci issue 352, and its loss of `variant` and invention of `created`.
#[test]
fn what_is_unknown_is_kept_and_nothing_is_invented() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let config = json!({
        "container": "c", "architecture": "arm64", "variant": "v8", "os": "linux",
        "config": {"Hostname": "", "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1_000_000_000}, "OnBuild": ["RUN y"],
            "Shell": ["/bin/bash", "-c"], "Env": null},
        "container_config": {"Cmd": ["z"]}, "rootfs": {"type": "layers", "diff_ids": []}, "docker_version": "1",
    });
    let mut image = Image::new(config.clone());
    image.members = vec![("future", json!({"b": 1, "a": 2}))];
    image.store(&scratch.path("x"), "a");
    scratch.ok("config --image x:a --no-history --config.user u");
    let (manifest, written) = documents(&scratch.path("x"), "a");
    // `User` goes before the first member that Go has later, behind what Go does not have.
    let mut expected = config;
    let process = expected["config"].as_object_mut().unwrap();
    process.shift_insert(1, "User".to_owned(), json!("u"));
    assert_eq!(written, expected.to_string() + "\n");
    assert!(
        manifest.ends_with("\"future\":{\"b\":1,\"a\":2}}\n"),
        "{manifest}"
    );
}

#[test]
fn history_has_umocis_defaults() {
    let scratch = Scratch::new();
    plain(&scratch);
    let run = |line: &str, variable: (&str, &str)| {
        let mut command = scratch.command(line.split(' '));
        let outcome = Outcome::of(command.env(variable.0, variable.1));
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let (_, config) = documents(&scratch.path("x"), "a");
        let config: Value = serde_json::from_str(&config).unwrap();
        let history = config["history"].as_array().unwrap();
        history[history.len() - 1].clone()
    };
    let epoch = ("SOURCE_DATE_EPOCH", "1234567890");
    assert_eq!(
        run("config --image x:a --author you", epoch),
        json!({"created": "2009-02-13T23:31:30Z", "created_by": "umoci config", "author": "you", "empty_layer": true})
    );
    assert_eq!(
        run(
            "config --image x:a --history.created 2020-02-02T02:02:02Z --history.author= --history.comment c",
            epoch
        ),
        json!({"created": "2020-02-02T02:02:02Z", "created_by": "umoci config", "comment": "c", "empty_layer": true})
    );
    let now = run("config --image x:a", ("TZ", "IST-5:30"));
    let now = now["created"].as_str().unwrap();
    assert!(now.ends_with("+05:30"), "{now}");
    let utc = run("config --image x:a", ("TZ", "UTC"));
    assert!(utc["created"].as_str().unwrap().ends_with('Z'), "{utc}");
    let (_, config) = documents(&scratch.path("x"), "a");
    assert!(
        config.contains("\"created\":\"2020-01-02T03:04:05.1Z\",\"author\""),
        "{config}"
    );
}

#[test]
fn wrong_arguments_leave_the_layout_alone() {
    let scratch = Scratch::new();
    plain(&scratch);
    let before = scratch.read("x/index.json");
    for (arguments, reason) in [
        ("--config.env x", "must contain '=': x"),
        ("--config.env =x", "must have non-empty name: =x"),
        ("--config.label x", "must contain '=': x"),
        ("--manifest.annotation x", "must contain '=': x"),
        ("--clear rootfs.diffids", "not safe"),
        ("--clear nonsense", "unknown key"),
        ("--created yesterday", "is not a time"),
        ("--history.created yesterday", "is not a time"),
        ("--no-history --history.author x", "mutually exclusive"),
        ("--no-history --history.comment x", "mutually exclusive"),
        (
            "--no-history --history.created 2020-01-01T00:00:00Z",
            "mutually exclusive",
        ),
        ("--history.created_by x --no-history", "mutually exclusive"),
        ("--tag .bad", "invalid tag"),
        ("surplus", "invalid number of positional arguments"),
        ("--layer.annotation a=b", "no layer"),
        (
            "--index.annotation org.opencontainers.image.ref.name=b",
            "is the tag",
        ),
        ("--config.healthcheck {}", "health check"),
        ("--get config.env --author x", "--get changes nothing"),
        ("--get config.env --tag b", "--get changes nothing"),
        (
            "--get config.env --history.comment x",
            "--get changes nothing",
        ),
        ("--get config.env --no-history", "--get changes nothing"),
        ("--get nonsense", "unknown key"),
        ("--json", "missing mandatory argument: --get\n"),
        ("--image x:none", "tag not found: none"),
    ] {
        let said = scratch.fails(&format!("config --image x:a {arguments}"));
        assert!(said.contains(reason), "{arguments}: {said}");
        assert_eq!(scratch.read("x/index.json"), before, "{arguments}");
    }
    let outcome = scratch.run("config --image x:a --os a --platform.os b");
    assert_eq!(outcome.code, 1);
    let reason = "Incorrect Usage: Cannot use two forms of the same flag: os platform.os\n";
    assert!(outcome.stdout.starts_with(reason), "{}", outcome.stdout);
    let epoch = Outcome::of(
        scratch
            .command(["config", "--image", "x:a"])
            .env("SOURCE_DATE_EPOCH", "soon"),
    );
    assert_eq!(epoch.code, 1);
    assert_eq!(scratch.read("x/index.json"), before);
}

#[test]
fn values_may_begin_with_a_dash_and_lists_keep_empty_elements() {
    let scratch = Scratch::new();
    plain(&scratch);
    let args = [
        "config",
        "--image",
        "x:a",
        "-config.cmd",
        "-c",
        "--config.cmd",
        "",
        "--config.cmd",
        "--image",
        "-no-history",
    ];
    assert_eq!(scratch.run_args(args).code, 0);
    assert_eq!(
        scratch.ok("config --image x:a --get config.cmd --json"),
        "[\"-c\",\"\",\"--image\"]\n"
    );
}

#[test]
fn the_platform_and_dockers_members_can_be_set() {
    let scratch = Scratch::new();
    plain(&scratch);
    scratch.ok(
        "config --image x:a --no-history --os windows --architecture arm --platform.variant v6 --os.version 10 \
         --os.features b --os.features a --config.healthcheck NONE --config.shell sh --config.onbuild x",
    );
    let (_, config) = documents(&scratch.path("x"), "a");
    let expected = concat!(
        r#"{"created":"2020-01-02T03:04:05.100Z","architecture":"arm","os":"windows","os.version":"10","#,
        r#""os.features":["b","a"],"variant":"v6","config":{"Env":["PATH=/bin","A=1"],"#,
        r#""Healthcheck":{"Test":["NONE"]},"OnBuild":["x"],"Shell":["sh"]},"#,
        r#""rootfs":{"type":"layers","diff_ids":[]}}"#,
        "\n"
    );
    let mut members: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap(), members);
    scratch.ok(
        "config --image x:a --no-history --clear platform.variant --clear platform.os.version --clear platform.os.features \
         --clear config.healthcheck --clear config.shell --clear config.onbuild",
    );
    let (_, config) = documents(&scratch.path("x"), "a");
    for name in ["variant", "os.version", "os.features"] {
        members.as_object_mut().unwrap().shift_remove(name);
    }
    members["config"] = json!({"Env": ["PATH=/bin", "A=1"]});
    members["created"] = json!("2020-01-02T03:04:05.1Z");
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap(), members);
}

#[test]
fn single_values_are_printed() {
    let scratch = Scratch::new();
    plain(&scratch);
    scratch.ok(
        "config --image x:a --no-history --config.label a.b=1 --config.label c=2 --config.volume /v --author me \
         --manifest.annotation k.l=m=n --index.annotation i=j",
    );
    let before = scratch.read("x/index.json");
    for (key, plain, json) in [
        ("author", "me", "\"me\""),
        ("platform.arch", "amd64", "\"amd64\""),
        (
            "created",
            "2020-01-02T03:04:05.1Z",
            "\"2020-01-02T03:04:05.1Z\"",
        ),
        ("config.env", "PATH=/bin\nA=1", "[\"PATH=/bin\",\"A=1\"]"),
        ("config.env.PATH", "/bin", "\"/bin\""),
        ("config.labels", "a.b=1\nc=2", "{\"a.b\":\"1\",\"c\":\"2\"}"),
        ("config.labels.a.b", "1", "\"1\""),
        ("config.volume", "/v", "{\"/v\":{}}"),
        ("manifest.annotations.k.l", "m=n", "\"m=n\""),
        ("index.annotations.i", "j", "\"j\""),
    ] {
        let line = format!("config --image x:a --get {key}");
        assert_eq!(scratch.ok(&line), format!("{plain}\n"));
        assert_eq!(scratch.ok(&format!("{line} --json")), format!("{json}\n"));
    }
    for key in ["config.user", "config.env.NONE", "config.labels.a"] {
        let said = scratch.fails(&format!("config --image x:a --get {key}"));
        assert!(said.contains(&format!("{key} is not set")), "{said}");
    }
    assert_eq!(scratch.read("x/index.json"), before);
}

#[test]
fn annotations_are_set_read_and_cleared_in_all_three_places() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    store_layers(
        &scratch.path("x"),
        "a",
        &[Layer::default(), Layer::default().file("f", "")],
    );
    let get = |key: &str| {
        scratch
            .run(&format!("config --image x:a --get {key}"))
            .stdout
    };
    let places = ["manifest", "index", "layer"];
    for place in places {
        scratch.ok(&format!(
            "config --image x:a --{place}.annotation k={place}"
        ));
    }
    for place in places {
        assert_eq!(get(&format!("{place}.annotations.k")), format!("{place}\n"));
    }
    let line = "config --image x:a --clear index.annotations --index.annotation new=1 --clear layer.annotations";
    scratch.ok(line);
    assert_eq!(
        get("index.annotations"),
        "new=1\norg.opencontainers.image.ref.name=a\n"
    );
    assert_eq!(get("layer.annotations"), "");
    assert_eq!(get("manifest.annotations"), "k=manifest\n");
    scratch.ok("config --image x:a --tag b --clear index.annotations --clear manifest.annotations");
    let said = scratch.fails("config --image x:b --get manifest.annotations");
    assert!(said.contains("manifest.annotations is not set"), "{said}");
    assert_eq!(
        scratch.ok("config --image x:b --get index.annotations"),
        "org.opencontainers.image.ref.name=b\n"
    );
    scratch.ok("validate --layout x");
}

#[test]
fn an_empty_health_check_is_none() {
    let scratch = Scratch::new();
    plain(&scratch);
    scratch.ok("config --image x:a --config.healthcheck NONE");
    scratch.ok("config --image x:a --config.healthcheck=");
    scratch.fails("config --image x:a --get config.healthcheck");
}

/// umoci reads the image, changes it and writes it back without a lock.
#[test]
fn of_many_changes_at_the_same_time_none_is_lost() {
    let scratch = Scratch::new();
    plain(&scratch);
    let children: Vec<_> = (0..12)
        .map(|number| {
            let label = format!("--config.label=l{number:02}=x");
            let args = ["config", "--image", "x:a", "--no-history", &label];
            scratch.command(args).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let labels = scratch.ok("config --image x:a --get config.labels");
    assert_eq!(labels.lines().count(), 12, "{labels}");
    scratch.ok("validate --layout x");
}

/// Some tools give one name to an entry for each platform, where others make an index of them.
#[test]
fn entries_of_the_tag_for_other_platforms_keep_it() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    for architecture in ["amd64", "arm64"] {
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
        Image::new(config).store(&scratch.path("x"), "a");
    }
    let mut index = scratch.read_json("x/index.json");
    for (entry, architecture) in [(0, "amd64"), (1, "arm64")] {
        index["manifests"][entry]["platform"] =
            json!({"architecture": architecture, "os": "linux"});
    }
    scratch.write("x/index.json", index.to_string());
    let users = || {
        ["amd64", "arm64"].map(|architecture| {
            let line =
                format!("config --image x:a --platform linux/{architecture} --get config.user");
            scratch.run(&line).stdout
        })
    };
    scratch.ok("unpack --rootless --image x:a --platform linux/arm64 bundle");
    scratch.ok("config --image x:a --platform linux/arm64 --config.user u");
    assert_eq!(users(), ["", "u\n"]);
    scratch.ok("config --image x:a --platform linux/amd64 --config.user v");
    assert_eq!(users(), ["v\n", "u\n"]);
    // Made from an image that the tag has left since.
    scratch.ok("repack --image x:a bundle");
    assert_eq!(users(), ["v\n", ""]);
    let listed = scratch.run("ls --layout x");
    assert_eq!(listed.stdout, "a\n");
    assert!(
        listed.stderr.contains("a stands 2 times"),
        "{}",
        listed.stderr
    );
    // Another name means the one image.
    scratch.ok("config --image x:a --platform linux/arm64 --tag b --config.user w");
    assert_eq!(scratch.ok("config --image x:b --get config.user"), "w\n");
    scratch.ok("new --image x:a");
    assert_eq!(scratch.ok("ls --layout x"), "b\na\n");
}

#[test]
fn an_image_in_an_index_is_changed_in_its_place() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layout = scratch.path("x");
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
        let mut entry = Image::new(config).store(&layout, "part");
        entry.as_object_mut().unwrap().shift_remove("annotations");
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        entries.push(entry);
    }
    scratch.ok("rm --image x:part");
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
    let mut entry = crate::support::descriptor(&layout, media_type, index.to_string().as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "a", "other": "kept"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    scratch.write("x/index.json", index.to_string());
    scratch.ok("config --image x:a --platform linux/arm64 --config.user u");
    assert_eq!(
        scratch.ok("config --image x:a --platform linux/arm64 --get config.user"),
        "u\n"
    );
    scratch.fails("config --image x:a --platform linux/amd64 --get config.user");
    let index = scratch.read_json("x/index.json");
    assert_eq!(index["manifests"][0]["annotations"]["other"], "kept");
    assert_eq!(index["manifests"][0]["mediaType"], media_type);
    scratch.ok("validate --layout x");
    scratch.ok("gc --layout x");
    scratch.ok("validate --layout x");
}
