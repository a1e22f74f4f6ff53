//! `raw add-layer`: puts a layer that somebody else has made on top of an image.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::archive::{Compression, Event, Limits, Parser};
use crate::fs::input;
use crate::image::{Platform, Reference, Tag};
use crate::layout::LeasedLayout;
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result, ResultExt};

use super::{CompressOptions, HistoryOptions};

/// Bytes read at a time.
const CHUNK_SIZE: usize = 256 << 10;

/// What [`add_layer`] may be told.
#[derive(Clone, Debug, Default)]
pub struct AddLayerOptions {
    /// The result's tag; `None` replaces the image's.
    pub tag: Option<Tag>,
    /// Chooses among the images of an index; `None` means this machine's.
    pub platform: Option<Platform>,
    /// How to compress the layer.
    pub compress: CompressOptions,
    /// The history entry; its author is the image's by default.
    pub history: HistoryOptions,
    /// Annotations of the layer.
    pub annotations: BTreeMap<String, String>,
}

/// Appends a layer to an image: the content of a file, byte for byte, which must be an uncompressed tar archive.
///
/// The file is read once.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for what is no tar archive that could be unpacked; those of reading the file, which must not
/// be a directory, of resolving and reading the image, and of writing. The index is then as it was.
pub fn add_layer(
    image: &Reference,
    file: &Path,
    options: &AddLayerOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let mut source = input::open(file).context(|| "open new layer archive")?;
    let layout = LeasedLayout::open(&image.layout)?;
    let platform = options.platform.as_ref();
    let path = layout.resolve(&image.name, platform)?;
    let encoder = options
        .compress
        .encoder(&layout, &layout.manifest(path.target())?);
    // What cannot be edited is found out before the work.
    crate::layout::Mutator::new(&layout, &path)?.layers()?;
    // Likewise a time that is none.
    options.history.entry("", "", false)?;
    let mut check = Check::new();
    let (layer, diff_id) = layout.store_layer(encoder, &options.annotations, &mut |out| {
        let mut chunk = vec![0; CHUNK_SIZE];
        loop {
            let count = match source.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", file, error)),
            };
            check.feed(&chunk[..count]);
            out.write_all(&chunk[..count])
                .context(|| format!("store {} as a layer", file.display()))?;
        }
    })?;
    check.verdict(file)?;
    options.history.warn_of_none(progress);
    let tag = options.tag.as_ref();
    let edited = layout.edit(&image.name, platform, tag, |mutator| {
        let author = mutator.author().to_owned();
        let history = options
            .history
            .entry("umoci raw add-layer", &author, false)?;
        mutator.push_layer(&layer, &diff_id, history)
    })?;
    edited.tell(progress);
    Ok(())
}

/// Finds out on the way whether the bytes are an archive. The first error is remembered and ends the looking.
struct Check {
    parser: Parser,
    events: Vec<Event>,
    error: Option<Error>,
    /// By the first bytes.
    compression: Option<Compression>,
}

impl Check {
    fn new() -> Self {
        Self {
            parser: Parser::new(Limits::default()),
            events: Vec::new(),
            error: None,
            compression: None,
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.compression
            .get_or_insert_with(|| Compression::of(chunk));
        if self.error.is_none() {
            self.error = self.parser.feed(chunk, &mut self.events).err();
            self.events.clear();
        }
    }

    fn verdict(mut self, file: &Path) -> Result<()> {
        let Some(cause) = self.error.take().or_else(|| self.parser.finish().err()) else {
            return Ok(());
        };
        let message = format!("{} is not an uncompressed tar archive", file.display());
        let error = Error::new(ErrorKind::InvalidInput, message).with_source(cause);
        Err(match self.compression {
            None | Some(Compression::None) => error,
            Some(compression) => error.with_hint(format!(
                "it is compressed with {compression}: decompress it, the layer is compressed anew"
            )),
        })
    }
}
