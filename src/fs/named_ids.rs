//! Ids that extended attributes name: the users and groups of an ACL, and the root whose file capabilities they are.
//!
//! They mean what owners mean, so maps apply to them as well. The kernel does the same where it shows a directory
//! through an id-mapped mount; left as they are, an ACL of the image would let in users of the host.

use super::idmap::MapOptions;
use super::xattr::Xattrs;
use crate::error::{Result, ResultExt};

/// What owners become.
#[derive(Clone, Copy)]
pub struct Owners<'a> {
    /// The user for a user.
    pub user: &'a dyn Fn(u32) -> Result<u32>,
    /// The group for a group.
    pub group: &'a dyn Fn(u32) -> Result<u32>,
}

impl MapOptions {
    /// Gives the ids that attributes of the image name those that they have on disk. A rootless tree keeps them: nobody
    /// reads them there.
    ///
    /// # Errors
    ///
    /// Fails if an id is in no range of its map.
    pub fn xattrs_to_host(&self, xattrs: &mut Xattrs) -> Result<()> {
        self.map_xattrs(
            xattrs,
            Owners {
                user: &|id| self.uid.to_host(id),
                group: &|id| self.gid.to_host(id),
            },
        )
    }

    /// Gives the ids that attributes on disk name those that they have in the image.
    ///
    /// # Errors
    ///
    /// Fails if an id is in no range of its map.
    pub fn xattrs_to_container(&self, xattrs: &mut Xattrs) -> Result<()> {
        self.map_xattrs(
            xattrs,
            Owners {
                user: &|id| self.uid.to_container(id),
                group: &|id| self.gid.to_container(id),
            },
        )
    }

    fn map_xattrs(&self, xattrs: &mut Xattrs, owners: Owners<'_>) -> Result<()> {
        if self.rootless || self.uid.0.is_empty() && self.gid.0.is_empty() {
            return Ok(());
        }
        map_named_ids(xattrs, &owners)
    }
}

