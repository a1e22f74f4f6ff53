//! An index that is not what it should be is ignored, whatever is wrong with it.

use super::*;
use proptest::prelude::*;

/// An index of a small tree, and the SHA-256 of its manifest.
fn sample() -> (Bundle, Vec<u8>, [u8; 32]) {
    let bundle = Bundle::with(&[("a", "1"), ("d/e/f", "2"), ("d/g", "3"), ("z/y", "4")]);
    let index = fs::read(bundle.root().join(INDEX)).unwrap();
    let manifest = fs::read(bundle.root().join(MANIFEST)).unwrap();
    (bundle, index, Sha256::digest(manifest).into())
}

/// Gives what somebody has changed a checksum that holds.
fn seal(mut index: Vec<u8>) -> Vec<u8> {
    let end = index.len() - 32;
    let checksum = Sha256::digest(&index[..end]);
    index[end..].copy_from_slice(&checksum);
    index
}

#[test]
fn a_truncated_or_damaged_index_is_ignored() {
    let (_bundle, index, sha256) = sample();
    assert!(StatIndex::parse(index.clone(), &sha256).is_some());
    for length in 0..index.len() {
        assert!(
            StatIndex::parse(index[..length].to_vec(), &sha256).is_none(),
            "{length}"
        );
    }
    for place in 0..index.len() {
        let mut damaged = index.clone();
        damaged[place] ^= 1;
        assert!(StatIndex::parse(damaged, &sha256).is_none(), "{place}");
    }
    let longer = [&index[..], b"\0"].concat();
    assert!(StatIndex::parse(longer, &sha256).is_none());
}

#[test]
fn an_index_of_another_version_is_ignored_though_its_checksum_holds() {
    let (_bundle, mut index, sha256) = sample();
    assert!(StatIndex::parse(seal(index.clone()), &sha256).is_some());
    for version in [0, 2, 255] {
        index[7] = version;
        assert!(StatIndex::parse(seal(index.clone()), &sha256).is_none());
    }
}

#[test]
fn an_index_of_another_manifest_is_ignored_as_is_that_of_an_edited_one() {
    let (bundle, index, sha256) = sample();
    assert!(StatIndex::parse(index, &[7; 32]).is_none());
    assert!(bundle.index().is_some());
    let path = bundle.root().join(MANIFEST);
    let mut manifest = fs::read(&path).unwrap();
    assert_eq!(Sha256::digest(&manifest)[..], sha256);
    manifest.push(b'\n');
    fs::write(&path, manifest).unwrap();
    assert!(bundle.index().is_none());
}

#[test]
fn an_index_of_another_bundle_proves_nothing_there() {
    let (bundle, ..) = sample();
    let other = Bundle::with(&[("a", "1"), ("d/e/f", "2"), ("d/g", "3"), ("z/y", "X")]);
    // Even if both have the manifest of the first.
    for name in [MANIFEST, INDEX] {
        fs::copy(bundle.root().join(name), other.root().join(name)).unwrap();
    }
    let (found, read) = other.by_index();
    assert!(found.contains(&"M z/y".to_owned()), "{found:?}");
    assert_eq!(read, 4);
    assert_eq!(found, other.by_manifest().0);
}

#[test]
fn a_missing_index_or_what_is_no_file_in_its_place_is_ignored() {
    let (bundle, ..) = sample();
    let path = bundle.root().join(INDEX);
    fs::remove_file(&path).unwrap();
    assert!(bundle.index().is_none());
    fs::create_dir(&path).unwrap();
    assert!(bundle.index().is_none());
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(bundle.index().is_none());
    fs::remove_file(bundle.root().join(MANIFEST)).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(bundle.index().is_none());
}

#[test]
fn the_name_of_an_index_is_that_of_its_manifest_with_another_ending() {
    assert_eq!(StatIndex::file_name("sha256_ab.mtree"), "sha256_ab.stat");
    assert_eq!(StatIndex::file_name("other"), "other.stat");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_index_with_a_forged_checksum_is_refused_or_harmless(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (bundle, mut index, sha256) = {
            let bundle = Bundle::new();
            bundle.write("a", "1");
            bundle.write("d/e/f", "2");
            bundle.record();
            let index = fs::read(bundle.root().join(INDEX)).unwrap();
            let manifest = fs::read(bundle.root().join(MANIFEST)).unwrap();
            (bundle, index, Sha256::digest(manifest).into())
        };
        let end = index.len() - 32;
        for (place, byte) in edits {
            let place = place.index(end);
            index[place] = byte;
        }
        if let Some(index) = StatIndex::parse(seal(index), &sha256) {
            let reference = Reference::now(&bundle.dir()).unwrap();
            let found = bundle.diff(Baseline::Index(&index), &[], Some(reference));
            let mut record = found.record.unwrap();
            // Names and links of a forged index are never opened, and never leave the tree.
            record.write_manifest(Vec::new(), &Header::default()).unwrap();
        }
    }
}
