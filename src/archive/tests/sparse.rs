//! Sparse files, in all notations.

use crate::ErrorKind;
use crate::archive::fixture::{
    END, GNU, Head, Item, file, map, number, pad, pax, read, sparse_gnu,
};
use proptest::prelude::*;

type Pieces<'a> = &'a [(u64, &'a [u8])];

const PIECES: Pieces = &[(0, &[b'h'; 512]), (8192, &[b'x'; 1024]), (20480, b"tail")];

fn stored(pieces: Pieces) -> Vec<u8> {
    pieces
        .iter()
        .flat_map(|(_, data)| data.iter().copied())
        .collect()
}

fn expanded(real_size: usize, pieces: Pieces) -> Vec<u8> {
    let mut content = vec![0; real_size];
    for (offset, data) in pieces {
        let offset = usize::try_from(*offset).unwrap();
        content[offset..offset + data.len()].copy_from_slice(data);
    }
    content
}

/// A PAX sparse file: the records are the version's, the map as given.
fn sparse_pax(version: &str, real_size: u64, map: &[(u64, u64)], stored: &[u8]) -> Vec<u8> {
    let (size, count) = (real_size.to_string(), map.len().to_string());
    let numbers: Vec<_> = map
        .iter()
        .map(|(o, n)| (o.to_string(), n.to_string()))
        .collect();
    let joined = numbers
        .iter()
        .map(|(o, n)| format!("{o},{n}"))
        .collect::<Vec<_>>()
        .join(",");
    let mut records: Vec<(&str, &[u8])> = Vec::new();
    let mut body = stored.to_vec();
    match version {
        "0.0" => {
            records.push(("GNU.sparse.size", size.as_bytes()));
            records.push(("GNU.sparse.numblocks", count.as_bytes()));
            for (offset, length) in &numbers {
                records.push(("GNU.sparse.offset", offset.as_bytes()));
                records.push(("GNU.sparse.numbytes", length.as_bytes()));
            }
        }
        "0.1" => {
            records.push(("GNU.sparse.size", size.as_bytes()));
            records.push(("GNU.sparse.numblocks", count.as_bytes()));
            records.push(("GNU.sparse.name", b"s"));
            records.push(("GNU.sparse.map", joined.as_bytes()));
        }
        _ => {
            records.push(("GNU.sparse.major", b"1"));
            records.push(("GNU.sparse.minor", b"0"));
            records.push(("GNU.sparse.name", b"s"));
            records.push(("GNU.sparse.realsize", size.as_bytes()));
            let lines: String = numbers
                .iter()
                .flat_map(|(o, n)| [o, "\n", n, "\n"])
                .collect();
            body = [pad(format!("{count}\n{lines}").as_bytes()), body].concat();
        }
    }
    let name = if version == "0.0" {
        "s"
    } else {
        "GNUSparseFile.0/s"
    };
    [pax(&records), Head::new(b'0', name).content(&body)].concat()
}

fn all_notations(real_size: u64, pieces: Pieces) -> Vec<Vec<u8>> {
    let map = map(real_size, pieces);
    let mut archives = vec![sparse_gnu("s", real_size, pieces)];
    for version in ["0.0", "0.1", "1.0"] {
        archives.push(sparse_pax(version, real_size, &map, &stored(pieces)));
    }
    archives
}

fn read_with_next(archive: &[u8]) -> Item {
    let mut items = read(&[archive, &file("after", b"1"), END].concat()).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].path(), "after");
    items.remove(0)
}

#[test]
fn all_notations_give_the_same_file() {
    for (real_size, pieces) in [(65536, PIECES), (20484, PIECES), (1 << 20, &[])] {
        for archive in all_notations(real_size, pieces) {
            let item = read_with_next(&archive);
            assert_eq!(
                (item.path(), item.entry.size, item.entry.pieces.is_some()),
                ("s", real_size, true)
            );
            assert_eq!(item.data.len(), pieces.len());
            assert!(item.content() == expanded(usize::try_from(real_size).unwrap(), pieces));
        }
    }
}

#[test]
fn a_map_without_holes_is_a_plain_file() {
    let pieces: Pieces = &[(0, b"abc"), (3, b"def")];
    for archive in all_notations(6, pieces) {
        let item = read_with_next(&archive);
        assert_eq!(
            (item.entry.pieces.is_some(), item.content()),
            (false, b"abcdef".to_vec())
        );
    }
}

#[test]
fn holes_are_told_and_not_filled() {
    for archive in all_notations(1 << 24, &[((1 << 24) - 1, b"x")]) {
        let item = read_with_next(&archive);
        assert_eq!(item.entry.size, 1 << 24);
        assert_eq!(item.data, [((1 << 24) - 1, b"x".to_vec())]);
    }
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let stored = [b'x'; 1024];
    let top = i64::MAX as u64;
    for (what, real_size, map) in [
        ("overlap", 4096, &[(0, 512), (256, 512)][..]),
        ("descend", 4096, &[(1024, 512), (0, 512)]),
        (
            "an empty piece before the end",
            4096,
            &[(0, 1024), (512, 0)],
        ),
        ("pass the real size", 1000, &[(0, 1024)]),
        (
            "an empty piece behind the end",
            2048,
            &[(0, 1024), (4096, 0)],
        ),
        ("less than is stored", 4096, &[(0, 1000)]),
        ("more than is stored", 4096, &[(0, 1025)]),
        ("overflow", top, &[(top, 1024)]),
        ("overflow of 64 bits", top, &[(top, top), (top, top)]),
    ] {
        for version in ["0.0", "0.1", "1.0"] {
            let archive = [sparse_pax(version, real_size, map, &stored), END.to_vec()].concat();
            let error = read(&archive).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidData,
                "{what} in {version}: {}",
                error.chain()
            );
        }
    }
}

