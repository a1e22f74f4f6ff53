//! Encoders against our decoder and the commands of the field.

use super::deflate::BLOCK_SIZE;
use super::*;
use crate::archive::Decoder;
use proptest::prelude::*;
use std::io::Read;
use std::process::{Command, Stdio};

const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

/// Text with matches near and far, and some noise.
fn content(size: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut content = Vec::with_capacity(size + 40);
    while content.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let line = format!("line {} of many lines, {state:x}\n", state >> 22);
        content.extend_from_slice(line.as_bytes());
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(size);
    content
}

/// Bytes without matches, all of them equally frequent.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(|_| next()).collect()
}

fn encode(content: &[u8], options: EncoderOptions, pieces: &[usize]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), options).unwrap();
    let (mut rest, mut pieces) = (content, pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
        encoder.write_all(piece).unwrap();
        rest = after;
    }
    encoder.finish().unwrap()
}

fn encode_whole(content: &[u8], compression: Compression) -> Vec<u8> {
    encode(content, EncoderOptions::new(compression), &[usize::MAX])
}

fn decode(encoded: &[u8], compression: Compression) -> Vec<u8> {
    let mut content = Vec::new();
    let mut decoder = Decoder::new(encoded, compression).unwrap();
    decoder.read_to_end(&mut content).unwrap();
    content
}

