//! From layers to a chain: what layers that were unpacked without those below them need, so that overlayfs shows what
//! unpacking them one over the other would make.
//!
//! [`Builder`] takes the layers of an image from the bottom up and keeps what the view so far needs beside them: the
//! attributes of directories that no layer describes, directories whose whiteouts would be seen, sets of hard links. Most
//! layers say nothing that would have to be looked up. Of the others, each statement is looked up in the view below
//! ([`Stack`]), which equals the flat one by induction:
//!
//! | what the layer has | what the chain gets |
//! |---|---|
//! | a directory without an entry | its attributes from below, in the patch |
//! | a whiteout in a directory that is merged with none | that directory, in the patch |
//! | an opaque root | none of the layers below |
//! | a hard link to a file below; a directory without an entry that is a symbolic link below; a set of hard links of which it hides a part; ... | a variant of the layer (`variant.rs`) |
//!
//! More layers than overlayfs stacks are merged from the bottom (`merge.rs`).

mod merge;
mod scan;
mod variant;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::chain::{Chain, MAX_LOWERS};
use super::id::LayerId;
use super::layer::LayerMeta;
use super::mounting::ChainLowers;
use super::patch::{Attributes, Patch};
use super::place::Store;
use super::unpack::LayerProvider;
use crate::error::{Result, ResultExt};
use crate::fs::names::{parents, split};
use crate::fs::{Dir, InodeKind};
use crate::image::{ChainId, DiffId};
use crate::layer::{LowerDependencies, relative_path};
use crate::overlay::Stack;
use crate::progress::Progress;

/// How many layers a chain has at most: overlayfs's limit, less the patch, and less the upper directory where that is only
/// read.
const MAX_LAYERS: usize = MAX_LOWERS - 2;

/// A chain in the making.
pub(super) struct Builder<'s> {
    store: &'s Store,
    provider: &'s dyn LayerProvider,
    progress: &'s dyn Progress,
    diff_ids: Vec<DiffId>,
    id: Option<ChainId>,
    /// Topmost first.
    layers: Vec<LayerId>,
    /// The attributes of the root.
    root: Attributes,
    /// Of directories that the topmost layer which has them does not describe.
    attributes: BTreeMap<Vec<u8>, Attributes>,
    /// Directories that are to be merged with something, because of the whiteouts in them.
    merged: BTreeSet<Vec<u8>>,
    /// Sets of hard links that are seen in full.
    links: Vec<Vec<Vec<u8>>>,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

/// What a layer needs beside itself.
enum Need {
    /// To be made once more, over the layers below.
    Variant,
    /// These attributes, and these directories merged.
    Patch(BTreeMap<Vec<u8>, Attributes>, Vec<Vec<u8>>),
}

impl Store {
    /// Records the chain of these layers, which are there, and all that it needs beside them. `provider` opens a layer
    /// once more, if the chain needs a variant of it.
    pub(crate) fn register(
        &self,
        diff_ids: &[DiffId],
        provider: &dyn LayerProvider,
        progress: &dyn Progress,
    ) -> Result<Chain> {
        let mut builder = Builder::new(self, provider, progress);
        for diff_id in diff_ids {
            builder
                .push(diff_id)
                .context(|| format!("stack layer {diff_id}"))?;
        }
        let chain = builder.chain()?;
        self.write_chain(&chain)?;
        Ok(chain)
    }
}

impl<'s> Builder<'s> {
    fn new(store: &'s Store, provider: &'s dyn LayerProvider, progress: &'s dyn Progress) -> Self {
        Self {
            store,
            provider,
            progress,
            diff_ids: Vec::new(),
            id: None,
            layers: Vec::new(),
            root: Attributes::implied(),
            attributes: BTreeMap::new(),
            merged: BTreeSet::new(),
            links: Vec::new(),
            uids: BTreeSet::from([0]),
            gids: BTreeSet::from([0]),
        }
    }

    /// Lays one more layer on top.
    fn push(&mut self, diff_id: &DiffId) -> Result<()> {
        if self.layers.len() >= MAX_LAYERS {
            self.merge()?;
        }
        let plain = LayerId::of(diff_id);
        self.store.unpack_from_tar(diff_id, self.progress)?;
        let layer = self.store.layer(&plain)?;
        let meta = layer.meta()?;
        let content = layer.content()?;
        let over = Over::new(&meta.changeset, &content, self.store)?;
        match self.need(&over)? {
            Need::Patch(attributes, merged) => {
                self.cover(&over)?;
                self.lay(plain, &meta, &content)?;
                self.attributes.extend(attributes);
                self.merged.extend(merged);
            }
            Need::Variant => {
                let below = self.chain()?;
                let id = self.variant(diff_id, &below)?;
                let layer = self.store.layer(&id)?;
                let (meta, content) = (layer.meta()?, layer.content()?);
                let over = Over::new(&meta.changeset, &content, self.store)?;
                self.cover(&over)?;
                self.lay(id, &meta, &content)?;
            }
        }
        self.id = Some(match &self.id {
            Some(below) => below.with_layer(diff_id),
            None => ChainId::bottom(diff_id),
        });
        self.diff_ids.push(diff_id.clone());
        Ok(())
    }