#[test]
fn malformed_records_are_refused() {
    use ErrorKind::{InvalidData, Unsupported};
    let size: (&str, &[u8]) = ("GNU.sparse.size", b"10");
    for (records, kind) in [
        (&[size][..], InvalidData),
        (&[("GNU.sparse.map", b"0,1")], InvalidData),
        (&[size, ("GNU.sparse.map", b"0,1,2")], InvalidData),
        (&[size, ("GNU.sparse.map", b"0,")], InvalidData),
        (&[size, ("GNU.sparse.map", b"-1,1")], InvalidData),
        (
            &[
                size,
                ("GNU.sparse.map", b"0,1"),
                ("GNU.sparse.numblocks", b"2"),
            ],
            InvalidData,
        ),
        (&[size, ("GNU.sparse.offset", b"0")], InvalidData),
        (&[size, ("GNU.sparse.numbytes", b"1")], InvalidData),
        (
            &[
                size,
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.offset", b"0"),
            ],
            InvalidData,
        ),
        (&[("GNU.sparse.name", b"x")], InvalidData),
        (&[("GNU.sparse.size", b"1x")], InvalidData),
        (&[("GNU.sparse.name", b"a\0b")], InvalidData),
        (
            &[size, ("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")],
            Unsupported,
        ),
        (&[size, ("GNU.sparse.major", b"1")], Unsupported),
        (
            &[
                size,
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.map", b"0,1"),
            ],
            InvalidData,
        ),
    ] {
        let error = read(&[pax(records), file("f", b"1"), END.to_vec()].concat()).unwrap_err();
        assert_eq!(error.kind(), kind, "{records:?}: {}", error.chain());
    }
}

#[test]
fn malformed_map_texts_are_refused() {
    for (text, kind) in [
        (&b"1\n0\n"[..], ErrorKind::InvalidData),
        (b"", ErrorKind::InvalidData),
        (b"x\n", ErrorKind::InvalidData),
        (b"-1\n", ErrorKind::InvalidData),
        (b"\n\n\n", ErrorKind::InvalidData),
        (b"1 \n0\n1\n", ErrorKind::InvalidData),
        (
            b"00000000000000000000000000000001\n0\n1\n",
            ErrorKind::InvalidData,
        ),
        (b"9999999999\n", ErrorKind::LimitExceeded),
    ] {
        let records = pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"10"),
        ]);
        let archive = [
            records,
            Head::new(b'0', "f").content(&pad(text)),
            END.to_vec(),
        ]
        .concat();
        let error = read(&archive).unwrap_err();
        assert_eq!(
            error.kind(),
            kind,
            "{}: {}",
            text.escape_ascii(),
            error.chain()
        );
    }
}

#[test]
fn old_gnu_sparse_files_need_their_magic_and_whole_pieces() {
    let head = |magic| {
        Head::new(b'S', "s")
            .with(|head| head.magic = magic)
            .raw(483, number(10, 12))
    };
    assert!(read(&[head(GNU).block(), END.to_vec()].concat()).is_ok());
    for bad in [
        head(crate::archive::fixture::USTAR),
        head(GNU).raw(386, number(1, 12)),
        head(GNU).raw(398, number(1, 12)),
        head(GNU).raw(386, b"x").raw(398, b"1"),
        head(GNU).raw(483, number(-1, 12)),
    ] {
        let error = read(&[bad.block(), END.to_vec()].concat()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn the_count_of_pieces_is_limited() {
    use crate::archive::{Limits, fixture::read_chunked};
    let pieces: Vec<_> = (0..30).map(|i| (i * 1024, &b"x"[..])).collect();
    let limits = Limits {
        sparse_count: 29,
        ..Limits::default()
    };
    for archive in all_notations(1 << 20, &pieces) {
        let error = read_chunked(&archive, &[512], limits.clone())
            .1
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn any_map_gives_the_same_file_in_all_notations(
        gaps in proptest::collection::vec((0u64..3000, proptest::collection::vec(any::<u8>(), 0..700)), 0..40),
        tail in 0u64..3000,
    ) {
        let mut at = 0;
        let mut pieces = Vec::new();
        for (gap, data) in &gaps {
            pieces.push((at + gap, data.as_slice()));
            at += gap + data.len() as u64;
        }
        let expected = expanded(usize::try_from(at + tail).unwrap(), &pieces);
        for archive in all_notations(at + tail, &pieces) {
            prop_assert!(read_with_next(&archive).content() == expected);
        }
    }
}
