//! Debian's docker-registry, started on a free port with a directory of its own.

use std::io::{Cursor, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_bundle::ErrorKind;
use oci_bundle::cas::{Algorithm, Digest, VerifyingReader};
use oci_bundle::image::{CONFIG, Descriptor, LAYER, MANIFEST};
use oci_bundle::transfer::registry::{
    Credentials, Registry, RegistryName, RegistryOptions, RepositoryReader, Uploaded,
};
use serde_json::{Value, json};

use super::script::options;
use super::sha256;
use crate::support::{Layer, Outcome, Scratch, store_layers};

/// How a registry is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Plain,
    /// With a certificate of an authority of its own.
    Tls,
    /// With a password: `user` and `secret`.
    Password,
}

/// A registry that is running.
struct Server {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts one; `None` where the program is not installed.
    fn start(how: How) -> Option<Self> {
        if Command::new("docker-registry")
            .arg("--version")
            .output()
            .is_err()
        {
            // Not a failure: the scripted registry covers the protocol; packages docker-registry and apache2-utils.
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let path = |name: &str| directory.path().join(name);
        let mut http = json!({"addr": format!("127.0.0.1:{port}")});
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": path("data")}},
        });
        if how == How::Tls {
            make_certificates(directory.path());
            http["tls"] = json!({"certificate": path("server.pem"), "key": path("server.key")});
        }
        if how == How::Password {
            let file = path("htpasswd");
            let made = Command::new("htpasswd")
                .args(["-cbB", file.to_str().unwrap(), "user", "secret"])
                .output();
            assert!(made.unwrap().status.success());
            config["auth"] = json!({"htpasswd": {"realm": "x", "path": file}});
        }
        config["http"] = http;
        // JSON is YAML.
        std::fs::write(path("config.yml"), config.to_string()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            port,
            directory,
        };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    fn name(&self, rest: &str) -> RegistryName {
        format!("localhost:{}/{rest}", self.port).parse().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate of it for localhost: `ca.crt`, `server.pem`, `server.key`.
fn make_certificates(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl")
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let authority = [
        "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test", "-days", "2",
    ];
    openssl(&[&["req", "-x509"], &key[..], &authority[..]].concat());
    let request = [
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        "/CN=localhost",
    ];
    openssl(&[&["req"], &key[..], &request[..]].concat());
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
}

fn put(
    client: &Registry,
    name: &RegistryName,
    media_type: &str,
    bytes: &[u8],
) -> (Descriptor, Uploaded) {
    let blob = Descriptor::new(media_type, sha256(bytes), bytes.len() as u64);
    let writer = client.writer(name, &[]).unwrap();
    let open = || Ok(Box::new(Cursor::new(bytes.to_vec())) as Box<dyn Read>);
    let uploaded = writer.push_blob(&blob, None, &open).unwrap();
    (blob, uploaded)
}

fn get(reader: &RepositoryReader, blob: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    let found = reader.blob(blob).unwrap();
    VerifyingReader::new(found, blob.digest().clone(), blob.size())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Pushes an image, pulls it, and finds it the same.
fn round_trip(server: &Server, options: RegistryOptions) {
    let client = Registry::new(options).unwrap();
    let name = server.name("team/app:1");
    let layer: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 253) as u8).collect();
    let (layer_blob, uploaded) = put(&client, &name, LAYER, &layer);
    assert_eq!(uploaded, Uploaded::Sent);
    assert_eq!(put(&client, &name, LAYER, &layer).1, Uploaded::Existing);
    let (config, _) = put(&client, &name, CONFIG, b"{}");
    let (empty, _) = put(&client, &name, LAYER, b"");
    assert_eq!(empty.size(), 0);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": Value::Object(config.raw().clone()), "layers": [Value::Object(layer_blob.raw().clone())],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let writer = client.writer(&name, &[]).unwrap();
    writer.push_manifest("1", MANIFEST, &manifest).unwrap();
    let reader = client.reader(&name).unwrap();
    let (descriptor, pulled) = reader.manifest("1").unwrap();
    assert_eq!(pulled, manifest);
    assert_eq!(descriptor.digest(), &sha256(&manifest));
    assert!(get(&reader, &layer_blob) == layer);
    assert_eq!(reader.tags().unwrap(), ["1"]);
    let error = reader.manifest("2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    // Another repository takes the layer over.
    let other = client
        .writer(&server.name("team/other"), &["team/app".to_owned()])
        .unwrap();
    let never = || -> oci_bundle::Result<Box<dyn Read>> { panic!("it is not read") };
    let mounted = other.push_blob(&layer_blob, Some("team/app"), &never);
    assert_eq!(mounted.unwrap(), Uploaded::Mounted);
}

#[test]
fn an_image_goes_to_a_plain_registry_and_back() {
    let Some(server) = Server::start(How::Plain) else {
        return;
    };
    round_trip(&server, options());
    let client = Registry::new(options()).unwrap();
    let writer = client.writer(&server.name("team/app"), &[]).unwrap();
    let lies = Descriptor::new(LAYER, sha256(b"truth"), 4);
    let open = || Ok(Box::new(&b"lies"[..]) as Box<dyn Read>);
    let error = writer.push_blob(&lies, None, &open).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);

    // A signature of the image: this registry keeps no referrers.
    let subject = Descriptor::new(MANIFEST, sha256(b"subject"), 7);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/sig",
        "config": Value::Object(put(&client, &server.name("team/app"), CONFIG, b"{}").0.raw().clone()),
        "layers": [], "subject": Value::Object(subject.raw().clone()),
    });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    writer
        .push_manifest(&sha256(&bytes).to_string(), MANIFEST, &bytes)
        .unwrap();
    let reader = client.reader(&server.name("team/app")).unwrap();
    let found = reader.referrers(subject.digest(), Some("a/sig")).unwrap();
    assert_eq!(found[0].digest(), &sha256(&bytes));
}

