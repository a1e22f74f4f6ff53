//! Overlay mode against the flat unpack: the same image, entry for entry, in every way that it can be mounted.
//!
//! - `recipe`: layers as lists of entries, generated or written down
//! - `matrix`: the cases that layer stores get wrong, by every way to mount
//! - `property`: any image
//! - `found`: what that has found
//! - `limits`: many layers, few open files
//! - `maps`: other owners; `rootless`: ordinary users in user namespaces
//! - `tars`: layers that are kept as tar files
//! - `parts`: images of which the store has lost something
//! - `bundles`: what a command leaves behind, who holds a mount, odd paths, runtimes

mod bundles;
mod found;
mod limits;
mod maps;
mod matrix;
mod parts;
mod property;
mod recipe;
mod rootless;
mod tars;

use std::path::{Path, PathBuf};

use recipe::{Entry, tar_of};

use crate::image::Image;
use crate::machine::{Bounded, Scratch};
use crate::tree::Tree;

/// An image, and a store for it.
struct Trial<'s> {
    scratch: &'s Scratch,
    name: String,
}

impl<'s> Trial<'s> {
    fn new(scratch: &'s Scratch, name: &str, layers: &[Vec<Entry>]) -> Self {
        let tars = layers.iter().map(|layer| tar_of(layer));
        let image = tars.fold(Image::new(), Image::tar_layer);
        let name = name.to_owned();
        let trial = Self { scratch, name };
        image.write(&trial.path("layout"));
        trial
    }

    fn path(&self, what: &str) -> PathBuf {
        self.scratch.path(&format!("{}-{what}", self.name))
    }

    fn image(&self) -> String {
        format!("{}:latest", self.path("layout").display())
    }

    /// A command of the tested binary with this store, after variables of the environment.
    fn command(&self, environment: &[&str], command: &str) -> Bounded {
        Bounded::new("env", 120)
            .args(environment)
            .arg(self.scratch.binary())
            .args(&[command, "--no-sync", "--store"])
            .arg(self.path("store"))
    }

    fn unpack_flat(&self, options: &[&str]) -> Bounded {
        let command = self.scratch.tool(&["unpack", "--image", &self.image()]);
        command.args(options).arg(self.path("flat"))
    }

    fn unpack_overlay(&self, environment: &[&str], options: &[&str]) -> Bounded {
        self.command(environment, "unpack")
            .args(&["--overlay", "--image", &self.image()])
            .args(options)
            .arg(self.path("over"))
    }

    fn flat(&self, options: &[&str]) -> Tree {
        self.unpack_flat(options).succeed();
        Tree::read(&self.path("flat/rootfs"))
    }

    /// What the overlay bundle shows; it is gone then.
    fn overlay(&self, environment: &[&str], options: &[&str]) -> Tree {
        self.unpack_overlay(environment, options).succeed();
        let tree = Tree::read(&self.path("over/rootfs"));
        self.command(&[], "remove-bundle")
            .arg(self.path("over"))
            .succeed();
        tree
    }

    /// What the image shows, mounted to be read.
    fn view(&self, environment: &[&str]) -> Tree {
        let target = self.path("view");
        std::fs::create_dir_all(&target).unwrap();
        self.command(environment, "mount")
            .args(&["--image", &self.image()])
            .arg(&target)
            .succeed();
        let tree = Tree::read(&target);
        self.unmount(&target);
        tree
    }

    fn unmount(&self, target: &Path) {
        self.command(&[], "umount").arg(target).succeed();
    }
}
