//! Mounts of the library's: overlays by every method, bind and id-mapped mounts, who keeps them busy, user namespaces.
//!
//! Everything is mounted below a temporary directory; [`Scratch`] fails the test when something stays mounted there.

mod attached;
mod fallback;
mod features;
mod mapped;
mod methods;
pub mod namespace;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use oci_bundle::Result;
use oci_bundle::fs::mount::{Mount, MountAttributes, MountMethod, Overlay, Upper};
use oci_bundle::fs::{Access, Dir, XattrNamespace};

use crate::machine::Scratch;

/// A fresh directory `name` in the scratch directory.
fn made(scratch: &Scratch, name: &str) -> Dir {
    fs::create_dir(scratch.path(name)).unwrap();
    opened(&scratch.path(name))
}

fn opened(path: &Path) -> Dir {
    Dir::open(path, Access::Plain).unwrap()
}

/// What the tests mount: layers, perhaps with an upper directory.
struct Stack<'a> {
    scratch: &'a Scratch,
    /// The topmost first.
    lowers: Vec<Dir>,
    upper: Option<(Dir, Dir)>,
    marks: XattrNamespace,
    attributes: MountAttributes,
    read_only: bool,
    volatile: bool,
}

impl<'a> Stack<'a> {
    fn new(scratch: &'a Scratch, lowers: Vec<Dir>) -> Self {
        Self {
            scratch,
            lowers,
            upper: None,
            marks: XattrNamespace::Trusted,
            attributes: MountAttributes::default(),
            read_only: false,
            volatile: false,
        }
    }

    /// So many layers, each with a file of its own and one that all have, which says whose it is.
    fn of(scratch: &'a Scratch, count: usize) -> Self {
        let lower = |index| {
            let dir = made(scratch, &format!("lower-{index}"));
            let path = scratch.path(&format!("lower-{index}"));
            fs::write(path.join(format!("own-{index}")), "").unwrap();
            fs::write(path.join("all"), format!("{index}")).unwrap();
            dir
        };
        Self::new(scratch, (0..count).map(lower).collect())
    }

    /// With fresh directories `name` and `name`-work for changes.
    fn with_upper(mut self, name: &str) -> Self {
        let upper = made(self.scratch, name);
        let work = made(self.scratch, &format!("{name}-work"));
        self.upper = Some((upper, work));
        self
    }

    fn mount(&self, how: Option<MountMethod>) -> Result<Mount> {
        let lowers: Vec<_> = self.lowers.iter().map(Dir::as_fd).collect();
        let upper = self.upper.as_ref();
        let overlay = Overlay {
            lowers: &lowers,
            upper: upper.map(|(dir, work)| Upper { dir, work }),
            marks: self.marks,
            source: "bundle:test",
            volatile: self.volatile,
            read_only: self.read_only,
            attributes: self.attributes,
            selinux_context: None,
        };
        overlay.mount(how, &opened(&self.scratch.path("")))
    }
}

/// The names in the root of a mount.
fn names(mount: &Mount) -> Vec<String> {
    let names = mount.root().unwrap().names().unwrap().into_iter();
    names.map(|name| String::from_utf8(name).unwrap()).collect()
}
