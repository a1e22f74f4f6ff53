//! vis(3): how names and link targets look in a manifest.
//!
//! Written: printable ASCII as it is, everything else byte by byte as `\ooo`, likewise the characters that a shell
//! glob or a comment would take for itself, and a backslash as `\\`. So a name is one word without blanks, whatever
//! its bytes. Read: all escapes that vis(3) can write in any of its styles, because others wrote them.

use crate::{Error, ErrorKind, Result};

/// Appends the encoded form of `bytes` to `out`.
pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'*' | b'?' | b'[' | b'#' => push_octal(byte, out),
            b'!'..=b'~' => out.push(byte),
            _ => push_octal(byte, out),
        }
    }
}

/// Returns the encoded form of `bytes`: printable ASCII without blanks.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    encode_into(bytes, &mut out);
    out
}

fn push_octal(byte: u8, out: &mut Vec<u8>) {
    let digit = |shift: u32| b'0' + (byte >> shift & 7);
    out.extend_from_slice(&[b'\\', digit(6), digit(3), digit(0)]);
}

/// Appends the decoded form of `text` to `out`. Bytes that are not part of an escape stand for themselves.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`] for an escape that is cut short or whose number exceeds a byte; `out` then holds what
/// came before.
pub fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut rest = text;
    while let Some(position) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..position]);
        let (byte, length) = escape(&rest[position + 1..]).ok_or_else(|| {
            let shown = String::from_utf8_lossy(text);
            Error::new(ErrorKind::InvalidData, format!("bad escape in {shown:?}"))
        })?;
        out.push(byte);
        rest = &rest[position + 1 + length..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Returns the decoded form of `text`.
///
/// # Errors
///
/// As [`decode_into`].
pub fn decode(text: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    decode_into(text, &mut out)?;
    Ok(out)
}

/// Reads what follows a backslash: the byte meant, and how many bytes of text say so.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let byte = match *text.first()? {
        b'0'..=b'7' => return octal(text),
        b'x' => return hexadecimal(&text[1..]),
        b'M' => return meta(&text[1..]),
        b'^' => return Some((control(*text.get(1)?), 2)),
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b's' => b' ',
        b'a' => 0x07,
        b'b' => 0x08,
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'E' => 0x1b,
        // A backslash, or a character that needed no escape: it stands for itself.
        other => other,
    };
    Some((byte, 1))
}

/// `\0` to `\377`: up to three digits.
fn octal(text: &[u8]) -> Option<(u8, usize)> {
    let digits = text.iter().take(3).take_while(|b| matches!(b, b'0'..=b'7'));
    let (mut value, mut length) = (0_u32, 0);
    for digit in digits {
        value = value * 8 + u32::from(digit - b'0');
        length += 1;
    }
    Some((u8::try_from(value).ok()?, length))
}

/// `\xH` or `\xHH`; `text` begins behind the `x`.
fn hexadecimal(text: &[u8]) -> Option<(u8, usize)> {
    let mut digits = text
        .iter()
        .take(2)
        .map_while(|b| char::from(*b).to_digit(16));
    let high = u8::try_from(digits.next()?).ok()?;
    Some(match digits.next() {
        Some(low) => (high << 4 | u8::try_from(low).ok()?, 3),
        None => (high, 2),
    })
}

/// `\M-c` and `\M^c`: the eighth bit; `text` begins behind the `M`.
fn meta(text: &[u8]) -> Option<(u8, usize)> {
    let &[form, character, ..] = text else {
        return None;
    };
    match form {
        b'-' => Some((character | 0x80, 3)),
        b'^' => Some((control(character) | 0x80, 3)),
        _ => None,
    }
}

fn control(character: u8) -> u8 {
    if character == b'?' {
        0x7f
    } else {
        character & 0x1f
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_written_as_umoci_writes_them() {
        for (raw, text) in [
            (&b"usr"[..], &b"usr"[..]),
            (b"a b*?[#\\c", br"a\040b\052\077\133\043\\c"),
            (b"nl\nx", br"nl\012x"),
            ("\u{fc}".as_bytes(), br"\303\274"),
            (b"]{}~!$&'\"", b"]{}~!$&'\""),
            (b"\x00\x7f\xff", br"\000\177\377"),
        ] {
            assert_eq!(encode(raw), text);
            assert_eq!(decode(text).unwrap(), raw);
        }
    }

    #[test]
    fn escapes_of_all_styles_are_read() {
        for (text, raw) in [
            (&br"\7\18\0"[..], &b"\x07\x018\x00"[..]),
            (br"\x4a\xfg\xA", b"\x4a\x0fg\x0a"),
            (br"\M-a\M^A\M^?\^A\^?\^@", b"\xe1\x81\xff\x01\x7f\x00"),
            (br"\n\t\r\s\a\b\f\v\E", b"\n\t\r \x07\x08\x0c\x0b\x1b"),
            (br"\\\#\*\z", b"\\#*z"),
            (br"\1234", b"S4"),
            (b"\xc3\xbc plain", b"\xc3\xbc plain"),
        ] {
            assert_eq!(decode(text).unwrap(), raw);
        }
    }

    #[test]
    fn escapes_that_say_nothing_are_refused() {
        for text in [
            &br"a\"[..],
            br"\400",
            br"\x",
            br"\xg",
            br"\M",
            br"\M-",
            br"\Mx1",
            br"\^",
        ] {
            let error = decode(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_a_round_trip_as_one_plain_word(raw: Vec<u8>) {
            let text = encode(&raw);
            prop_assert!(text.iter().all(|b| b.is_ascii_graphic() && !b"*?[#".contains(b)));
            prop_assert_eq!(decode(&text).unwrap(), raw);
        }

        #[test]
        fn decoding_never_panics_and_never_grows(text in proptest::collection::vec(
            prop_oneof![4 => Just(b'\\'), 4 => proptest::sample::select(&b"Mx^-01789afns?"[..]), 1 => any::<u8>()], 0..40)) {
            if let Ok(raw) = decode(&text) {
                prop_assert!(raw.len() <= text.len());
            }
        }
    }
}
