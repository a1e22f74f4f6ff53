//! The text form of `stat`.
//!
//! One TAB of indentation per level; `Key: value` lines, or `Key:` with nested lines. Strings are quoted the way umoci
//! quotes them, in two strengths: [`precise`] wherever a reader must be able to tell where a string begins and ends, and
//! [`plain`] in the table of the history.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use oci_bundle::image::{Descriptor, ImageConfig};
use oci_bundle::ops::stat::ImageStat;
use serde_json::Value;

use super::quote::quote;
use super::size::human;
use super::time::rfc3339_nano;

/// Bytes of embedded data that are shown.
const DUMP_SIZE: usize = 256;

/// Renders everything that `stat` knows.
pub fn render(stat: &ImageStat) -> String {
    let mut text = Text::default();
    manifest(&mut text, stat);
    if let Some(config) = &stat.config {
        text.line("");
        text.line("== CONFIG ==");
        if let Some(image) = &stat.image_config {
            image_config(&mut text, image);
        }
        text.block("Descriptor", |text| descriptor(text, &config.descriptor));
    }
    if stat.image_config.is_some() {
        text.line("");
        text.line("== HISTORY ==");
        history(&mut text, stat);
    }
    text.out
}

/// Lines under construction.
#[derive(Default)]
struct Text {
    out: String,
    depth: usize,
}

impl Text {
    fn line(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        let line = line.to_string();
        let depth = if line.is_empty() { 0 } else { self.depth };
        let _ = writeln!(self.out, "{}{line}", "\t".repeat(depth));
    }

    /// `Key: value`, quoted.
    fn entry(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key}: {}", scalar(value)));
    }

    /// Nothing when there is no value.
    fn entry_if(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.entry(key, value);
        }
    }

    fn block(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        self.nested(&format!("{key}:"), inside);
    }

    fn nested(&mut self, heading: &str, inside: impl FnOnce(&mut Self)) {
        self.line(heading);
        self.depth += 1;
        inside(self);
        self.depth -= 1;
    }

    /// One element per line.
    fn list(&mut self, key: &str, values: &[String]) {
        self.block(key, |text| {
            for value in values {
                text.line(precise(value));
            }
        });
    }

    fn list_if(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.list(key, values);
        }
    }

    /// All elements on one line.
    fn set_if(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| scalar(value)).collect();
            self.line(format_args!("{key}: {}", values.join(", ")));
        }
    }

    fn map_if(&mut self, key: &str, map: &BTreeMap<String, String>) {
        if !map.is_empty() {
            self.block(key, |text| {
                for (key, value) in map {
                    text.entry(&precise(key), value);
                }
            });
        }
    }
}

/// Quotes where quoting changes more than it adds quotes, and where a reader could not see the string's bounds.
fn precise(text: &str) -> String {
    if text.is_empty() || text.contains(char::is_whitespace) {
        quote(text.as_bytes())
    } else {
        plain(text)
    }
}

/// As [`precise`], and also quotes what holds a comma.
fn scalar(text: &str) -> String {
    if text.contains(',') {
        quote(text.as_bytes())
    } else {
        precise(text)
    }
}

/// Quotes only what has to be escaped.
fn plain(text: &str) -> String {
    let quoted = quote(text.as_bytes());
    if quoted.len() == text.len() + 2 {
        text.to_owned()
    } else {
        quoted
    }
}

fn manifest(text: &mut Text, stat: &ImageStat) {
    let member = |key: &str| {
        stat.manifest_view
            .raw()
            .get(key)
            .cloned()
            .unwrap_or_default()
    };
    text.line("== MANIFEST ==");
    let version = member("schemaVersion").as_u64().unwrap_or_default();
    text.line(format_args!("Schema Version: {version}"));
    let media_type = member("mediaType");
    text.entry("Media Type", media_type.as_str().unwrap_or_default());
    let artifact_type = member("artifactType");
    text.entry_if("Artifact Type", artifact_type.as_str().unwrap_or_default());
    let block = |text: &mut Text, of: &Descriptor| {
        text.block("Descriptor", |text| descriptor(text, of));
    };
    text.block("Config", |text| block(text, &stat.manifest_view.config));
    if !stat.manifest_view.layers.is_empty() {
        text.block("Layers", |text| {
            for layer in &stat.manifest_view.layers {
                block(text, layer);
            }
        });
    }
    if let Some(subject) = &stat.manifest_view.subject {
        text.block("Subject", |text| block(text, subject));
    }
    text.map_if("Annotations", &stat.manifest_view.annotations());
    block(text, &stat.manifest.descriptor);
}

fn descriptor(text: &mut Text, of: &Descriptor) {
    let strings = |value: Option<&Value>| -> Vec<String> {
        let values = value.and_then(Value::as_array).into_iter().flatten();
        values
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    };
    text.entry("Media Type", of.media_type());
    let artifact_type = of.raw().get("artifactType").and_then(Value::as_str);
    text.entry_if("Artifact Type", artifact_type.unwrap_or_default());
    text.line(format_args!("Digest: {}", of.digest()));
    text.line(format_args!("Size: {}", human(of.size())));
    if let Some(members) = of.raw().get("platform").and_then(Value::as_object) {
        let member = |key: &str| members.get(key).and_then(Value::as_str).unwrap_or_default();
        platform(
            text,
            &Platform {
                os: member("os"),
                os_version: member("os.version"),
                os_features: &strings(members.get("os.features")),
                architecture: member("architecture"),
                variant: member("variant"),
            },
        );
    }
    text.list_if("URLs", &strings(of.raw().get("urls")));
    text.map_if("Annotations", &of.annotations());
    if let Some(data) = of.data() {
        dump(text, &data);
    }
}

