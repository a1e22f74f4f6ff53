//! Any image: what the overlay shows is what the flat unpack makes.
//!
//! All cases of a run share one store, so that layers, variants and patches of other chains are around, and parts of it
//! are taken away by `gc` from time to time.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use oci_bundle::image::Reference;
use oci_bundle::ops::store::{OverlayBundle, unpack_overlay};
use oci_bundle::ops::{self, UnpackOptions};
use oci_bundle::progress::Silent;
use oci_bundle::store::{GcOptions, MountOptions, Store, StoreOptions, SyncPolicy};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::recipe::{Entry, layers, tar_of};
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
}

impl<'s> Bench<'s> {
    pub fn new(dir: &'s Path) -> Self {
        Self {
            dir,
            store: Store::open(store_options(&dir.join("store"))).unwrap(),
            cases: Cell::new(0),
        }
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
            &self.store,
            &options,
            &MountOptions::default(),
            &Silent,
        );
        let works = unpacked.is_ok();
        let same = match (unpacked, mounted) {
            (Ok(()), Ok(_)) => {
                let flat = Tree::read(&flat.join("rootfs"));
                flat.differences(&Tree::read(&over.join("rootfs")))
            }
            (Err(_), Err(_)) => String::new(),
            (Ok(()), Err(error)) => format!("only the overlay fails: {}\n", error.chain()),
            (Err(error), Ok(_)) => format!("only the flat unpack fails: {}\n", error.chain()),
        };
        self.clear(&layout, &flat, &over);
        if same.is_empty() {
            Ok(works)
        } else {
            Err(TestCaseError::fail(format!(
                "first flat, then overlay\n{same}"
            )))
        }
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
            // Some of them: what is left shares parts with what goes.
            for image in images.iter().skip(IMAGES / 4) {
                self.store.remove_image(image.digest()).unwrap();
            }
            self.store.gc(GcOptions::default()).unwrap();
        }
    }
}

fn store_options(path: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(path);
    options.sync = SyncPolicy::None;
    options
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
    let result = TestRunner::new(config).run(&layers(), |layers| bench.check(&layers).map(drop));
    result.unwrap_or_else(|error| panic!("{error}"));
}
