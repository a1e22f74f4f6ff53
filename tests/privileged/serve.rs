//! `serve`: the store over containerd's protocol, with a client of the test, and with containerd itself.
//!
//! The contract of snapshots is tried over the socket by the suite in `store_snapshots`.

pub mod client;
mod containerd;
mod reuse;
mod scale;
pub mod server;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use oci_bundle::snapshots::{SnapshotOptions, Snapshotter};
use tonic::Code;

use super::machine::{NOBODY, Scratch, said};
use client::{Client, DIFF, Empty, HEALTH, Health, Mounts, Prepare, SNAPSHOTS, Service, key};
use server::Server;

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_server_is_healthy_until_it_is_asked_to_end() {
    let scratch = Scratch::new(&[]);
    let mut server = Server::start(&scratch);
    let client = server.client();
    for service in ["", SNAPSHOTS, DIFF] {
        let service = service.to_owned();
        let health: Health = client.call(HEALTH, "Check", Service { service }).unwrap();
        assert_eq!(health.status, 1);
    }
    let service = "other".to_owned();
    let unknown = client.call::<_, Health>(HEALTH, "Check", Service { service });
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let method = client.call::<_, Empty>(SNAPSHOTS, "Other", Empty {});
    assert_eq!(method.unwrap_err().code(), Code::Unimplemented);
    // A client that stays connected does not keep it.
    assert!(server.program.end().success(), "{}", server.program.said());
    assert!(client.stat("x").is_err());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn other_users_are_refused() {
    let scratch = Scratch::new(&["python3"]);
    let server = Server::start(&scratch);
    let mode = std::fs::metadata(&server.socket).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    // Even one that the mode lets in.
    std::fs::set_permissions(&server.socket, PermissionsExt::from_mode(0o666)).unwrap();
    let run = server.socket.parent().unwrap();
    std::fs::set_permissions(run, PermissionsExt::from_mode(0o755)).unwrap();
    let asks = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(20)\ns.connect(sys.argv[1])\n\
                try:\n  s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))\n  \
                print(len(s.recv(1)))\nexcept OSError: print(0)";
    let ask = |uid: u32| {
        let output = Command::new("timeout")
            .args(["30", "python3", "-c", asks])
            .arg(&server.socket)
            .uid(uid)
            .gid(uid)
            .output()
            .unwrap();
        said(&output).trim().to_owned()
    };
    assert_eq!((ask(0), ask(NOBODY)), ("1".into(), "0".into()));
    assert!(server.program.said().contains("another user was refused"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_comes_over_the_wire_is_bounded() {
    let scratch = Scratch::new(&[]);
    let server = Server::start(&scratch);
    let client = server.client();
    let prepare = |labels: BTreeMap<String, String>, key: &str| {
        let message = Prepare {
            key: key.into(),
            labels,
            ..Prepare::default()
        };
        let made = client.call::<_, Mounts>(SNAPSHOTS, "Prepare", message);
        made.map(drop).map_err(|status| status.code())
    };
    let many = (0..1000).map(|n| (n.to_string(), String::new())).collect();
    assert_eq!(prepare(many, "a"), Err(Code::ResourceExhausted));
    let long = BTreeMap::from([("a".to_owned(), "x".repeat(5000))]);
    assert_eq!(prepare(long, "a"), Err(Code::InvalidArgument));
    let none = BTreeMap::new;
    assert_eq!(
        prepare(none(), &"k".repeat(5000)),
        Err(Code::InvalidArgument)
    );
    assert_eq!(prepare(none(), ""), Err(Code::InvalidArgument));
    let beyond = prepare(none(), &"k".repeat(3 << 20)).unwrap_err();
    assert!([Code::OutOfRange, Code::ResourceExhausted].contains(&beyond));
    let label = |name: &str, value: &str| {
        BTreeMap::from([(format!("containerd.io/snapshot/{name}"), value.to_owned())])
    };
    let map = prepare(label("uidmapping", "0:1"), "a");
    assert_eq!(map, Err(Code::InvalidArgument));
    let size = prepare(label("max-size", "1000000"), "a");
    assert_eq!(size, Err(Code::Unimplemented));
    let filter = "name==".to_owned() + &"x".repeat(5000);
    let listed = client.listed(&[&filter]).unwrap_err();
    assert_eq!(listed.code(), Code::ResourceExhausted);
    assert_eq!(
        client.listed(&["name~=("]).unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(client.listed(&[]).unwrap(), []);
    let missing = client.call::<_, Mounts>(SNAPSHOTS, "Mounts", key("a"));
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn calls_are_counted_for_prometheus_on_the_loopback_interface_only() {
    let scratch = Scratch::new(&[]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let server = Server::start_with(&scratch, &["--metrics", &address], &[]);
    let client = server.client();
    client
        .prepare("a", None, &SnapshotOptions::default())
        .unwrap();
    client.stat("b").unwrap_err();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    for line in [
        "bundle_serve_call_seconds_count{method=\"Prepare\",code=\"0\"} 1",
        "bundle_serve_call_seconds_count{method=\"Stat\",code=\"5\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let refused = scratch
        .tool(&["serve", "--metrics", "0.0.0.0:0", "--socket"])
        .arg(scratch.path("other.sock"))
        .arg("--store")
        .arg(&server.store)
        .output();
    assert!(!refused.status.success() && said(&refused).contains("loopback"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_socket_that_was_passed_is_used_and_readiness_is_told() {
    let scratch = Scratch::new(&["python3"]);
    // systemd's part: a socket as descriptor 3, and one to hear of the state.
    let starts = "import os, socket, sys\nn = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\nn.bind(sys.argv[1])\n\
                  l = socket.socket(socket.AF_UNIX)\nl.bind(sys.argv[2])\nl.listen()\npid = os.fork()\n\
                  if pid == 0:\n  os.dup2(l.fileno(), 3, inheritable=True)\n  \
                  os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', NOTIFY_SOCKET=sys.argv[1])\n  \
                  os.execv(sys.argv[3], sys.argv[3:])\nn.settimeout(30)\nprint(n.recv(100).decode(), end=' ')\n\
                  os.kill(pid, 15)\nprint(n.recv(100).decode(), end=' ')\nprint(os.waitpid(pid, 0)[1])";
    let output = Command::new("timeout")
        .args(["60", "python3", "-c", starts])
        .args([scratch.path("notify"), scratch.path("passed.sock")])
        .arg(scratch.binary())
        .args(["serve", "--store"])
        .arg(scratch.path("store"))
        .output()
        .unwrap();
    assert_eq!(said(&output).trim(), "READY=1 STOPPING=1 0");
    drop(Client::new(&scratch.path("passed.sock")));
}
