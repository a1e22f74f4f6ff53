//! Random trees and random edits: the index never makes a difference but in what is read.

use super::refresh::check_record;
use super::*;
use proptest::prelude::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

/// Something done to a tree. Names are few, so that edits meet.
#[derive(Clone, Debug)]
enum Edit {
    Write(String, u8),
    /// New content under the old size and modification time.
    WriteUnseen(String, u8),
    MakeDir(String),
    Symlink(String, u8),
    Link(String, String),
    Rename(String, String),
    Remove(String),
    Mode(String, u32),
    Touch(String, i64),
    Wait,
}

fn name() -> impl Strategy<Value = String> {
    let component = prop::sample::select(vec!["a", "a-", "b", "c", "\u{e4} *"]);
    prop::collection::vec(component, 1..4).prop_map(|components| components.join("/"))
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (name(), 0..3_u8).prop_map(|(name, content)| Edit::Write(name, content)),
        4 => (name(), any::<u8>()).prop_map(|(name, content)| Edit::WriteUnseen(name, content)),
        2 => name().prop_map(Edit::MakeDir),
        1 => (name(), 0..2_u8).prop_map(|(name, target)| Edit::Symlink(name, target)),
        2 => (name(), name()).prop_map(|(from, to)| Edit::Link(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Edit::Rename(from, to)),
        2 => name().prop_map(Edit::Remove),
        1 => (name(), prop::sample::select(vec![0o600, 0o755, 0o1777])).prop_map(|(n, m)| Edit::Mode(n, m)),
        1 => (name(), 0..2_i64).prop_map(|(name, time)| Edit::Touch(name, time)),
        1 => Just(Edit::Wait),
    ]
}

/// Does it, as far as that is possible: most edits of random names are not.
fn apply(bundle: &Bundle, edit: &Edit) {
    let path = |name: &str| bundle.path(name);
    let _ = match edit {
        Edit::Write(name, content) => {
            let _ = path(name).parent().map(fs::create_dir_all);
            fs::write(path(name), vec![*content; usize::from(*content)])
        }
        Edit::WriteUnseen(name, content) => match fs::symlink_metadata(path(name)) {
            Ok(metadata) if metadata.is_file() => {
                let size = usize::try_from(metadata.size()).unwrap();
                let written = fs::write(path(name), vec![*content; size]);
                set_time(
                    &path(name),
                    filetime::FileTime::from_last_modification_time(&metadata),
                );
                written
            }
            _ => Ok(()),
        },
        Edit::MakeDir(name) => fs::create_dir_all(path(name)),
        Edit::Symlink(name, target) => symlink(target.to_string(), path(name)),
        Edit::Link(from, to) => fs::hard_link(path(from), path(to)),
        Edit::Rename(from, to) => fs::rename(path(from), path(to)),
        Edit::Remove(name) => {
            fs::remove_file(path(name)).or_else(|_| fs::remove_dir_all(path(name)))
        }
        Edit::Mode(name, mode) => match fs::symlink_metadata(path(name)) {
            Ok(metadata) if !metadata.is_symlink() => {
                fs::set_permissions(path(name), fs::Permissions::from_mode(*mode))
            }
            _ => Ok(()),
        },
        Edit::Touch(name, time) => {
            if path(name).symlink_metadata().is_ok() {
                set_mtime(&path(name), *time);
            }
            Ok(())
        }
        Edit::Wait => {
            bundle.wait();
            Ok(())
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn with_or_without_the_index_the_changes_are_the_same_and_so_is_the_new_record(
        tree in prop::collection::vec(edit(), 0..24),
        waits in any::<bool>(),
        rounds in prop::collection::vec(prop::collection::vec(edit(), 0..6), 1..4),
    ) {
        let bundle = Bundle::new();
        for edit in &tree {
            apply(&bundle, edit);
        }
        if waits {
            bundle.wait();
        }
        bundle.record();
        check_record(&bundle);
        for edits in rounds {
            for edit in &edits {
                apply(&bundle, edit);
            }
            let (by_index, read) = bundle.by_index();
            let (by_manifest, read_all) = bundle.by_manifest();
            prop_assert_eq!(by_index, by_manifest);
            prop_assert!(read <= read_all);
            let index = bundle.index().unwrap();
            bundle.refresh(Baseline::Index(&index), &[]);
            check_record(&bundle);
            prop_assert_eq!(bundle.by_index().0, Vec::<String>::new());
        }
    }
}