struct Platform<'a> {
    os: &'a str,
    os_version: &'a str,
    os_features: &'a [String],
    architecture: &'a str,
    variant: &'a str,
}

fn platform(text: &mut Text, of: &Platform<'_>) {
    text.block("Platform", |text| {
        text.entry("OS", of.os);
        text.entry_if("OS Version", of.os_version);
        text.set_if("OS Features", of.os_features);
        let architecture = scalar(of.architecture);
        match of.variant {
            "" => text.line(format_args!("Architecture: {architecture}")),
            variant => {
                let variant = plain(variant);
                text.line(format_args!("Architecture: {architecture} ({variant})"));
            }
        }
    });
}

/// Embedded data: offset, bytes in pairs, and the bytes as characters of Latin-1.
fn dump(text: &mut Text, data: &[u8]) {
    text.nested(&format!("Data: ({} bytes)", data.len()), |text| {
        let shown = &data[..data.len().min(DUMP_SIZE)];
        for (row, bytes) in shown.chunks(16).enumerate() {
            let pairs: Vec<String> = bytes.chunks(2).map(hex::encode).collect();
            let graphic: String = bytes
                .iter()
                .map(|byte| match byte {
                    0x20..=0x7e | 0xa0..=0xac | 0xae..=0xff => char::from(*byte),
                    _ => '.',
                })
                .collect();
            // Eight pairs of four digits, and seven blanks between them.
            text.line(format_args!(
                "{:04x}: {:<39}  {graphic}",
                row * 16,
                pairs.join(" ")
            ));
        }
        if data.len() > DUMP_SIZE {
            let more = data.len() - DUMP_SIZE;
            text.line(format_args!("....  (extra {more} bytes omitted)"));
        }
    });
}

fn image_config(text: &mut Text, image: &ImageConfig) {
    if let Some(created) = image.created() {
        text.entry("Created", &rfc3339_nano(created));
    }
    text.entry("Author", image.author());
    platform(
        text,
        &Platform {
            os: image.os(),
            os_version: image.os_version(),
            os_features: image.os_features(),
            architecture: image.architecture(),
            variant: image.variant(),
        },
    );
    let escaped = if image.args_escaped() {
        " (escaped)"
    } else {
        ""
    };
    text.block("Image Config", |text| {
        text.entry("User", image.user());
        text.list_if(&format!("Entrypoint{escaped}"), image.entrypoint());
        if image.cmd().is_empty() {
            text.line(format_args!("Command{escaped}: (empty)"));
        } else {
            text.list(&format!("Command{escaped}"), image.cmd());
        }
        text.entry_if("Working Directory", image.working_dir());
        text.list_if("Environment", image.env());
        text.entry_if("Stop Signal", image.stop_signal());
        text.set_if("Exposed Ports", image.exposed_ports());
        text.set_if("Volumes", image.volumes());
        text.map_if("Labels", image.labels());
    });
}

/// The history as a table, top row first.
fn history(text: &mut Text, stat: &ImageStat) {
    let mut rows = vec![["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"].map(str::to_owned)];
    rows.extend(stat.history.iter().map(|entry| {
        let layer = entry.layer.as_ref();
        let none = || "<none>".to_owned();
        let created = entry.history.created.as_deref();
        [
            layer.map_or_else(none, |layer| layer.digest().to_string()),
            created.map_or_else(|| "<unknown>".to_owned(), |at| plain(&rfc3339_nano(at))),
            plain(&entry.history.created_by),
            layer.map_or_else(none, |layer| human(layer.size())),
            plain(&entry.history.comment),
        ]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (cell.chars().count() + 1).max(4).max(*width);
        }
    }
    for row in &rows {
        let [layer, created, created_by, size, comment] = row;
        let [w0, w1, w2, w3, _] = widths;
        text.line(format_args!(
            "{layer:w0$}{created:w1$}{created_by:w2$}{size:w3$}{comment}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_only_where_it_matters() {
        for (text, plain_form, precise_form, scalar_form) in [
            ("amd64", "amd64", "amd64", "amd64"),
            ("", "", "\"\"", "\"\""),
            (
                "hello world",
                "hello world",
                "\"hello world\"",
                "\"hello world\"",
            ),
            (
                "/with,comma",
                "/with,comma",
                "/with,comma",
                "\"/with,comma\"",
            ),
            ("a\tb", "\"a\\tb\"", "\"a\\tb\"", "\"a\\tb\""),
            (
                "say \"x\"",
                "\"say \\\"x\\\"\"",
                "\"say \\\"x\\\"\"",
                "\"say \\\"x\\\"\"",
            ),
            ("grün", "grün", "grün", "grün"),
            (
                "a\u{3000}b",
                "\"a\\u3000b\"",
                "\"a\\u3000b\"",
                "\"a\\u3000b\"",
            ),
        ] {
            assert_eq!(plain(text), plain_form);
            assert_eq!(precise(text), precise_form);
            assert_eq!(scalar(text), scalar_form);
        }
    }

    #[test]
    fn two_bytes_are_dumped_with_the_padding_of_a_full_line() {
        let mut text = Text::default();
        dump(&mut text, b"{}");
        let blanks = " ".repeat(37);
        assert_eq!(
            text.out,
            format!("Data: (2 bytes)\n\t0000: 7b7d{blanks}{{}}\n")
        );
    }

    #[test]
    fn long_data_is_cut() {
        let mut text = Text::default();
        dump(&mut text, &[0xad; 300]);
        let lines: Vec<&str> = text.out.lines().collect();
        assert_eq!(lines.len(), 18);
        assert_eq!(
            lines[16],
            format!("\t00f0: {}  {}", ["adad"; 8].join(" "), ".".repeat(16))
        );
        assert_eq!(lines[17], "\t....  (extra 44 bytes omitted)");
    }
}
