//! A root file system that is a container of the store: its upper directory says what has changed.
//!
//! It is compared with the image that the bundle is of. The layers below it are those of the image that it was unpacked
//! from for good: a refreshed bundle needs no other mount, and what has been packed is in the upper directory and in the
//! image, and equal.

use std::io::Write;

use super::{RepackOptions, RootFs, Source};
use crate::bundle::OverlayMetadata;
use crate::error::Result;
use crate::fs::mount::Mount;
use crate::fs::{Access, Root};
use crate::layer::{GenerateOptions, generate_linked_layer};
use crate::layout::DescriptorPath;
use crate::ops::extract::Found;
use crate::ops::store::{BringInOptions, add_found, check_contents};
use crate::overlay::Changes;
use crate::progress::{Progress, Silent};
use crate::store::{Container, LeasedStore, StoreOptions};

/// A root file system that is a container of the store.
pub(super) struct Overlay<'a> {
    source: &'a Source<'a>,
    /// The container does not say yet that it needs the layers of the image that is written.
    store: LeasedStore,
    container: Container,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    pub(super) fn open(
        source: &'a Source<'a>,
        metadata: &OverlayMetadata,
        options: &RepackOptions,
    ) -> Result<Self> {
        let options = StoreOptions {
            path: metadata.store.clone(),
            create: false,
            ..options
                .store
                .clone()
                .unwrap_or_else(|| StoreOptions::new(&metadata.store))
        };
        let store = LeasedStore::open(options)?;
        let container = store.container(&metadata.key)?;
        check_contents(&source.dir, &container)?;
        Ok(Self {
            source,
            store,
            container,
            changes: Changes::default(),
        })
    }

    fn contents(&self) -> Result<Mount> {
        self.store.mount_contents(&self.container)
    }
}

impl RootFs for Overlay<'_> {
    fn diff(&mut self, masks: &[Vec<u8>], _: &RepackOptions) -> Result<super::Found> {
        let found = Found::at(&self.source.image.layout, self.source.path.clone())?;
        let layout = &self.source.image.layout;
        // Nearly always all of it is there.
        let chain = add_found(
            &self.store,
            &found,
            layout,
            BringInOptions::default(),
            &Silent,
        )?;
        let (changes, sockets) = self
            .store
            .packable_changes_of(&self.container, &chain, masks)?;
        self.changes = changes;
        Ok(super::Found {
            changed: !self.changes.changes.is_empty(),
            masked_count: self.changes.masked_count,
            sockets,
        })
    }

    fn generate(
        &mut self,
        out: &mut dyn Write,
        options: &GenerateOptions,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mount = self.contents()?;
        let root = Root::from_dir(mount.root()?, Access::Plain)?;
        let Changes { changes, links, .. } = &self.changes;
        generate_linked_layer(out, &root, changes, links, options, progress, &mut |_| {})
    }

    /// Makes the bundle one of the image that was written. The new layer goes to the store, to be compared with; the
    /// container stays on the layers that it is laid on.
    fn refresh(&mut self, path: &DescriptorPath, progress: &dyn Progress) -> Result<()> {
        let layout = &self.source.image.layout;
        let found = Found::at(layout, path.clone())?;
        add_found(
            &self.store,
            &found,
            layout,
            BringInOptions::default(),
            progress,
        )?;
        self.source.replace_metadata(path)
    }
}
