//! What the labels of a container say of a layer of the driver's.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::quota::Limits;
use crate::image::DiffId;
use crate::store::{Container, ContainerMeta, Key, Reason};

/// What the driver's own labels begin with.
const PREFIX: &str = "bundle.driver.";
const KIND: &str = "bundle.driver.kind";
const PARENT: &str = "bundle.driver.parent";
const DIFF_ID: &str = "bundle.driver.diff-id";
const SIZE: &str = "bundle.driver.size";
const QUOTA: &str = "bundle.driver.quota";
const REMAP: &str = "bundle.driver.remap";

/// What a layer was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To be committed.
    Layer,
    /// To be written to.
    ReadWrite,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::ReadWrite => "read-write",
        }
    }
}

/// A project of the file system's, and what it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub number: u32,
    pub limits: Limits,
}

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub kind: Kind,
    pub parent: Option<Key>,
    /// Only of what is committed, like the size.
    pub diff_id: Option<DiffId>,
    pub size: u64,
    pub project: Option<Project>,
    /// Whether its owners are just being changed.
    pub remapping: bool,
}

impl State {
    pub(super) fn new(kind: Kind, parent: Option<&Key>) -> Self {
        Self {
            kind,
            parent: parent.cloned(),
            diff_id: None,
            size: 0,
            project: None,
            remapping: false,
        }
    }

    /// What the labels say; `None` if it is not the driver's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] if they say nothing that the driver writes.
    pub(super) fn of(container: &Container) -> Result<Option<Self>> {
        let labels = &container.meta().labels;
        let kind = match labels.get(KIND).map(String::as_str) {
            None => return Ok(None),
            Some("layer") => Kind::Layer,
            Some("read-write") => Kind::ReadWrite,
            Some(_) => return Err(strange(container, KIND)),
        };
        let size = labels.get(SIZE).map(|text| text.parse());
        let project = labels.get(QUOTA).map(|text| read_project(text));
        Ok(Some(Self {
            kind,
            parent: labels.get(PARENT).map(Key::new).transpose()?,
            diff_id: labels.get(DIFF_ID).map(|text| text.parse()).transpose()?,
            size: size
                .transpose()
                .map_err(|_| strange(container, SIZE))?
                .unwrap_or(0),
            project: match project {
                Some(None) => return Err(strange(container, QUOTA)),
                project => project.flatten(),
            },
            remapping: labels.contains_key(REMAP),
        }))
    }

    /// Writes it into the labels, in place of what they said.
    pub(super) fn put(&self, meta: &mut ContainerMeta) {
        let labels = &mut meta.labels;
        labels.retain(|name, _| !is_own(name));
        let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
        set(KIND, self.kind.word().to_owned());
        if let Some(parent) = &self.parent {
            set(PARENT, parent.to_string());
        }
        if let Some(diff_id) = &self.diff_id {
            set(DIFF_ID, diff_id.to_string());
            set(SIZE, self.size.to_string());
        }
        if let Some(project) = &self.project {
            set(QUOTA, write_project(project));
        }
        if self.remapping {
            set(REMAP, "true".to_owned());
        }
    }

    /// Whether nothing can be written to it any more.
    pub(super) fn is_committed(&self) -> bool {
        self.diff_id.is_some()
    }
}

/// Whether a label is the driver's own.
pub(super) fn is_own(label: &str) -> bool {
    label.starts_with(PREFIX)
}

/// Makes sure that labels of the caller's are none of ours.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`].
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    match labels.keys().find(|name| is_own(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("label {name:?}: names with {PREFIX:?} are the driver's own");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

fn strange(container: &Container, label: &str) -> Error {
    let message = format!(
        "container {}: the label {label:?} is damaged",
        container.key()
    );
    Reason::Corrupt.error(message)
}

fn write_project(project: &Project) -> String {
    let limit =
        |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let Limits { bytes, inodes } = project.limits;
    format!("{} {} {}", project.number, limit(bytes), limit(inodes))
}

fn read_project(text: &str) -> Option<Project> {
    let mut words = text.split(' ');
    let number = words.next()?.parse().ok()?;
    let mut limit = || match words.next()? {
        "-" => Some(None),
        word => word.parse().ok().map(Some),
    };
    let limits = Limits {
        bytes: limit()?,
        inodes: limit()?,
    };
    words.next().is_none().then_some(Project { number, limits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn projects_are_read_as_they_are_written(number: u32, bytes: Option<u64>, inodes: Option<u64>) {
            let project = Project { number, limits: Limits { bytes, inodes } };
            prop_assert_eq!(read_project(&write_project(&project)), Some(project));
        }
    }

    #[test]
    fn what_is_no_project_is_refused() {
        for text in ["", "1", "1 -", "1 - x", "x - -", "1 - - -", "1  -"] {
            assert_eq!(read_project(text), None, "{text}");
        }
    }

    #[test]
    fn labels_of_the_driver_are_not_for_the_caller() {
        let labels = |name: &str| BTreeMap::from([(name.to_owned(), String::new())]);
        assert!(check_labels(&labels("bundle.drive")).is_ok());
        let error = check_labels(&labels(KIND)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
