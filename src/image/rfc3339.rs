//! Points in time as documents have them: RFC 3339 text, kept as text.
//!
//! A document's time is not computed with, but its offset and its digits belong to the document's digest. So it is checked
//! and put into the form that Go's encoder (`RFC3339Nano`) would write, and never converted.

use jiff::civil::{Date, Time};

use crate::{Error, ErrorKind, Result};

/// Digits of a fraction that Go keeps.
const NANOSECONDS: usize = 9;

/// Checks a time and writes it as Go would write it again: `T` between date and time, the fraction behind a point and
/// without trailing zeros, the offset as it was given, `Z` for none.
///
/// Taken is RFC 3339 with a capital `T` and `Z`, a fraction behind `.` or `,`, and an offset `±hh:mm`. Digits beyond
/// nanoseconds are dropped.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for anything else, dates that no calendar has included.
pub fn normalize_time(text: &str) -> Result<String> {
    normalized(text).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("{text:?} is not a time"))
            .with_hint("a time is written like 2006-01-02T15:04:05Z or 2006-01-02T15:04:05.5+02:00")
    })
}

fn normalized(text: &str) -> Option<String> {
    let (whole, rest) = text.split_at_checked("2006-01-02T15:04:05".len())?;
    let number = |from: usize, to: usize| digits(whole.get(from..to)?);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let bytes = whole.as_bytes();
    if separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second is valid RFC 3339, but not a time to Go, nor to jiff.
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Date::new(i16::try_from(year).ok()?, month, day).ok()?;
    let (hour, minute) = (i8::try_from(hour).ok()?, i8::try_from(minute).ok()?);
    Time::new(hour, minute, i8::try_from(second).ok()?, 0).ok()?;
    let (fraction, offset) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            (
                Some(&rest[..end]).filter(|digits| !digits.is_empty())?,
                &rest[end..],
            )
        }
        None => ("", rest),
    };
    let fraction = fraction[..fraction.len().min(NANOSECONDS)].trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{whole}{point}{fraction}{}", offset_of(offset)?))
}

fn offset_of(text: &str) -> Option<&str> {
    if text == "Z" {
        return Some(text);
    }
    let (hours, minutes) = text.strip_prefix(['+', '-'])?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    match (digits(hours)?, digits(minutes)?) {
        (0, 0) => Some("Z"),
        (0..=23, 0..=59) => Some(text),
        _ => None,
    }
}

fn digits(text: &str) -> Option<u32> {
    // `parse` alone would take a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offset_and_digits_are_kept_and_trailing_zeros_are_not() {
        for (text, expected) in [
            ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"),
            ("2006-01-02T15:04:05.000Z", "2006-01-02T15:04:05Z"),
            (
                "2006-01-02T15:04:05,500+02:00",
                "2006-01-02T15:04:05.5+02:00",
            ),
            (
                "2006-01-02T15:04:05.1234567899-09:30",
                "2006-01-02T15:04:05.123456789-09:30",
            ),
            ("2006-01-02T15:04:05+00:00", "2006-01-02T15:04:05Z"),
            ("2006-01-02T15:04:05-00:00", "2006-01-02T15:04:05Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(normalize_time(text).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "x",
            "2006-01-02",
            "2006-01-02T15:04:05",
            "2006-01-02 15:04:05Z",
            "2006-01-02t15:04:05Z",
            "2006-01-02T15:04:05z",
            "2006-01-02T15:04:05.Z",
            "2006-01-02T15:04:05.5",
            "2006-01-02T15:04:05+2:00",
            "2006-01-02T15:04:05+0200",
            "2006-01-02T15:04:05+24:00",
            "2006-01-02T15:04:05+02:60",
            "2006-13-02T15:04:05Z",
            "2006-00-02T15:04:05Z",
            "2006-02-29T15:04:05Z",
            "1900-02-29T15:04:05Z",
            "2006-04-31T15:04:05Z",
            "2006-01-02T24:04:05Z",
            "2006-01-02T15:60:05Z",
            "2006-01-02T15:04:60Z",
            "+006-01-02T15:04:05Z",
            "2006-01-02T15:04:05ZZ",
            "2006-01-02T15:04:0é",
        ] {
            let error = normalize_time(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_normalized_time_stays_as_it_is(seconds in 0_i64..253_402_207_200, nanoseconds in 0..1_000_000_000_i32) {
            let text = jiff::Timestamp::new(seconds, nanoseconds).unwrap().to_string();
            prop_assert_eq!(normalize_time(&text).unwrap(), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = normalize_time(&text);
        }
    }
}