#[test]
fn blobs_have_digests_of_sha512_too() {
    let Some(server) = Server::start(How::Plain) else {
        return;
    };
    let client = Registry::new(options()).unwrap();
    let digest = Digest::of(Algorithm::Sha512, b"content");
    let blob = Descriptor::new(LAYER, digest, 7);
    let writer = client.writer(&server.name("a"), &[]).unwrap();
    let open = || Ok(Box::new(&b"content"[..]) as Box<dyn Read>);
    assert_eq!(
        writer.push_blob(&blob, None, &open).unwrap(),
        Uploaded::Sent
    );
    assert_eq!(
        get(&client.reader(&server.name("a")).unwrap(), &blob),
        b"content"
    );
}

#[test]
fn a_registry_is_trusted_by_its_directory_of_certificates() {
    let Some(server) = Server::start(How::Tls) else {
        return;
    };
    let mut with = options();
    with.insecure = false;
    let client = Registry::new(with.clone()).unwrap();
    let error = client
        .reader(&server.name("a"))
        .unwrap()
        .tags()
        .unwrap_err();
    assert!(
        error.chain().to_lowercase().contains("certificate"),
        "{error:?}"
    );

    let host = format!("localhost:{}", server.port);
    std::fs::create_dir_all(server.path("certs.d").join(&host)).unwrap();
    let certificate = server.path("certs.d").join(&host).join("ca.crt");
    std::fs::copy(server.path("ca.crt"), certificate).unwrap();
    with.certs_dirs = vec![server.path("none"), server.path("certs.d")];
    round_trip(&server, with);

    // Without checks it works as well.
    let client = Registry::new(options()).unwrap();
    assert_eq!(
        client
            .reader(&server.name("team/app"))
            .unwrap()
            .tags()
            .unwrap(),
        ["1"]
    );
}

#[test]
fn a_certificate_without_its_key_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    make_certificates(scratch.path());
    let host = scratch.path().join("certs.d/localhost:1");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::copy(scratch.path().join("server.pem"), host.join("client.cert")).unwrap();
    let mut with = options();
    with.insecure = false;
    with.certs_dirs = vec![scratch.path().join("certs.d")];
    let client = Registry::new(with).unwrap();
    let reader = client.reader(&"localhost:1/a".parse().unwrap()).unwrap();
    let error = reader.tags().unwrap_err();
    assert!(error.chain().contains("client.key"), "{error:?}");
    let mut odd = std::fs::File::create(host.join("client.key")).unwrap();
    odd.write_all(b"nonsense").unwrap();
    let error = reader.tags().unwrap_err();
    assert!(error.chain().contains("client.key"), "{error:?}");
}

