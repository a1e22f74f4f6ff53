//! `User` of an image configuration: from `user[:group]` to ids, with the image's own `etc/passwd` and `etc/group`.
//!
//! The rules are those of moby's user package, which docker, containerd and umoci share. What surprises: a part that is
//! a decimal number is always an id, also when a user has that name; only the first two of the parts between colons
//! count; additional groups are only given when no group is named and the user has a line in `etc/passwd`, also when
//! the user was given by number; malformed lines are not refused, their missing fields are empty or 0.
//!
//! Resolution works on bytes. Only [`Databases::read`] touches the rootfs, and only through [`Root`], so that an image
//! cannot make its `etc/passwd` a link to the host's, a FIFO or a device.

use std::borrow::Cow;
use std::io::Read;
use std::num::IntErrorKind;
use std::path::Path;

use crate::fs::Root;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Largest user database that is read, in bytes: more than 100,000 users.
const MAX_DATABASE_SIZE: u64 = 16 << 20;

/// Most groups that the kernel lets a process have (`NGROUPS_MAX`).
const MAX_ADDITIONAL_GIDS: usize = 65_536;

/// Largest id that may be given by number without a line in the database.
const MAX_ID: i64 = i32::MAX as i64;

/// What the process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// In the order of `etc/group`.
    pub(super) additional_gids: Vec<u32>,
    /// Home directory; empty when none is known.
    pub(super) home: String,
}

/// The text of `etc/passwd` and `etc/group`.
#[derive(Default)]
pub(super) struct Databases {
    passwd: Database,
    group: Database,
}

/// The text of one of them.
#[derive(Default)]
struct Database {
    text: Vec<u8>,
    /// Why it cannot be read, if it is there. It has no text then.
    failure: Option<Error>,
}

impl Database {
    fn read(root: &Root, path: &str) -> Self {
        let text = match root.open_file(Path::new(path)) {
            Ok(file) => read_database(file),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => Self {
                text,
                failure: None,
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => Self {
                text: Vec::new(),
                failure: Some(error.context(format!("read {path} of the image"))),
            },
        }
    }
}

impl Databases {
    /// Reads both files below the root, following links inside of it. A missing file is an empty one, and so is one that
    /// cannot be read (a directory, FIFO or device in its place, a file in the place of `etc`, links in a loop, more than
    /// [`MAX_DATABASE_SIZE`] bytes): numbers need none. What needs it fails with the reason, see
    /// [`resolve`](Self::resolve).
    pub(super) fn read(root: &Root) -> Self {
        Self {
            passwd: Database::read(root, "etc/passwd"),
            group: Database::read(root, "etc/group"),
        }
    }

    /// Why files that are there are not used.
    pub(super) fn failures(&self) -> impl Iterator<Item = &Error> {
        [&self.passwd, &self.group]
            .into_iter()
            .filter_map(|database| database.failure.as_ref())
    }

    /// Resolves `user[:group]`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] for a name without a line, [`ErrorKind::InvalidData`] for an id that is not one,
    /// [`ErrorKind::LimitExceeded`] when the user is in more groups than a process can have. For a name whose file cannot
    /// be read, the error of reading it.
    pub(super) fn resolve(&self, specification: &str) -> Result<ProcessUser> {
        self.resolve_parts(specification)
            .context(|| format!("resolve user {specification:?} of the image"))
    }

    fn resolve_parts(&self, specification: &str) -> Result<ProcessUser> {
        let mut parts = specification.split(':');
        let user_part = parts.next().unwrap_or_default();
        let group_part = parts.next().unwrap_or_default();

        let matched = self.find_user(user_part);
        let mut user = match &matched {
            Some(line) => ProcessUser {
                uid: id_of_line(line.id, "uid", &line.name)?,
                gid: id_of_line(line.gid, "gid", &line.name)?,
                home: line.home.to_string(),
                additional_gids: Vec::new(),
            },
            None if user_part.is_empty() => ProcessUser::default(),
            None => ProcessUser {
                uid: id_without_line(user_part, "user", &self.passwd)?,
                ..ProcessUser::default()
            },
        };
        if !group_part.is_empty() {
            user.gid = match self.find_group(group_part) {
                Some(line) => id_of_line(line.id, "gid", &line.name)?,
                None => id_without_line(group_part, "group", &self.group)?,
            };
        } else if let Some(line) = matched.filter(|line| !line.name.is_empty()) {
            user.additional_gids = self.groups_of(&line.name)?;
        }
        Ok(user)
    }

    fn find_user(&self, wanted: &str) -> Option<UserLine<'_>> {
        // Without a name or number it is root whom we look for.
        let wanted_id = if wanted.is_empty() {
            Some(0)
        } else {
            number(wanted)
        };
        lines(&self.passwd.text)
            .map(UserLine::parse)
            .find(|line| match wanted_id {
                Some(id) => line.id == id,
                None => line.name == wanted,
            })
    }

