//! Literal bytes, as umoci 0.4.7 writes them, and round trips through the parser.

use super::*;
use crate::archive::Limits;
use crate::archive::fixture::{Item, read_chunked};
use filetime::FileTime;
use proptest::prelude::*;

fn entry(path: impl AsRef<[u8]>, kind: EntryKind) -> Entry {
    Entry {
        path: path.as_ref().to_vec(),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 100,
        size: 0,
        mtime: FileTime::from_unix_time(1_600_000_000, 0),
        atime: None,
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    }
}

fn write(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.entry(entry).unwrap();
        writer.data(data).unwrap();
    }
    writer.finish().unwrap()
}

fn fails(entry: &Entry) -> Error {
    Writer::new(Vec::new()).entry(entry).unwrap_err()
}

/// Zeros with texts at offsets, in whole blocks.
fn blocks(count: usize, texts: &[(usize, &str)]) -> Vec<u8> {
    let mut blocks = vec![0; count * BLOCK];
    for (offset, text) in texts {
        blocks[*offset..offset + text.len()].copy_from_slice(text.as_bytes());
    }
    blocks
}

/// What all headers of [`entry`] have in common.
const NUMBERS: &[(usize, &str)] = &[
    (100, "0000644\0"),
    (108, "0001750\0"),
    (116, "0000144\0"),
    (136, "13727410000\0"),
    (257, "ustar\x0000"),
    (329, "0000000\0"),
    (337, "0000000\0"),
];

fn header(texts: &[(usize, &str)]) -> Vec<u8> {
    blocks(1, &[NUMBERS, texts].concat())
}

fn pax(blocks_of_body: usize, name: &str, size: &str, checksum: &str, body: &str) -> Vec<u8> {
    blocks(
        1 + blocks_of_body,
        &[
            (0, name),
            (100, "0000000\0"),
            (108, "0000000\0"),
            (116, "0000000\0"),
            (124, size),
            (136, "00000000000\0"),
            (148, checksum),
            (156, "x"),
            (257, "ustar\x0000"),
            (512, body),
        ],
    )
}

fn assert_bytes(found: &[u8], parts: &[Vec<u8>]) {
    let expected = [parts.concat(), vec![0; 1024]].concat();
    let place = found.iter().zip(&expected).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{} bytes, expected {}; the first difference is at {place:?}: \"{}\"",
        found.len(),
        expected.len(),
        found[place.unwrap_or(0) / 8 * 8..]
            .iter()
            .take(16)
            .copied()
            .collect::<Vec<u8>>()
            .escape_ascii()
    );
}

#[test]
fn an_empty_archive_is_two_blocks_of_zeros() {
    assert_bytes(&write(&[]), &[]);
}

#[test]
fn a_small_file_has_one_header_and_padded_content() {
    let mut file = entry("etc/passwd", EntryKind::File);
    file.size = 5;
    let expected = header(&[
        (0, "etc/passwd"),
        (124, "00000000005\0"),
        (148, "011256\0 "),
        (156, "0"),
    ]);
    let content = blocks(1, &[(0, "hello")]);
    assert_bytes(&write(&[(file, b"hello")]), &[expected, content]);
}

#[test]
fn only_files_have_a_size_and_devices_have_numbers() {
    let mut device = entry("dev/null", EntryKind::CharDevice);
    device.device = (1, 3);
    device.size = 99;
    let mut link = entry("sh", EntryKind::Symlink);
    link.link = b"bin/dash".to_vec();
    let first = header(&[
        (0, "dev/null"),
        (124, "00000000000\0"),
        (148, "010734\0 "),
        (156, "3"),
        (329, "0000001\0"),
        (337, "0000003\0"),
    ]);
    let second = header(&[
        (0, "sh"),
        (124, "00000000000\0"),
        (148, "011221\0 "),
        (156, "2"),
        (157, "bin/dash"),
    ]);
    assert_bytes(&write(&[(device, b""), (link, b"")]), &[first, second]);
}

#[test]
fn a_long_ascii_name_is_split_at_the_last_slash_that_fits() {
    let (long, longer) = ("d".repeat(90), "e".repeat(60));
    let directory = entry(format!("{long}/{longer}/"), EntryKind::Directory);
    let expected = header(&[
        (0, &format!("{longer}/")),
        (124, "00000000000\0"),
        (148, "044664\0 "),
        (156, "5"),
        (345, &long),
    ]);
    assert_bytes(&write(&[(directory, b"")]), &[expected]);
}