    /// Puts a layer on top, with what it says of itself.
    fn lay(&mut self, id: LayerId, meta: &LayerMeta, content: &Dir) -> Result<()> {
        let changes = &meta.changeset;
        if changes.root_opaque {
            self.layers.clear();
        }
        if changes.root {
            self.root = Attributes::of_dir(content, self.store.marks())?;
        }
        // The same layer twice: overlayfs refuses a directory that it has already, and the upper one hides all of it.
        self.layers.retain(|below| *below != id);
        self.layers.insert(0, id);
        self.links.extend(changes.link_groups.iter().cloned());
        self.uids.extend(&changes.uids);
        self.gids.extend(&changes.gids);
        Ok(())
    }

    /// The view so far.
    fn stack(&self) -> Result<Stack> {
        let layers = ChainLowers::new(self.store, None, &self.layers)?;
        Ok(Stack::over(layers, self.store.marks()))
    }

    /// Looks up what a layer says of those below it.
    fn need(&self, over: &Over<'_>) -> Result<Need> {
        let changes = over.changes;
        if changes.needs_below || self.splits_links(over)? {
            return Ok(Need::Variant);
        }
        let (mut attributes, mut merged) = (BTreeMap::new(), Vec::new());
        let says_nothing = changes.implied.is_empty()
            && changes.passed.is_empty()
            && changes.whiteouts.is_empty()
            && changes.links_below.is_empty();
        if says_nothing {
            return Ok(Need::Patch(attributes, merged));
        }
        let below = self.stack()?;
        for link in &changes.links_below {
            // A link to a later entry of the layer is made with it, unless there was a file below.
            let found = below.lookup(&clean(&link.target))?;
            let is_made = found.is_none() && over.view.lookup(&clean(&link.path))?.is_some();
            if !is_made {
                return Ok(Need::Variant);
            }
        }
        for path in &changes.passed {
            let found = below.lookup(path)?;
            if found.is_some_and(|found| found.stat.kind == InodeKind::Symlink) {
                return Ok(Need::Variant);
            }
        }
        for dir in &changes.implied {
            let found = if over.is_fresh(&dir.path) {
                None
            } else {
                below.lookup(&dir.path)?
            };
            let kind = found.as_ref().map(|found| found.stat.kind);
            match (kind, found) {
                (Some(InodeKind::Symlink), _) => return Ok(Need::Variant),
                _ if dir.described => {}
                (Some(InodeKind::Directory), Some(found)) => {
                    let seen = match self.attributes.get(&dir.path) {
                        Some(known) => known.clone(),
                        None => Attributes::of(&found.stat, found.xattrs()?),
                    };
                    attributes.insert(dir.path.clone(), seen);
                }
                // Nothing is made for the sake of a whiteout.
                _ if dir.only_marks => return Ok(Need::Variant),
                _ => {}
            }
        }
        for path in &changes.whiteouts {
            let (dir, _) = split(path);
            let is_merged = dir.is_empty()
                || !over.hides_below(dir)
                    && !over.opaque.contains(dir)
                    && below.lookup(dir)?.is_some_and(|found| found.stat.is_dir());
            if !is_merged {
                merged.push(dir.to_vec());
            }
        }
        Ok(Need::Patch(attributes, merged))
    }

