//! A layer with other owners: for bundles with id maps where the kernel has no id-mapped mounts.
//!
//! The copy is what an id-mapped mount of the layer shows: owners and the ids that attributes name are changed, all else is the same,
//! whiteouts and marks too.

use std::io::{Read, Write};

use super::record::{Content, Entry, RecordReader, RecordWriter};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::copy::{CopyOptions, CopyReport, copy_tree};
use crate::fs::{Dir, MapOptions, Owners, map_named_ids};

/// Copies the content of a layer into an empty directory, with the owners on disk that the maps have for those of the
/// layer. Whoever may not change owners cannot do this.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if an owner is in no range of the maps, or for rootless maps, which are not for mounts;
/// and as [`copy_tree`]. What was copied stays.
pub fn remap_layer(from: &Dir, to: &Dir, maps: &MapOptions) -> Result<CopyReport> {
    refuse_rootless(maps)?;
    let (user, group) = (|id| maps.uid.to_host(id), |id| maps.gid.to_host(id));
    let options = CopyOptions {
        owners: Some(Owners {
            user: &user,
            group: &group,
        }),
        ..CopyOptions::default()
    };
    copy_tree(from, to, options).context(|| "copy layer with other owners")
}

/// Writes the record of the copy that [`remap_layer`] makes, from that of the layer.
///
/// # Errors
///
/// As [`remap_layer`], and [`ErrorKind::InvalidData`] if the record is damaged. What was written is then no record.
pub fn remap_record(record: impl Read, out: impl Write, maps: &MapOptions) -> Result<()> {
    refuse_rootless(maps)?;
    let owners = Owners {
        user: &|id| maps.uid.to_host(id),
        group: &|id| maps.gid.to_host(id),
    };
    let mut reader = RecordReader::new(record)?;
    let mut writer = RecordWriter::new(out, reader.marks())?;
    while let Some(mut entry) = reader.next()? {
        remap_entry(&mut entry, &owners)?;
        writer.append(&entry)?;
    }
    writer.finish()
}

fn remap_entry(entry: &mut Entry, owners: &Owners<'_>) -> Result<()> {
    if entry.content == Content::Whiteout {
        return Ok(());
    }
    entry.uid = (owners.user)(entry.uid)?;
    entry.gid = (owners.group)(entry.gid)?;
    map_named_ids(&mut entry.xattrs, owners)
}

fn refuse_rootless(maps: &MapOptions) -> Result<()> {
    if maps.rootless {
        let message = "copy layer with other owners: a rootless tree has one owner only";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Access, IdMap, IdRange, XattrNamespace};

    fn maps(host: u32) -> MapOptions {
        let ids = IdMap(vec![IdRange {
            container: 0,
            host,
            size: 10,
        }]);
        MapOptions {
            uid: ids.clone(),
            gid: ids,
            rootless: false,
        }
    }

    fn record(uid: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = RecordWriter::new(&mut out, XattrNamespace::User).unwrap();
        let root = Entry {
            content: Content::Directory { opaque: false },
            uid,
            gid: 3,
            ..Entry::whiteout(Vec::new())
        };
        writer.append(&root).unwrap();
        writer.append(&Entry::whiteout(b"gone".to_vec())).unwrap();
        writer.finish().unwrap();
        out
    }

    #[test]
    fn the_record_of_the_copy_has_its_owners() {
        let mut out = Vec::new();
        remap_record(&record(5)[..], &mut out, &maps(1000)).unwrap();
        let mut reader = RecordReader::new(&out[..]).unwrap();
        assert_eq!(reader.marks(), XattrNamespace::User);
        let root = reader.next().unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (1005, 1003));
        assert_eq!(
            reader.next().unwrap(),
            Some(Entry::whiteout(b"gone".to_vec()))
        );
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn owners_that_no_range_has_and_rootless_maps_are_refused() {
        let error = remap_record(&record(10)[..], std::io::sink(), &maps(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let rootless = MapOptions {
            rootless: true,
            ..maps(0)
        };
        assert!(remap_record(&record(0)[..], std::io::sink(), &rootless).is_err());
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        assert!(remap_layer(&dir, &dir, &rootless).is_err());
    }
}
