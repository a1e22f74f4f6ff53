//! Tests of the parser.

use super::fixture::{END, Item, read};
use crate::{Error, Result};

mod compression;
mod dialects;
mod hostile;
mod interop;
mod properties;
mod sparse;

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// The only entry of an archive of these parts.
fn one(parts: &[&[u8]]) -> Item {
    let mut items = read(&[&parts.concat(), END].concat()).unwrap();
    assert_eq!(items.len(), 1);
    items.remove(0)
}

fn fails(parts: &[&[u8]]) -> Error {
    read(&parts.concat()).unwrap_err()
}

fn paths(result: Result<Vec<Item>>) -> Vec<String> {
    result
        .unwrap()
        .iter()
        .map(|item| item.path().to_owned())
        .collect()
}