#[test]
fn a_name_that_cannot_be_split_gets_a_record() {
    let name = "n".repeat(101);
    let file = entry(format!("d/{name}"), EntryKind::File);
    let records = pax(
        1,
        &format!("d/PaxHeaders.0/{}", "n".repeat(85)),
        "00000000161\0",
        "032652\0 ",
        &format!("113 path=d/{name}\n"),
    );
    let main = header(&[
        (0, &format!("d/{}", "n".repeat(98))),
        (124, "00000000000\0"),
        (148, "034533\0 "),
        (156, "0"),
    ]);
    assert_bytes(&write(&[(file, b"")]), &[records, main]);
}

#[test]
fn what_is_not_ascii_is_left_out_of_the_headers() {
    let directory = entry("d/é/", EntryKind::Directory);
    let records = pax(
        1,
        "d//PaxHeaders.0",
        "00000000016\0",
        "010443\0 ",
        "14 path=d/é/\n",
    );
    let main = header(&[
        (0, "d//"),
        (124, "00000000000\0"),
        (148, "007563\0 "),
        (156, "5"),
    ]);
    assert_bytes(&write(&[(directory, b"")]), &[records, main]);
}

#[test]
fn numbers_that_do_not_fit_become_zero_beside_their_records() {
    let mut file = entry("f", EntryKind::File);
    file.uid = 2_097_152;
    file.mtime = FileTime::from_unix_time(-1, 0);
    file.xattrs = vec![
        (b"user.b".to_vec(), b"2".to_vec()),
        (b"user.a".to_vec(), b"\n=".to_vec()),
    ];
    let body =
        "26 SCHILY.xattr.user.a=\n=\n25 SCHILY.xattr.user.b=2\n12 mtime=-1\n15 uid=2097152\n";
    let records = pax(1, "PaxHeaders.0/f", "00000000116\0", "010367\0 ", body);
    let main = blocks(
        1,
        &[
            (0, "f"),
            (100, "0000644\0"),
            (108, "0000000\0"),
            (116, "0000144\0"),
            (124, "00000000000\0"),
            (136, "00000000000\0"),
            (148, "007354\0 "),
            (156, "0"),
            (257, "ustar\x0000"),
            (329, "0000000\0"),
            (337, "0000000\0"),
        ],
    );
    assert_bytes(&write(&[(file, b"")]), &[records, main]);
}

#[test]
fn the_header_of_the_root_is_named_after_nothing() {
    let mut root = entry(".", EntryKind::Directory);
    root.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec())];
    let written = write(&[(root, b"")]);
    assert!(written.starts_with(b"PaxHeaders.0\0"));
    assert_eq!(written[1024..1026], *b".\0");
}

#[test]
fn a_split_name_is_recorded_when_something_else_needs_records() {
    let path = format!("{}/{}", "d".repeat(90), "e".repeat(60));
    let mut file = entry(&path, EntryKind::File);
    file.gid = 3_000_000;
    let written = write(&[(file, b"")]);
    let body = format!("15 gid=3000000\n161 path={path}\n");
    assert!(written[512..].starts_with(body.as_bytes()));
    assert_eq!(written[1024..1124], path.as_bytes()[..100]);
    assert_eq!(written[1024 + 345], 0);
}

#[test]
fn the_largest_size_that_fits_has_no_record() {
    let mut file = entry("f", EntryKind::File);
    for (size, field) in [((1 << 33) - 1, "77777777777\0"), (1 << 33, "00000000000\0")] {
        file.size = size;
        let mut writer = Writer::new(Vec::new());
        writer.entry(&file).unwrap();
        let start = writer.out.len() - 512;
        assert_eq!(writer.out[start + 124..start + 136], *field.as_bytes());
        assert_eq!(start > 0, size == 1 << 33);
        if start > 0 {
            assert!(writer.out[512..].starts_with(b"19 size=8589934592\n"));
        }
    }
}

#[test]
fn a_name_is_not_cut_behind_a_slash() {
    let path = format!("é{}/{}", "a".repeat(99), "b".repeat(10));
    let written = write(&[(entry(path, EntryKind::File), b"")]);
    assert_eq!(
        written[1024..1124],
        *format!("{}\0", "a".repeat(99)).as_bytes()
    );
}

#[test]
fn what_cannot_be_read_back_is_refused() {
    let file = |path: &[u8]| entry(path, EntryKind::File);
    for path in [&b""[..], b"a\0b", b"a/"] {
        assert_eq!(fails(&file(path)).kind(), ErrorKind::InvalidInput);
    }
    for name in [&b""[..], b"user.a=b", b"user.\0"] {
        let mut file = file(b"f");
        file.xattrs = vec![(name.to_vec(), b"1".to_vec())];
        let error = fails(&file);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error.chain().starts_with("write entry \"f\": "),
            "{}",
            error.chain()
        );
    }
    let mut large = file(b"f");
    large.xattrs = vec![(b"user.a".to_vec(), vec![b'x'; 1 << 20])];
    assert_eq!(fails(&large).kind(), ErrorKind::LimitExceeded);
}

