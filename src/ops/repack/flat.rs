//! A root file system of the bundle's own: compared with its record by one walk.

use std::io::{BufWriter, Write};

use super::{Found, RepackOptions, RootFs, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Access, Beneath, Change, Root, escape_name, without_mounts};
use crate::layer::{GenerateOptions, ROOTFS_NAME, generate_layer};
use crate::layout::DescriptorPath;
use crate::mtree::{self, DiffOptions, Record, StatIndex};
use crate::ops::record::{self, Recorded};
use crate::ops::unpack::{record_name, shown_path};
use crate::progress::Progress;

/// A root file system of the bundle's own.
pub(super) struct Flat<'a> {
    source: &'a Source<'a>,
    root: Root,
    /// Where something is mounted, if it cannot be seen what lies beneath.
    covered: Vec<Vec<u8>>,
    changes: Vec<Change>,
    /// The new record and the time that it is of, if the bundle is to be refreshed.
    record: Option<(Record, mtree::Reference)>,
}

impl<'a> Flat<'a> {
    pub(super) fn open(source: &'a Source<'a>) -> Result<Self> {
        let access = if source.metadata.map_options.rootless {
            Access::Unprivileged
        } else {
            Access::Plain
        };
        let root = Root::open(&source.bundle.join(ROOTFS_NAME), access)?;
        let (root, covered) = match without_mounts(&root, access)? {
            Beneath::Nothing => (root, Vec::new()),
            Beneath::Root(root) => (root, Vec::new()),
            Beneath::Hidden(paths) => (root, paths),
        };
        Ok(Self {
            source,
            root,
            covered,
            changes: Vec::new(),
            record: None,
        })
    }

    fn record_name(&self) -> String {
        record_name(self.source.path.target().digest())
    }
}

impl RootFs for Flat<'_> {
    fn diff(&mut self, masks: &[Vec<u8>], options: &RepackOptions) -> Result<Found> {
        if options.refresh
            && let Some(path) = self.covered.first()
        {
            let message = format!(
                "/{} is a mount, and this process may not look beneath it, so the bundle cannot be refreshed",
                escape_name(path)
            );
            return Err(
                Error::new(ErrorKind::PermissionDenied, message).with_hint("unmount it first")
            );
        }
        let masks = &[masks, &self.covered].concat();
        let dir = &self.source.dir;
        let name = self.record_name();
        let reference = options
            .refresh
            .then(|| mtree::Reference::now(dir))
            .transpose()?;
        let recorded = if options.verify {
            Recorded::load_manifest(dir, &name)?
        } else {
            Recorded::load(dir, &name)?
        };
        let options = DiffOptions {
            baseline: recorded.baseline(),
            masks,
            record: reference,
        };
        let diff = mtree::diff(self.root.dir(), &options)?;
        self.changes = diff.changes;
        self.record = diff.record.zip(reference);
        Ok(Found {
            changed: !self.changes.is_empty(),
            masked_count: diff.masked_count,
            sockets: diff.sockets,
        })
    }

    fn generate(
        &mut self,
        out: &mut dyn Write,
        options: &GenerateOptions,
        progress: &dyn Progress,
    ) -> Result<()> {
        let record = &mut self.record;
        generate_layer(
            out,
            &self.root,
            &self.changes,
            options,
            progress,
            &mut |packed| {
                if let Some((record, _)) = record {
                    record.packed(&packed.path, packed.sha256);
                }
            },
        )
    }

    /// Makes the bundle one of the image that was written. The metadata, which says which record counts, is replaced
    /// when the new record is there, and the old record goes last.
    fn refresh(&mut self, path: &DescriptorPath, _: &dyn Progress) -> Result<()> {
        let (old, new) = (self.record_name(), record_name(path.target().digest()));
        let Some((record, reference)) = &mut self.record else {
            return Ok(());
        };
        let source = self.source;
        let rootfs = shown_path(source.bundle)?.join(ROOTFS_NAME);
        let mut sha256 = [0; 32];
        source.replace(&new, |out| {
            sha256 = record.write_manifest(out, &record::header(&rootfs))?;
            Ok(())
        })?;
        source.replace(&StatIndex::file_name(&new), |out| {
            record.write_index(BufWriter::new(out), sha256, reference)
        })?;
        source.replace_metadata(path)?;
        if old != new {
            source.dir.remove_all(old.as_bytes())?;
            source
                .dir
                .remove_all(StatIndex::file_name(&old).as_bytes())?;
        }
        Ok(())
    }
}