/// Changes the ids that attributes name. Malformed ones are left for the kernel to refuse.
///
/// # Errors
///
/// Those of the owners; part of the ids may be changed.
pub fn map_named_ids(xattrs: &mut Xattrs, owners: &Owners<'_>) -> Result<()> {
    for (name, value) in xattrs {
        match &name[..] {
            b"system.posix_acl_access" | b"system.posix_acl_default" => {
                map_acl(value, owners).context(|| "map the ids of an ACL")?;
            }
            b"security.capability" => {
                map_capability(value, owners).context(|| "map the root of a capability")?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// An ACL (`linux/posix_acl_xattr.h`): a version, then entries of tag, permissions and id.
fn map_acl(value: &mut [u8], owners: &Owners<'_>) -> Result<()> {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const USER: [u8; 2] = 2_u16.to_le_bytes();
    const GROUP: [u8; 2] = 8_u16.to_le_bytes();
    let Some((&mut VERSION, entries)) = value.split_first_chunk_mut::<4>() else {
        return Ok(());
    };
    let (entries, _) = entries.as_chunks_mut::<8>();
    for [tag0, tag1, _, _, id @ ..] in entries {
        let map = match [*tag0, *tag1] {
            USER => owners.user,
            GROUP => owners.group,
            _ => continue,
        };
        *id = map(u32::from_le_bytes(*id))?.to_le_bytes();
    }
    Ok(())
}

/// A file capability (`linux/capability.h`): revision 2 is that of root, revision 3 says of whose namespace it is the root.
/// Where root itself has no other id, it stays the one that it is.
fn map_capability(value: &mut Vec<u8>, owners: &Owners<'_>) -> Result<()> {
    /// Bytes of revision 2; revision 3 has an id behind them.
    const SIZE: usize = 20;
    /// The byte of the first word that has the revision.
    const REVISION: usize = 3;
    let root = match (value.len(), value.get(REVISION)) {
        (SIZE, Some(2)) => (owners.user)(0).unwrap_or(0),
        (24, Some(3)) => {
            let id = value.last_chunk::<4>().copied().unwrap_or_default();
            (owners.user)(u32::from_le_bytes(id))?
        }
        _ => return Ok(()),
    };
    value.truncate(SIZE);
    value[REVISION] = 2;
    if root != 0 {
        value[REVISION] = 3;
        value.extend_from_slice(&root.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::idmap::IdMap;
    use super::*;

    const ACL: &str = "system.posix_acl_access";
    const CAPABILITY: &str = "security.capability";

    fn maps() -> MapOptions {
        let map = |range: &str| IdMap(vec![range.parse().unwrap()]);
        MapOptions {
            uid: map("0:1000:100"),
            gid: map("0:2000:100"),
            rootless: false,
        }
    }

    fn acl(user: u32, group: u32) -> Vec<u8> {
        let entry = |tag: u16, id: u32| {
            let tag = tag.to_le_bytes();
            let id = id.to_le_bytes();
            [tag[0], tag[1], 7, 0, id[0], id[1], id[2], id[3]]
        };
        let none = u32::MAX;
        let entries = [
            entry(1, none),
            entry(2, user),
            entry(8, group),
            entry(0x20, none),
        ];
        [&[2, 0, 0, 0], entries.as_flattened()].concat()
    }

    fn capability(root: Option<u32>) -> Vec<u8> {
        let mut value = vec![1, 0, 0, 2];
        value.extend_from_slice(&[7; 16]);
        if let Some(root) = root {
            value[3] = 3;
            value.extend_from_slice(&root.to_le_bytes());
        }
        value
    }

    fn to_host(maps: &MapOptions, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        let mut xattrs = vec![(name.as_bytes().to_vec(), value.to_vec())];
        maps.xattrs_to_host(&mut xattrs)?;
        Ok(xattrs.remove(0).1)
    }

    fn to_container(maps: &MapOptions, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        let mut xattrs = vec![(name.as_bytes().to_vec(), value.to_vec())];
        maps.xattrs_to_container(&mut xattrs)?;
        Ok(xattrs.remove(0).1)
    }

    #[test]
    fn ids_are_mapped_to_the_disk_and_back() {
        for (name, image, disk) in [
            (ACL, acl(5, 6), acl(1005, 2006)),
            ("system.posix_acl_default", acl(0, 99), acl(1000, 2099)),
            (CAPABILITY, capability(None), capability(Some(1000))),
            (CAPABILITY, capability(Some(7)), capability(Some(1007))),
            ("user.x", acl(5, 6), acl(5, 6)),
        ] {
            assert_eq!(to_host(&maps(), name, &image).unwrap(), disk, "{name}");
            assert_eq!(to_container(&maps(), name, &disk).unwrap(), image, "{name}");
        }
    }

    #[test]
    fn ids_in_no_range_are_refused_but_for_the_root_of_the_host() {
        to_host(&maps(), ACL, &acl(100, 0)).unwrap_err();
        to_host(&maps(), ACL, &acl(0, 100)).unwrap_err();
        to_host(&maps(), CAPABILITY, &capability(Some(100))).unwrap_err();
        to_container(&maps(), ACL, &acl(5, 2000)).unwrap_err();
        to_container(&maps(), CAPABILITY, &capability(Some(5))).unwrap_err();
        let of_host = to_container(&maps(), CAPABILITY, &capability(None));
        assert_eq!(of_host.unwrap(), capability(None));
    }

    #[test]
    fn without_maps_and_in_a_rootless_tree_attributes_stay() {
        let rootless = MapOptions {
            rootless: true,
            ..maps()
        };
        for maps in [MapOptions::default(), rootless] {
            for (name, value) in [
                (ACL, acl(u32::MAX, 500)),
                (CAPABILITY, capability(Some(500))),
            ] {
                assert_eq!(to_host(&maps, name, &value).unwrap(), value);
                assert_eq!(to_container(&maps, name, &value).unwrap(), value);
            }
        }
    }

    #[test]
    fn malformed_attributes_stay() {
        for (name, value) in [
            (ACL, &b""[..]),
            (ACL, b"\x02"),
            (ACL, b"\x02\0\0\0\x02\0"),
            (ACL, b"\x03\0\0\0\x02\0\x07\0\0\0\0\0"),
            (CAPABILITY, b""),
            (CAPABILITY, b"\0\0\0\x02"),
            (CAPABILITY, b"\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            (CAPABILITY, b"\0\0\0\x01\0\0\0\0\0\0\0\0"),
        ] {
            assert_eq!(to_host(&maps(), name, value).unwrap(), value);
        }
    }
}
