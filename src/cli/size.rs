//! Numbers of bytes, read from the user and shown to the user.

use std::str::FromStr;

use oci_bundle::{Error, ErrorKind, Result};

/// A number of bytes as the user writes it: digits, and one of the suffixes `k M G T` (powers of 1000) or
/// `Ki Mi Gi Ti` (powers of 1024), with or without a final `B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let message = format!("invalid size {text:?}");
            let hint = "a size is a number of bytes, or a number with k, M, G, T (powers of 1000) or Ki, Mi, Gi, Ti (powers of 1024)";
            Error::new(ErrorKind::InvalidInput, message).with_hint(hint)
        };
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, suffix) = text.split_at(end);
        let factor: u64 = match suffix.strip_suffix('B').unwrap_or(suffix) {
            "" => 1,
            "k" | "K" => 1000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => return Err(invalid()),
        };
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        number.checked_mul(factor).map(Self).ok_or_else(invalid)
    }
}

/// Shows a size in decimal units with four significant digits and no blank: `135B`, `1.107kB`.
// The loss of precision above 2^53 is far below four digits.
#[allow(
    clippy::cast_precision_loss,
    reason = "four digits are shown, and a double has fifteen"
)]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits_and_no_trailing_zeros() {
        for (bytes, text) in [
            (1, "1B"),
            (135, "135B"),
            (999, "999B"),
            (1000, "1kB"),
            (1107, "1.107kB"),
            (3_500_000, "3.5MB"),
            (12_345, "12.35kB"),
            (100_000, "100kB"),
            (120_460, "120.5kB"),
            (999_960, "1000kB"),
            (u64::MAX, "18.45EB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        // The one number without a digit before the point.
        assert_eq!(human(0), "0B");
    }

    #[test]
    fn sizes_are_read_with_decimal_and_binary_suffixes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("3k", 3000),
            ("3kB", 3000),
            ("2M", 2_000_000),
            ("1GiB", 1 << 30),
            ("4Ki", 4096),
            ("1T", 1_000_000_000_000),
        ] {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes), "{text}");
        }
        for text in [
            "",
            "B",
            "k",
            "-1",
            "1.5M",
            "1 k",
            "1kk",
            "1m",
            "18446744073709551616",
            "99999999T",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
