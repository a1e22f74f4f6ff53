//! Times: the one that the environment gives, and the form that Go shows them in.

use std::ffi::OsStr;

use oci_bundle::image::normalize_time;
use oci_bundle::{Error, ErrorKind, Result};

/// Reads `SOURCE_DATE_EPOCH`: seconds since 1970, or nothing when it is unset or empty.
pub fn source_date_epoch() -> Result<Option<i64>> {
    parse_epoch(std::env::var_os("SOURCE_DATE_EPOCH").as_deref())
}

fn parse_epoch(value: Option<&OsStr>) -> Result<Option<i64>> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let seconds = value.to_str().and_then(|text| text.parse().ok());
    seconds.map(Some).ok_or_else(|| {
        let message = format!(
            "parsing SOURCE_DATE_EPOCH: {} is not a number of seconds",
            super::quote::quote(value.as_encoded_bytes())
        );
        Error::new(ErrorKind::InvalidInput, message)
    })
}

/// Shows an RFC 3339 time as Go would show it again; anything that is no such time stays as it is.
pub fn rfc3339_nano(text: &str) -> String {
    normalize_time(text).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_signed_number_of_seconds() {
        let parse = |text: &str| parse_epoch(Some(OsStr::new(text)));
        assert_eq!(parse_epoch(None).unwrap(), None);
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("1234567890").unwrap(), Some(1_234_567_890));
        assert_eq!(parse("-5").unwrap(), Some(-5));
        for bad in [
            "abc",
            "1.5",
            " 1",
            "1_000",
            "9223372036854775808",
            "2020-01-01",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.chain().contains("SOURCE_DATE_EPOCH"), "{error:?}");
        }
    }

    #[test]
    fn times_are_shown_as_go_shows_them() {
        for (text, shown) in [
            ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"),
            ("2006-01-02T15:04:05.500Z", "2006-01-02T15:04:05.5Z"),
            ("2006-01-02T15:04:05.000Z", "2006-01-02T15:04:05Z"),
            (
                "2006-01-02T15:04:05.100+02:00",
                "2006-01-02T15:04:05.1+02:00",
            ),
            ("2006-01-02T15:04:05+00:00", "2006-01-02T15:04:05Z"),
            ("yesterday", "yesterday"),
            ("über-über-über-üb", "über-über-über-üb"),
        ] {
            assert_eq!(rfc3339_nano(text), shown);
        }
    }
}
