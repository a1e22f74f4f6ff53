//! What the parser makes of the dialects: ustar, V7, star, PAX, GNU.

use super::{concat, fails, one};
use crate::ErrorKind;
use crate::archive::EntryKind;
use crate::archive::fixture::{
    END, GNU, Head, Item, MTIME, USTAR, V7, checksum, file, global, gnu_long, pad, pax, read,
};
use filetime::FileTime;

#[test]
fn every_field_of_a_plain_header_is_read() {
    let block = Head::new(b'0', "dir/file").with(|head| {
        head.mode = 0o10_4751;
        head.uid = 1000;
        head.gid = (1 << 31) + 5;
        head.mtime = -86_400;
    });
    let item = one(&[&block.content(b"hello")]);
    let entry = &item.entry;
    assert_eq!(item.path(), "dir/file");
    assert_eq!((entry.kind, entry.mode), (EntryKind::File, 0o4751));
    assert_eq!((entry.uid, entry.gid), (1000, (1 << 31) + 5));
    assert_eq!(
        (entry.mtime, entry.atime),
        (FileTime::from_unix_time(-86_400, 0), None)
    );
    assert_eq!((entry.size, &entry.pieces), (5, &None));
    assert_eq!(item.data, [(0, b"hello".to_vec())]);
    assert!(entry.link.is_empty() && entry.xattrs.is_empty());
}

#[test]
fn every_type_flag_has_its_kind() {
    let link = |head: &mut Head| head.link = b"target".to_vec();
    for (flag, kind) in [
        (b'0', EntryKind::File),
        (0, EntryKind::File),
        (b'7', EntryKind::File),
        (b'1', EntryKind::HardLink),
        (b'2', EntryKind::Symlink),
        (b'3', EntryKind::CharDevice),
        (b'4', EntryKind::BlockDevice),
        (b'5', EntryKind::Directory),
        (b'6', EntryKind::Fifo),
    ] {
        let entry = one(&[&Head::new(flag, "x").with(link).block()]).entry;
        assert_eq!(entry.kind, kind);
        let is_link = matches!(kind, EntryKind::Symlink | EntryKind::HardLink);
        assert_eq!(entry.link, if is_link { &b"target"[..] } else { b"" });
    }
    for flag in *b"MNAEIUz\x01\xff" {
        let error = fails(&[
            &file("f", b"1"),
            &Head::new(flag, "u").content(&[b'x'; 600]),
            END,
        ]);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.chain().contains("unknown type"), "{}", error.chain());
    }
}

#[test]
fn gnu_labels_are_skipped_and_dump_directories_lose_their_list() {
    let label = Head::new(b'V', "label")
        .with(|head| head.magic = GNU)
        .content(b"ignored");
    let dump = Head::new(b'D', "d/")
        .with(|head| head.magic = GNU)
        .content(&[b'Y'; 700]);
    let items = read(&concat(&[&label, &dump, &file("f", b"1"), END])).unwrap();
    assert_eq!(
        items.iter().map(Item::path).collect::<Vec<_>>(),
        ["d/", "f"]
    );
    assert_eq!(
        (items[0].entry.kind, items[0].entry.size),
        (EntryKind::Directory, 0)
    );
}

