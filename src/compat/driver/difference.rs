//! Differences of layers by what the store knows of them: an open one has its changes in the upper directory, a committed
//! one in a layer.

use std::io::{Read, Write};

use super::incoming::adopt;
use super::naive;
use super::overlay::OverlayDriver;
use super::state::{Kind, State};
use super::traits::{AppliedDiff, DiffDriver, Driver};
use crate::error::Result;
use crate::fs::usage::usage;
use crate::fs::{Access, Change, Dir, Root};
use crate::layer::{GenerateOptions, generate_linked_layer};
use crate::overlay::{Changes, Stack, changes_between};
use crate::progress::Silent;
use crate::store::{Container, Key, Reason};

impl OverlayDriver {
    /// What a layer changes of those below it.
    fn own_changes(&self, container: &Container, state: &State) -> Result<Changes> {
        let chain = self.store.chain(container.meta().chain.as_ref())?;
        let below = match chain.diff_ids.split_last() {
            Some((_, below)) if state.is_committed() => self.chain_of(below)?,
            _ => return self.store.changes_of(container, &chain, &[]),
        };
        let stack = |chain| -> Result<Stack> {
            Ok(Stack::over(self.store.lowers(chain)?, self.store.marks()))
        };
        Ok(Changes {
            changes: changes_between(&stack(&below)?, &stack(&chain)?)?,
            ..Changes::default()
        })
    }

    /// What a layer has that another has not: of its own if that is its parent, or else of both as a whole.
    fn changes_from(
        &self,
        container: &Container,
        state: &State,
        parent: Option<&Key>,
    ) -> Result<Changes> {
        if state.parent.as_ref() == parent {
            return self.own_changes(container, state);
        }
        let new = self.contents(container.key())?;
        let old = match parent {
            Some(parent) => self.contents(parent)?,
            None => self.store.mount_view(&self.chain_of(&[])?)?.root()?,
        };
        Ok(Changes {
            changes: naive::compare(Some(&old), &new)?,
            ..Changes::default()
        })
    }

    fn write_changes(
        &self,
        container: &Container,
        changes: &Changes,
        out: &mut dyn Write,
    ) -> Result<()> {
        let root = Root::from_dir(self.contents(container.key())?, Access::Plain)?;
        let options = GenerateOptions {
            map_options: container.meta().maps.clone(),
            ..GenerateOptions::default()
        };
        let links = &changes.links;
        generate_linked_layer(
            out,
            &root,
            &changes.changes,
            links,
            &options,
            &Silent,
            &mut |_| {},
        )
    }

    /// Makes a layer of the stream, where nothing but the stream has a say in what it is. `None` where that is not so.
    fn apply_alone(
        &self,
        key: &Key,
        parent: Option<&Key>,
        stream: &mut (dyn Read + Send),
    ) -> Result<Option<AppliedDiff>> {
        let _one_at_a_time = self.lock(key)?;
        let (mut container, state) = self.settled(key)?;
        if state.is_committed() {
            let message = format!("layer {key}: committed, nothing can be applied to it any more");
            return Err(Reason::LayerExists.error(message));
        }
        let is_own = state.kind == Kind::Layer && state.parent.as_ref() == parent;
        if !is_own || !container.upper()?.names()?.is_empty() {
            return Ok(None);
        }
        self.release(&container)?;
        let below = self.store.chain(container.meta().chain.as_ref())?;
        let adopted = adopt(&self.store, &below.diff_ids, stream)?;
        self.make_committed(&mut container, &state, &adopted)?;
        Ok(Some(AppliedDiff {
            diff_id: adopted.diff_id,
            stream_size: adopted.stream_size,
        }))
    }
}

impl DiffDriver for OverlayDriver {
    fn apply(
        &self,
        key: &Key,
        parent: Option<&Key>,
        stream: &mut (dyn Read + Send),
    ) -> Result<AppliedDiff> {
        let _in_use = self.store.shared()?;
        if let Some(applied) = self.apply_alone(key, parent, stream)? {
            return Ok(applied);
        }
        let (container, state) = self.find(key)?;
        let maps = &container.meta().maps;
        naive::apply(self, key, maps, state.kind == Kind::Layer, stream)
    }

    fn diff(&self, key: &Key, parent: Option<&Key>, out: &mut dyn Write) -> Result<()> {
        let _in_use = self.store.shared()?;
        let (container, state) = self.find(key)?;
        let changes = self.changes_from(&container, &state, parent)?;
        self.write_changes(&container, &changes, out)
    }

    fn changes(&self, key: &Key, parent: Option<&Key>) -> Result<Vec<Change>> {
        let _in_use = self.store.shared()?;
        let (container, state) = self.find(key)?;
        Ok(self.changes_from(&container, &state, parent)?.changes)
    }

    fn diff_size(&self, key: &Key, parent: Option<&Key>) -> Result<u64> {
        let _in_use = self.store.shared()?;
        let (container, state) = self.find(key)?;
        if state.parent.as_ref() != parent {
            let changes = self.changes_from(&container, &state, parent)?;
            let root: Dir = self.contents(key)?;
            return naive::size(&root, &changes.changes);
        }
        if state.is_committed() {
            return Ok(state.size);
        }
        Ok(usage(&container.upper()?)?.apparent)
    }
}
