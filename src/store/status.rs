//! What works in a store: tried out once for each boot and kernel, and written down.
//!
//! `features.json` is a cache and nothing else: where it is missing, damaged, of another boot or of another kernel,
//! everything is tried out again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::json;
use super::place::Store;
use crate::error::Result;
use crate::fs::mount::{Features, MAX_LOWERS, MountMethod, Support};
use crate::fs::{Access, Dir, XattrNamespace, probe};

const CACHE: &str = "features.json";

/// Where the kernel says what it is.
const KERNEL: &str = "/proc/sys/kernel";

/// The longest release of a kernel.
const MAX_RELEASE: u64 = 4096;

/// Something that works in a store, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreFeature {
    /// The kernel mounts overlays.
    Overlay,
    /// Directories tell the types of their entries.
    DType,
    /// Overlayfs's extended attributes can be written, in the name space that the store uses.
    Marks,
    /// They can be written as `user.overlay.*`.
    UserMarks,
    /// Overlays can be mounted without any syncing.
    Volatile,
    /// Lower directories can be trees that are mounted nowhere.
    DetachedLowers,
    /// Mounts can map the owners of files.
    IdMappedMounts,
    /// Files can share their blocks.
    Reflink,
    /// A mount has a number that no other mount gets.
    UniqueMountIds,
    /// [`MountMethod::Fd`] works.
    MountFd,
    /// [`MountMethod::String`] works.
    MountString,
    /// [`MountMethod::Legacy`] works.
    MountLegacy,
    /// [`MountMethod::Fuse`] works.
    MountFuse,
}

impl From<MountMethod> for StoreFeature {
    fn from(method: MountMethod) -> Self {
        match method {
            MountMethod::Fd => Self::MountFd,
            MountMethod::String => Self::MountString,
            MountMethod::Legacy => Self::MountLegacy,
            MountMethod::Fuse => Self::MountFuse,
        }
    }
}

/// What works in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreFeatures {
    boot: String,
    kernel: String,
    marks: String,
    file_system: String,
    max_lowers: usize,
    /// What was tried out and, if it does not work, the reason.
    answers: Vec<(StoreFeature, Option<String>)>,
}

impl StoreFeatures {
    fn of(features: &Features, boot: String, kernel: String, marks: XattrNamespace) -> Self {
        use StoreFeature as It;
        let answers = [
            (It::Overlay, features.kernel_overlay()),
            (It::DType, features.entry_types.clone()),
            (It::Marks, features.marks_writable.clone()),
            (It::UserMarks, features.user_marks.clone()),
            (It::Volatile, features.volatile.clone()),
            (It::DetachedLowers, features.detached_lowers.clone()),
            (It::IdMappedMounts, features.id_mapped_lowers.clone()),
            (It::Reflink, features.reflinks.clone()),
            (It::UniqueMountIds, features.unique_mount_ids.clone()),
        ];
        let methods = features.methods.iter();
        let methods = methods.map(|(method, answer)| (It::from(*method), answer.clone()));
        let why = |answer| match answer {
            Support::Yes => None,
            Support::No(why) => Some(why),
        };
        Self {
            boot,
            kernel,
            marks: word(marks).to_owned(),
            file_system: features.file_system.name.to_owned(),
            max_lowers: features.max_lowers.unwrap_or(MAX_LOWERS),
            answers: answers
                .into_iter()
                .chain(methods)
                .map(|(feature, it)| (feature, why(it)))
                .collect(),
        }
    }

    /// Whether something works. What was not tried out does not.
    pub fn answer(&self, feature: StoreFeature) -> Support {
        let mut answers = self.answers.iter();
        match answers.find(|(tried, _)| *tried == feature) {
            Some((_, None)) => Support::Yes,
            Some((_, Some(why))) => Support::No(why.clone()),
            None => Support::No("it was not tried out".to_owned()),
        }
    }

    /// Whether overlays can be mounted, by the kernel or by fuse-overlayfs; the reason is the kernel's.
    pub fn overlays(&self) -> Support {
        match self.answer(StoreFeature::MountFuse) {
            Support::Yes => Support::Yes,
            Support::No(_) => self.answer(StoreFeature::Overlay),
        }
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
        let yes_or_no = |feature| features.answer(feature).to_string();
        let id_mapped = if self.options().id_mapped_mounts {
            yes_or_no(StoreFeature::IdMappedMounts)
        } else {
            "no: the store was opened without".to_owned()
        };
        Ok(vec![
            ("Backing Filesystem", features.file_system.clone()),
            ("Supports d_type", yes_or_no(StoreFeature::DType)),
            // Overlays are mounted so that the upper directory has all changes and nothing else.
            ("Native Overlay Diff", yes_or_no(StoreFeature::Overlay)),
            ("Using metacopy", "no".to_owned()),
            ("Supports shifting", id_mapped.clone()),
            ("Supports volatile", yes_or_no(StoreFeature::Volatile)),
            ("Kernel", features.kernel.clone()),
            ("Xattr namespace", word(self.marks()).to_owned()),
            ("Max lowers", features.max_lowers.to_string()),
            ("Reflink", yes_or_no(StoreFeature::Reflink)),
            ("Id-mapped mounts", id_mapped),
            ("Unique mount ids", yes_or_no(StoreFeature::UniqueMountIds)),
        ])
    }
}

fn word(marks: XattrNamespace) -> &'static str {
    match marks {
        XattrNamespace::Trusted => "trusted",
        XattrNamespace::User => "user",
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
        assert!(found.answer(StoreFeature::DType).is_yes());
        let marked = |change: &dyn Fn(&mut StoreFeatures)| {
            let mut known = StoreFeatures {
                answers: vec![(StoreFeature::DType, Some("made up".to_owned()))],
                ..found.clone()
            };
            change(&mut known);
            json::replace(store.dir(), CACHE, &known).unwrap();
            store
                .features()
                .unwrap()
                .answer(StoreFeature::DType)
                .is_yes()
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
