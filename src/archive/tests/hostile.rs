//! What the parser refuses, and what it lets pass.

use super::{concat, fails, one, paths};
use crate::ErrorKind::{InvalidData, LimitExceeded, Unsupported};
use crate::archive::fixture::{
    END, Head, file, global, gnu_long, pax, read, read_chunked, sparse_gnu,
};
use crate::archive::{Limits, Parser};

#[test]
fn device_numbers_must_fit_linux() {
    let device = |major, minor| {
        Head::new(b'3', "n")
            .with(|head| head.device = (major, minor))
            .block()
    };
    assert_eq!(
        one(&[&device(4095, 1_048_575)]).entry.device,
        (4095, 1_048_575)
    );
    for (major, minor) in [
        (1, 1_048_579),
        (4096, 0),
        (1 << 32, 3),
        (-1, 0),
        (1 << 40, 1 << 40),
    ] {
        assert_eq!(fails(&[&device(major, minor), END]).kind(), Unsupported);
    }
}

#[test]
fn hostile_headers_are_refused() {
    let head = |edit: fn(&mut Head)| Head::new(b'0', "f").with(edit).block();
    for (name, archive, kind) in [
        (
            "a size of 2^70",
            head(|head| head.size = 1 << 70),
            InvalidData,
        ),
        (
            "a size of 2^63",
            head(|head| head.size = 1 << 63),
            InvalidData,
        ),
        ("a negative size", head(|head| head.size = -1), InvalidData),
        (
            "a size that is no number",
            Head::new(b'0', "f").raw(124, b"1x").block(),
            InvalidData,
        ),
        (
            "an owner of 33 bits",
            head(|head| head.uid = (1 << 32) + 1000),
            Unsupported,
        ),
        ("a negative owner", head(|head| head.uid = -2), InvalidData),
        (
            "a group of all ones",
            head(|head| head.gid = 0xffff_ffff),
            Unsupported,
        ),
        (
            "a time out of range",
            head(|head| head.mtime = 1 << 64),
            InvalidData,
        ),
        (
            "a symlink to nothing",
            Head::new(b'2', "l").block(),
            InvalidData,
        ),
    ] {
        let error = fails(&[&archive, END]);
        assert_eq!(error.kind(), kind, "{name}: {}", error.chain());
    }
}

#[test]
fn hostile_records_are_refused() {
    let before = |list: &[(&str, &[u8])]| concat(&[&pax(list), &file("f", b"1")]);
    let long_path = "x".repeat(4096);
    for (name, archive, kind) in [
        (
            "a PAX owner of 33 bits",
            before(&[("uid", b"4294968296")]),
            Unsupported,
        ),
        (
            "a PAX group of all ones",
            before(&[("gid", b"4294967295")]),
            Unsupported,
        ),
        (
            "a negative PAX owner",
            before(&[("uid", b"-1")]),
            InvalidData,
        ),
        (
            "a PAX size of 2^63",
            before(&[("size", b"9223372036854775808")]),
            InvalidData,
        ),
        (
            "a negative PAX size",
            before(&[("size", b"-1")]),
            InvalidData,
        ),
        (
            "a PAX path with a NUL",
            before(&[("path", b"a\0b")]),
            InvalidData,
        ),
        (
            "a PAX link with a NUL",
            before(&[("linkpath", b"a\0b")]),
            InvalidData,
        ),
        (
            "a PAX time that is none",
            before(&[("mtime", b"today")]),
            InvalidData,
        ),
        (
            "an attribute without a name",
            before(&[("SCHILY.xattr.", b"v")]),
            InvalidData,
        ),
        (
            "an attribute with a NUL",
            before(&[("SCHILY.xattr.user.\0", b"v")]),
            InvalidData,
        ),
        (
            "a path of 4096 bytes",
            before(&[("path", long_path.as_bytes())]),
            LimitExceeded,
        ),
        (
            "a malformed PAX header",
            Head::new(b'x', "p").content(b"6 path=pwned\n"),
            InvalidData,
        ),
        (
            "a malformed global header",
            Head::new(b'g', "p").content(b"9 nokeys\n"),
            InvalidData,
        ),
    ] {
        let error = fails(&[&archive, END]);
        assert_eq!(error.kind(), kind, "{name}: {}", error.chain());
    }
}