    fn find_group(&self, wanted: &str) -> Option<GroupLine<'_>> {
        let wanted_id = number(wanted);
        lines(&self.group.text)
            .map(GroupLine::parse)
            .find(|line| match wanted_id {
                Some(id) => line.id == id,
                None => line.name == wanted,
            })
    }

    fn groups_of(&self, user: &str) -> Result<Vec<u32>> {
        let mut gids = Vec::new();
        for line in lines(&self.group.text)
            .map(GroupLine::parse)
            .filter(|line| line.has_member(user))
        {
            if gids.len() == MAX_ADDITIONAL_GIDS {
                let message = format!("user {user:?} is in more than {MAX_ADDITIONAL_GIDS} groups");
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            gids.push(id_of_line(line.id, "gid", &line.name)?);
        }
        Ok(gids)
    }
}

fn read_database(reader: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_DATABASE_SIZE + 1)
        .read_to_end(&mut bytes)
        .context(|| "read file")?;
    if bytes.len() as u64 > MAX_DATABASE_SIZE {
        let message = format!("it is larger than {MAX_DATABASE_SIZE} bytes");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(bytes)
}

/// `name:password:uid:gid:comment:home:shell`
struct UserLine<'a> {
    name: Cow<'a, str>,
    id: i64,
    gid: i64,
    home: Cow<'a, str>,
}

impl<'a> UserLine<'a> {
    fn parse(line: &'a [u8]) -> Self {
        let mut fields = fields(line);
        let name = fields.next().unwrap_or_default();
        let mut fields = fields.skip(1);
        let id = number_field(fields.next());
        let gid = number_field(fields.next());
        let home = fields.nth(1).unwrap_or_default();
        Self {
            name,
            id,
            gid,
            home,
        }
    }
}

/// `name:password:gid:member,member`
struct GroupLine<'a> {
    name: Cow<'a, str>,
    id: i64,
    members: Cow<'a, str>,
}

impl<'a> GroupLine<'a> {
    fn parse(line: &'a [u8]) -> Self {
        let mut fields = fields(line);
        let name = fields.next().unwrap_or_default();
        let id = number_field(fields.nth(1));
        let members = fields.next().unwrap_or_default();
        Self { name, id, members }
    }

    fn has_member(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member == user)
    }
}

/// Lines that are not blank, without the blanks around them. `#` has no meaning.
fn lines(database: &[u8]) -> impl Iterator<Item = &[u8]> {
    database
        .split(|&byte| byte == b'\n')
        .map(trim)
        .filter(|line| !line.is_empty())
}

fn trim(line: &[u8]) -> &[u8] {
    // Unlike `trim_ascii`, Go's trimming includes the vertical tab.
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let Some(first) = line.iter().position(|byte| !is_blank(byte)) else {
        return &[];
    };
    let last = line
        .iter()
        .rposition(|byte| !is_blank(byte))
        .unwrap_or(first);
    &line[first..=last]
}

fn fields(line: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    line.split(|&byte| byte == b':')
        .map(String::from_utf8_lossy)
}

/// A number of a database: 0 when it is missing or none, and the nearest number where it is too large.
fn number_field(field: Option<Cow<'_, str>>) -> i64 {
    let Some(field) = field else { return 0 };
    field
        .parse()
        .unwrap_or_else(|error: std::num::ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => i64::MAX,
            IntErrorKind::NegOverflow => i64::MIN,
            _ => 0,
        })
}

/// A part of the specification as a number: decimal, with or without a sign.
fn number(part: &str) -> Option<i64> {
    part.parse().ok()
}

/// An id that is taken as given, because there is no line with it.
fn id_without_line(part: &str, what: &str, database: &Database) -> Result<u32> {
    let Some(id) = number(part) else {
        let (kind, message) = match &database.failure {
            None => (
                ErrorKind::NotFound,
                format!("the image has no {what} {part:?}"),
            ),
            Some(failure) => (
                failure.kind(),
                format!("look up {what} {part:?}: {}", failure.chain()),
            ),
        };
        return Err(Error::new(kind, message));
    };
    match u32::try_from(id) {
        Ok(valid) if id <= MAX_ID => Ok(valid),
        _ => Err(Error::new(
            ErrorKind::InvalidData,
            format!("{what} id {id} is not between 0 and {MAX_ID}"),
        )),
    }
}