/// What a command makes of its standard input.
fn run(program: &str, argument: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

#[test]
fn what_was_encoded_is_decoded() {
    let sizes = [
        0,
        1,
        1000,
        BLOCK_SIZE - 1,
        BLOCK_SIZE,
        BLOCK_SIZE + 1,
        5 * BLOCK_SIZE + 77,
    ];
    for compression in ALL {
        for size in sizes {
            let content = content(size);
            let encoded = encode_whole(&content, compression);
            assert!(
                decode(&encoded, compression) == content,
                "{compression}, {size} bytes"
            );
        }
    }
}

#[test]
fn the_commands_of_the_field_read_it() {
    let content = content(3 * BLOCK_SIZE + 5);
    assert!(run("gzip", "-dc", &encode_whole(&content, Compression::Gzip)) == content);
    assert!(run("zstd", "-dc", &encode_whole(&content, Compression::Zstd)) == content);
    assert!(run("gzip", "-dc", &encode_whole(b"", Compression::Gzip)).is_empty());
    assert!(run("zstd", "-dc", &encode_whole(b"", Compression::Zstd)).is_empty());
}

#[test]
fn gzip_is_a_member_for_each_block_with_the_header_of_umoci() {
    for (size, members) in [
        (5, 1),
        (BLOCK_SIZE, 1),
        (BLOCK_SIZE + 1, 2),
        (3 * BLOCK_SIZE, 3),
    ] {
        let content = content(size);
        let encoded = encode_whole(&content, Compression::Gzip);
        let mut rest = &encoded[..];
        // This decoder stops after each member.
        for block in content.chunks(BLOCK_SIZE) {
            assert_eq!(rest[..10], *b"\x1f\x8b\x08\0\0\x09\x6e\x88\0\xff");
            let mut member = flate2::bufread::GzDecoder::new(rest);
            let mut decoded = Vec::new();
            member.read_to_end(&mut decoded).unwrap();
            assert!(decoded == block);
            rest = member.into_inner();
        }
        assert!(rest.is_empty() && content.chunks(BLOCK_SIZE).count() == members);
    }
    let empty = encode_whole(b"", Compression::Gzip);
    assert_eq!(
        empty,
        b"\x1f\x8b\x08\0\0\x09\x6e\x88\0\xff\x01\0\0\xff\xff\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn zstd_is_one_frame() {
    let content = content(9 << 20);
    let encoded = encode_whole(&content, Compression::Zstd);
    assert_eq!(
        zstd::zstd_safe::find_frame_compressed_size(&encoded),
        Ok(encoded.len())
    );
}

#[test]
fn all_levels_work_on_text_and_on_noise() {
    let noise = noise(BLOCK_SIZE + 1000);
    for (compression, levels) in [(Compression::Gzip, 0..=9), (Compression::Zstd, -5..=5)] {
        for level in levels {
            for content in [&noise, &content(BLOCK_SIZE + 1000)] {
                let mut options = EncoderOptions::new(compression);
                options.level = Some(level);
                let encoded = encode(content, options, &[usize::MAX]);
                assert!(
                    decode(&encoded, compression) == *content,
                    "{compression} {level}"
                );
            }
        }
    }
}

#[test]
fn noise_is_stored_wherever_it_is() {
    let (text, noise) = (content(BLOCK_SIZE), noise(BLOCK_SIZE));
    let of_text = encode_whole(&text, Compression::Gzip).len();
    // The noise comes first, in between, and last, as a whole block or as part of one.
    let half = BLOCK_SIZE / 2;
    for parts in [
        vec![&noise[..], &text],
        vec![&text, &noise, &text],
        vec![&text, &noise],
        vec![&noise[..half], &text, &noise[half..]],
        vec![&noise],
    ] {
        let content = parts.concat();
        let encoded = encode_whole(&content, Compression::Gzip);
        assert!(decode(&encoded, Compression::Gzip) == content);
        assert!(run("gzip", "-dc", &encoded) == content);
        let texts = parts.iter().filter(|part| text.starts_with(part)).count();
        assert!(encoded.windows(1000).any(|bytes| bytes == &noise[..1000]));
        assert!(
            encoded.len() < BLOCK_SIZE + texts * of_text * 11 / 10 + 200,
            "{}",
            encoded.len()
        );
    }
}

#[test]
fn even_bytes_that_repeat_are_no_noise() {
    // All bytes are as frequent, but deflate makes nothing of it but matches.
    let content: Vec<u8> = (0..=u8::MAX).cycle().take(BLOCK_SIZE).collect();
    assert!(encode_whole(&content, Compression::Gzip).len() < BLOCK_SIZE / 50);
}

#[test]
fn content_decides_how_hard_to_try_unless_somebody_does() {
    // So little noise that samples deflate to a tenth, and so much that they are half as large as before.
    let text = |noisy: usize| -> Vec<u8> {
        let noise = noise(BLOCK_SIZE);
        let lines = content(BLOCK_SIZE);
        let mixed = lines.iter().zip(&noise).enumerate();
        mixed
            .map(|(at, (line, noise))| if at % 64 < noisy { *noise } else { line & 3 })
            .collect()
    };
    let size = |content: &[u8], level| {
        let mut options = EncoderOptions::new(Compression::Gzip);
        options.level = level;
        encode(content, options, &[usize::MAX]).len()
    };
    let (simple, mixed) = (text(0), text(32));
    assert_eq!(size(&simple, None), size(&simple, Some(3)));
    assert_ne!(size(&simple, None), size(&simple, Some(1)));
    assert_eq!(size(&mixed, None), size(&mixed, Some(1)));
    assert_ne!(size(&mixed, None), size(&mixed, Some(3)));
    // Who asks for a level gets it for noise, too, where shorter codes save half a percent.
    let even: Vec<u8> = noise(BLOCK_SIZE).iter().map(|byte| byte % 248).collect();
    assert!(size(&even, None) > even.len());
    assert!(size(&even, Some(6)) < even.len());
}

#[test]
fn levels_that_do_not_exist_are_refused() {
    for (compression, level) in [
        (Compression::Gzip, 10),
        (Compression::Gzip, -1),
        (Compression::Zstd, 23),
        (Compression::None, 1),
    ] {
        let mut options = EncoderOptions::new(compression);
        options.level = Some(level);
        let error = Encoder::new(Vec::new(), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = match compression {
            Compression::None => "compress: no compression has no level".to_owned(),
            named => format!("compress: {named} has no level {level}, but "),
        };
        assert!(error.chain().starts_with(&message), "{}", error.chain());
    }
}

#[test]
fn nothing_but_the_content_and_the_level_makes_the_bytes() {
    // zstd makes jobs of some megabytes.
    for (compression, size) in [(Compression::Gzip, 3 << 20), (Compression::Zstd, 18 << 20)] {
        let content = [content(size / 2), noise(size / 4), content(size / 4)].concat();
        let expected = encode_whole(&content, compression);
        for threads in [1, 2, 3] {
            let mut options = EncoderOptions::new(compression);
            options.threads = Some(threads);
            let pieces = [1 << 20, threads * 1009, 512, BLOCK_SIZE];
            assert!(
                encode(&content, options, &pieces) == expected,
                "{compression}, {threads} threads"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_cut_into_writes_does_not_matter(
        size in prop_oneof![0usize..3000, 0usize..4 * BLOCK_SIZE, Just(2 * BLOCK_SIZE)],
        pieces in prop::collection::vec(1usize..400_000, 1..6),
        threads in 0usize..4,
    ) {
        let content = content(size);
        for compression in ALL {
            let mut options = EncoderOptions::new(compression);
            options.threads = Some(threads);
            let encoded = encode(&content, options, &pieces);
            prop_assert!(encoded == encode_whole(&content, compression));
            prop_assert!(decode(&encoded, compression) == content);
        }
    }
}

/// Takes so many bytes, then fails.
#[derive(Debug)]
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_error_of_the_writer_below_comes_through() {
    let content = content(8 * BLOCK_SIZE);
    for compression in ALL {
        for room in [0, 15, 100_000] {
            let mut encoder = Encoder::new(Full(room), EncoderOptions::new(compression)).unwrap();
            // So much content may all be waiting to be compressed until the end.
            let written = encoder.write_all(&content).context(|| "write");
            let error = written.and_then(|()| encoder.finish()).unwrap_err();
            let cause = io::Error::from(io::ErrorKind::StorageFull).to_string();
            assert!(
                error.chain().ends_with(&cause),
                "{compression}, {room}: {error:?}"
            );
        }
    }
    let mut encoder = Encoder::new(Full(0), EncoderOptions::new(Compression::Gzip)).unwrap();
    encoder.write_all(b"little").unwrap();
    assert!(
        encoder
            .finish()
            .unwrap_err()
            .chain()
            .contains("write compressed data")
    );
}

#[test]
fn after_a_failure_gzip_never_claims_to_be_complete() {
    // More than can wait to be compressed.
    let content = content(12 * BLOCK_SIZE);
    let mut options = EncoderOptions::new(Compression::Gzip);
    options.threads = Some(1);
    let mut encoder = Encoder::new(Full(100_000), options).unwrap();
    assert!(encoder.write_all(&content).is_err());
    assert!(encoder.write_all(&content).is_err());
    assert!(encoder.finish().is_err());
}

#[test]
fn what_is_dropped_unfinished_lacks_the_end() {
    let content = content(8 * BLOCK_SIZE);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, EncoderOptions::new(compression)).unwrap();
        encoder.write_all(&content).unwrap();
        drop(encoder);
        let whole = encode_whole(&content, compression);
        assert!(out.len() < whole.len() && whole.starts_with(&out));
    }
}
