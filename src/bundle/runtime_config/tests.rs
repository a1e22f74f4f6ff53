//! Whole configurations, from the image's document to the bytes of `config.json`.

use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::progress::Silent;
use crate::progress::{Event, Level};

/// Keeps the warnings.
#[derive(Default)]
struct Warnings(Mutex<String>);

impl Progress for Warnings {
    fn event(&self, event: Event<'_>) {
        if let Event::Message(message) = event {
            assert_eq!(message.level, Level::Warn);
            writeln!(self.0.lock().unwrap(), "{}", message.text).unwrap();
        }
    }
}

impl Warnings {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

fn image(config: &Value) -> ImageConfig {
    let document = json!({
        "created": "2024-05-06T07:08:09.1Z",
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    ImageConfig::parse(document.to_string().as_bytes()).unwrap()
}

fn generate_with(
    image: &ImageConfig,
    map_options: &MapOptions,
    warnings: &Warnings,
) -> Result<Value> {
    let resolv_conf = Some(MountFlags::from_statvfs(0));
    let options = RuntimeConfigOptions {
        rootfs: None,
        root_path: "rootfs".to_owned(),
        map_options,
        resolv_conf,
    };
    let spec = runtime_config(image, &options, warnings)?;
    let bytes = to_config_json(&spec)?;
    assert_eq!(bytes, to_config_json(&spec.clone())?);
    assert_eq!(serde_json::from_slice::<Spec>(&bytes).unwrap(), spec);
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn generate(config: &Value) -> Result<Value> {
    let warnings = Warnings::default();
    let document = generate_with(&image(config), &MapOptions::default(), &warnings)?;
    assert_eq!(warnings.text(), "");
    Ok(document)
}

#[test]
fn an_image_that_says_nothing_gets_umocis_base() {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let expected = json!({
        "ociVersion": "1.0.0",
        "root": {"path": "rootfs"},
        "hostname": "umoci-default",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "inheritable": capabilities,
                "permitted": capabilities, "ambient": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "annotations": {
            "org.opencontainers.image.os": "linux",
            "org.opencontainers.image.architecture": "amd64",
            "org.opencontainers.image.created": "2024-05-06T07:08:09.1Z",
        },
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "cgroup"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"},
                {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger"],
        },
    });
    assert_eq!(generate(&json!({})).unwrap(), expected);
}

#[test]
fn arguments_directory_environment_and_user_come_from_the_image() {
    let document = generate(&json!({
        "Entrypoint": ["/init", "-x"], "Cmd": ["a b", ""], "WorkingDir": "/srv", "User": "1337:8888",
        "Env": ["A=1", "TERM=dumb"],
    }))
    .unwrap();
    let process = &document["process"];
    assert_eq!(process["args"], json!(["/init", "-x", "a b", ""]));
    assert_eq!(process["cwd"], "/srv");
    assert_eq!(process["user"], json!({"uid": 1337, "gid": 8888}));
    assert_eq!(
        process["env"].as_array().unwrap()[1..],
        [json!("TERM=dumb"), json!("A=1")]
    );
    assert_eq!(
        generate(&json!({"Cmd": ["/bin/sh"]})).unwrap()["process"]["args"],
        json!(["/bin/sh"])
    );
}

#[test]
fn volumes_become_tmpfs_mounts_behind_the_others() {
    let document = generate(&json!({"Volumes": {"/z": {}, "/a b": {}}})).unwrap();
    let options = json!(["rw", "nosuid", "nodev", "noexec", "relatime"]);
    let expected = ["/a b", "/z"].map(
        |volume| json!({"destination": volume, "type": "tmpfs", "source": "none", "options": options}),
    );
    assert_eq!(document["mounts"].as_array().unwrap()[7..], expected);
}

#[test]
fn labels_override_what_the_image_says_otherwise() {
    let document = generate(&json!({
        "StopSignal": "SIGKILL",
        "ExposedPorts": {"80/tcp": {}, "1234": {}},
        "Labels": {"org.opencontainers.image.os": "mine", "x.y": "", "a": "<&>"},
    }))
    .unwrap();
    assert_eq!(
        document["annotations"],
        json!({
            "a": "<&>",
            "org.opencontainers.image.architecture": "amd64",
            "org.opencontainers.image.created": "2024-05-06T07:08:09.1Z",
            "org.opencontainers.image.exposedPorts": "1234,80/tcp",
            "org.opencontainers.image.os": "mine",
            "org.opencontainers.image.stopSignal": "SIGKILL",
            "x.y": "",
        })
    );
    let bare = ImageConfig::parse(
        br#"{"os":"linux","architecture":"","rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    let bare = generate_with(&bare.unwrap(), &MapOptions::default(), &Warnings::default()).unwrap();
    assert_eq!(
        bare["annotations"],
        json!({"org.opencontainers.image.os": "linux", "org.opencontainers.image.created": "0001-01-01T00:00:00Z"})
    );
}

#[test]
fn output_is_indented_with_tabs_ends_with_a_line_feed_and_is_sorted_where_the_types_are_not() {
    let labels: serde_json::Map<_, _> = (0..50)
        .map(|n| (format!("l{:02}", n * 7 % 50), json!("")))
        .collect();
    let map_options = MapOptions::default();
    let options = RuntimeConfigOptions {
        rootfs: None,
        root_path: ".".to_owned(),
        map_options: &map_options,
        resolv_conf: None,
    };
    let spec = runtime_config(
        &image(&json!({"Labels": labels})),
        &options,
        &Warnings::default(),
    )
    .unwrap();
    let text = String::from_utf8(to_config_json(&spec).unwrap()).unwrap();
    assert!(
        text.starts_with(
            "{\n\t\"ociVersion\": \"1.0.0\",\n\t\"root\": {\n\t\t\"path\": \".\"\n\t},\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("\n}\n"));
    let keys: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("\t\t\"l"))
        .collect();
    assert_eq!(keys.len(), 50);
    assert!(keys.is_sorted());
}

#[test]
fn any_id_map_adds_a_user_namespace_once() {
    let range = IdRange {
        container: 0,
        host: 1000,
        size: 65536,
    };
    let user_namespaces = |document: &Value| {
        let namespaces = document["linux"]["namespaces"].as_array().unwrap();
        namespaces
            .iter()
            .filter(|namespace| namespace["type"] == "user")
            .count()
    };
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 65536}]);
    let mut options = MapOptions {
        gid: IdMap(vec![range]),
        ..MapOptions::default()
    };
    let document = generate_with(&image(&json!({})), &options, &Warnings::default()).unwrap();
    assert_eq!(user_namespaces(&document), 1);
    assert_eq!(document["linux"]["gidMappings"], mapping);
    assert!(document["linux"].get("uidMappings").is_none());

    options.uid = IdMap(vec![range]);
    options.rootless = true;
    let document = generate_with(&image(&json!({})), &options, &Warnings::default()).unwrap();
    assert_eq!(user_namespaces(&document), 1);
    assert_eq!(document["linux"]["uidMappings"], mapping);
    assert_eq!(
        document["mounts"].as_array().unwrap().last().unwrap()["destination"],
        "/etc/resolv.conf"
    );
    assert_eq!(document["ociVersion"], "1.0.0");
}

#[test]
fn images_for_other_systems_are_refused() {
    for os in ["windows", "Linux"] {
        let document = json!({"os": os, "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}});
        let image = ImageConfig::parse(document.to_string().as_bytes()).unwrap();
        let error =
            generate_with(&image, &MapOptions::default(), &Warnings::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{os}");
        assert_eq!(error.hints(), [ROOTFS_ALONE]);
    }
}

#[test]
fn an_image_without_a_system_or_with_odd_variables_is_usable() {
    let document = json!({"config": {"Env": ["A", "=x", "B=1"]}, "rootfs": {"type": "layers", "diff_ids": []}});
    let image = ImageConfig::parse(document.to_string().as_bytes()).unwrap();
    let warnings = Warnings::default();
    let config = generate_with(&image, &MapOptions::default(), &warnings).unwrap();
    let variables = config["process"]["env"].as_array().unwrap();
    assert_eq!(variables[2..], [json!("B=1")]);
    let told = warnings.0.into_inner().unwrap();
    for words in ["taken for linux", "has no name"] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn an_unknown_user_of_a_known_rootfs_is_an_error_that_hints_at_the_rootfs_alone() {
    let rootfs = tempfile::tempdir().unwrap();
    let root = Root::open(rootfs.path(), crate::fs::Access::Plain).unwrap();
    let map_options = MapOptions::default();
    let options = RuntimeConfigOptions {
        rootfs: Some(&root),
        root_path: "rootfs".to_owned(),
        map_options: &map_options,
        resolv_conf: None,
    };
    let image = image(&json!({"User": "nobody-knows"}));
    let error = runtime_config(&image, &options, &Warnings::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hints(), [ROOTFS_ALONE]);
}

#[test]
fn an_unknown_user_is_a_warning_and_root_when_no_rootfs_is_known() {
    for user in ["alice", "0:wheel", "2147483648"] {
        let warnings = Warnings::default();
        let document = generate_with(
            &image(&json!({"User": user})),
            &MapOptions::default(),
            &warnings,
        )
        .unwrap();
        assert_eq!(
            document["process"]["user"],
            json!({"uid": 0, "gid": 0}),
            "{user}"
        );
        assert!(warnings.text().contains(user), "{}", warnings.text());
    }
}

#[test]
fn the_home_of_the_user_is_used_unless_the_image_has_one() {
    let user = ProcessUser {
        home: " /home/a ".to_owned(),
        ..ProcessUser::default()
    };
    assert_eq!(
        environment(&[], &user, &Silent).last().unwrap(),
        "HOME= /home/a "
    );
    let own = environment(&["HOME=".to_owned()], &user, &Silent);
    assert_eq!(
        own.iter()
            .filter(|entry| entry.starts_with("HOME"))
            .collect::<Vec<_>>(),
        ["HOME="]
    );
}

#[test]
fn a_path_that_is_not_utf_8_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let mut spec = template::spec();
    let path = PathBuf::from(std::ffi::OsString::from_vec(vec![0xff]));
    spec.set_root(Some(root("x")))
        .root_mut()
        .as_mut()
        .unwrap()
        .set_path(path);
    assert_eq!(
        to_config_json(&spec).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    assert_eq!(
        lowest_spec_version(&spec).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}