    /// Whether a layer hides some of the names of a file, and others not.
    fn splits_links(&self, over: &Over<'_>) -> Result<bool> {
        for names in &self.links {
            let mut hidden = 0;
            for name in names {
                hidden += usize::from(over.covers(name)?);
            }
            if 0 < hidden && hidden < names.len() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets what a layer hides or describes itself.
    fn cover(&mut self, over: &Over<'_>) -> Result<()> {
        let mut failed = Ok(());
        let mut keep = |result: Result<bool>| match result {
            Ok(keep) => keep,
            Err(error) => {
                failed = Err(error);
                true
            }
        };
        self.attributes
            .retain(|path, _| keep(over.leaves_attributes(path)));
        self.merged.retain(|path| keep(over.leaves_directory(path)));
        self.links.retain(|names| {
            let all = names.iter().map(|name| over.covers(name));
            keep(
                all.collect::<Result<Vec<bool>>>()
                    .map(|all| !all.contains(&true)),
            )
        });
        failed
    }

    /// The chain so far, with its patch written.
    fn chain(&self) -> Result<Chain> {
        let mut patch = BTreeMap::from([(Vec::new(), self.root.clone())]);
        let wanted: BTreeSet<&Vec<u8>> = self.attributes.keys().chain(&self.merged).collect();
        if !wanted.is_empty() {
            let stack = self.stack()?;
            for path in wanted {
                self.add_to_patch(&stack, path, &mut patch)?;
            }
        }
        Ok(Chain {
            id: self.id.clone(),
            diff_ids: self.diff_ids.clone(),
            layers: self.layers.clone(),
            patch: self.store.write_patch(&Patch(patch))?,
            uids: self.uids.iter().copied().collect(),
            gids: self.gids.iter().copied().collect(),
        })
    }

    /// Adds a directory, and those above it, with the attributes that they are seen with.
    fn add_to_patch(
        &self,
        stack: &Stack,
        wanted: &[u8],
        patch: &mut BTreeMap<Vec<u8>, Attributes>,
    ) -> Result<()> {
        for path in parents(wanted).chain([wanted]) {
            if patch.contains_key(path) {
                continue;
            }
            let Some(found) = stack.lookup(path)?.filter(|found| found.stat.is_dir()) else {
                // Hidden by a layer further up.
                return Ok(());
            };
            let attributes = match self.attributes.get(path) {
                Some(attributes) => attributes.clone(),
                None => Attributes::of(&found.stat, found.xattrs()?),
            };
            patch.insert(path.to_vec(), attributes);
        }
        Ok(())
    }
}

/// A layer as what lies over others.
struct Over<'c> {
    changes: &'c LowerDependencies,
    /// The layer alone.
    view: Stack,
    implied: HashSet<&'c [u8]>,
    opaque: HashSet<&'c [u8]>,
    fresh: HashSet<&'c [u8]>,
    whiteouts: HashSet<&'c [u8]>,
}

impl<'c> Over<'c> {
    fn new(changes: &'c LowerDependencies, content: &Dir, store: &Store) -> Result<Self> {
        let set = |paths: &'c [Vec<u8>]| paths.iter().map(Vec::as_slice).collect();
        let implied = changes.implied.iter().filter(|dir| !dir.described);
        Ok(Self {
            changes,
            view: Stack::new(vec![content.open_dir(b".")?], store.marks()),
            implied: implied.map(|dir| dir.path.as_slice()).collect(),
            opaque: set(&changes.opaque),
            fresh: set(&changes.fresh),
            whiteouts: set(&changes.whiteouts),
        })
    }

    /// Whether a directory of the layer was made when the one below was hidden already: it is another one.
    fn is_fresh(&self, path: &[u8]) -> bool {
        self.fresh.contains(path) || parents(path).any(|dir| self.fresh.contains(dir))
    }

    /// Whether nothing of what others have at a directory's path is left in it.
    fn hides_below(&self, path: &[u8]) -> bool {
        self.changes.root_opaque
            || self.fresh.contains(path)
            || parents(path).any(|dir| self.fresh.contains(dir) || self.opaque.contains(dir))
    }

    /// Whether a path of others is seen no more.
    fn covers(&self, path: &[u8]) -> Result<bool> {
        if self.hides_below(path) || self.whiteouts.contains(path) {
            return Ok(true);
        }
        if parents(path).any(|dir| self.whiteouts.contains(dir)) {
            return Ok(true);
        }
        for dir in parents(path) {
            match self.view.lookup(dir)? {
                Some(found) if found.stat.is_dir() => {}
                Some(_) => return Ok(true),
                None => return Ok(false),
            }
        }
        Ok(self.view.lookup(path)?.is_some())
    }

    /// Whether a directory of others is still one, merged with that of this layer or not.
    fn leaves_directory(&self, path: &[u8]) -> Result<bool> {
        let own = self.view.lookup(path)?;
        if own.is_some_and(|own| own.stat.is_dir()) {
            return Ok(!self.hides_below(path));
        }
        Ok(!self.covers(path)?)
    }

    /// Whether the attributes that a directory has so far are those that are seen.
    fn leaves_attributes(&self, path: &[u8]) -> Result<bool> {
        if !self.leaves_directory(path)? {
            return Ok(false);
        }
        let has_own = self.view.lookup(path)?.is_some();
        Ok(!has_own || self.implied.contains(path))
    }
}

/// The path of an entry, as it is below the root.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut clean = Vec::new();
    relative_path(&mut clean, path);
    clean
}
