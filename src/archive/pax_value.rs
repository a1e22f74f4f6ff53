//! Values that several PAX records have in common.

use super::header::{invalid, show};
use super::numeric;
use crate::error::Result;

/// Reads a path; an empty one is none.
pub(super) fn name(key: &str, value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(invalid(format!("the PAX {key} {} has a NUL", show(value))));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

/// Reads a size: zero to 2^63-1.
pub(super) fn size(key: &str, value: &[u8]) -> Result<u64> {
    numeric::decimal(value)
        .filter(|&size| i64::try_from(size).is_ok())
        .ok_or_else(|| {
            invalid(format!(
                "the PAX {key} {} is not a size, or is too large",
                show(value)
            ))
        })
}
