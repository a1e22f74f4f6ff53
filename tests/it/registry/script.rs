//! A registry that answers as a test says: plain HTTP on loopback, one connection after the other, each closed after one
//! answer.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use oci_bundle::transfer::registry::{Registry, RegistryName, RegistryOptions};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET /v2/a/manifests/b?c=d`.
    pub line: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What the test answers.
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whether `Content-Length` is sent as it is.
    length: Option<usize>,
    /// Whether the connection stays open until the client closes it.
    held: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            length: Some(body.len()),
            body,
            held: false,
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Says that there are more bytes than there are: the connection is cut.
    pub fn length(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// Says that there are more bytes than there are, and keeps the client waiting for them.
    pub fn held(mut self, length: usize) -> Self {
        self.length = Some(length);
        self.held = true;
        self
    }

    /// Does not say how many bytes there are.
    pub fn no_length(mut self) -> Self {
        self.length = None;
        self
    }
}

/// A registry that is running.
pub struct Script {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Script {
    /// Starts one. `answer` is given each request, with its number from 0.
    pub fn start(mut answer: impl FnMut(&Seen, usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (seen, ended) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (all, end) = (seen.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                let Some(request) = read_request(&mut stream) else {
                    continue;
                };
                // How the client found out that this is no TLS.
                if request.line == "GET /v2/" {
                    write(&mut stream, &Answer::new(200, "{}"));
                    continue;
                }
                let number = {
                    let mut seen = all.lock().unwrap();
                    seen.push(request.clone());
                    seen.len() - 1
                };
                write(&mut stream, &answer(&request, number));
            }
        });
        Self {
            address,
            seen,
            ended,
            thread: Some(thread),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name of a repository here.
    pub fn name(&self, rest: &str) -> RegistryName {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Their first lines.
    pub fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// A client that may speak plain HTTP.
pub fn client() -> Registry {
    Registry::new(options()).unwrap()
}

/// Options without anything of this machine's, for plain HTTP.
pub fn options() -> RegistryOptions {
    let mut options = RegistryOptions::default();
    options.registries_conf.clear();
    options.certs_dirs.clear();
    options.insecure = true;
    options.stall_timeout = Duration::from_secs(10);
    options
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            // A handshake of TLS.
            Ok(1) if head.is_empty() && byte[0] == 0x16 => return None,
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Seen {
        line,
        headers,
        body,
    })
}

fn write(stream: &mut TcpStream, answer: &Answer) {
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", answer.status);
    if let Some(length) = answer.length {
        let _ = write!(head, "Content-Length: {length}\r\n");
    }
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    // The client may have seen enough.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(&answer.body);
    if !answer.held {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let _ = std::io::copy(&mut (&*stream).take(1 << 20), &mut std::io::sink());
}
