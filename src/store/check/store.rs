//! A whole store, from its layers up.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::sync::{Mutex, PoisonError};

use super::known::Known;
use super::layer::{Level, check_layer};
use super::patch::read_patch;
use super::repair::LayerBlobs;
use super::report::{CheckReport, Object, Problem, ProblemKind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::lock::{LockFile, LockMode};
use crate::fs::{Dir, escape_name, thread};
use crate::progress::Progress;
use crate::store::layer::{CONTENT, RECORD};
use crate::store::{Chain, LayerId, Store};

/// How a store is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// How much of the layers is looked at.
    pub level: Level,
    /// Whether what is wrong is put right, as far as that can be.
    pub repair: bool,
}

impl Default for CheckOptions {
    /// All of the layers, and no repair.
    fn default() -> Self {
        Self {
            level: Level::Full,
            repair: false,
        }
    }
}

/// The file that all lock who use a store (`place.rs`).
const LOCK: &[u8] = b"lock";

/// Names that a layer has beside its content and its record.
const LAYER_FILES: [&[u8]; 3] = [CONTENT, RECORD.as_bytes(), b"meta.json"];

/// How mount points for a moment begin, and the lock by which they are told from those of the dead (`fs::mount`).
const MOUNTING: &[u8] = b".mount-";

/// How files that are replaced as a whole begin while they are written.
pub(super) const IN_THE_MAKING: &[u8] = b".bundle-tmp-";

