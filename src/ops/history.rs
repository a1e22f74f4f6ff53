//! What the operations that change an image write into its history.

use jiff::Timestamp;

use crate::image::normalize_time;
use crate::layout::NewHistory;
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result, ResultExt};

/// The time of `SOURCE_DATE_EPOCH`, in seconds since 1970, as documents have it: RFC 3339, in UTC.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) for a time before the year 0 or after 9999.
pub fn epoch_time(seconds: i64) -> Result<String> {
    let time = Timestamp::from_second(seconds).ok();
    // Years that RFC 3339 has no digits for are text nevertheless.
    let text = time.and_then(|time| normalize_time(&time.to_string()).ok());
    text.ok_or_else(|| {
        let message = format!("SOURCE_DATE_EPOCH {seconds} is not a time that can be written");
        Error::new(ErrorKind::InvalidInput, message)
    })
}

/// The history entry that an operation adds. What is `None` is the operation's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Add none.
    pub none: bool,
    /// When, RFC 3339. By default now, in UTC.
    pub created: Option<String>,
    /// The command. By default the name of the operation.
    pub created_by: Option<String>,
    /// Who. By default the author of the image, where the operation has that habit.
    pub author: Option<String>,
    /// Free text. By default none.
    pub comment: Option<String>,
}

impl HistoryOptions {
    /// The entry, with an operation's defaults for `created_by` and `author`; `None` when there is to be none.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when `created` is no time.
    pub fn entry(
        &self,
        created_by: &str,
        author: &str,
        empty_layer: bool,
    ) -> Result<Option<NewHistory>> {
        if self.none {
            return Ok(None);
        }
        let created = match &self.created {
            Some(time) => normalize_time(time).context(|| "time of the history entry")?,
            None => Timestamp::now().to_string(),
        };
        let or = |given: &Option<String>, default: &str| {
            given.clone().unwrap_or_else(|| default.to_owned())
        };
        Ok(Some(NewHistory {
            created: Some(created),
            created_by: or(&self.created_by, created_by),
            author: or(&self.author, author),
            comment: or(&self.comment, ""),
            empty_layer,
        }))
    }

    /// Warns of a layer that gets no entry.
    pub(super) fn warn_of_none(&self, progress: &dyn Progress) {
        if self.none {
            progress.warn(format_args!(
                "the new layer has no history entry, so the history no longer covers all layers"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_written_in_utc() {
        assert_eq!(epoch_time(-1).unwrap(), "1969-12-31T23:59:59Z");
        for seconds in [i64::MAX, i64::MIN, 253_402_300_800, -62_200_000_000] {
            assert!(epoch_time(seconds).is_err(), "{seconds}");
        }
    }

    #[test]
    fn what_is_given_wins_over_the_defaults_even_when_it_is_empty() {
        let options = HistoryOptions {
            created: Some("2020-01-01T00:00:00,50+02:00".into()),
            created_by: Some(String::new()),
            ..HistoryOptions::default()
        };
        let entry = options.entry("umoci x", "me", true).unwrap().unwrap();
        let expected = NewHistory {
            created: Some("2020-01-01T00:00:00.5+02:00".into()),
            created_by: String::new(),
            author: "me".into(),
            comment: String::new(),
            empty_layer: true,
        };
        assert_eq!(entry, expected);
    }

    #[test]
    fn none_is_none_and_the_default_time_is_a_time() {
        let none = HistoryOptions {
            none: true,
            ..HistoryOptions::default()
        };
        assert_eq!(none.entry("x", "", false).unwrap(), None);
        let entry = HistoryOptions::default().entry("x", "", false).unwrap();
        assert!(normalize_time(&entry.unwrap().created.unwrap()).is_ok());
        let wrong = HistoryOptions {
            created: Some("now".into()),
            ..HistoryOptions::default()
        };
        assert!(wrong.entry("x", "", false).is_err());
    }
}
