//! JSON that is shown as it is stored, and what JSON of our own has in common.

use serde::de::IgnoredAny;

/// The version of our documents, in their member `schema_version`: one more when a member changes its meaning or goes.
/// `docs/json` has the schemas.
pub const SCHEMA_VERSION: u32 = 1;

/// Compacts the first JSON value of a document and changes nothing else: unknown members, their order, the spelling of
/// numbers and duplicates stay. As Go's encoder does, the characters that are special to HTML and JavaScript
/// (`<`, `>`, `&`, U+2028, U+2029) are escaped.
///
/// Returns `None` when the document does not begin with a JSON value.
pub fn compact(document: &[u8]) -> Option<Vec<u8>> {
    let mut values = serde_json::Deserializer::from_slice(document).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let value = document.get(..values.byte_offset())?;
    let mut out = Vec::with_capacity(value.len());
    let mut in_string = false;
    let mut escaped = false;
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {}
            b'<' | b'>' | b'&' => out.extend_from_slice(format!("\\u00{byte:02x}").as_bytes()),
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            0xe2 if matches!(tail, [0x80, 0xa8 | 0xa9, ..]) => {
                out.extend_from_slice(if tail[1] == 0xa8 {
                    b"\\u2028"
                } else {
                    b"\\u2029"
                });
                rest = &tail[2..];
            }
            _ => out.push(byte),
        }
        if byte == b'"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && byte == b'\\' && !escaped;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::app::App;

    #[test]
    fn every_command_with_json_has_a_schema() {
        fn check(command: &clap::Command, name: &str) {
            let is_json = |arg: &clap::Arg| arg.get_long() == Some("json");
            if command.get_arguments().any(is_json) {
                let root = env!("CARGO_MANIFEST_DIR");
                let file = format!("{root}/docs/json/{name}.json");
                assert!(std::path::Path::new(&file).is_file(), "{file}");
            }
            for command in command.get_subcommands() {
                check(command, &format!("{name}-{}", command.get_name()));
            }
        }
        for command in App::command().get_subcommands() {
            check(command, command.get_name());
        }
    }

    fn compacted(text: &str) -> String {
        String::from_utf8(compact(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn only_blanks_between_tokens_go() {
        let text = "{ \"b\" : [ 1.0 , 1e5,\n12345678901234567890123 ],\t\"b\":\" \\\" x \\\\\" , \"a\" : { } }\r\n";
        let expected = "{\"b\":[1.0,1e5,12345678901234567890123],\"b\":\" \\\" x \\\\\",\"a\":{}}";
        assert_eq!(compacted(text), expected);
    }

    #[test]
    fn what_is_special_to_html_is_escaped() {
        assert_eq!(
            compacted("[\"<a&b>\u{2028}\u{2029}\u{2027}é\"]"),
            "[\"\\u003ca\\u0026b\\u003e\\u2028\\u2029\u{2027}é\"]"
        );
    }

    #[test]
    fn only_the_first_value_counts() {
        assert_eq!(compacted("{\"a\": 1} trailing"), "{\"a\":1}");
        assert_eq!(compact(b"no json"), None);
        assert_eq!(compact(b""), None);
    }
}
