//! Numbers, in the three notations of tar.
//!
//! All functions give `None` for what is malformed or does not fit; the callers know the field and make the error.

/// Reads a field of a header block: octal text, or GNU base-256 when the highest bit is set.
///
/// A blank field is 0. Octal digits may have leading spaces and end at NUL, at spaces or with the field; bytes after a
/// NUL are ignored, as all readers do. Digits after a NUL or a blank are refused: some readers would see them.
pub(super) fn field(bytes: &[u8]) -> Option<i64> {
    if bytes.first()? & 0x80 == 0 {
        octal(bytes)
    } else {
        base_256(bytes)
    }
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let start = bytes
        .iter()
        .position(|&byte| byte != b' ')
        .unwrap_or(bytes.len());
    let mut value = 0i64;
    let mut rest = bytes[start..].iter();
    let end = loop {
        match rest.next() {
            Some(&digit @ b'0'..=b'7') => {
                value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
            }
            end => break end,
        }
    };
    let blank = |byte: &u8| matches!(byte, 0 | b' ');
    match end {
        // With nothing before the NUL, GNU tar reads 0 and Go reads what follows.
        Some(0) if rest.len() + 1 == bytes.len() => rest.all(blank).then_some(0),
        None | Some(0) => Some(value),
        Some(b' ') => rest
            .take_while(|&&byte| byte != 0)
            .all(blank)
            .then_some(value),
        Some(_) => None,
    }
}

/// Two's complement, big endian, without the highest bit, which is the mark of this notation.
fn base_256(bytes: &[u8]) -> Option<i64> {
    let (&first, rest) = bytes.split_first()?;
    let mut value = i128::from(first & 0x3f) - if first & 0x40 == 0 { 0 } else { 0x40 };
    for &byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
    }
    i64::try_from(value).ok()
}

/// Reads a decimal number of a PAX record: digits only.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// Reads a PAX time, `[-]seconds[.fraction]`, as seconds (rounded down) and nanoseconds since 1970.
///
/// Digits of the fraction after the ninth are cut off.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let whole = decimal(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0u32, |nanos, place| {
        nanos * 10
            + fraction
                .get(place)
                .map_or(0, |digit| u32::from(digit - b'0'))
    });
    if !negative {
        return Some((i64::try_from(whole).ok()?, nanos));
    }
    let seconds = 0i64.checked_sub_unsigned(whole)?;
    if nanos == 0 {
        return Some((seconds, 0));
    }
    Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_are_read_as_tar_writers_write_them() {
        for (bytes, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"000644 \0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"0000644 ", Some(0o644)),
            (b"00000644", Some(0o644)),
            (b"77777777", Some(0o77_777_777)),
            (b"644\0junk", Some(0o644)),
            (b"644   \0x", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b" \0\0\0\0\0\0\0", Some(0)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"64 4   \0", None),
            (b"0x10   \0", None),
            (b"\0\0\x000644", None),
            (b"\t000644\0", None),
            (b"", None),
        ] {
            assert_eq!(field(bytes), value, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn base_256_fields_are_signed_and_checked_for_overflow() {
        let of = |value: i128, width: usize| {
            let mut bytes = value.to_be_bytes()[16 - width..].to_vec();
            bytes[0] |= 0x80;
            bytes
        };
        for value in [0, 1, 1 << 31, (1 << 53) + 1, -1, -86_400, -(1 << 53)] {
            assert_eq!(field(&of(value, 8)), i64::try_from(value).ok(), "{value}");
            assert_eq!(field(&of(value, 12)), i64::try_from(value).ok(), "{value}");
        }
        assert_eq!(field(&of(i128::from(i64::MAX), 12)), Some(i64::MAX));
        assert_eq!(field(&of(i128::from(i64::MIN), 12)), Some(i64::MIN));
        assert_eq!(field(&of(i128::from(i64::MAX) + 1, 12)), None);
        assert_eq!(field(&of(i128::from(i64::MIN) - 1, 12)), None);
        assert_eq!(field(&of(1 << 70, 12)), None);
    }

    #[test]
    fn times_are_rounded_down_to_nanoseconds() {
        for (text, time) in [
            ("0", Some((0, 0))),
            ("1234567890.123456789", Some((1_234_567_890, 123_456_789))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("1.0000000019", Some((1, 1))),
            ("-1", Some((-1, 0))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("-0", Some((0, 0))),
            ("13569465600.5", Some((13_569_465_600, 500_000_000))),
            ("9223372036854775807", Some((i64::MAX, 0))),
            ("-9223372036854775808", Some((i64::MIN, 0))),
            ("9223372036854775808", None),
            ("-9223372036854775808.1", None),
            ("-9223372036854775809", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("1.5.5", None),
            ("1.-5", None),
            ("1e9", None),
            (" 1", None),
            ("--1", None),
            ("0x1", None),
        ] {
            assert_eq!(super::time(text.as_bytes()), time, "{text}");
        }
    }
}