#[test]
fn content_must_be_as_long_as_the_size() {
    let mut file = entry("f", EntryKind::File);
    file.size = 3;
    let mut writer = Writer::new(Vec::new());
    writer.entry(&file).unwrap();
    assert_eq!(
        writer.data(b"1234").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    writer.data(b"12").unwrap();
    assert_eq!(
        writer.entry(&file).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn kinds() -> impl Strategy<Value = EntryKind> {
    prop::sample::select(vec![
        EntryKind::File,
        EntryKind::Directory,
        EntryKind::Symlink,
        EntryKind::HardLink,
        EntryKind::CharDevice,
        EntryKind::BlockDevice,
        EntryKind::Fifo,
    ])
}

/// Names of all lengths around the limits of the fields.
fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z]{1,10}(/[a-zé ]{1,120}){0,3}".prop_map(String::into_bytes),
        prop::collection::vec(prop_oneof![Just(b'/'), 1u8..=255], 1..300),
    ]
}

prop_compose! {
    fn entries()(
        path in names(),
        kind in kinds(),
        mode in 0u32..0o10000,
        owner in (0u32..u32::MAX, 0u32..3_000_000),
        data in prop::collection::vec(any::<u8>(), 0..1100),
        seconds in prop_oneof![-1_000_000_000i64..2_000_000_000, Just(1 << 33), Just((1 << 33) - 1)],
        nanos in prop_oneof![Just(0u32), 0u32..1_000_000_000],
        atime in prop::option::of(0i64..2_000_000_000),
        link in names(),
        device in (0u32..4096, 0u32..(1 << 20)),
        xattrs in prop::collection::btree_map(
            prop::collection::vec((1u8..=255).prop_filter("equals", |byte| *byte != b'='), 1..40),
            prop::collection::vec(any::<u8>(), 0..120),
            0..4,
        ),
    ) -> (Entry, Vec<u8>) {
        let is_file = kind == EntryKind::File;
        let mut path = path;
        while path.ends_with(b"/") && has_file_name(kind) {
            path.pop();
        }
        if path.is_empty() {
            path.push(b'p');
        }
        let is_link = matches!(kind, EntryKind::Symlink | EntryKind::HardLink);
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let data = if is_file { data } else { Vec::new() };
        let entry = Entry {
            path,
            kind,
            mode,
            uid: owner.0,
            gid: owner.1,
            size: data.len() as u64,
            mtime: FileTime::from_unix_time(seconds, nanos),
            atime: atime.map(|seconds| FileTime::from_unix_time(seconds, 0)),
            link: if is_link { link } else { Vec::new() },
            device: if is_device { device } else { (0, 0) },
            xattrs: xattrs.into_iter().collect(),
            pieces: None,
        };
        (entry, data)
    }
}

proptest! {
    #[test]
    fn the_parser_reads_back_what_was_written(
        entries in prop::collection::vec(entries(), 0..5),
        piece in 1usize..700,
    ) {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in &entries {
            writer.entry(entry).unwrap();
            for part in data.chunks(piece) {
                writer.data(part).unwrap();
            }
        }
        let archive = writer.finish().unwrap();
        prop_assert_eq!(archive.len() % BLOCK, 0);
        let (items, result) = read_chunked(&archive, &[4096], Limits::default());
        prop_assert!(result.is_ok(), "{}", result.unwrap_err().chain());
        let found: Vec<(Entry, Vec<u8>)> = items
            .iter()
            .map(|item: &Item| (item.entry.clone(), item.content()))
            .collect();
        prop_assert_eq!(found, entries);
    }
}

/// A file with holes: its entry, and the archive of it, whose content is sevens.
fn sparse(path: &str, size: u64, pieces: &[(u64, u64)]) -> (Entry, Vec<u8>) {
    let entry = Entry {
        size,
        ..entry(path, EntryKind::File)
    };
    let mut writer = Writer::new(Vec::new());
    writer.sparse_entry(&entry, pieces).unwrap();
    for (_, length) in pieces {
        let length = usize::try_from(*length).unwrap();
        writer.data(&vec![7; length]).unwrap();
    }
    (entry, writer.finish().unwrap())
}

