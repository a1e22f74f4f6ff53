//! One contract, every store: each test runs over the directory store and the memory store.

use oci_cas::{Algorithm, Digest, DirStore, ErrorKind, MemoryStore, Store, StoreExt};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::thread;

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// Runs `test` over an empty store of each kind.
fn each_store(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::new());
    let directory = tempfile::tempdir().unwrap();
    test(&DirStore::create(File::open(directory.path()).unwrap().into()).unwrap());
}

fn absent(algorithm: Algorithm) -> Digest {
    Digest::of(algorithm, b"nobody stores this")
}

fn read(store: &dyn Store, digest: &Digest) -> Vec<u8> {
    let mut data = Vec::new();
    store
        .open(digest)
        .unwrap()
        .reader
        .read_to_end(&mut data)
        .unwrap();
    data
}

#[test]
fn a_missing_blob_is_not_found_and_nothing_else() {
    each_store(|store| {
        for algorithm in ALGORITHMS {
            let digest = absent(algorithm);
            assert_eq!(store.open(&digest).unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(
                store.open_verified(&digest, 0).unwrap_err().kind(),
                ErrorKind::NotFound
            );
            assert_eq!(
                store.read_verified(&digest, 0).unwrap_err().kind(),
                ErrorKind::NotFound
            );
            assert_eq!(store.stat(&digest).unwrap(), None);
            assert!(!store.remove(&digest).unwrap());
        }
        assert_eq!(store.list().unwrap(), []);
    });
}

#[test]
fn what_was_ingested_in_pieces_is_found_by_the_digest_of_the_whole() {
    each_store(|store| {
        for algorithm in ALGORITHMS {
            let mut ingest = store.ingest(algorithm).unwrap();
            for piece in [&b"one"[..], b"", b", two", b", three"] {
                ingest.write_all(piece).unwrap();
            }
            ingest.flush().unwrap();
            let whole = b"one, two, three";
            assert_eq!(ingest.commit().unwrap(), (Digest::of(algorithm, whole), 15));
            let digest = Digest::of(algorithm, whole);
            assert_eq!(store.stat(&digest).unwrap(), Some(15));
            assert_eq!(store.open(&digest).unwrap().size, 15);
            assert_eq!(read(store, &digest), whole);
        }
    });
}

#[test]
fn an_empty_blob_is_a_blob() {
    each_store(|store| {
        for algorithm in ALGORITHMS {
            let digest = store.ingest(algorithm).unwrap().commit().unwrap().0;
            assert_eq!(digest, Digest::of(algorithm, b""));
            assert_eq!(store.stat(&digest).unwrap(), Some(0));
            assert_eq!(store.read_verified(&digest, 0).unwrap(), b"");
        }
    });
}

#[test]
fn a_blob_of_three_megabytes_comes_back_whole() {
    each_store(|store| {
        let data: Vec<u8> = (0..=250).cycle().take(3_000_001).collect();
        for algorithm in ALGORITHMS {
            let mut ingest = store.ingest(algorithm).unwrap();
            for piece in data.chunks(100_003) {
                ingest.write_all(piece).unwrap();
            }
            let (digest, size) = ingest.commit().unwrap();
            assert_eq!((&digest, size), (&Digest::of(algorithm, &data), 3_000_001));
            assert!(store.read_verified(&digest, size).unwrap() == data);
        }
    });
}

#[test]
fn a_blob_is_invisible_until_it_is_committed() {
    each_store(|store| {
        let digest = Digest::of(Algorithm::Sha256, b"soon");
        let mut ingest = store.ingest(Algorithm::Sha256).unwrap();
        ingest.write_all(b"soon").unwrap();
        assert_eq!(store.stat(&digest).unwrap(), None);
        assert_eq!(store.list().unwrap(), []);
        ingest.commit().unwrap();
        assert_eq!(store.list().unwrap(), [digest]);
    });
}

#[test]
fn an_abandoned_blob_leaves_nothing() {
    each_store(|store| {
        let mut ingest = store.ingest(Algorithm::Sha256).unwrap();
        ingest.write_all(b"never mind").unwrap();
        drop(ingest);
        assert_eq!(
            store
                .stat(&Digest::of(Algorithm::Sha256, b"never mind"))
                .unwrap(),
            None
        );
        assert_eq!(store.list().unwrap(), []);
    });
}

#[test]
fn storing_the_same_bytes_twice_is_storing_them_once() {
    each_store(|store| {
        let first = store.put(Algorithm::Sha256, b"same").unwrap();
        assert_eq!(store.put(Algorithm::Sha256, b"same").unwrap(), first);
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&first));
        assert_eq!(read(store, &first), b"same");
    });
}

