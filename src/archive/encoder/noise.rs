//! Content that deflate makes no smaller: what is compressed or encrypted already.
//!
//! Deflate spends two to three times as long on such content as on text, for nothing. A look at samples tells it apart;
//! the verdict depends on the content alone, as all that makes the compressed bytes does.

use flate2::{Compress, Compression, FlushCompress};
use std::io;
use std::ops::Range;

/// The highest level that leaves noise alone. Who asks for more has time for the last percent.
pub(super) const MAX_LEVEL: u32 = 5;

/// Bytes that are judged as one. Smaller pieces find more noise beside other things, and cost more looks.
const SEGMENT_SIZE: usize = 64 << 10;

/// Of so many bytes in a row, the first quarter is counted.
const STRIDE: usize = 256;

/// The chance that two bytes of a segment are equal, in percent of what it is where every byte is as likely: below this,
/// shorter codes for frequent bytes save at most 2.7 percent (8 bits less log2 of 1.16).
const MAX_REPEATS: u64 = 116;

/// How many pieces of a segment are deflated on trial, and their size.
const TRIALS: usize = 4;
const TRIAL_SIZE: usize = 4 << 10;

/// A piece of a block that is treated in one way.
pub(super) struct Run {
    /// Where it is in the content.
    pub range: Range<usize>,
    /// Whether it is stored as it is.
    pub noise: bool,
}

/// Cuts content into runs of noise and of the rest, in turn; there is one at least, which may be empty.
pub(super) fn runs(content: &[u8], level: u32) -> io::Result<Vec<Run>> {
    let whole = |noise| Run {
        range: 0..content.len(),
        noise,
    };
    if level > MAX_LEVEL {
        return Ok(vec![whole(false)]);
    }
    let mut runs: Vec<Run> = Vec::new();
    for (index, segment) in content.chunks(SEGMENT_SIZE).enumerate() {
        let noise = is_noise(segment)?;
        let start = index * SEGMENT_SIZE;
        let range = start..start + segment.len();
        match runs.last_mut() {
            Some(run) if run.noise == noise => run.range.end = range.end,
            _ => runs.push(Run { range, noise }),
        }
    }
    if runs.is_empty() {
        runs.push(whole(false));
    }
    Ok(runs)
}

/// Appends bytes in stored blocks, none of which is the last of the stream. What comes before ends on a byte boundary.
pub(super) fn store(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.chunks(usize::from(u16::MAX)) {
        // Narrowing loses nothing: that is the size of a chunk.
        let [low, high, ..] = piece.len().to_le_bytes();
        out.extend_from_slice(&[0, low, high, !low, !high]);
        out.extend_from_slice(piece);
    }
}

/// Whether all bytes are about equally frequent, and samples have no repetitions either. A short segment is none: there
/// is no time to save.
fn is_noise(segment: &[u8]) -> io::Result<bool> {
    Ok(segment.len() == SEGMENT_SIZE && is_even(segment) && resists(segment)?)
}

fn is_even(segment: &[u8]) -> bool {
    let mut counts = [0u64; 256];
    let mut total = 0;
    for stride in segment.chunks(STRIDE) {
        let counted = &stride[..stride.len().min(STRIDE / 4)];
        total += counted.len() as u64;
        for byte in counted {
            counts[usize::from(*byte)] += 1;
        }
    }
    let pairs: u64 = counts.iter().map(|count| count * count).sum();
    pairs * 256 * 100 < total * total * MAX_REPEATS
}

/// Whether the quickest deflate makes hardly anything of samples.
fn resists(segment: &[u8]) -> io::Result<bool> {
    let mut samples = Vec::with_capacity(TRIALS * TRIAL_SIZE);
    for part in segment.chunks(segment.len() / TRIALS) {
        samples.extend_from_slice(&part[..TRIAL_SIZE]);
    }
    let mut deflated = Vec::with_capacity(2 * samples.len());
    let mut deflate = Compress::new(Compression::fast(), false);
    deflate.compress_vec(&samples, &mut deflated, FlushCompress::Finish)?;
    Ok(deflated.len() * 100 >= samples.len() * 96)
}
