//! Images into a registry: what an image names first, then the image.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Mutex;

use oci_cas::{Digest, StackedStore, Store, StoreExt};

use super::archive::{is_distributable, read_document};
use super::copy::{Copier, CopyReport};
use super::registry::{Registry, RegistryName, RepositoryWriter, Uploaded};
use super::source::{ImageName, TransferOptions};
use crate::image::{Descriptor, Index, Manifest, MediaKind};
use crate::progress::{Event, Progress};
use crate::{Error, ErrorKind, Result, ResultExt};

impl Copier<'_> {
    /// Pushes the one image under these names of one repository.
    pub(crate) fn to_registry(
        &self,
        options: &TransferOptions,
        name: &RegistryName,
        tags: &[String],
    ) -> Result<CopyReport> {
        let [planned] = &self.planned[..] else {
            let message = format!("{} images for one name", self.planned.len());
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        if name
            .digest()
            .is_some_and(|digest| digest != planned.root.digest())
        {
            let message = format!("push {} as {name}", planned.root.digest());
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("a digest follows from the content: name a tag"));
        }
        let source = match self.opened.name() {
            ImageName::Registry(from) if from.host() == name.host() => Some(from.repository()),
            _ => None,
        };
        let source = source.filter(|source| *source != name.repository());
        let sources: Vec<String> = source.iter().map(|it| (*it).to_owned()).collect();
        let registry = Registry::new(options.registry.clone())?;
        let pushed = || format!("push to docker://{name}");
        let writer = registry.writer(name, &sources).context(pushed)?;
        let push = Push {
            copier: self,
            stack: self.stack(),
            writer,
            source,
            sent: Mutex::default(),
        };
        push.document(&planned.root, &name.reference(), 0)
            .context(pushed)?;
        let bytes = read_document(&push.stack, &planned.root)?;
        for tag in tags {
            push.writer
                .push_manifest(tag, planned.root.media_type(), &bytes)
                .context(pushed)?;
        }
        Ok(self.report())
    }
}

struct Push<'a> {
    copier: &'a Copier<'a>,
    stack: StackedStore<'a>,
    writer: RepositoryWriter,
    /// A repository that may have the blobs.
    source: Option<&'a str>,
    sent: Mutex<BTreeSet<Digest>>,
}

impl Push<'_> {
    /// Pushes what a document names, and then the document.
    fn document(&self, descriptor: &Descriptor, reference: &str, depth: usize) -> Result<()> {
        const DEPTH: usize = 8;
        if depth == DEPTH {
            let message = format!("indexes lie more than {DEPTH} deep in each other");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let bytes = read_document(&self.stack, descriptor)?;
        let media_type = descriptor.media_type();
        match descriptor.kind() {
            MediaKind::Index => {
                for child in Index::parse(&bytes, media_type)?.manifests {
                    let is_manifest =
                        matches!(child.kind(), MediaKind::Index | MediaKind::Manifest);
                    if is_manifest && self.stack.stat(child.digest())?.is_some() {
                        self.document(&child, &child.digest().to_string(), depth + 1)?;
                    }
                }
            }
            _ => self.blobs(&Manifest::parse(&bytes, media_type)?)?,
        }
        self.writer.push_manifest(reference, media_type, &bytes)
    }

    fn blobs(&self, manifest: &Manifest) -> Result<()> {
        let mut blobs = Vec::new();
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let is_new = self
                .sent
                .lock()
                .is_ok_and(|mut sent| sent.insert(blob.digest().clone()));
            if is_new && (is_distributable(blob) || self.stack.stat(blob.digest())?.is_some()) {
                blobs.push(blob.clone());
            }
        }
        let list: Vec<(Digest, u64)> = blobs
            .iter()
            .map(|blob| (blob.digest().clone(), blob.size()))
            .collect();
        self.copier.each(&list, &|index, _| {
            let blob = &blobs[index];
            let open = || {
                if let Some(data) = blob.data() {
                    return Ok(Box::new(io::Cursor::new(data)) as Box<dyn Read>);
                }
                let reader = self.stack.open_verified(blob.digest(), blob.size());
                let reader = reader.map_err(|error| {
                    let hint = "neither the source nor the repository has it: copy the image that it is of there first";
                    Error::from(error).with_hint(hint)
                })?;
                let (progress, position) = (self.copier.progress, 0);
                Ok(Box::new(Reported {
                    reader,
                    progress,
                    index,
                    position,
                }) as Box<dyn Read>)
            };
            let uploaded = self
                .writer
                .push_blob(blob, self.source, &open)
                .context(|| format!("blob {}", blob.digest()))?;
            match uploaded {
                Uploaded::Sent => self.copier.counts.copied(blob.size()),
                Uploaded::Existing | Uploaded::Mounted => self.copier.counts.existing(),
            }
            Ok(())
        })
    }
}

/// Says how far a blob is.
struct Reported<'a, R> {
    reader: R,
    progress: &'a dyn Progress,
    index: usize,
    position: u64,
}

impl<R: Read> Read for Reported<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position += count as u64;
        self.progress.event(Event::LayerAdvanced {
            index: self.index,
            position: self.position,
        });
        Ok(count)
    }
}