impl Store {
    /// Checks all that is in the store, several layers at a time, and puts right what can be if that is asked for. Stores
    /// that are only read are not checked: they have checks of their own.
    ///
    /// Others may use the store meanwhile; what they bring in after this began is not looked at. A repair keeps them out
    /// for as long as a few renames take. A death on the way leaves less to repair.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store's directories from being read. That something is wrong is no error, nor that a repair has
    /// failed: the report says so.
    pub fn check(
        &self,
        options: CheckOptions,
        blobs: &dyn LayerBlobs,
        progress: &dyn Progress,
    ) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        self.check_leftovers(&mut report)?;
        {
            let _in_use = self.shared()?;
            let known = Known::of(self)?;
            self.check_layers(options.level, &known, &mut report)?;
            self.check_patches(&known, &mut report)?;
            self.check_chains(&known, &mut report)?;
            self.check_images(&known, &mut report)?;
            self.check_containers(&mut report)?;
            self.check_snapshots(&known, &mut report)?;
            self.check_mounts(&mut report)?;
        }
        report
            .problems
            .sort_by(|a, b| (&a.object, a.what).cmp(&(&b.object, b.what)));
        if options.repair {
            self.repair(&mut report, blobs, progress)?;
        }
        Ok(report)
    }

    /// Removes what killed processes have left, and the records of mounts that are gone; says how many that were.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if others use the store for longer than the lock may be waited for, and whatever keeps the
    /// store from being read or written.
    pub fn sweep(&self) -> Result<usize> {
        let alone = self.exclusive()?;
        let staging = self.sub("staging")?;
        let mut removed = crate::fs::mount::sweep(&staging)?;
        for name in staging.names()? {
            if !name.starts_with(MOUNTING) {
                staging.remove_all(&name)?;
                removed += 1;
            }
        }
        let removed = removed + self.empty_trash()? + self.forget_dead_mounts()?;
        drop(alone);
        self.unmount_idle_images()?;
        Ok(removed)
    }

    /// What killed processes have left. As long as others use the store, theirs cannot be told from that, and nothing is.
    fn check_leftovers(&self, report: &mut CheckReport) -> Result<()> {
        let alone = LockFile::try_acquire(self.dir(), LOCK, LockMode::Exclusive)?;
        if alone.is_none() {
            return Ok(());
        }
        for name in ["staging", "trash"] {
            for entry in self.sub(name)?.names()? {
                if entry.starts_with(MOUNTING) {
                    continue;
                }
                report.add_entry(name, &entry, ProblemKind::Leftover, "of a killed process");
            }
        }
        for name in self.dir().names()? {
            if name.starts_with(IN_THE_MAKING) {
                report.add_entry("", &name, ProblemKind::Leftover, "of a killed process");
            }
        }
        Ok(())
    }

    fn check_layers(&self, level: Level, known: &Known, report: &mut CheckReport) -> Result<()> {
        let layers = self.layers()?;
        report.layers = layers.len();
        self.check_layer_names(&layers, report)?;
        let queue = Mutex::new(layers);
        let found = Mutex::new(Vec::new());
        let work = || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(id) = next else { break };
                let problems = self.check_one_layer(&id, level);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.extend(problems);
            }
        };
        thread::side_by_side(self.options().jobs, "check", &work);
        for mut problem in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Object::Layer(id) = &problem.object {
                let chains = known.chains_with(id);
                problem.needed_by = dependants(known, &chains);
            }
            report.problems.push(problem);
        }
        Ok(())
    }

    /// Compares a layer with its record.
    pub(super) fn check_one_layer(&self, id: &LayerId, level: Level) -> Vec<Problem> {
        let problem = |what, detail: String| Problem::new(Object::Layer(id.clone()), what, detail);
        let unreadable = |error: Error| vec![problem(ProblemKind::Unreadable, error.chain())];
        let checked = || -> Result<Vec<Problem>> {
            let Some(layer) = self.find_layer(id)? else {
                // Taken away since the directory was read.
                return Ok(Vec::new());
            };
            layer.meta()?;
            if id.is_tar() || id.is_erofs() {
                let detail = Self::check_kept(&layer, level)?;
                let found = detail.map(|detail| problem(ProblemKind::Content, detail));
                return Ok(found.into_iter().collect());
            }
            let mut problems = Vec::new();
            for name in layer.dir().names()? {
                if !LAYER_FILES.contains(&&name[..]) {
                    let path = format!("{}/{}", id.path(), escape_name(&name));
                    let detail = "no part of a layer";
                    problems.push(Problem::new(
                        Object::Entry(path),
                        ProblemKind::Strange,
                        detail,
                    ));
                }
            }
            let record = BufReader::new(layer.dir().open_file(RECORD.as_bytes())?);
            let findings = check_layer(&layer.content()?, record, level)?;
            if !findings.is_empty() {
                let detail = format!("{} differences from its record", findings.len());
                problems.push(Problem {
                    findings,
                    ..problem(ProblemKind::Content, detail)
                });
            }
            Ok(problems)
        };
        checked().unwrap_or_else(unreadable)
    }

    fn check_layer_names(&self, layers: &[LayerId], report: &mut CheckReport) -> Result<()> {
        let known: BTreeSet<String> = layers.iter().map(ToString::to_string).collect();
        let dir = self.sub("layers")?;
        let kinds = LayerId::directories();
        for name in dir.names()? {
            if !kinds.iter().any(|kind| kind.as_bytes() == name) {
                report.add_entry("layers", &name, ProblemKind::Strange, "no kind of layers");
            }
        }
        for kind in &kinds {
            let Some(dir) = dir.open_dir_if_any(kind.as_bytes())? else {
                continue;
            };
            for name in dir.names()? {
                let text = format!("{kind}/{}", String::from_utf8_lossy(&name));
                if !known.contains(&text) && text.parse::<LayerId>().is_err() {
                    let below = format!("layers/{kind}");
                    report.add_entry(&below, &name, ProblemKind::Strange, "no name of a layer");
                }
            }
        }
        Ok(())
    }

    fn check_patches(&self, known: &Known, report: &mut CheckReport) -> Result<()> {
        let dir = self.sub("patches")?;
        let patches = self.patches()?;
        for name in dir.names()? {
            if !patches.iter().any(|id| id.to_string().as_bytes() == name) {
                report.add_entry("patches", &name, ProblemKind::Strange, "no name of a patch");
            }
        }
        for id in patches {
            let read = self
                .patch(&id)
                .and_then(|dir| read_patch(&dir, self.marks()));
            let (what, detail) = match read {
                Ok(patch) if patch.id() == id => continue,
                Ok(_) => (
                    ProblemKind::Content,
                    "its directories are not those of its name".to_owned(),
                ),
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => (ProblemKind::Unreadable, error.chain()),
            };
            let needed_by = dependants(known, &known.chains_under(&id));
            report.problems.push(Problem {
                needed_by,
                ..Problem::new(Object::Patch(id), what, detail)
            });
        }
        Ok(())
    }
}

fn dependants(known: &Known, chains: &[&Chain]) -> Vec<String> {
    let ids: Vec<_> = chains.iter().map(|chain| chain.id.clone()).collect();
    known.dependants(&ids)
}

impl CheckReport {
    pub(super) fn add_entry(&mut self, dir: &str, name: &[u8], what: ProblemKind, detail: &str) {
        let slash = if dir.is_empty() { "" } else { "/" };
        let path = format!("{dir}{slash}{}", escape_name(name));
        self.problems
            .push(Problem::new(Object::Entry(path), what, detail));
    }

    /// Tells of the names in a directory that are none of the known ones, nor files in the making.
    pub(super) fn add_strange(
        &mut self,
        dir: &Dir,
        path: &str,
        is_known: &dyn Fn(&[u8]) -> bool,
        detail: &str,
    ) -> Result<()> {
        for name in dir.names()? {
            if !is_known(&name) && !name.starts_with(IN_THE_MAKING) {
                self.add_entry(path, &name, ProblemKind::Strange, detail);
            }
        }
        Ok(())
    }
}
