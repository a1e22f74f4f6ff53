//! What the decoder makes of good, damaged and mislabelled streams.

use crate::archive::fixture::{END, Head};
use crate::archive::{Compression, Decoder};
use crate::{Error, ErrorKind, Result, ResultExt};
use flate2::GzBuilder;
use std::io::{self, Read, Write};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let step = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    let mut state = 1;
    std::iter::from_fn(|| step(&mut state)).take(size).collect()
}

/// Delivers small pieces, interrupted now and then, and at the end perhaps an error.
struct Pieces<'a> {
    rest: &'a [u8],
    turn: usize,
    end: Option<&'static str>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let (true, Some(message)) = (self.rest.is_empty(), self.end) {
            return Err(Error::new(ErrorKind::Verification, message).into());
        }
        let count = buffer.len().min(self.turn % 7 + 1);
        self.rest.read(&mut buffer[..count])
    }
}

fn pieces<'a>(rest: &'a [u8], end: Option<&'static str>) -> Pieces<'a> {
    Pieces { rest, turn: 0, end }
}

fn decode(data: &[u8], expected: Compression) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    let result = Decoder::new(data, expected)
        .and_then(|mut decoder| decoder.read_to_end(&mut whole).context(|| "read"));
    let mut again = Vec::new();
    let in_pieces = Decoder::new(pieces(data, None), expected)
        .and_then(|mut decoder| decoder.read_to_end(&mut again).context(|| "read"));
    assert_eq!(
        in_pieces.map_err(|error| error.chain()),
        result.as_ref().copied().map_err(Error::chain)
    );
    result.map(|_| whole)
}

fn kind(data: &[u8], expected: Compression) -> ErrorKind {
    decode(data, expected).unwrap_err().kind()
}

#[test]
fn every_compression_decodes_what_was_compressed() {
    for data in [vec![], b"hello".to_vec(), noise(300_000), vec![0; 1 << 20]] {
        assert!(decode(&gzip(&data), Compression::Gzip).unwrap() == data);
        assert!(decode(&zstd(&data), Compression::Zstd).unwrap() == data);
        assert!(decode(&data, Compression::None).unwrap() == data);
    }
}

#[test]
fn an_empty_input_is_empty_in_every_compression() {
    for expected in [Compression::None, Compression::Gzip, Compression::Zstd] {
        assert_eq!(decode(b"", expected).unwrap(), b"");
    }
}

#[test]
fn members_and_frames_are_one_stream() {
    let data = noise(100_000);
    let members = [gzip(b""), gzip(&data[..7]), gzip(b""), gzip(&data[7..])].concat();
    assert!(decode(&members, Compression::Gzip).unwrap() == data);
    let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
    let frames = [
        skippable,
        &zstd(&data[..7])[..],
        &zstd(b""),
        skippable,
        &zstd(&data[7..]),
        skippable,
    ]
    .concat();
    assert!(decode(&frames, Compression::Zstd).unwrap() == data);
    assert_eq!(decode(skippable, Compression::Zstd).unwrap(), b"");
}

#[test]
fn all_fields_of_a_gzip_header_are_skipped() {
    let mut encoder = GzBuilder::new()
        .filename("name.tar")
        .comment("comment")
        .extra(*b"AB\x02\0xy")
        .mtime(5)
        .write(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"content").unwrap();
    assert_eq!(
        decode(&encoder.finish().unwrap(), Compression::Gzip).unwrap(),
        b"content"
    );
}

