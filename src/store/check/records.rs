//! Records, and what they lead to: chains, images, names, containers, snapshots, mounts.

use oci_cas::Digest;
use serde::Deserialize;

use super::known::{Known, digest_in, image_digests};
use super::report::{CheckReport, Object, Problem, ProblemKind};
use super::store::IN_THE_MAKING;
use crate::error::{Error, Result};
use crate::store::names::KeptChain;
use crate::store::text::Text;
use crate::store::{Chain, Key, Store, json};

impl Store {
    pub(super) fn check_chains(&self, known: &Known, report: &mut CheckReport) -> Result<()> {
        let chains = self.chains()?;
        for id in &chains {
            let (what, detail) = match self.recorded_chain(id.as_ref()) {
                Ok(None) => continue,
                Ok(Some(chain)) if chain.id != *id => {
                    let detail = "its record is that of another chain".to_owned();
                    (ProblemKind::Unreadable, detail)
                }
                Ok(Some(chain)) => match self.missing_part(&chain)? {
                    Some(detail) => (ProblemKind::Incomplete, detail),
                    None => continue,
                },
                Err(error) => (ProblemKind::Unreadable, error.chain()),
            };
            report.problems.push(Problem {
                needed_by: known.dependants(std::slice::from_ref(id)),
                ..Problem::new(Object::Chain(id.clone()), what, detail)
            });
        }
        let is_name = |name: &[u8]| name == b"empty.json" || digest_in(name).is_some();
        report.add_strange(
            &self.sub("chains")?,
            "chains",
            &is_name,
            "no name of a chain",
        )
    }

    fn missing_part(&self, chain: &Chain) -> Result<Option<String>> {
        for layer in chain.needs() {
            if !self.has_layer(&layer)? {
                return Ok(Some(format!("layer {layer} is missing")));
            }
        }
        let is_whole = self.has_patch(&chain.patch)?;
        Ok((!is_whole).then(|| format!("patch {} is missing", chain.patch)))
    }

    pub(super) fn check_images(&self, known: &Known, report: &mut CheckReport) -> Result<()> {
        let digests = image_digests(self)?;
        for digest in &digests {
            let object = Object::Image(digest.clone());
            match self.find_image(digest) {
                Ok(None) => {}
                Ok(Some(image)) if image.digest() != digest => report.problems.push(Problem::new(
                    object,
                    ProblemKind::Unreadable,
                    "its record is that of another image",
                )),
                Ok(Some(image)) => {
                    let chain = image.chain_id();
                    // A record that cannot be read is the chain's problem.
                    if matches!(self.recorded_chain(chain.as_ref()), Ok(None)) {
                        report.problems.push(Problem::new(
                            object,
                            ProblemKind::Incomplete,
                            "its layers are not stacked to a chain",
                        ));
                    }
                }
                Err(error) => report.problems.push(Problem::new(
                    object,
                    ProblemKind::Unreadable,
                    error.chain(),
                )),
            }
        }
        report.add_strange(
            &self.sub("images")?,
            "images",
            &|name| digest_in(name).is_some(),
            "no name of an image",
        )?;
        self.check_names(known, &digests, report)
    }

    fn check_names(
        &self,
        known: &Known,
        digests: &[Digest],
        report: &mut CheckReport,
    ) -> Result<()> {
        for (name, digest) in &known.names {
            // Whoever removes an image takes its names first.
            let is_left = || Ok::<_, Error>(self.names()?.iter().any(|(left, _)| left == name));
            if !digests.contains(digest) && self.find_image(digest)?.is_none() && is_left()? {
                report.problems.push(Problem::new(
                    Object::Name(name.clone()),
                    ProblemKind::Incomplete,
                    format!("image {digest} is not in the store"),
                ));
            }
        }
        let names = self.sub("names")?;
        for name in names.names()? {
            if name.starts_with(IN_THE_MAKING) {
                continue;
            }
            let file = String::from_utf8_lossy(&name);
            if let Err(error) = json::try_read::<NameRecord>(&names, &file) {
                report.add_entry("names", &name, ProblemKind::Unreadable, &error.chain());
            }
        }
        Ok(())
    }

