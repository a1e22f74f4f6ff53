//! `store changes` and `store diff`: what a container has changed, what an image has that another one has not.

use std::io::Write;

use super::object_ref::ObjectRef;
use crate::archive::{Encoder, EncoderOptions};
use crate::error::{Result, ResultExt};
use crate::fs::mount::Mount;
use crate::fs::{Access, Change, Root};
use crate::layer::{GenerateOptions, generate_layer, generate_linked_layer};
use crate::overlay::{Changes, Stack, changes_between};
use crate::progress::Progress;
use crate::store::{Chain, Container, LeasedStore};

/// What differs, and where its content is.
#[derive(Debug)]
pub struct Difference<'a> {
    store: &'a LeasedStore,
    of: Of,
}

#[derive(Debug)]
enum Of {
    Container(Container, Changes),
    Chain(Chain, Vec<Change>),
}

impl<'a> Difference<'a> {
    /// Finds what a container or an image has beyond another image. Without another one, that of a container is the one that
    /// it is laid on, and that of an image is nothing at all.
    ///
    /// # Errors
    ///
    /// Those of [`ObjectRef::find`]; [`InvalidInput`](crate::ErrorKind::InvalidInput) if the words mean something else; those
    /// of comparing.
    pub fn find(store: &'a LeasedStore, word: &str, other: Option<&str>) -> Result<Self> {
        let other = match other {
            Some(word) => Some(ObjectRef::find(store, word)?.image_chain(store, word)?),
            None => None,
        };
        let meant = ObjectRef::find(store, word)?;
        let compared = || format!("compare {word}");
        let of = match meant {
            ObjectRef::Container(container) => {
                let below = match other {
                    Some(other) => other,
                    None => store.chain(container.meta().chain.as_ref())?,
                };
                let changes = store.changes_of(&container, &below, &[]);
                Of::Container(container, changes.context(compared)?)
            }
            meant => {
                let chain = meant.image_chain(store, word)?;
                let old = match &other {
                    Some(other) => store.view(other)?,
                    None => Stack::new(Vec::new(), store.marks()),
                };
                let changes = changes_between(&old, &store.view(&chain)?);
                Of::Chain(chain, changes.context(compared)?)
            }
        };
        Ok(Self { store, of })
    }

    /// What differs, sorted by paths.
    pub fn changes(&self) -> &[Change] {
        match &self.of {
            Of::Container(_, changes) => &changes.changes,
            Of::Chain(_, changes) => changes,
        }
    }

    /// Writes the differences as the tar stream of a layer.
    ///
    /// # Errors
    ///
    /// Those of mounting and reading what is packed, and those of `out`, which then has the beginning of an archive.
    pub fn write(
        &self,
        out: &mut dyn Write,
        source_date_epoch: Option<i64>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut options = GenerateOptions {
            source_date_epoch,
            ..GenerateOptions::default()
        };
        let ignored = &mut |_| {};
        match &self.of {
            Of::Container(container, Changes { changes, links, .. }) => {
                options.map_options = container.meta().maps.clone();
                let mount = self.store.mount_contents(container)?;
                let root = root(&mount)?;
                generate_linked_layer(out, &root, changes, links, &options, progress, ignored)
            }
            Of::Chain(chain, changes) => {
                let mount = self.store.mount_view(chain)?;
                generate_layer(out, &root(&mount)?, changes, &options, progress, ignored)
            }
        }
    }

    /// The same, compressed.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and those of the compression's options.
    pub fn write_compressed(
        &self,
        out: &mut dyn Write,
        compression: EncoderOptions,
        source_date_epoch: Option<i64>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut encoder = Encoder::new(out, compression)?;
        self.write(&mut encoder, source_date_epoch, progress)?;
        encoder.finish().context(|| "compress a layer")?;
        Ok(())
    }
}

fn root(mount: &Mount) -> Result<Root> {
    Root::from_dir(mount.root()?, Access::Plain)
}
