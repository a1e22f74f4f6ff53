//! Layers that the store has: containerd is told so, in the way that its version knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use oci_bundle::snapshots::{Mount, Mounter, SnapshotOptions, Snapshotter, SystemMounter};
use tonic::Code;

use super::client::{Client, Commit, Empty, Mounts, Prepare, SNAPSHOTS, mounts_of};
use super::server::Server;
use crate::machine::Scratch;

/// Chains of the sample image, bottom first, and the diff IDs of its layers.
struct Sample {
    chains: [String; 2],
    diff_ids: [String; 2],
}

/// Brings the sample image into the store of a server by the command.
fn bring_sample(scratch: &Scratch, server: &Server) -> Sample {
    scratch.sample_image("layout");
    let image = format!("{}:latest", scratch.path("layout").display());
    scratch
        .tool(&["unpack", "--overlay", "--image", &image, "--store"])
        .arg(&server.store)
        .arg(scratch.path("bundle"))
        .succeed();
    scratch
        .tool(&["umount"])
        .arg(scratch.path("bundle"))
        .succeed();
    let config = config_of(&scratch.path("layout"));
    let diff_ids: Vec<String> = config["rootfs"]["diff_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    let parsed: Vec<oci_bundle::image::DiffId> =
        diff_ids.iter().map(|id| id.parse().unwrap()).collect();
    let chain = |end: usize| {
        let chain = oci_bundle::image::ChainId::of(&parsed[..end]).unwrap();
        chain.to_string()
    };
    Sample {
        chains: [chain(1), chain(2)],
        diff_ids: diff_ids.try_into().unwrap(),
    }
}

fn config_of(layout: &Path) -> serde_json::Value {
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(layout.join(path)).unwrap()).unwrap()
    };
    let blob = |digest: &serde_json::Value| {
        let digest = digest.as_str().unwrap().replace(':', "/");
        read(&format!("blobs/{digest}"))
    };
    let manifest = blob(&read("index.json")["manifests"][0]["digest"]);
    blob(&manifest["config"]["digest"])
}

fn extract(
    client: &Client,
    number: usize,
    parent: &str,
    labels: &[(&str, &str)],
) -> Result<Vec<Mount>, tonic::Status> {
    let labels = labels
        .iter()
        .map(|(name, value)| (format!("containerd.io/{name}"), (*value).to_owned()));
    let message = Prepare {
        snapshotter: "bundle".into(),
        key: format!("default/{number}/extract-{number}-abcd sha256:x"),
        parent: parent.into(),
        labels: labels.collect::<BTreeMap<_, _>>(),
    };
    let made = client.call::<_, Mounts>(SNAPSHOTS, "Prepare", message)?;
    Ok(mounts_of(made.mounts))
}

