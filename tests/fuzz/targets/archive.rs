//! The reader of archives: any bytes in any chunks are entries whose content fits them, or an error, and the same ones
//! however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_bundle::archive::{Event, Limits, Parser};

/// Entries with the sizes of what came of their content; `false` if it ended in an error.
fn read(bytes: &[u8], cut: usize) -> (Vec<(Vec<u8>, u64)>, bool) {
    let mut parser = Parser::new(Limits::default());
    let (mut found, mut events) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(cut) {
        let fed = parser.feed(chunk, &mut events);
        for event in events.drain(..) {
            match event {
                Event::Entry(entry) => {
                    if let Some(pieces) = &entry.pieces {
                        let end = pieces.last().map_or(0, |(offset, length)| offset + length);
                        assert!(end <= entry.size, "pieces beyond the file");
                    }
                    found.push((entry.path.clone(), 0));
                }
                Event::Data { range, .. } => {
                    assert!(range.end <= chunk.len());
                    found.last_mut().expect("content of no entry").1 += range.len() as u64;
                }
                Event::End => {}
            }
        }
        if fed.is_err() {
            return (found, false);
        }
    }
    let ended = parser.finish().is_ok();
    (found, ended)
}

fuzz_target!(|input: &[u8]| {
    let whole = read(input, input.len().max(1));
    assert_eq!(whole, read(input, 512));
    assert_eq!(whole, read(input, 700));
});