#[test]
fn large_headers_are_refused_before_they_are_read() {
    for flag in *b"xXgLK" {
        let head = Head::new(flag, "h")
            .with(|head| head.size = (1 << 20) + 1)
            .block();
        assert_eq!(fails(&[&head]).kind(), LimitExceeded);
    }
    // Many small ones are one large one; a global one stands for itself.
    let part = pax(&[("comment", &vec![b'c'; 300 << 10])]);
    assert_eq!(fails(&[&part, &part, &part, &part]).kind(), LimitExceeded);
    let part = global(&[("comment", &vec![b'c'; 300 << 10])]);
    assert_eq!(
        paths(read(&concat(&[
            &part,
            &part,
            &part,
            &part,
            &file("f", b""),
            END
        ]))),
        ["f"]
    );
    let attributes = global(&[("SCHILY.xattr.user.a", &vec![b'v'; 65 << 10])]);
    assert_eq!(fails(&[&attributes]).kind(), LimitExceeded);
}

#[test]
fn the_depth_of_a_path_is_limited() {
    let limits = Limits {
        path_depth: 3,
        ..Limits::default()
    };
    let outcome = |name: &str| {
        let archive = file(name, b"");
        read_chunked(&archive, &[512], limits.clone())
            .1
            .map_err(|error| error.kind())
    };
    assert_eq!(outcome("/a//./b/c"), Ok(()));
    assert_eq!(outcome("a/b/c/d"), Err(LimitExceeded));
}

#[test]
fn an_archive_ends_at_two_zero_blocks_or_between_entries() {
    let f = file("f", b"1");
    let zero = [0; 512];
    assert_eq!(paths(read(b"")), [""; 0]);
    assert_eq!(paths(read(END)), [""; 0]);
    assert_eq!(paths(read(&f)), ["f"]);
    assert_eq!(paths(read(&concat(&[&f, &zero]))), ["f"]);
    assert_eq!(paths(read(&concat(&[&f, &zero, &zero[..100]]))), ["f"]);
    assert_eq!(paths(read(&concat(&[&f, &zero[..300]]))), ["f"]);
    // The last padding may be missing.
    assert_eq!(paths(read(&f[..513])), ["f"]);
    assert_eq!(
        paths(read(&concat(&[&f, END, &file("smuggled", b"2"), b"junk"]))),
        ["f"]
    );
    assert_eq!(
        paths(read(&concat(&[&f, &pax(&[("path", b"none")]), END]))),
        ["f"]
    );
    assert_eq!(
        fails(&[&f, &zero, &file("g", b"2"), END]).kind(),
        InvalidData
    );
}

#[test]
fn truncated_archives_are_refused() {
    let sparse = sparse_gnu(
        "s",
        1 << 20,
        &[
            (0, b"x"),
            (512, b"x"),
            (1024, b"x"),
            (2048, b"x"),
            (4096, b"x"),
        ],
    );
    let body = Head::new(b'0', "g").content(&[b'x'; 5000]);
    let long = gnu_long(b'L', &[b'n'; 600]);
    for (archive, within) in [
        (&body[..300], "within a header"),
        (&body[..512], "5000 bytes before the end"),
        (&body[..5511], "1 bytes before the end"),
        (&long[..512], "within an extended header"),
        (&long[..1000], "within an extended header"),
        (&long[..], "before its entry"),
        (&sparse[..512], "within a sparse map"),
        (&sparse[..600], "within a sparse map"),
    ] {
        let error = fails(&[&file("f", b"1"), archive]);
        assert_eq!(error.kind(), InvalidData);
        assert!(error.chain().contains(within), "{}", error.chain());
    }
    let huge = Head::new(b'0', "f")
        .with(|head| head.size = i128::from(i64::MAX))
        .block();
    assert_eq!(fails(&[&huge, &[b'x'; 512]]).kind(), InvalidData);
}

#[test]
fn a_parser_that_failed_stays_failed() {
    let mut parser = Parser::new(Limits::default());
    let mut events = Vec::new();
    let error = parser.feed(&[b'x'; 512], &mut events).unwrap_err();
    assert!(
        error
            .chain()
            .starts_with("read tar archive, block at byte 0: "),
        "{}",
        error.chain()
    );
    assert!(parser.feed(&file("f", b""), &mut events).is_err());
    assert!(parser.finish().is_err() && parser.finish().is_err());
    assert!(events.is_empty());
}

#[test]
fn many_attributes_are_read_in_linear_time() {
    let names: Vec<String> = (0..40_000)
        .map(|i| format!("SCHILY.xattr.a{}", i % 30_000))
        .collect();
    let list: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let archive = concat(&[&pax(&list), &file("f", b"1"), END]);
    let (items, result) = read_chunked(
        &archive,
        &[archive.len()],
        Limits {
            header_size: 1 << 24,
            ..Limits::default()
        },
    );
    result.unwrap();
    assert_eq!(items[0].entry.xattrs.len(), 30_000);
}
