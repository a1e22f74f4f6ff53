//! `files`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use filetime::FileTime;
use jiff::Timestamp;
use oci_bundle::fs::InodeKind;
use oci_bundle::ops::files::{FilesOptions, ListedFile};
use oci_bundle::{Result, ResultExt, ops};
use serde_json::{Map, Value, json};

use super::args::PlatformArgs;
use super::exit::Exit;
use super::name;
use super::source_args::SourceArgs;
use super::ui::Ui;

/// lists a directory of an image without unpacking it
///
/// Prints one name per line, in byte order; for a file, the path as given. A symlink to a directory is followed.
/// Non-printable characters in names are escaped (\n, \xff), and a backslash is doubled.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// also show mode, owner, size (or device number), modification time and symlink targets
    #[arg(long, short = 'l')]
    long: bool,

    /// list recursively, as paths relative to the directory
    #[arg(long, short = 'R')]
    recursive: bool,

    /// print one JSON object per line, with all metadata
    #[arg(long, conflicts_with = "long")]
    json: bool,

    /// path in the image (default: the root)
    #[arg(value_name = "path")]
    path: Option<OsString>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let path = args.path.as_ref().map_or(&b"/"[..], |path| path.as_bytes());
    let options = FilesOptions {
        platform: args.platform.platform.clone(),
        recursive: args.recursive,
        digests: args.json,
    };
    let source = args.image.source();
    let progress = ui.progress();
    ui.stream(|out| {
        ops::files(&source, path, &options, &progress, &mut |file| {
            let line = if args.json {
                json_line(file).to_string()
            } else if args.long {
                long(file)
            } else {
                name::text(file.name)
            };
            writeln!(out, "{line}").context(|| "write to standard output")
        })
    })?;
    Ok(Exit::Success)
}

fn long(file: &ListedFile<'_>) -> String {
    let inode = file.inode;
    let mode = mode_text(inode.kind, inode.mode);
    let owner = format!("{}/{}", inode.uid, inode.gid);
    let size = match inode.kind {
        InodeKind::CharDevice | InodeKind::BlockDevice => {
            format!("{},{}", file.device.0, file.device.1)
        }
        InodeKind::Directory => "0".to_owned(),
        _ => inode.size.to_string(),
    };
    let (time, name) = (time_text(inode.mtime, false), name::text(file.name));
    let line = format!("{mode} {owner:<11} {size:>10} {time} {name}");
    match inode.kind {
        InodeKind::Symlink => format!("{line} -> {}", name::text(&inode.link)),
        _ => line,
    }
}

/// `drwxr-xr-x`, as ls has it.
fn mode_text(kind: InodeKind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        InodeKind::File => '-',
        InodeKind::Directory => 'd',
        InodeKind::Symlink => 'l',
        InodeKind::CharDevice => 'c',
        InodeKind::BlockDevice => 'b',
        InodeKind::Fifo => 'p',
        InodeKind::Socket => 's',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// RFC 3339 in UTC; a time that a calendar does not have, in seconds since 1970 behind an `@`.
fn time_text(time: FileTime, fraction: bool) -> String {
    let nanoseconds = if fraction { time.nanoseconds() } else { 0 };
    let stamp = i32::try_from(nanoseconds)
        .ok()
        .and_then(|nanoseconds| Timestamp::new(time.unix_seconds(), nanoseconds).ok());
    stamp.map_or_else(
        || format!("@{}", time.unix_seconds()),
        |stamp| stamp.to_string(),
    )
}

fn json_line(file: &ListedFile<'_>) -> Value {
    let inode = file.inode;
    let mut members = Map::new();
    name::insert(&mut members, "path", &[b"/", file.path].concat());
    let mut set = |key: &str, value: Value| members.insert(key.to_owned(), value);
    set("type", name::kind(inode.kind).into());
    set("mode", format!("{:04o}", inode.mode).into());
    set("uid", inode.uid.into());
    set("gid", inode.gid.into());
    set("mtime", time_text(inode.mtime, true).into());
    match inode.kind {
        InodeKind::File => {
            set("size", inode.size.into());
            if let Some(sha256) = inode.sha256 {
                set("sha256", hex::encode(sha256).into());
            }
            if let Some(layer) = file.layer {
                set("layer", layer.into());
            }
        }
        InodeKind::CharDevice | InodeKind::BlockDevice => {
            set("device", json!([file.device.0, file.device.1]));
        }
        _ => {}
    }
    if inode.kind != InodeKind::Directory {
        set("nlink", inode.nlink.into());
    }
    if inode.kind == InodeKind::Symlink {
        name::insert(&mut members, "target", &inode.link);
    }
    if !inode.xattrs.is_empty() {
        let value =
            |(name, value): &(Vec<u8>, Vec<u8>)| (name::text(name), STANDARD.encode(value).into());
        let xattrs: Map<String, Value> = inode.xattrs.iter().map(value).collect();
        members.insert("xattrs".to_owned(), xattrs.into());
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        for (kind, mode, text) in [
            (InodeKind::File, 0o644, "-rw-r--r--"),
            (InodeKind::File, 0o4755, "-rwsr-xr-x"),
            (InodeKind::File, 0o6644, "-rwSr-Sr--"),
            (InodeKind::Directory, 0o1777, "drwxrwxrwt"),
            (InodeKind::Directory, 0o1770, "drwxrwx--T"),
            (InodeKind::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(mode_text(kind, mode), text);
        }
    }

    #[test]
    fn times_outside_of_the_calendar_are_shown_as_numbers() {
        let time = FileTime::from_unix_time(1_600_000_000, 500_000_000);
        assert_eq!(time_text(time, false), "2020-09-13T12:26:40Z");
        assert_eq!(time_text(time, true), "2020-09-13T12:26:40.5Z");
        let far = FileTime::from_unix_time(i64::MAX, 0);
        assert_eq!(time_text(far, true), format!("@{}", i64::MAX));
    }
}