#[test]
fn a_file_with_holes_has_the_bytes_of_gnus_format() {
    let (_, archive) = sparse("d/f", 5 << 20, &[(0, 512), (4 << 20, 2)]);
    let records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n23 GNU.sparse.name=d/f\n31 GNU.sparse.realsize=5242880\n";
    let expected = [
        blocks(
            1,
            &[
                (0, "d/PaxHeaders.0/f"),
                (100, "0000000\0"),
                (108, "0000000\0"),
                (116, "0000000\0"),
                (124, "00000000142\0"),
                (136, "00000000000\0"),
                (148, "010611\0 x"),
                (257, "ustar\x0000"),
            ],
        ),
        blocks(1, &[(0, records)]),
        header(&[
            (0, "d/GNUSparseFile.0/f"),
            (124, "00000002002\0"),
            (148, "012416\0 0"),
        ]),
        blocks(1, &[(0, "3\n0\n512\n4194304\n2\n5242880\n0\n")]),
        vec![7; 512],
        blocks(1, &[(0, "\x07\x07")]),
        blocks(2, &[]),
    ]
    .concat();
    for (at, (block, expected)) in archive.chunks(512).zip(expected.chunks(512)).enumerate() {
        let text = String::from_utf8_lossy;
        assert_eq!(text(block), text(expected), "block {at}");
    }
    assert_eq!(archive.len(), expected.len());
}

#[test]
fn files_with_holes_are_read_back() {
    let long = format!("{}/\u{e9}{}", "d".repeat(90), "n".repeat(90));
    let many: Vec<_> = (0..5000).map(|at| (at << 21, 512)).collect();
    for (path, size, pieces) in [
        ("f", 1 << 40, &[][..]),
        ("f", 3 << 20, &[(2 << 20, 1 << 20)]),
        (&long, (9 << 30) + 1, &[(0, 512), (9 << 30, 1)]),
        ("many", 5000 << 21, &many),
    ] {
        let (entry, archive) = sparse(path, size, pieces);
        let (items, result) = read_chunked(&archive, &[700, 10_000], Limits::default());
        result.unwrap();
        let [
            Item {
                entry: found, data, ..
            },
        ] = &items[..]
        else {
            panic!("{} entries", items.len());
        };
        let expected = Entry {
            pieces: Some(pieces.to_vec()),
            ..entry
        };
        assert_eq!(*found, expected, "{path}");
        let length: usize = data.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(
            length as u64,
            pieces.iter().map(|piece| piece.1).sum::<u64>()
        );
    }
}

#[test]
fn pieces_that_are_none_of_the_file_are_refused() {
    let file = Entry {
        size: 5000,
        ..entry("f", EntryKind::File)
    };
    let refuse = |entry: &Entry, pieces: &[(u64, u64)]| {
        let error = Writer::new(Vec::new()).sparse_entry(entry, pieces);
        error.unwrap_err().kind()
    };
    for pieces in [
        &[(0, 0)][..],
        &[(1024, 512), (512, 512)],
        &[(0, 1024), (512, 512)],
        &[(1, 511)],
        &[(0, 5), (1024, 512)],
        &[(4608, 512)],
        &[(u64::MAX - 511, 512)],
    ] {
        assert_eq!(refuse(&file, pieces), ErrorKind::InvalidInput, "{pieces:?}");
    }
    let link = entry("l", EntryKind::Symlink);
    assert_eq!(refuse(&link, &[]), ErrorKind::InvalidInput);
    let endless: Vec<_> = (0..200_000).map(|at| (at * 1024, 512)).collect();
    let large = Entry {
        size: 1 << 40,
        ..file
    };
    assert_eq!(refuse(&large, &endless), ErrorKind::LimitExceeded);
}

#[test]
fn parts_are_between_holes_of_the_size_asked_for_and_not_too_many() {
    let parts = |pieces: &[(u64, u64)], blocks: u64, hole: u64| {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|(at, count)| (at * 512, count * 512))
            .collect();
        let parts = parts_between_holes(&pieces, blocks * 512, hole * 512);
        let in_blocks = parts.iter().map(|(at, count)| (at / 512, count / 512));
        in_blocks.collect::<Vec<_>>()
    };
    assert_eq!(parts(&[(2, 2), (6, 1)], 20, 3), [(0, 7)]);
    assert_eq!(parts(&[(3, 2), (7, 1)], 9, 3), [(3, 6)]);
    assert_eq!(parts(&[(3, 2), (8, 1)], 20, 3), [(3, 2), (8, 1)]);
    assert_eq!(parts(&[], 20, 3), []);
    assert_eq!(parts(&[], 2, 3), [(0, 2)]);
    assert_eq!(parts(&[(0, 20)], 20, 0), [(0, 20)]);
    // Pieces that are no blocks become ones.
    let bytes = parts_between_holes(&[(700, 1), (5000, 20), (6000, 1)], 6001, 1024);
    assert_eq!(bytes, [(0, 1024), (4608, 1393)]);
    assert_eq!(
        parts_between_holes(&[(600, 400), (1030, 1)], 9000, 1),
        [(512, 1024)]
    );
    let many: Vec<_> = (0..60_000)
        .map(|at| (at << 11, 1))
        .chain([(1 << 31, 1)])
        .collect();
    let fewer = parts(&many, 2 << 31, 1);
    assert_eq!(fewer.len(), 2);
    assert_eq!(fewer[1], (1 << 31, 1));
}