    pub(super) fn check_containers(&self, report: &mut CheckReport) -> Result<()> {
        let active = self.sub("active")?;
        for name in active.names()? {
            let Ok(key) = Key::new(String::from_utf8_lossy(&name)) else {
                report.add_entry(
                    "active",
                    &name,
                    ProblemKind::Strange,
                    "no name of a container",
                );
                continue;
            };
            let (what, detail) = match self.container(&key) {
                // Removed since the directory was read.
                Err(_) if matches!(active.try_stat(&name), Ok(None)) => continue,
                Err(error) => (ProblemKind::Unreadable, error.chain()),
                Ok(container) => {
                    let chain = container.meta().chain.as_ref();
                    let parts = container.upper().and_then(|_| container.work());
                    match (parts, self.recorded_chain(chain)) {
                        (Err(error), _) => (ProblemKind::Unreadable, error.chain()),
                        (Ok(_), Ok(None)) => (
                            ProblemKind::Incomplete,
                            "the chain that it is laid on is missing".to_owned(),
                        ),
                        _ => continue,
                    }
                }
            };
            report
                .problems
                .push(Problem::new(Object::Container(key), what, detail));
        }
        Ok(())
    }

    /// Active snapshots and views are containers, too; what is told here is of those that keep a chain.
    pub(super) fn check_snapshots(&self, known: &Known, report: &mut CheckReport) -> Result<()> {
        for KeptChain { name, chain, .. } in &known.snapshots {
            // A record that cannot be read is the chain's problem.
            if matches!(self.recorded_chain(chain.as_ref()), Ok(None)) {
                report.problems.push(Problem::new(
                    Object::Snapshot(name.clone()),
                    ProblemKind::Incomplete,
                    "its chain is missing",
                ));
            }
        }
        let Some(dir) = self.dir().open_dir_if_any(b"snapshots")? else {
            return Ok(());
        };
        for name in dir.names()? {
            let file = String::from_utf8_lossy(&name);
            let is_record = file.ends_with(".json") && !name.starts_with(IN_THE_MAKING);
            if is_record && let Err(error) = json::try_read::<serde_json::Value>(&dir, &file) {
                let detail = error.chain();
                report.add_entry("snapshots", &name, ProblemKind::Unreadable, &detail);
            }
        }
        Ok(())
    }

    pub(super) fn check_mounts(&self, report: &mut CheckReport) -> Result<()> {
        let mounts = self.sub("mounts")?;
        for name in mounts.names()? {
            if name.starts_with(IN_THE_MAKING) {
                continue;
            }
            let file = String::from_utf8_lossy(&name);
            let Some(id) = file.strip_suffix(".json") else {
                report.add_entry("mounts", &name, ProblemKind::Strange, "no name of a mount");
                continue;
            };
            if let Err(error) = json::try_read::<serde_json::Value>(&mounts, &file) {
                let object = Object::Mount(id.to_owned());
                let what = ProblemKind::Unreadable;
                report
                    .problems
                    .push(Problem::new(object, what, error.chain()));
            }
        }
        let recorded = match self.mounts() {
            Ok(recorded) => recorded,
            // One that is JSON, but no record.
            Err(error) if report.problems.iter().all(|problem| !is_mount(problem)) => {
                let what = ProblemKind::Unreadable;
                let object = Object::Entry("mounts".to_owned());
                report
                    .problems
                    .push(Problem::new(object, what, error.chain()));
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        for mount in recorded {
            if !mount.is_live()? {
                let detail = format!("nothing is mounted at {} any more", mount.target.display());
                let object = Object::Mount(mount.id);
                report
                    .problems
                    .push(Problem::new(object, ProblemKind::Dead, detail));
            }
        }
        Ok(())
    }
}

/// What a name must say to be one.
#[derive(Deserialize)]
struct NameRecord {
    #[serde(rename = "name")]
    _name: Text,
    #[serde(rename = "manifest")]
    _manifest: String,
}

fn is_mount(problem: &Problem) -> bool {
    matches!(problem.object, Object::Mount(_))
}
