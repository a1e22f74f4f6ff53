//! [`MapOptions`] as JSON: the `map_options` member of `umoci.json`.
//!
//! ```json
//! {"uid_mappings":null,"gid_mappings":[{"containerID":0,"hostID":1000,"size":1}],"rootless":false}
//! ```
//!
//! No ranges are written as `null`, as umoci does, and read as `null`, as `[]` or as a missing member.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::fs::{IdMap, IdRange, MapOptions};
use crate::{Error, ErrorKind, Result};

/// The member as it is read. Unknown members are ignored.
#[derive(Deserialize)]
pub(super) struct MapOptionsDocument {
    #[serde(default)]
    uid_mappings: Option<Vec<RangeDocument>>,
    #[serde(default)]
    gid_mappings: Option<Vec<RangeDocument>>,
    #[serde(default)]
    rootless: bool,
}

/// The runtime specification's form of a range.
#[derive(Deserialize)]
struct RangeDocument {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
    size: u32,
}

/// Encodes, with the members in umoci's order.
pub(super) fn to_value(options: &MapOptions) -> Value {
    json!({
        "uid_mappings": ranges_to_value(&options.uid),
        "gid_mappings": ranges_to_value(&options.gid),
        "rootless": options.rootless,
    })
}

fn ranges_to_value(map: &IdMap) -> Value {
    if map.0.is_empty() {
        return Value::Null;
    }
    map.0
        .iter()
        .map(|range| json!({"containerID": range.container, "hostID": range.host, "size": range.size}))
        .collect()
}

impl TryFrom<MapOptionsDocument> for MapOptions {
    type Error = Error;

    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] when a range goes beyond the largest 32-bit id.
    fn try_from(document: MapOptionsDocument) -> Result<Self> {
        Ok(Self {
            uid: ranges(document.uid_mappings, "uid_mappings")?,
            gid: ranges(document.gid_mappings, "gid_mappings")?,
            rootless: document.rootless,
        })
    }
}

fn ranges(documents: Option<Vec<RangeDocument>>, member: &str) -> Result<IdMap> {
    let mut ranges = Vec::new();
    for RangeDocument {
        container,
        host,
        size,
    } in documents.unwrap_or_default()
    {
        if container.checked_add(size).is_none() || host.checked_add(size).is_none() {
            let message =
                format!("range {container}:{host}:{size} in {member} goes beyond the largest id");
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        ranges.push(IdRange {
            container,
            host,
            size,
        });
    }
    Ok(IdMap(ranges))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(value: Value) -> Result<MapOptions> {
        serde_json::from_value::<MapOptionsDocument>(value)
            .map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?
            .try_into()
    }

    #[test]
    fn members_are_written_in_umocis_order_and_an_empty_map_as_null() {
        let range = IdRange {
            container: 0,
            host: 1000,
            size: 1,
        };
        let options = MapOptions {
            uid: IdMap(vec![range]),
            gid: IdMap::default(),
            rootless: true,
        };
        assert_eq!(
            to_value(&options).to_string(),
            r#"{"uid_mappings":[{"containerID":0,"hostID":1000,"size":1}],"gid_mappings":null,"rootless":true}"#
        );
    }

    #[test]
    fn missing_null_and_empty_maps_mean_none() {
        for value in [
            json!({}),
            json!({"uid_mappings": null}),
            json!({"gid_mappings": [], "x": {"y": 1}}),
        ] {
            assert_eq!(parse(value).unwrap(), MapOptions::default());
        }
    }

    #[test]
    fn a_range_that_wraps_around_or_has_wrong_types_is_refused() {
        let range = |container: i64, host: i64, size: i64| json!({"uid_mappings": [{"containerID": container, "hostID": host, "size": size}]});
        assert!(parse(range(4_294_967_294, 0, 1)).is_ok());
        for (container, host, size) in [
            (4_294_967_295, 0, 1),
            (0, 4_294_967_290, 6),
            (-1, 0, 1),
            (0, 4_294_967_296, 1),
            (0, 0, -1),
        ] {
            assert!(
                parse(range(container, host, size)).is_err(),
                "{container}:{host}:{size}"
            );
        }
        assert!(parse(json!({"uid_mappings": {}})).is_err());
        assert!(parse(json!({"uid_mappings": [{"containerID": 0, "hostID": 0}]})).is_err());
        assert!(parse(json!({"rootless": "no"})).is_err());
    }

    fn id_map() -> impl Strategy<Value = IdMap> {
        let range = (0..1u32 << 31, 0..1u32 << 31, 0..1u32 << 31);
        proptest::collection::vec(range, 0..4).prop_map(|ranges| {
            IdMap(
                ranges
                    .into_iter()
                    .map(|(container, host, size)| IdRange {
                        container,
                        host,
                        size,
                    })
                    .collect(),
            )
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(uid in id_map(), gid in id_map(), rootless: bool) {
            let options = MapOptions { uid, gid, rootless };
            prop_assert_eq!(parse(to_value(&options)).unwrap(), options);
        }
    }
}
