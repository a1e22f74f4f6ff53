//! `raw mtree-validate`: a manifest file against a directory.

use super::{Difference, Keyword, Manifest, OwnerNames, UMOCI_KEYWORDS, WalkOptions, compare};
use crate::fs::names::absolute;
use crate::fs::{Access, Dir, Root};
use crate::{Result, ResultExt};
use std::path::Path;

/// Which keywords to compare, and how to get at the files.
#[derive(Clone, Debug, Default)]
pub struct ValidateOptions {
    /// Compare these (`-k`).
    pub use_keywords: Option<Vec<Keyword>>,
    /// Without `use_keywords`: compare umoci's ten. With neither, all keywords that the manifest has are compared.
    pub umoci_keywords: bool,
    /// Compare these in addition (`-K`).
    pub add_keywords: Vec<Keyword>,
    /// How directories without permission are handled.
    pub access: Access,
    /// Names for `uname` and `gname`; without them these two cannot be compared.
    pub owners: Option<OwnerNames>,
}

impl ValidateOptions {
    /// The keywords to compare for a manifest; `type` is always among them.
    fn keywords(&self, manifest: &Manifest) -> Vec<Keyword> {
        let mut keywords = vec![Keyword::Type];
        match &self.use_keywords {
            Some(list) => keywords.extend(list),
            None if self.umoci_keywords => keywords.extend(UMOCI_KEYWORDS),
            None => keywords.extend(manifest.keywords().iter()),
        }
        keywords.extend(&self.add_keywords);
        keywords.sort_unstable();
        keywords.dedup();
        keywords
    }
}

/// Compares a manifest file with a directory; the result is sorted by path, and empty if nothing differs.
///
/// # Errors
///
/// Those of [`Manifest::parse`] and [`walk`](super::walk()): among them
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if a keyword cannot be computed.
pub fn validate(
    manifest: &Path,
    tree: &Path,
    options: &ValidateOptions,
) -> Result<Vec<Difference>> {
    let path =
        absolute(manifest).context(|| format!("open mtree manifest {}", manifest.display()))?;
    let file = Root::open(Path::new("/"), Access::Plain)
        .and_then(|root| root.open_file(&path))
        .context(|| format!("open mtree manifest {}", manifest.display()))?;
    let manifest =
        Manifest::parse(file).context(|| format!("read mtree manifest {}", manifest.display()))?;
    let keywords = options.keywords(&manifest);
    let walk_options = WalkOptions {
        keywords: &keywords,
        owners: options.owners.as_ref(),
    };
    let dir = Dir::open(tree, options.access)?;
    compare(&manifest, &dir, &walk_options)
        .context(|| format!("compare {} with mtree manifest", tree.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn chosen(options: &ValidateOptions, manifest: &str) -> Vec<Keyword> {
        options.keywords(&Manifest::parse(manifest.as_bytes()).unwrap())
    }

    #[test]
    fn keywords_are_the_given_ones_or_umocis_or_those_of_the_manifest_and_always_the_type() {
        let manifest = "/set uid=0\nf size=1 sha256=ab optional contents=x xattr.user.a=\n";
        let mut options = ValidateOptions::default();
        let of_manifest = [
            Keyword::Type,
            Keyword::Size,
            Keyword::Uid,
            Keyword::Sha256,
            Keyword::Xattr,
        ];
        assert_eq!(chosen(&options, manifest), of_manifest);
        options.umoci_keywords = true;
        let mut umoci = UMOCI_KEYWORDS.to_vec();
        umoci.sort_unstable();
        assert_eq!(chosen(&options, manifest), umoci);
        options.use_keywords = Some(vec![Keyword::Link]);
        assert_eq!(chosen(&options, manifest), [Keyword::Type, Keyword::Link]);
        options.add_keywords = vec![Keyword::Link, Keyword::Size];
        let added = [Keyword::Type, Keyword::Size, Keyword::Link];
        assert_eq!(chosen(&options, manifest), added);
    }

    #[test]
    fn a_manifest_file_is_compared_with_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("f"), "hi").unwrap();
        fs::set_permissions(tree.join("f"), fs::Permissions::from_mode(0o644)).unwrap();
        let file = directory.path().join("manifest");
        let mut options = ValidateOptions::default();

        fs::write(&file, ". type=dir\nf type=file size=2 mode=0644\n..\n").unwrap();
        options.use_keywords = Some(vec![Keyword::Link]);
        assert_eq!(validate(&file, &tree, &options).unwrap(), []);
        options.add_keywords = vec![Keyword::Sha256];
        let found = validate(&file, &tree, &options).unwrap();
        assert_eq!(found.len(), 1);
        let start = r#""f": keyword "sha256digest": expected ; got 8f43"#;
        assert!(found[0].to_string().starts_with(start), "{}", found[0]);

        fs::write(&file, ". type=dir\n\\400\n").unwrap();
        let error = validate(&file, &tree, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        fs::remove_file(&file).unwrap();
        let error = validate(&file, &tree, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