/// An id from a line. Databases may use the upper half of the range, but not the value that means "no id" to the kernel.
fn id_of_line(id: i64, what: &str, name: &str) -> Result<u32> {
    match u32::try_from(id) {
        Ok(valid) if valid != u32::MAX => Ok(valid),
        _ => Err(Error::new(
            ErrorKind::InvalidData,
            format!("{name:?} has the {what} {id}, which is not valid"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
        \n\
        # comment: is not special:77:78::/comment:\n\
        \x20 alice:x:1000:1001:Alice:/home/alice with blanks :/bin/sh \r\n\
        1000:x:5:6::/numeric:\n\
        twin:x:1000:9::/twin:\n\
        short:x\n\
        bad:x:many:0x7:gecos:/bad\n\
        high:x:4294967294:2147483648::/high:\n\
        wrap:x:4294967296:0::/:\n\
        minus:x:8:-2::/:\n\
        max:x:4294967295:0::/:\n\
        vast:x:99999999999999999999:0::/:\n";

    const GROUP: &str = "root:x:0:root\n\
        adm:x:4:daemon,alice\n\
        none:x:5:\n\
        wheel:x:10:root,alice,alice\n\
        1000:x:55:\n\
        users:x:1000:malice,alice \n\
        short\n\
        alice:x:1001:\n\
        huge:x:4294967295:high\n";

    fn databases() -> Databases {
        texts(PASSWD, GROUP)
    }

    fn texts(passwd: impl Into<Vec<u8>>, group: impl Into<Vec<u8>>) -> Databases {
        let database = |text| Database {
            text,
            failure: None,
        };
        Databases {
            passwd: database(passwd.into()),
            group: database(group.into()),
        }
    }

    fn user(uid: u32, gid: u32, additional_gids: &[u32], home: &str) -> ProcessUser {
        ProcessUser {
            uid,
            gid,
            additional_gids: additional_gids.to_vec(),
            home: home.to_owned(),
        }
    }

    #[test]
    fn every_form_resolves_as_in_moby() {
        let alice = "/home/alice with blanks ";
        let cases = [
            ("", user(0, 0, &[0, 10], "/root")),
            (":", user(0, 0, &[0, 10], "/root")),
            (":10", user(0, 10, &[], "/root")),
            ("0", user(0, 0, &[0, 10], "/root")),
            ("alice", user(1000, 1001, &[4, 10, 1000], alice)),
            ("alice:", user(1000, 1001, &[4, 10, 1000], alice)),
            ("alice::x", user(1000, 1001, &[4, 10, 1000], alice)),
            ("alice:adm", user(1000, 4, &[], alice)),
            ("alice:adm:wheel", user(1000, 4, &[], alice)),
            ("alice:777", user(1000, 777, &[], alice)),
            ("alice:+10", user(1000, 10, &[], alice)),
            // A number is an id although there is a user and a group of that name; the first line with it wins.
            ("1000", user(1000, 1001, &[4, 10, 1000], alice)),
            ("1000:1000", user(1000, 1000, &[], alice)),
            ("+5", user(5, 6, &[], "/numeric")),
            ("05", user(5, 6, &[], "/numeric")),
            ("-0", user(0, 0, &[0, 10], "/root")),
            ("1337:8888", user(1337, 8888, &[], "")),
            ("1337", user(1337, 0, &[], "")),
            ("1337:wheel", user(1337, 10, &[], "")),
            (
                "2147483647:2147483647",
                user(2_147_483_647, 2_147_483_647, &[], ""),
            ),
            ("# comment", user(77, 78, &[], "/comment")),
            ("twin", user(1000, 9, &[], "/twin")),
            ("short", user(0, 0, &[], "")),
            ("daemon:short", user(1, 0, &[], "/usr/sbin")),
            ("bad", user(0, 0, &[], "/bad")),
            ("high:0", user(4_294_967_294, 0, &[], "/high")),
            ("4294967294:0", user(4_294_967_294, 0, &[], "/high")),
        ];
        for (specification, expected) in cases {
            assert_eq!(
                databases().resolve(specification).unwrap(),
                expected,
                "{specification}"
            );
        }
    }

    #[test]
    fn what_does_not_exist_or_is_no_id_is_an_error() {
        let cases = [
            ("bob", ErrorKind::NotFound),
            ("Alice", ErrorKind::NotFound),
            (" alice", ErrorKind::NotFound),
            ("alice:bob", ErrorKind::NotFound),
            ("# comment: is not special", ErrorKind::NotFound),
            ("bob:0", ErrorKind::NotFound),
            ("+", ErrorKind::NotFound),
            ("0x10", ErrorKind::NotFound),
            ("1_000", ErrorKind::NotFound),
            ("99999999999999999999", ErrorKind::NotFound),
            ("-1", ErrorKind::InvalidData),
            ("2147483648", ErrorKind::InvalidData),
            ("0:2147483648", ErrorKind::InvalidData),
            ("0:-1", ErrorKind::InvalidData),
            ("9223372036854775807:0", ErrorKind::InvalidData),
            ("wrap", ErrorKind::InvalidData),
            ("minus", ErrorKind::InvalidData),
            ("max", ErrorKind::InvalidData),
            ("vast", ErrorKind::InvalidData),
            ("0:huge", ErrorKind::InvalidData),
            ("high", ErrorKind::InvalidData),
        ];
        for (specification, kind) in cases {
            let error = databases().resolve(specification).unwrap_err();
            assert_eq!(error.kind(), kind, "{specification}: {error:?}");
        }
    }

    #[test]
    fn without_databases_numbers_work_and_names_do_not() {
        let none = Databases::default();
        assert_eq!(none.resolve("").unwrap(), ProcessUser::default());
        assert_eq!(none.resolve("7:8").unwrap(), user(7, 8, &[], ""));
        assert_eq!(none.resolve(":8").unwrap(), user(0, 8, &[], ""));
        assert_eq!(
            none.resolve("root").unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            none.resolve("0:root").unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn what_is_in_the_way_of_a_database_fails_names_and_no_numbers() {
        use std::os::unix::fs::symlink;
        let in_the_way: [fn(&Path); 4] = [
            |root| std::fs::write(root.join("etc"), "").unwrap(),
            |root| symlink("etc", root.join("etc")).unwrap(),
            |root| std::fs::create_dir_all(root.join("etc/passwd")).unwrap(),
            |root| {
                std::fs::create_dir(root.join("etc")).unwrap();
                symlink("passwd", root.join("etc/passwd")).unwrap();
            },
        ];
        for make in in_the_way {
            let scratch = tempfile::tempdir().unwrap();
            make(scratch.path());
            let root = Root::open(scratch.path(), crate::fs::Access::Plain).unwrap();
            let databases = Databases::read(&root);
            assert_eq!(databases.resolve("").unwrap(), ProcessUser::default());
            assert_eq!(databases.resolve("7:8").unwrap(), user(7, 8, &[], ""));
            let error = databases.resolve("root").unwrap_err();
            assert!(
                error.chain().contains("read etc/passwd of the image: "),
                "{}",
                error.chain()
            );
            assert!(databases.failures().count() > 0);
        }
        // Not there is another matter.
        let scratch = tempfile::tempdir().unwrap();
        let root = Root::open(scratch.path(), crate::fs::Access::Plain).unwrap();
        let databases = Databases::read(&root);
        assert_eq!(databases.failures().count(), 0);
        let error = databases.resolve("root").unwrap_err();
        assert!(error.chain().contains("has no user"), "{}", error.chain());
    }

    #[test]
    fn a_line_without_a_name_has_no_groups() {
        let databases = texts(":x:3:4::/h:", "g:x:9:\nh:x:10:,a");
        assert_eq!(databases.resolve("3").unwrap(), user(3, 4, &[], "/h"));
    }

    #[test]
    fn more_groups_than_a_process_can_have_are_refused() {
        let group = "g:x:9:u\n".repeat(MAX_ADDITIONAL_GIDS);
        let mut databases = texts("u:x:1:1::/:", group);
        assert_eq!(
            databases.resolve("u").unwrap().additional_gids.len(),
            MAX_ADDITIONAL_GIDS
        );
        databases.group.text.extend(b"g:x:9:u");
        assert_eq!(
            databases.resolve("u").unwrap_err().kind(),
            ErrorKind::LimitExceeded
        );
    }

    #[test]
    fn an_endless_database_is_refused_at_the_limit() {
        let error = read_database(io::repeat(b'a')).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_the_lines_around_them() {
        let databases = texts(*b"\xff\xfe:x:1:1\n\x00:\nu:\xff:7:8::/\xff:", "");
        assert_eq!(
            databases.resolve("u").unwrap(),
            user(7, 8, &[], "/\u{fffd}")
        );
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(
            passwd in proptest::collection::vec(any::<u8>(), 0..200),
            group in "([a-z:,\n0-9-]|\\PC){0,60}",
            specification in "[a-c0-9+:-]{0,6}|\\PC{0,8}",
        ) {
            let _ = texts(passwd, group).resolve(&specification);
        }

        #[test]
        fn a_user_with_a_line_is_found_by_name_and_by_number(
            name in "[a-z][a-z0-9]{0,8}",
            uid in 1u32..=i32::MAX as u32,
            gid in 0u32..=i32::MAX as u32,
            home in "/[a-z ]{0,9}[a-z]",
        ) {
            let passwd = format!("root:x:0:0::/root:\n{name}:x:{uid}:{gid}::{home}:/bin/sh\n").into_bytes();
            prop_assume!(name != "root");
            let databases = texts(passwd, format!("g:x:3:x,{name}\n"));
            let expected = user(uid, gid, &[3], &home);
            prop_assert_eq!(databases.resolve(&name).unwrap(), expected.clone());
            prop_assert_eq!(databases.resolve(&uid.to_string()).unwrap(), expected);
        }
    }
}