#[test]
fn a_registry_with_a_password_is_asked_with_it() {
    let Some(server) = Server::start(How::Password) else {
        return;
    };
    let client = Registry::new(options()).unwrap();
    let error = client
        .reader(&server.name("a"))
        .unwrap()
        .tags()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let mut with = options();
    with.credentials = Some(Credentials::Password {
        username: "user".to_owned(),
        password: "secret".to_owned(),
    });
    round_trip(&server, with);
}

/// The command with a layout that keeps what it fetches, and `TMPDIR` in the scratch directory.
fn run(scratch: &Scratch, line: &str) -> Outcome {
    let mut command = scratch.command(line.split_whitespace());
    command.env("XDG_CACHE_HOME", scratch.path("cache"));
    command.env("TMPDIR", scratch.path(""));
    Outcome::of(&mut command)
}

#[track_caller]
fn ok(scratch: &Scratch, line: &str) -> String {
    let outcome = run(scratch, line);
    assert_eq!((outcome.code, &*outcome.stderr), (0, ""), "{line}");
    outcome.stdout
}

#[test]
fn the_command_pushes_pulls_and_unpacks_in_one_pass() {
    let Some(server) = Server::start(How::Plain) else {
        return;
    };
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let lines: Vec<String> = (0..150_000).map(|number| format!("{number:7}\n")).collect();
    let text = lines.concat();
    let layers = [
        Layer::default().dir("d").file("d/one", &text),
        Layer::default().file("two", &text),
        Layer::default().file("d/.wh.one", "").file("three", "3"),
    ];
    store_layers(&scratch.path("x"), "a", &layers);
    let image = format!("docker://localhost:{}/team/app", server.port);
    let insecure = "--tls-verify=false";
    ok(&scratch, &format!("copy {insecure} x:a {image}:1"));
    let listed = scratch.ok("files -l -R --image x:a");
    assert_eq!(
        ok(
            &scratch,
            &format!("files {insecure} -l -R --image {image}:1")
        ),
        listed
    );

    ok(
        &scratch,
        &format!("unpack {insecure} --rootless --image {image}:1 bundle"),
    );
    assert_eq!(scratch.read("bundle/rootfs/two"), text);
    assert!(!scratch.path("bundle/rootfs/d/one").exists());
    // All was kept on the way, and is whole.
    let kept = "cache/bundle/images";
    scratch.ok(&format!("validate --layout {kept}"));
    let name = scratch.ok(&format!("ls --layout {kept}"));
    assert_eq!(name, format!("localhost:{}/team/app:1\n", server.port));
    assert_eq!(
        scratch.ok(&format!("files -l -R --image {kept}:{}", name.trim())),
        listed
    );

    // A copy to a layout goes there directly; another repository takes the layers over.
    let report = |line: String| -> Value { serde_json::from_str(&ok(&scratch, &line)).unwrap() };
    let copied = report(format!("copy {insecure} --json {image}:1 y:b"));
    // The manifest is there before the copy begins.
    assert_eq!(copied["copied"], 4);
    assert_eq!(scratch.ok("files -l -R --image y:b"), listed);
    let moved = report(format!("copy {insecure} --json {image}:1 {image}-2:x"));
    assert_eq!(
        (&moved["copied"], &moved["existing"]),
        (&0.into(), &4.into())
    );
    let again = report(format!("copy {insecure} --json x:a {image}:2"));
    assert_eq!(
        (&again["copied"], &again["existing"]),
        (&0.into(), &4.into())
    );

    // Without the registry, what is kept does.
    let missing = run(&scratch, &format!("files {insecure} --image {image}:none"));
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.contains("MANIFEST_UNKNOWN"),
        "{}",
        missing.stderr
    );
}

