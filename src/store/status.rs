//! What works in a store: tried out once for each boot and kernel, and written down.
//!
//! `features.json` is a cache and nothing else: where it is missing, damaged, of another boot or of another kernel,
//! everything is tried out again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::json;
use super::place::Store;
use crate::error::Result;
use crate::fs::mount::{Answer, Features, MAX_LOWERS};
use crate::fs::{Access, Dir, MarkNamespace, probe};

const CACHE: &str = "features.json";

/// Where the kernel says what it is.
const KERNEL: &str = "/proc/sys/kernel";

/// The longest release of a kernel.
const MAX_RELEASE: u64 = 4096;

/// What works in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreFeatures {
    boot: String,
    kernel: String,
    marks: String,
    file_system: String,
    max_lowers: usize,
    /// Name and, if it does not work, the reason.
    answers: Vec<(String, Option<String>)>,
}

impl StoreFeatures {
    fn of(features: &Features, boot: String, kernel: String, marks: MarkNamespace) -> Self {
        let mut answers = vec![
            ("overlay", features.kernel_overlay()),
            ("d-type", features.entry_types.clone()),
            ("marks", features.marks_writable.clone()),
            ("user-marks", features.user_marks.clone()),
            ("volatile", features.volatile.clone()),
            ("detached-lowers", features.detached_lowers.clone()),
            ("id-mapped-mounts", features.id_mapped_lowers.clone()),
            ("reflink", features.reflinks.clone()),
            ("unique-mount-ids", features.unique_mount_ids.clone()),
        ];
        let names: Vec<String> = features
            .methods
            .iter()
            .map(|(method, _)| format!("mount-{method}"))
            .collect();
        let methods = features.methods.iter().map(|(_, answer)| answer.clone());
        answers.extend(names.iter().map(String::as_str).zip(methods));
        let why = |answer| match answer {
            Answer::Yes => None,
            Answer::No(why) => Some(why),
        };
        Self {
            boot,
            kernel,
            marks: word(marks).to_owned(),
            file_system: features.file_system.name.to_owned(),
            max_lowers: features.max_lowers.unwrap_or(MAX_LOWERS),
            answers: answers
                .into_iter()
                .map(|(name, it)| (name.to_owned(), why(it)))
                .collect(),
        }
    }

    /// The release of the kernel that it was tried out with.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// The usual name of the file system.
    pub fn file_system(&self) -> &str {
        &self.file_system
    }

    /// How many directories an overlay may have below it.
    pub fn max_lowers(&self) -> usize {
        self.max_lowers
    }

    /// Whether something works: `overlay`, `d-type`, `marks`, `user-marks`, `volatile`, `detached-lowers`,
    /// `id-mapped-mounts`, `reflink`, `unique-mount-ids`, and `mount-` with the name of a
    /// [`MountMethod`](crate::fs::mount::MountMethod). What was not tried out does not.
    pub fn answer(&self, feature: &str) -> Answer {
        let mut answers = self.answers.iter();
        match answers.find(|(name, _)| name == feature) {
            Some((_, None)) => Answer::Yes,
            Some((_, Some(why))) => Answer::No(why.clone()),
            None => Answer::No("it was not tried out".to_owned()),
        }
    }

    /// Everything that was tried out.
    pub fn answers(&self) -> impl Iterator<Item = (&str, Answer)> {
        self.answers
            .iter()
            .map(|(name, _)| (name.as_str(), self.answer(name)))
    }

    /// Whether overlays can be mounted, by the kernel or by fuse-overlayfs.
    pub fn mounts(&self) -> bool {
        self.answer("overlay").is_yes() || self.answer("mount-fuse").is_yes()
    }

    /// Why the kernel mounts no overlays.
    pub fn why_not(&self) -> Option<&str> {
        let (_, why) = self.answers.iter().find(|(name, _)| name == "overlay")?;
        why.as_deref()
    }
}

