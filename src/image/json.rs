//! JSON in and out: one bounded value in, Go's bytes out.
//!
//! Digests of documents depend on every byte. umoci writes them with Go's `encoding/json`, so this module writes what
//! that encoder would: compact, a line feed at the end, `<`, `>`, `&`, U+2028 and U+2029 escaped, everything else that is
//! not a control character raw, floating-point numbers without a needless fraction or exponent.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

use super::members::malformed;
use crate::{Error, ErrorKind, Result};

/// Most JSON values that one document may hold. A document of 4 MiB can hold two million, each of which costs up to
/// half a kilobyte when parsed; real documents of that size hold less than a tenth of this limit.
const MAX_VALUES: usize = 250_000;

/// Parses exactly one JSON value, surrounded by nothing but white space, of a document of at most a few MiB.
///
/// The last of several members of one name wins, as in Go. Nesting is limited to 128 levels, the number of values to
/// 250,000; both before a tree is built.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`] for anything but one JSON value in UTF-8, [`ErrorKind::LimitExceeded`] for too many
/// values.
pub fn parse_json(bytes: &[u8]) -> Result<Value> {
    parse_json_of(bytes, MAX_VALUES)
}

/// Parses as [`parse_json`] does, with another limit on the number of values.
pub(crate) fn parse_json_of(bytes: &[u8], max_values: usize) -> Result<Value> {
    if count_values(bytes) > max_values {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("more than {max_values} JSON values in one document"),
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| malformed("malformed JSON").with_source(error))
}

/// Counts what begins a value, or could: every opening bracket and comma outside of strings, and one for the whole.
fn count_values(bytes: &[u8]) -> usize {
    let mut count = 1;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' | b',' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Writes a value as Go's encoder does: compact, escaped, with a trailing line feed.
pub fn to_go_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, GoFormatter);
    // A `Value` has string keys only and a `Vec` takes every byte, hence this cannot fail.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    out.push(b'\n');
    out
}

/// Takes the white space out of a JSON text and escapes it like [`to_go_json`], but keeps everything else: numbers stay
/// as they were written, doubled members stay doubled. The text must be valid JSON.
pub fn compact_json(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut in_string = false;
    let mut escaped = false;
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        if let Some((length, escape)) = html_escape(rest) {
            out.extend_from_slice(escape.as_bytes());
            rest = &rest[length..];
            escaped = false;
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {}
            _ => out.push(*byte),
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        rest = tail;
    }
    out
}

/// The escape of the character at the start of `text`, with the character's length, where Go escapes what JSON need not.
fn html_escape(text: &[u8]) -> Option<(usize, &'static str)> {
    match text {
        [b'<', ..] => Some((1, "\\u003c")),
        [b'>', ..] => Some((1, "\\u003e")),
        [b'&', ..] => Some((1, "\\u0026")),
        [0xe2, 0x80, 0xa8, ..] => Some((3, "\\u2028")),
        [0xe2, 0x80, 0xa9, ..] => Some((3, "\\u2029")),
        _ => None,
    }
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let bytes = fragment.as_bytes();
        let mut start = 0;
        let mut place = 0;
        while place < bytes.len() {
            let Some((length, escape)) = html_escape(&bytes[place..]) else {
                place += 1;
                continue;
            };
            writer.write_all(&bytes[start..place])?;
            writer.write_all(escape.as_bytes())?;
            place += length;
            start = place;
        }
        writer.write_all(&bytes[start..])
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            // Rust writes `1e21`, Go `1e+21`; a negative exponent looks the same in both.
            let text = format!("{value:e}");
            let text = if size < 1.0 {
                text
            } else {
                text.replace('e', "e+")
            };
            return writer.write_all(text.as_bytes());
        }
        write!(writer, "{value}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn go(value: &Value) -> String {
        String::from_utf8(to_go_json(value)).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let text = "<a>&\u{2028}\u{2029}\u{2027}é\u{7f}\u{ffff}\"\\/\n\r\t\u{8}\u{c}\u{0}\u{1f}";
        let expected = "\"\\u003ca\\u003e\\u0026\\u2028\\u2029\u{2027}é\u{7f}\u{ffff}\\\"\\\\/\\n\\r\\t\\b\\f\\u0000\\u001f\"\n";
        assert_eq!(go(&json!(text)), expected);
        assert_eq!(go(&json!({"<k>": 1})), "{\"\\u003ck\\u003e\":1}\n");
    }

    #[test]
    fn numbers_are_written_as_go_does() {
        let table = [
            (json!(2.5e10), "25000000000\n"),
            (json!(1.0), "1\n"),
            (json!(0.5), "0.5\n"),
            (json!(1e21), "1e+21\n"),
            (json!(-1.5e300), "-1.5e+300\n"),
            (json!(1e-7), "1e-7\n"),
            (json!(0.0), "0\n"),
            (
                json!(18_446_744_073_709_551_615_u64),
                "18446744073709551615\n",
            ),
            (
                json!(-9_223_372_036_854_775_808_i64),
                "-9223372036854775808\n",
            ),
        ];
        for (value, expected) in table {
            assert_eq!(go(&value), expected);
        }
    }

    #[test]
    fn only_one_value_is_taken() {
        for text in [
            "",
            " ",
            "{}x",
            "{} {}",
            "{\"a\":1}\n} trailing",
            "{",
            "[1,]",
            "\u{feff}{}",
            "nul",
            "{'a':1}",
            "[NaN]",
            "\"\\ud800\"",
        ] {
            assert_eq!(
                parse_json(text.as_bytes()).unwrap_err().kind(),
                ErrorKind::InvalidData,
                "{text:?}"
            );
        }
        assert_eq!(parse_json(b" \n{}\n\t").unwrap(), json!({}));
        assert!(parse_json(b"\"\xff\"").is_err(), "not UTF-8");
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_stack_overflow() {
        let text = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert_eq!(
            parse_json(text.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        let text = "[".repeat(200_000);
        assert_eq!(
            parse_json(text.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    }

    #[test]
    fn too_many_values_are_refused_before_they_are_parsed() {
        let text = format!("[{}0]", "0,".repeat(2_000_000));
        assert_eq!(
            parse_json(text.as_bytes()).unwrap_err().kind(),
            ErrorKind::LimitExceeded
        );
        let text = json!({"a\"\\": ",".repeat(MAX_VALUES * 2), "b": "{[\"".repeat(MAX_VALUES)})
            .to_string();
        assert!(
            parse_json(text.as_bytes()).is_ok(),
            "what stands in strings does not count"
        );
    }

    #[test]
    fn compacting_keeps_numbers_and_doubled_members() {
        let text =
            b" { \"a\" : [ 1.0 , 2.50e10 ] ,\n\t\"a\" : \"x \\\" < \\\\\" , \"b\":\"\\u003c\" } \n";
        let expected = "{\"a\":[1.0,2.50e10],\"a\":\"x \\\" \\u003c \\\\\",\"b\":\"\\u003c\"}";
        assert_eq!(String::from_utf8(compact_json(text)).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn any_string_survives_being_written_and_read(text in any::<String>()) {
            let value = json!({ text.clone(): [text, null] });
            let written = to_go_json(&value);
            prop_assert!(!written.iter().any(|byte| b"<>&".contains(byte)));
            let read = parse_json(&written).unwrap();
            prop_assert_eq!(&read, &value);
            let mut compact = compact_json(value.to_string().as_bytes());
            compact.push(b'\n');
            prop_assert_eq!(compact, written);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_json(&bytes);
            compact_json(&bytes);
        }
    }
}