/// The platforms of an index with the digests of their images.
fn platforms(scratch: &Scratch, image: &str) -> Vec<(String, String)> {
    ok(
        scratch,
        &format!("copy --tls-verify=false --all {image} seen:x"),
    );
    let listed: Value =
        serde_json::from_str(&scratch.ok("index ls --json --image seen:x")).unwrap();
    let entries = listed.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries
        .map(|it| (text(&it["platform"]["architecture"]), text(&it["digest"])))
        .collect()
}

#[test]
fn an_image_of_a_registry_is_edited_there_and_those_for_other_platforms_stay() {
    let Some(server) = Server::start(How::Plain) else {
        return;
    };
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layers = [
        Layer::default().dir("d").file("d/one", "1"),
        Layer::default().file("two", "2"),
    ];
    store_layers(&scratch.path("x"), "a", &layers);
    scratch.ok("config --no-history --image x:a --tag b --platform.arch riscv64");
    scratch.ok("index create --image x:both a b");
    let insecure = "--tls-verify=false";
    let image = format!("docker://localhost:{}/team/app", server.port);
    ok(&scratch, &format!("copy {insecure} --all x:both {image}:1"));
    let before = platforms(&scratch, &format!("{image}:1"));
    assert_eq!(before.len(), 2);

    let label = format!("--no-history --config.label k=v --image {image}:1");
    ok(&scratch, &format!("config {insecure} {label}"));
    let get = format!("config {insecure} --get config.labels.k --image");
    assert_eq!(ok(&scratch, &format!("{get} {image}:1")), "v\n");
    // No layer was fetched for that.
    let layout = scratch.path("cache/bundle/images/blobs/sha256");
    let known: Value = serde_json::from_str(&scratch.ok("layers --json --image x:a")).unwrap();
    let known = known[0]["descriptor"]["digest"].as_str().unwrap();
    let layer = layout.join(known.strip_prefix("sha256:").unwrap());
    assert!(!layer.exists(), "{}", layer.display());
    let after = platforms(&scratch, &format!("{image}:1"));
    assert_eq!(after.len(), 2);
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(old.0, new.0);
        assert_eq!(old.1 == new.1, old.0 == "riscv64", "{old:?} {new:?}");
    }

    // With a tag, the image itself stays.
    scratch.write("file", "new");
    let file = scratch.path("file");
    let file = file.display();
    ok(
        &scratch,
        &format!("insert {insecure} --image {image}:1 --tag 2 {file} /d/new"),
    );
    let cat = |tag: &str| {
        run(
            &scratch,
            &format!("cat {insecure} --image {image}:{tag} /d/new"),
        )
    };
    assert_eq!(cat("2").stdout, "new");
    assert_eq!(cat("1").code, 1);
    ok(
        &scratch,
        &format!("squash {insecure} --image {image}:2 --tag 3"),
    );
    assert_eq!(cat("3").stdout, "new");
    let layers = ok(
        &scratch,
        &format!("layers {insecure} --json --image {image}:3"),
    );
    let layers: Value = serde_json::from_str(&layers).unwrap();
    assert_eq!(layers.as_array().unwrap().len(), 1);

    // The same for a bundle; where the other platform's image is not, the edited one is pushed alone.
    ok(
        &scratch,
        &format!("unpack {insecure} --rootless --image {image}:1 bundle"),
    );
    scratch.write("bundle/rootfs/more", "more");
    ok(
        &scratch,
        &format!("repack {insecure} --image {image}:4 bundle"),
    );
    let after = platforms(&scratch, &format!("{image}:4"));
    assert_eq!(after.len(), 2);
    assert!(after.contains(before.iter().find(|it| it.0 == "riscv64").unwrap()));
    let elsewhere = run(
        &scratch,
        &format!("repack {insecure} --image {image}-2:1 bundle"),
    );
    assert_eq!(elsewhere.code, 0, "{}", elsewhere.stderr);
    assert!(
        elsewhere
            .stderr
            .contains("only the one that was edited is pushed"),
        "{}",
        elsewhere.stderr
    );
    let cat = format!("cat {insecure} --image {image}-2:1 /more");
    assert_eq!(ok(&scratch, &cat), "more");
}