#[test]
fn an_old_regular_entry_with_a_slash_at_the_end_is_a_directory() {
    for flag in [0, b'0'] {
        assert_eq!(
            one(&[&Head::new(flag, "d/").block()]).entry.kind,
            EntryKind::Directory
        );
        let error = fails(&[&Head::new(flag, "d/").content(b"x"), END]);
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn only_regular_files_have_a_body() {
    let sized = |flag| {
        Head::new(flag, "x")
            .with(|head| (head.size, head.link) = (4096, b"t".to_vec()))
            .block()
    };
    for flag in *b"123456" {
        let items = read(&concat(&[&sized(flag), &file("after", b"1"), END])).unwrap();
        assert_eq!((items.len(), items[0].entry.size), (2, 0));
        let claimed = pax(&[("size", b"512")]);
        let items = read(&concat(&[
            &claimed,
            &sized(flag),
            &file("after", b"1"),
            END,
        ]))
        .unwrap();
        assert_eq!((items.len(), items[0].entry.size), (2, 0));
    }
    // Garbage in a field that means nothing hurts nobody.
    let garbage = Head::new(b'5', "d")
        .raw(124, b"garbage!")
        .raw(329, b"garbage!")
        .block();
    assert_eq!(one(&[&garbage]).path(), "d");
}

#[test]
fn the_prefix_counts_with_the_ustar_magic_only() {
    let with = |magic| {
        Head::new(b'0', "n")
            .with(|head| head.magic = magic)
            .raw(345, b"p/q")
            .block()
    };
    assert_eq!(one(&[&with(USTAR)]).path(), "p/q/n");
    assert_eq!(one(&[&with(b"ustar\0\0\0")]).path(), "p/q/n");
    assert_eq!(one(&[&with(GNU)]).path(), "n");
    assert_eq!(one(&[&with(V7)]).path(), "n");
    let star = Head::new(b'0', "n")
        .raw(345, [b'p'; 131])
        .raw(476, b"00000000005 ")
        .raw(508, b"tar\0");
    assert_eq!(
        one(&[&star.block()]).path(),
        format!("{}/n", "p".repeat(131))
    );
    let full = Head::new(b'0', [b'n'; 100]).raw(345, [b'p'; 155]).block();
    assert_eq!(
        one(&[&full]).path(),
        format!("{}/{}", "p".repeat(155), "n".repeat(100))
    );
}

#[test]
fn gnu_access_times_are_read_and_garbage_there_is_ignored() {
    let with = |bytes: &[u8]| {
        Head::new(b'0', "n")
            .with(|head| head.magic = GNU)
            .raw(345, bytes)
            .block()
    };
    let atime = |block: Vec<u8>| one(&[&block]).entry.atime;
    assert_eq!(
        atime(with(b"00000000005\x0000000000006\0")),
        Some(FileTime::from_unix_time(5, 0))
    );
    assert_eq!(atime(with(b"some/prefix")), None);
}

#[test]
fn checksums_may_be_signed_but_must_be_right() {
    let head = Head::new(b'0', b"\xff\xfe\xfd");
    assert_eq!(one(&[&head.block()]).entry.path, b"\xff\xfe\xfd");
    let mut block = head.block();
    let signed = checksum(&block, |byte| i64::from(byte.cast_signed()));
    block[148..156].copy_from_slice(format!("{signed:06o}\0 ").as_bytes());
    assert_eq!(one(&[&block]).entry.path, b"\xff\xfe\xfd");
    for delta in [1, -1, 256, 8] {
        let wrong = head.clone().with(|head| head.checksum_delta = delta);
        assert_eq!(fails(&[&wrong.block(), END]).kind(), ErrorKind::InvalidData);
    }
    let mut blank = head.block();
    blank[148..156].fill(b' ');
    assert_eq!(fails(&[&blank, END]).kind(), ErrorKind::InvalidData);
}

#[test]
fn a_malformed_access_or_change_time_says_nothing_and_a_modification_time_is_refused() {
    for bad in [&b"yesterday"[..], b"1e3", b"99999999999999999999"] {
        let file = Head::new(b'0', "f").block();
        let records = pax(&[("atime", bad), ("ctime", bad), ("mtime", b"5")]);
        let entry = one(&[&records, &file]).entry;
        assert_eq!(entry.mtime, FileTime::from_unix_time(5, 0));
        assert_eq!(entry.atime, None);
        let records = pax(&[("atime", b"7"), ("atime", bad)]);
        let entry = one(&[&records, &file]).entry;
        assert_eq!(entry.atime, Some(FileTime::from_unix_time(7, 0)));
        let error = read(&concat(&[&pax(&[("mtime", bad)]), &file, END])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn pax_records_override_the_header() {
    let records = pax(&[
        ("path", b"real/name"),
        ("uid", b"1234567890"),
        ("gid", b"4000000000"),
        ("mtime", b"-1.5"),
        ("atime", b"2.25"),
        ("SCHILY.xattr.user.a", b"1\n9 path=x\n\0="),
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.user.a", b"2"),
        ("LIBARCHIVE.xattr.user.c", b"eA"),
        ("hdrcharset", b"BINARY"),
    ]);
    // What is overridden is not looked at.
    let head = Head::new(b'0', "n")
        .raw(345, b"p/q")
        .raw(108, b"garbage!")
        .raw(116, b"garbage!");
    let entry = one(&[&records, &head.raw(136, b"garbage!").block()]).entry;
    assert_eq!(entry.path, b"real/name");
    assert_eq!((entry.uid, entry.gid), (1_234_567_890, 4_000_000_000));
    assert_eq!(entry.mtime, FileTime::from_unix_time(-2, 500_000_000));
    assert_eq!(entry.atime, Some(FileTime::from_unix_time(2, 250_000_000)));
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    assert_eq!(entry.xattrs, [pair("user.empty", ""), pair("user.a", "2")]);
}

#[test]
fn pax_records_hold_for_one_entry_and_empty_values_for_none() {
    let records = pax(&[("path", b"long"), ("uid", b"7"), ("mtime", b"9")]);
    let unset = pax(&[
        ("path", b""),
        ("uid", b""),
        ("mtime", b""),
        ("size", b""),
        ("linkpath", b""),
    ]);
    let archive = concat(&[&records, &unset, &file("a", b"1"), &file("b", b"2"), END]);
    let items = read(&archive).unwrap();
    for (item, name) in items.iter().zip(["long", "b"]) {
        // An empty path takes back the one before it.
        assert_eq!(item.path(), if name == "long" { "a" } else { name });
        assert_eq!(
            (item.entry.uid, item.entry.mtime),
            (0, FileTime::from_unix_time(MTIME, 0))
        );
    }
}

#[test]
fn the_pax_size_frames_the_body() {
    let inner = concat(&[&file("smuggled", b"evil"), END]);
    let size = inner.len().to_string();
    let larger = concat(&[
        &pax(&[("size", size.as_bytes())]),
        &Head::new(b'0', "f").block(),
        &pad(&inner),
    ]);
    let items = read(&concat(&[&larger, &file("g", b"2"), END])).unwrap();
    assert_eq!((items.len(), items[0].content()), (2, inner));

    let smaller = Head::new(b'0', "f").with(|head| head.size = 1536).block();
    let archive = concat(&[
        &pax(&[("size", b"5")]),
        &smaller,
        &pad(b"12345"),
        &file("g", b"2"),
        END,
    ]);
    let items = read(&archive).unwrap();
    assert_eq!((items.len(), items[0].content()), (2, b"12345".to_vec()));
}

#[test]
fn global_records_are_defaults_for_owner_time_and_attributes_only() {
    let first = global(&[
        ("comment", b"x"),
        ("path", b"all"),
        ("linkpath", b"all"),
        ("size", b"9999"),
        ("uid", b"5"),
        ("mtime", b"6"),
        ("SCHILY.xattr.user.g", b"1"),
    ]);
    let own = pax(&[("uid", b"8"), ("mtime", b""), ("SCHILY.xattr.user.g", b"2")]);
    let second = global(&[("uid", b""), ("mtime", b"7")]);
    let archive = concat(&[
        &first,
        &file("a", b"1"),
        &own,
        &file("b", b"2"),
        &second,
        &file("c", b"3"),
        END,
    ]);
    let items = read(&archive).unwrap();
    let seen: Vec<_> = items
        .iter()
        .map(|item| {
            (
                item.path(),
                item.entry.uid,
                item.entry.mtime.unix_seconds(),
                &item.entry.xattrs[0].1[..],
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("a", 5, 6, &b"1"[..]),
            ("b", 8, MTIME, b"2"),
            ("c", 0, 7, b"1")
        ]
    );
    assert!(items.iter().all(|item| item.entry.xattrs.len() == 1));
}

#[test]
fn gnu_long_names_are_folded_in() {
    let (name, link) = ("n".repeat(300), "l".repeat(4095));
    let head =
        Head::new(b'2', "short").with(|head| (head.link, head.magic) = (b"cut".to_vec(), GNU));
    let long = concat(&[
        &gnu_long(b'K', link.as_bytes()),
        &gnu_long(b'L', name.as_bytes()),
    ]);
    let entry = one(&[&long, &head.block()]).entry;
    assert_eq!(
        (entry.path, entry.link),
        (name.clone().into_bytes(), link.into_bytes())
    );
    // The same said twice is no contradiction, two things are.
    let twice = concat(&[
        &gnu_long(b'L', name.as_bytes()),
        &pax(&[("path", name.as_bytes())]),
    ]);
    assert_eq!(one(&[&twice, &head.block()]).path(), name);
    let two = concat(&[&gnu_long(b'L', b"one"), &pax(&[("path", b"two")])]);
    assert_eq!(
        fails(&[&two, &head.block(), END]).kind(),
        ErrorKind::InvalidData
    );
}
