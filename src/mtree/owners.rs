//! Names of owners, for the keywords `uname` and `gname`.
//!
//! The library does not ask the host: whoever wants names reads passwd(5) and group(5) and hands them in.

use std::collections::HashMap;

/// Names of users and groups by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerNames {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl OwnerNames {
    /// Reads the text of a passwd(5) and of a group(5) file. Lines without a name and a number are passed over; of two
    /// names for one number the first counts, as for `getpwuid`.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: names(passwd),
            groups: names(group),
        }
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }
}

/// Both files have the name in the first field and the number in the third.
fn names(text: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse))
            && !name.is_empty()
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts_and_bad_lines_are_passed_over() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\nbad\nworse:x:y:\n:x:7:\na:x:4294967295:1\n";
        let names = OwnerNames::parse(passwd, b"wheel:x:0:root,a\n\xff:x:5");
        assert_eq!(names.user(0), Some("root"));
        assert_eq!(names.user(u32::MAX), Some("a"));
        assert_eq!(names.user(7), None);
        assert_eq!(names.group(0), Some("wheel"));
        assert_eq!(names.group(5), Some("\u{fffd}"));
        assert_eq!(names.group(1), None);
    }
}