impl Store {
    /// What works in this store, tried out now or since the machine was started.
    ///
    /// # Errors
    ///
    /// Fails if nothing can be made in the store. That the answers cannot be written down is no error.
    pub fn features(&self) -> Result<StoreFeatures> {
        let (boot, kernel) = (probe::boot_id()?, kernel_release()?);
        let known = json::try_read::<StoreFeatures>(self.dir(), CACHE)
            .ok()
            .flatten();
        if let Some(known) = known
            && known.boot == boot
            && known.kernel == kernel
            && known.marks == word(self.marks())
        {
            return Ok(known);
        }
        let features = Features::probe(&self.sub("staging")?, self.marks())?;
        let features = StoreFeatures::of(&features, boot, kernel, self.marks());
        // Whoever comes next tries it out again.
        let _ = json::replace(self.dir(), CACHE, &features);
        Ok(features)
    }

    /// What works in this store, as pairs for people; the first six are those of the overlay graph driver.
    ///
    /// # Errors
    ///
    /// As [`features`](Self::features).
    pub fn status(&self) -> Result<Vec<(&'static str, String)>> {
        let features = self.features()?;
        let yes_or_no = |feature: &str| features.answer(feature).to_string();
        let id_mapped = if self.options().id_mapped_mounts {
            yes_or_no("id-mapped-mounts")
        } else {
            "no: the store was opened without".to_owned()
        };
        Ok(vec![
            ("Backing Filesystem", features.file_system.clone()),
            ("Supports d_type", yes_or_no("d-type")),
            // Overlays are mounted so that the upper directory has all changes and nothing else.
            ("Native Overlay Diff", yes_or_no("overlay")),
            ("Using metacopy", "no".to_owned()),
            ("Supports shifting", id_mapped.clone()),
            ("Supports volatile", yes_or_no("volatile")),
            ("Kernel", features.kernel.clone()),
            ("Xattr namespace", word(self.marks()).to_owned()),
            ("Max lowers", features.max_lowers.to_string()),
            ("Reflink", yes_or_no("reflink")),
            ("Id-mapped mounts", id_mapped),
            ("Unique mount ids", yes_or_no("unique-mount-ids")),
        ])
    }
}

fn word(marks: MarkNamespace) -> &'static str {
    match marks {
        MarkNamespace::Trusted => "trusted",
        MarkNamespace::User => "user",
    }
}

fn kernel_release() -> Result<String> {
    let dir = Dir::open(Path::new(KERNEL), Access::Plain)?;
    let release = dir.read_file(b"osrelease", MAX_RELEASE)?;
    Ok(String::from_utf8_lossy(&release).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn what_was_found_out_holds_for_this_boot_and_this_kernel_only() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(scratch.path().join("store"))).unwrap();
        let found = store.features().unwrap();
        assert!(found.answer("d-type").is_yes());
        let marked = |change: &dyn Fn(&mut StoreFeatures)| {
            let mut known = StoreFeatures {
                answers: vec![("d-type".to_owned(), Some("made up".to_owned()))],
                ..found.clone()
            };
            change(&mut known);
            json::replace(store.dir(), CACHE, &known).unwrap();
            store.features().unwrap().answer("d-type").is_yes()
        };
        assert!(!marked(&|_| {}), "the cache is used");
        assert!(marked(&|known| known.boot.push('x')));
        assert!(marked(&|known| known.kernel.push('x')));
        assert!(marked(&|known| known.marks.push('x')));
        std::fs::write(scratch.path().join("store/features.json"), "{").unwrap();
        assert_eq!(store.features().unwrap(), found);
    }

    #[test]
    fn the_status_says_why_something_does_not_work() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            id_mapped_mounts: false,
            ..StoreOptions::new(scratch.path().join("store"))
        });
        let status = store.unwrap().status().unwrap();
        let said = |key: &str| &status.iter().find(|(name, _)| *name == key).unwrap().1;
        assert_eq!(
            said("Supports shifting"),
            "no: the store was opened without"
        );
        assert_eq!(said("Supports d_type"), "yes");
        assert_eq!(status.len(), 12);
    }
}