#[test]
fn every_truncation_is_an_error() {
    let data = noise(400);
    for (name, whole) in [
        (Compression::Gzip, gzip(&data)),
        (Compression::Zstd, zstd(&data)),
    ] {
        for end in 1..whole.len() {
            let error = decode(&whole[..end], name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(
                error.chain().contains("is truncated"),
                "{name} cut at {end}: {}",
                error.chain()
            );
            let second = [&whole, &whole[..end]].concat();
            assert_eq!(
                kind(&second, name),
                ErrorKind::InvalidData,
                "{name}, second cut at {end}"
            );
        }
    }
    let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
    for end in 1..skippable.len() {
        assert_eq!(
            kind(&skippable[..end], Compression::Zstd),
            ErrorKind::InvalidData
        );
    }
}

#[test]
fn corrupt_streams_are_errors() {
    let whole = gzip(&noise(1000));
    // The block type, the checksum, the size.
    for (at, mask) in [
        (10, 0x06),
        (whole.len() - 8, 1),
        (whole.len() - 1, 1),
        (2, 1),
        (3, 0xe0),
    ] {
        let mut corrupt = whole.clone();
        corrupt[at] |= mask;
        corrupt[at] ^= u8::from(corrupt[at] == whole[at]);
        assert_eq!(
            kind(&corrupt, Compression::Gzip),
            ErrorKind::InvalidData,
            "byte {at}"
        );
    }
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&noise(1000)).unwrap();
    let mut corrupt = encoder.finish().unwrap();
    *corrupt.last_mut().unwrap() ^= 1;
    let error = decode(&corrupt, Compression::Zstd).unwrap_err();
    assert!(
        error.chain().contains("zstd stream is corrupt"),
        "{}",
        error.chain()
    );
}

#[test]
fn zeros_after_gzip_are_ignored_and_whatever_else_follows_a_stream_is_refused() {
    let zeros = vec![0; 300_000];
    let zeros_at_first = [&zeros[..], b"x"].concat();
    let refused = |content: &[u8], compression| {
        let error = decode(content, compression).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.chain().contains("bytes follow"), "{}", error.chain());
    };
    for padding in [&zeros[..], &[0; 700], &[0; 3], &[0]] {
        let padded = [&gzip(b"data"), padding].concat();
        assert_eq!(decode(&padded, Compression::Gzip).unwrap(), b"data");
        let padded = [&zstd(b""), &zstd(b"data")[..], padding].concat();
        if padding.len() > 3 {
            refused(&padded, Compression::Zstd);
        } else {
            assert_eq!(kind(&padded, Compression::Zstd), ErrorKind::InvalidData);
        }
    }
    for padding in [&b"garbage"[..], &zeros_at_first, b"\0\x28\xb5\x2f\xfd"] {
        let padded = [&gzip(b"data"), padding].concat();
        refused(&padded, Compression::Gzip);
        let padded = [&zstd(b"data"), padding].concat();
        refused(&padded, Compression::Zstd);
    }
    for zeros in [&[0][..], &[0; 3], &[0; 700]] {
        assert_eq!(kind(zeros, Compression::Zstd), ErrorKind::InvalidData);
        assert_eq!(kind(zeros, Compression::Gzip), ErrorKind::InvalidData);
    }
    // What begins like a member must be one.
    let broken = [&gzip(b"data"), &b"\x1f\x8b\x09 is no member"[..]].concat();
    assert_eq!(kind(&broken, Compression::Gzip), ErrorKind::InvalidData);
}

#[test]
fn a_mismatch_of_media_type_and_content_names_both() {
    let plain = b"some name that is longer than four bytes";
    let (gzip, zstd) = (gzip(plain), zstd(plain));
    for (content, expected, says) in [
        (
            &gzip[..],
            Compression::None,
            "the media type says no compression, the content is gzip",
        ),
        (
            &gzip,
            Compression::Zstd,
            "the media type says zstd, the content is gzip",
        ),
        (
            &zstd,
            Compression::Gzip,
            "the media type says gzip, the content is zstd",
        ),
        (
            &zstd,
            Compression::None,
            "the media type says no compression, the content is zstd",
        ),
        (
            plain,
            Compression::Gzip,
            "the media type says gzip, the content is not compressed",
        ),
        (
            plain,
            Compression::Zstd,
            "the media type says zstd, the content is not compressed",
        ),
    ] {
        let error = Decoder::new(content, expected).unwrap_err();
        assert_eq!(
            (error.kind(), error.chain().as_str()),
            (ErrorKind::InvalidData, says)
        );
        // A wrong digest is the better explanation.
        let error = Decoder::new(pieces(content, Some("wrong digest")), expected).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Verification);
    }
}

