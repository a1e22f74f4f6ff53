//! What an access ACL makes of a mode (`posix_acl_update_mode` in Linux): a file system does it when the attribute is set,
//! so a view has to.

/// The attribute, in the kernel's form (`linux/posix_acl_xattr.h`): a version, then entries of tag, permissions and id.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The permissions of an ACL as those of a mode, and whether the ACL says more than they do: one that does not is not kept.
/// Nothing for what is not an ACL.
pub(super) fn permissions(value: &[u8]) -> Option<(u32, bool)> {
    let entries = value.strip_prefix(&VERSION)?;
    let (mut user, mut group, mut mask, mut other) = (None, None, None, None);
    let mut says_more = false;
    for entry in entries.chunks(8) {
        let [tag_low, tag_high, low, high, _, _, _, _] = *entry else {
            return None;
        };
        let granted = u32::from(u16::from_le_bytes([low, high])) & 0o7;
        match u16::from_le_bytes([tag_low, tag_high]) {
            USER_OBJ => user = Some(granted),
            GROUP_OBJ => group = Some(granted),
            OTHER => other = Some(granted),
            tag => {
                says_more = true;
                if tag == MASK {
                    mask = Some(granted);
                }
            }
        }
    }
    let group = mask.or(group)?;
    Some((user? << 6 | group << 3 | other?, says_more))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut value = VERSION.to_vec();
        for (tag, permissions) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend([0xff; 4]);
        }
        value
    }

    #[test]
    fn the_mask_is_what_a_mode_shows_of_the_group() {
        let named = acl(&[(1, 7), (2, 7), (4, 5), (0x10, 7), (0x20, 5)]);
        assert_eq!(permissions(&named), Some((0o775, true)));
        let plain = acl(&[(1, 6), (4, 4), (0x20, 0)]);
        assert_eq!(permissions(&plain), Some((0o640, false)));
        for malformed in [&b""[..], b"\x02", b"\x02\0\0\0\x02\0", b"\x03\0\0\0"] {
            assert_eq!(permissions(malformed), None);
        }
    }
}
