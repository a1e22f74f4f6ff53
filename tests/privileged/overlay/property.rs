//! Any image: what the overlay shows is what the flat unpack makes, and what one refuses, the other refuses.
//!
//! All cases of a run share one store, so that layers, variants and patches of other chains are around, and parts of it
//! are taken away by `gc` from time to time.

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use oci_bundle::cas::{Algorithm, Digest};
use oci_bundle::image::{ChainId, DiffId, Reference};
use oci_bundle::ops::store::{OverlayBundle, check, unpack_overlay};
use oci_bundle::ops::{self, UnpackOptions};
use oci_bundle::progress::Silent;
use oci_bundle::store::check::CheckOptions;
use oci_bundle::store::{
    GcOptions, LayersOption, LeasedStore, MountOptions, Store, StoreOptions, SyncPolicy,
};
use oci_bundle::{Error, ErrorKind};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::recipe::{Entry, What, layers, tar_of};
use crate::image::Image;
use crate::machine::{Scratch, Tmpfs};
use crate::tree::Tree;

/// How many images the store has before those that are there are taken away.
const IMAGES: usize = 8;

/// A directory to unpack in, and the store of all cases.
pub struct Bench<'s> {
    dir: &'s Path,
    store: Store,
    cases: Cell<usize>,
    failed: Cell<bool>,
}

impl<'s> Bench<'s> {
    pub fn new(dir: &'s Path) -> Self {
        Self::with(dir, LayersOption::Dir)
    }

    fn with(dir: &'s Path, layers: LayersOption) -> Self {
        let mut options = store_options(&dir.join("store"));
        options.layers = layers;
        Self {
            dir,
            store: Store::open(options).unwrap(),
            cases: Cell::new(0),
            failed: Cell::new(false),
        }
    }

    /// Compares both ways to unpack an image, as far up as it can be unpacked, and with the first layer that cannot.
    fn check_all(&self, layers: &[Vec<Entry>]) -> Result<(), TestCaseError> {
        for count in 1..=layers.len() {
            // Mostly all can.
            if count == 1 && self.check(layers)? || !self.check(&layers[..count])? {
                break;
            }
        }
        Ok(())
    }

    /// Compares both ways to unpack an image; `false` if it cannot be unpacked in either.
    pub fn check(&self, layers: &[Vec<Entry>]) -> Result<bool, TestCaseError> {
        self.cases.set(self.cases.get() + 1);
        let layout = self.dir.join("layout");
        let tars = layers.iter().map(|layer| tar_of(layer));
        tars.fold(Image::new(), Image::tar_layer).write(&layout);
        let reference: Reference = format!("{}:latest", layout.display()).parse().unwrap();
        let (flat, over) = (self.dir.join("flat"), self.dir.join("over"));
        let options = UnpackOptions::default();
        let unpacked = ops::unpack(&reference, &flat, &options, &Silent);
        let mounted = unpack_overlay(
            &reference,
            &over,
            &LeasedStore::open(self.store.options().clone()).unwrap(),
            &options,
            &MountOptions::default(),
            &Silent,
        );
        let works = unpacked.is_ok();
        let same = match (unpacked, mounted) {
            (Ok(()), Ok(_)) => {
                let flat = Tree::read(&flat.join("rootfs"));
                let mut found = flat.differences(&Tree::read(&over.join("rootfs")));
                if found.is_empty() {
                    found = flat.differences(&self.view(layers));
                }
                found
            }
            (_, Err(error)) if is_refusal(&error, layers) => String::new(),
            (Err(_), Err(over)) if is_of_content(&over) => String::new(),
            (Err(_), Err(over)) => over.chain(),
            (Ok(()), Err(error)) => format!("only the overlay fails: {}\n", error.chain()),
            (Err(error), Ok(_)) => format!("only the flat unpack fails: {}\n", error.chain()),
        };
        self.clear(&layout, &flat, &over);
        if same.is_empty() {
            Ok(works)
        } else {
            // The first one whole: what it is shrunk to comes to a store with other things in it.
            if !self.failed.replace(true) {
                let case = self.cases.get();
                eprintln!("case {case}: {layers:#?}\nfirst flat, then overlay\n{same}");
            }
            Err(TestCaseError::fail(format!(
                "first flat, then overlay\n{same}"
            )))
        }
    }

    /// What the image shows, mounted to be read.
    fn view(&self, layers: &[Vec<Entry>]) -> Tree {
        let diff_ids = layers.iter().map(|layer| tar_of(layer));
        let diff_ids = diff_ids.map(|tar| DiffId(Digest::of(Algorithm::Sha256, &tar)));
        let id = ChainId::of(&diff_ids.collect::<Vec<_>>());
        let chain = self.store.chain(id.as_ref()).unwrap();
        let root = self.store.mount_view(&chain).unwrap().root().unwrap();
        Tree::read(Path::new(&format!(
            "/proc/self/fd/{}/.",
            root.as_fd().as_raw_fd()
        )))
    }

    fn clear(&self, layout: &Path, flat: &Path, over: &Path) {
        if over.exists() {
            let bundle = OverlayBundle::open(over, store_options).unwrap().unwrap();
            bundle.remove(false).unwrap();
        }
        if flat.exists() {
            fs::remove_dir_all(flat).unwrap();
        }
        fs::remove_dir_all(layout).unwrap();
        let images = self.store.images().unwrap();
        if images.len() >= IMAGES {
            let report = check(&self.store, CheckOptions::default(), &Silent).unwrap();
            assert!(report.is_clean(), "{report:#?}");
            // Some of them: what is left shares parts with what goes.
            for image in images.iter().skip(IMAGES / 4) {
                self.store.remove_image(image.digest()).unwrap();
            }
            self.store.gc(GcOptions::default()).unwrap();
        }
    }
}

/// Whether an error is one of an image that nobody can unpack.
fn is_of_content(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotFound)
}

/// Whether the overlay refuses what it cannot show, and the flat unpack can.
fn is_refusal(error: &Error, layers: &[Vec<Entry>]) -> bool {
    error.kind() == ErrorKind::Unsupported
        && layers
            .iter()
            .flatten()
            .any(|entry| entry.what == What::CharDevice(0, 0))
}

fn store_options(path: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(path);
    options.sync = SyncPolicy::None;
    options
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_on_an_image_of_tar_files_shows_what_a_flat_unpack_makes() {
    let scratch = Scratch::new(&[]);
    // Images are not mounted from files in memory.
    let place = scratch.place();
    let bench = Bench::with(place.path(), LayersOption::Tar);
    let config = Config {
        cases: std::env::var("PROPTEST_CASES").map_or(64, |cases| cases.parse().unwrap()),
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&layers(), |layers| bench.check_all(&layers));
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_shows_what_a_flat_unpack_makes() {
    let scratch = Scratch::new(&[]);
    let memory = Tmpfs::mount(scratch.path("memory"), "size=1g,mode=755");
    let bench = Bench::new(memory.path());
    let config = Config {
        cases: std::env::var("PROPTEST_CASES").map_or(64, |cases| cases.parse().unwrap()),
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&layers(), |layers| bench.check_all(&layers));
    result.unwrap_or_else(|error| panic!("{error}"));
}
