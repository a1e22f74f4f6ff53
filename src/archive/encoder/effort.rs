//! How hard to try on a block, where nobody has said it: by a look at samples.
//!
//! The quickest level of libdeflate takes half the time of the others, and gives away 1 to 2 percent on most content but
//! twice as much on text with many repetitions, of which there is less to compress in the end. What is compressed or
//! encrypted already takes as long as anything else, for nothing.
//!
//! The verdict depends on the content of the block alone, as all that makes the compressed bytes does.

use super::deflate::BLOCK_SIZE;
use super::deflate::Deflater;
use std::io;

/// The level for most content.
const QUICK: u32 = 1;

/// The level for content with many repetitions, which costs little more there than the quick one elsewhere.
const THOROUGH: u32 = 3;

/// How many pieces of a block are looked at, and their size.
const SAMPLES: usize = 8;
const SAMPLE_SIZE: usize = 4 << 10;

/// What becomes of samples, in percent, from where on a block is stored.
const NOISE: usize = 99;

/// What becomes of samples, in percent, up to where trying harder pays.
const REPETITIVE: usize = 35;

/// The level for a block; `None` is to leave it as it is.
pub(super) fn effort(content: &[u8], deflater: &mut Deflater) -> io::Result<Option<u32>> {
    if content.len() < BLOCK_SIZE {
        // The last one of a layer: there is no time to save.
        return Ok(Some(THOROUGH));
    }
    let mut samples = Vec::with_capacity(SAMPLES * SAMPLE_SIZE);
    for part in content.chunks(content.len() / SAMPLES) {
        samples.extend_from_slice(&part[..SAMPLE_SIZE.min(part.len())]);
    }
    let percent = 100 * deflater.size_of(&samples, QUICK)? / samples.len();
    Ok(match percent {
        NOISE.. => None,
        ..REPETITIVE => Some(THOROUGH),
        _ => Some(QUICK),
    })
}
