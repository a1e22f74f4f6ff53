//! Names in an archive as paths below a root.

/// The name of the root file system's directory in a bundle.
///
/// ```
/// use std::path::Path;
///
/// use oci_bundle::layer::ROOTFS_NAME;
///
/// assert_eq!(Path::new("bundle").join(ROOTFS_NAME), Path::new("bundle/rootfs"));
/// ```
pub const ROOTFS_NAME: &str = "rootfs";

/// Cleans a path lexically: no `//`, no `.`, and `..` takes away the component before it, but never leads above the
/// start, whether the path is absolute or relative. An empty path stays empty; a relative path that comes to nothing is
/// `.`. Symbolic links are not looked at: this makes no path safe to open by itself.
///
/// ```
/// use oci_bundle::layer::clean_path;
///
/// assert_eq!(clean_path(b"../../etc//passwd"), b"etc/passwd");
/// assert_eq!(clean_path(b"/a/./b/../../.."), b"/");
/// assert_eq!(clean_path(b"a/.."), b".");
/// assert_eq!(clean_path(b""), b"");
/// ```
pub fn clean_path(path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return Vec::new();
    }
    let mut clean = Vec::with_capacity(path.len());
    if path[0] == b'/' {
        clean.push(b'/');
    }
    append_clean(&mut clean, path);
    if clean.is_empty() {
        clean.push(b'.');
    }
    clean
}

/// The path below the root that a name in an archive means: clean, without a leading slash, empty for the root. The
/// buffer is reused.
pub(crate) fn relative_path(clean: &mut Vec<u8>, path: &[u8]) {
    clean.clear();
    append_clean(clean, path);
}

fn append_clean(clean: &mut Vec<u8>, path: &[u8]) {
    let start = clean.len();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let parent = clean[start..]
                    .iter()
                    .rposition(|&byte| byte == b'/')
                    .unwrap_or(0);
                clean.truncate(start + parent);
            }
            _ => {
                if clean.len() > start {
                    clean.push(b'/');
                }
                clean.extend_from_slice(component);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_cleaned_as_umoci_cleans_them() {
        for (path, clean) in [
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            (".", "."),
            ("..", "."),
            ("./a/", "a"),
            ("a//b/./c", "a/b/c"),
            ("a/b/../../c", "c"),
            ("a/../../../c", "c"),
            ("../a", "a"),
            ("/a/../../b", "/b"),
            ("a/b/..", "a"),
            ("...", "..."),
            ("..a/.b", "..a/.b"),
        ] {
            assert_eq!(clean_path(path.as_bytes()), clean.as_bytes(), "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_clean_path_never_leads_up_and_stays_clean(path in "[a./]{0,20}") {
            let clean = clean_path(path.as_bytes());
            prop_assert_eq!(&clean_path(&clean), &clean);
            prop_assert!(clean.split(|&byte| byte == b'/').all(|part| part != b".."));
            let mut relative = Vec::new();
            relative_path(&mut relative, path.as_bytes());
            prop_assert!(!relative.starts_with(b"/"));
        }
    }
}
