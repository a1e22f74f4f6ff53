//! `new`: makes an image without layers.

use jiff::Timestamp;

use super::epoch_time;
use crate::Result;
use crate::image::Reference;
use crate::layout::Layout;

/// Stores an image without layers and points the reference's tag at it, replacing a tag of that name.
///
/// The image's time of creation is `source_date_epoch`, in seconds since 1970, or else now. The layout must exist.
///
/// # Errors
///
/// Those of [`epoch_time`] and [`Name::to_tag`](crate::image::Name::to_tag), and of opening and changing the layout. The index is as it was after any error.
pub fn new(image: &Reference, source_date_epoch: Option<i64>) -> Result<()> {
    let created = match source_date_epoch {
        Some(seconds) => epoch_time(seconds)?,
        None => Timestamp::now().to_string(),
    };
    let tag = image.name.to_tag()?;
    Layout::open(&image.layout)?.new_image(&tag, &created)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_without_trailing_zeros() {
        let text = |seconds, nanoseconds| Timestamp::new(seconds, nanoseconds).unwrap().to_string();
        assert_eq!(text(1_234_567_890, 0), "2009-02-13T23:31:30Z");
        assert_eq!(text(0, 120_000_000), "1970-01-01T00:00:00.12Z");
    }
}