/// Makes a container of a snapshot, and looks into it.
fn check_container(scratch: &Scratch, server: &Server, client: &Client, parent: &str) {
    let key = format!("default/9/{}", parent.len());
    let mounts = client
        .prepare(&key, Some(parent), &SnapshotOptions::default())
        .unwrap();
    let target = scratch.path("target");
    fs::create_dir_all(&target).unwrap();
    let mounter = SystemMounter::new(server.store.join("staging"));
    mounter.mount(&target, &mounts).unwrap();
    let motd = fs::read_to_string(target.join("etc/motd"));
    let draft = target.join("etc/draft").exists();
    mounter.unmount(&target).unwrap();
    assert!(!motd.unwrap().is_empty() && !draft);
    client.remove(&key).unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_that_is_there_is_staged_for_containerd_2_4() {
    let scratch = Scratch::new(&[]);
    let server = Server::start(&scratch);
    let client = server.client();
    let sample = bring_sample(&scratch, &server);
    assert_eq!(client.listed(&[]).unwrap(), []);
    let mut parent = String::new();
    for (number, (chain, diff_id)) in sample.chains.iter().zip(&sample.diff_ids).enumerate() {
        let mut labels = vec![
            ("snapshot.ref", chain.as_str()),
            ("snapshot/diff-id", diff_id.as_str()),
        ];
        if number > 0 {
            labels.push(("snapshot/parent-chain-id", &sample.chains[number - 1]));
        }
        let mounts = extract(&client, number, &parent, &labels).unwrap();
        // Nothing is fetched or applied then.
        assert!(mounts.last().unwrap().is_read_only(), "{mounts:?}");
        let name = format!("default/{number}/{chain}");
        let message = Commit {
            name: name.clone(),
            key: format!("default/{number}/extract-{number}-abcd sha256:x"),
            parent: parent.clone(),
            ..Commit::default()
        };
        client
            .call::<_, Empty>(SNAPSHOTS, "Commit", message)
            .unwrap();
        parent = name;
    }
    check_container(&scratch, &server, &client, &parent);
    // What the store has not is unpacked as always.
    let other = format!("sha256:{}", "a".repeat(64));
    let labels = [
        ("snapshot.ref", other.as_str()),
        ("snapshot/diff-id", &other),
    ];
    let mounts = extract(&client, 7, "", &labels).unwrap();
    assert!(!mounts[0].is_read_only());
    let names: Vec<String> = client
        .listed(&[])
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    // The command's image may go: the snapshots keep the layers.
    scratch
        .tool(&["remove-bundle"])
        .arg(scratch.path("bundle"))
        .succeed();
    scratch
        .tool(&["store", "gc", "--store"])
        .arg(&server.store)
        .succeed();
    check_container(&scratch, &server, &client, &parent);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_that_is_there_exists_for_containerd_2_0() {
    let scratch = Scratch::new(&[]);
    let server = Server::start(&scratch);
    let client = server.client();
    let sample = bring_sample(&scratch, &server);
    let mut parent = String::new();
    for (number, chain) in sample.chains.iter().enumerate() {
        for _ in 0..2 {
            let refused = extract(&client, number, &parent, &[("snapshot.ref", chain)]);
            assert_eq!(refused.unwrap_err().code(), Code::AlreadyExists);
        }
        let parent_filter = if parent.is_empty() {
            "parent==\"\"".to_owned()
        } else {
            format!("parent==\"{parent}\"")
        };
        let filter = format!("labels.\"containerd.io/snapshot.ref\"=={chain},{parent_filter}");
        let found = client.listed(&[&filter]).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        client.stat(&found[0].name).unwrap();
        parent.clone_from(&found[0].name);
    }
    check_container(&scratch, &server, &client, &parent);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owners_are_mapped_by_labels() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new(&[]);
    let server = Server::start(&scratch);
    let client = server.client();
    let label = |name: &str| {
        let name = format!("containerd.io/snapshot/{name}mapping");
        (name, "0:100000:65536".to_owned())
    };
    let options = SnapshotOptions::with_labels([label("uid"), label("gid")]);
    let mounts = client.prepare("default/1/box", None, &options).unwrap();
    let options: Vec<String> = mounts[0]
        .options
        .iter()
        .map(|option| option.to_string_lossy().into_owned())
        .collect();
    for wanted in ["uidmap=0:100000:65536", "gidmap=0:100000:65536"] {
        assert!(options.iter().any(|option| option == wanted), "{options:?}");
    }
    let upper = options
        .iter()
        .find_map(|option| option.strip_prefix("upperdir="));
    let root = fs::metadata(upper.unwrap()).unwrap();
    assert_eq!((root.uid(), root.gid()), (100_000, 100_000));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_a_killed_server_has_begun_is_finished_or_gone() {
    let scratch = Scratch::new(&[]);
    let mut points = 0;
    for point in [
        "container-staged",
        "container-made",
        "snapshot-recorded",
        "serve-prepared",
        "commit-layer",
        "snapshot-becoming",
        "snapshot-committed",
        "snapshot-forgotten",
        "container-remove",
        "container-removed",
    ] {
        let mut server = Server::start_with(&scratch, &[], &[("BUNDLE_FAULT", point)]);
        let client = server.client();
        let plain = SnapshotOptions::default();
        let (key, name) = (format!("key {point}"), format!("name {point}"));
        let died = client.prepare(&key, None, &plain).is_err()
            || client.commit(&name, &key, &plain).is_err()
            || client.remove(&name).is_err();
        assert!(died, "nothing has passed {point}");
        points += 1;
        assert!(!server.program.child.wait().unwrap().success());
        drop(server);
        // The next one finds one of the two, and can go on.
        let server = Server::start(&scratch);
        let client = server.client();
        let known = client.listed(&[]).unwrap();
        assert!(known.len() <= 1, "{point}: {known:?}");
        for info in known {
            client.remove(&info.name).unwrap();
        }
        client.prepare(&key, None, &plain).unwrap();
        client.remove(&key).unwrap();
        client.cleanup().unwrap();
    }
    assert_eq!(points, 10);
    let store = scratch.path("store");
    for _ in 0..2 {
        scratch
            .tool(&["store", "gc", "--store"])
            .arg(&store)
            .succeed();
    }
    assert_eq!(fs::read_dir(store.join("active")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.join("trash")).unwrap().count(), 0);
}
