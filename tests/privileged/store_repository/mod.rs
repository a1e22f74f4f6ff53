//! A repository, with real mounts.
//!
//! - `layers`: layers and what they lie on, directories of the caller's own
//! - `mounts`: layers mounted and unmounted, each kind of failure
//! - `images`: images, names, archives

mod images;
mod layers;
mod mounts;

use std::fs;
use std::path::PathBuf;

use oci_bundle::Error;
use oci_bundle::cas::{Algorithm, Digest, MemoryStore};
use oci_bundle::compat::repository::{Created, Parent, Repository, RepositoryLayer};
use oci_bundle::image::DiffId;
use oci_bundle::store::{Key, Reason, Store, StoreOptions};

use crate::machine::Scratch;

const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;

/// A store, and blobs in memory.
struct World {
    scratch: Scratch,
    store: Store,
    blobs: MemoryStore,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new(&[]);
        let store = Store::open(StoreOptions::new(scratch.path("store"))).unwrap();
        let blobs = MemoryStore::new();
        Self {
            scratch,
            store,
            blobs,
        }
    }

    fn repository(&self) -> Repository<'_> {
        Repository::new(&self.store, &self.blobs, &self.scratch.path("layout")).unwrap()
    }

    /// So many layers, one on the other: each has a file `own-N`, and `all` that says N.
    fn layers(&self, count: usize) -> Vec<RepositoryLayer<'_>> {
        self.layers_that_say(count, |number| number.to_string())
    }

    /// The same, of content that other numbers of layers do not share.
    fn layers_of_their_own(&self, count: usize) -> Vec<RepositoryLayer<'_>> {
        self.layers_that_say(count, |number| format!("{count}:{number}"))
    }

    fn layers_that_say(
        &self,
        count: usize,
        all: impl Fn(usize) -> String,
    ) -> Vec<RepositoryLayer<'_>> {
        let mut layers: Vec<RepositoryLayer<'_>> = Vec::new();
        for number in 0..count {
            let stream = tar(&[(&format!("own-{number}"), ""), ("all", &all(number))]);
            let (layer, created) = self
                .repository()
                .unpack_layer(&mut stream.as_slice(), parent(layers.last()))
                .unwrap();
            assert_eq!(created, Created::New);
            layers.push(layer);
        }
        layers
    }

    fn target(&self, name: &str) -> PathBuf {
        let path = self.scratch.path(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

fn parent<'a>(layer: Option<&'a RepositoryLayer<'_>>) -> Parent<'a> {
    layer.map_or(Parent::Empty, |layer| Parent::Layer(layer.chain_id()))
}

/// A stream with these files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_mtime(1_600_000_000);
        tar.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn reason<T>(result: oci_bundle::Result<T>) -> Option<Reason> {
    Reason::of(&error(result))
}

fn error<T>(result: oci_bundle::Result<T>) -> Error {
    result.err().expect("it should fail")
}

fn diff_id_of_nothing() -> DiffId {
    DiffId(Digest::of(Algorithm::Sha256, b"no layer"))
}