#[test]
fn a_plain_archive_may_begin_with_a_name_that_looks_compressed() {
    for name in [
        &b"\x1f\x8b\x08name"[..],
        b"\x28\xb5\x2f\xfdname",
        b"\x52\x2a\x4d\x18",
    ] {
        let archive = [&Head::new(b'0', name).block(), END].concat();
        assert!(decode(&archive, Compression::None).unwrap() == archive);
        for expected in [Compression::Gzip, Compression::Zstd] {
            assert_eq!(kind(&archive, expected), ErrorKind::InvalidData);
        }
        let forged = Head::new(b'0', name).with(|head| head.checksum_delta = 1);
        for content in [&forged.block()[..], &archive[..511], name] {
            let error = decode(content, Compression::None).unwrap_err();
            assert!(error.chain().contains("the media type says no compression"));
        }
    }
}

#[test]
fn an_error_of_the_reader_wins_and_comes_through_unchanged() {
    let data = noise(300_000);
    let (gzip, zstd) = (gzip(&data), zstd(&data));
    let corrupt = |whole: &[u8]| {
        let mut corrupt = whole.to_vec();
        corrupt[20..200].fill(0xff);
        corrupt
    };
    let frame_cut = &zstd[..zstd.len() - 1];
    for (content, expected) in [
        (data.clone(), Compression::None),
        (Vec::new(), Compression::Gzip),
        (gzip.clone(), Compression::Gzip),
        (gzip[..1000].to_vec(), Compression::Gzip),
        (gzip[..5].to_vec(), Compression::Gzip),
        (corrupt(&gzip), Compression::Gzip),
        ([&gzip, &b"padding"[..]].concat(), Compression::Gzip),
        (zstd.clone(), Compression::Zstd),
        (frame_cut.to_vec(), Compression::Zstd),
        (corrupt(&zstd), Compression::Zstd),
        ([&zstd, &b"padding"[..]].concat(), Compression::Zstd),
        ([&zstd, &[0; 700][..]].concat(), Compression::Zstd),
    ] {
        let reader = pieces(&content, Some("wrong digest"));
        let error = match Decoder::new(reader, expected) {
            Ok(mut decoder) => {
                let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
                // The failure is not forgotten.
                assert!(decoder.read(&mut [0; 10]).is_err());
                assert_eq!(error.to_string(), "wrong digest");
                Err::<(), _>(error).context(|| "read").unwrap_err()
            }
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Verification, "{}", error.chain());
    }
}

#[test]
fn the_verdict_on_a_bad_archive_is_the_readers() {
    let gzip = gzip(&noise(300_000));
    for (end, kind) in [
        (None, ErrorKind::InvalidData),
        (Some("wrong digest"), ErrorKind::Verification),
    ] {
        let mut decoder = Decoder::new(pieces(&gzip, end), Compression::Gzip).unwrap();
        decoder.read_exact(&mut [0; 100]).unwrap();
        let error = decoder.verdict(Error::new(ErrorKind::InvalidData, "bad tar header"));
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn a_zstd_window_of_512_mib_is_read_and_a_larger_one_is_refused() {
    // A frame of four bytes, and the window that its header asks for: what is not written is not touched.
    let with_window = |log: u8| {
        let descriptor = (log - 10) << 3;
        [
            b"\x28\xb5\x2f\xfd\x00",
            &[descriptor][..],
            b"\x21\x00\x00data",
        ]
        .concat()
    };
    for log in [20, 27, 28, 29] {
        let decoded = decode(&with_window(log), Compression::Zstd).unwrap();
        assert_eq!(decoded, b"data", "{log}");
    }
    let error = decode(&with_window(30), Compression::Zstd).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(
        error.chain().contains("536870912 bytes"),
        "{}",
        error.chain()
    );
}