#[test]
fn the_algorithms_do_not_see_each_others_blobs() {
    each_store(|store| {
        let sha512 = store.put(Algorithm::Sha512, b"data").unwrap();
        assert_eq!(
            store.stat(&Digest::of(Algorithm::Sha256, b"data")).unwrap(),
            None
        );
        assert_eq!(store.stat(&sha512).unwrap(), Some(4));
    });
}

#[test]
fn the_list_is_sorted_and_complete() {
    each_store(|store| {
        let mut expected = BTreeSet::new();
        for number in 0..40_u8 {
            expected.insert(
                store
                    .put(ALGORITHMS[usize::from(number % 2)], &[number])
                    .unwrap(),
            );
        }
        assert_eq!(
            store.list().unwrap(),
            expected.into_iter().collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_removed_blob_is_gone_but_its_open_readers_read_on() {
    each_store(|store| {
        let digest = store.put(Algorithm::Sha256, b"going").unwrap();
        let other = store.put(Algorithm::Sha256, b"staying").unwrap();
        let mut blob = store.open(&digest).unwrap();
        assert!(store.remove(&digest).unwrap());
        assert!(!store.remove(&digest).unwrap());
        assert_eq!(store.open(&digest).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(store.list().unwrap(), [other]);
        let mut data = Vec::new();
        blob.reader.read_to_end(&mut data).unwrap();
        assert_eq!(data, b"going");
    });
}

#[test]
fn a_promise_that_does_not_hold_is_a_mismatch() {
    each_store(|store| {
        let digest = store.put(Algorithm::Sha256, b"hello").unwrap();
        assert_eq!(store.read_verified(&digest, 5).unwrap(), b"hello");
        // Ever larger claims: none of them may be allocated.
        for (size, message) in [
            (4, "digest"),
            (6, "size"),
            (1 << 50, "size"),
            (u64::MAX, "size"),
        ] {
            let error = store.read_verified(&digest, size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch);
            assert!(
                error
                    .message()
                    .contains(&format!("verified reader {message} mismatch")),
                "{error:?}"
            );
        }
        let mut reader = store.open_verified(&digest, 6).unwrap();
        reader.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(reader.finish().unwrap_err().kind(), ErrorKind::Mismatch);
    });
}

#[test]
fn several_blobs_can_be_on_their_way_at_once() {
    each_store(|store| {
        let mut left = store.ingest(Algorithm::Sha256).unwrap();
        let mut right = store.ingest(Algorithm::Sha512).unwrap();
        left.write_all(b"le").unwrap();
        right.write_all(b"ri").unwrap();
        left.write_all(b"ft").unwrap();
        right.write_all(b"ght").unwrap();
        assert_eq!(
            right.commit().unwrap().0,
            Digest::of(Algorithm::Sha512, b"right")
        );
        assert_eq!(
            left.commit().unwrap().0,
            Digest::of(Algorithm::Sha256, b"left")
        );
    });
}

#[test]
fn threads_that_store_the_same_and_different_blobs_do_not_disturb_each_other() {
    each_store(|store| {
        thread::scope(|scope| {
            for thread in 0..4_u8 {
                scope.spawn(move || {
                    for number in 0..10_u8 {
                        // Half of the blobs are everyone's, half are this thread's own.
                        let data = if number % 2 == 0 {
                            vec![number; 5000]
                        } else {
                            vec![number, thread]
                        };
                        let digest = store.put(Algorithm::Sha256, &data).unwrap();
                        assert_eq!(
                            store.read_verified(&digest, data.len() as u64).unwrap(),
                            data
                        );
                    }
                });
            }
        });
        assert_eq!(store.list().unwrap().len(), 5 + 4 * 5);
    });
}
