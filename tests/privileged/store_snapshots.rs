//! The contract of snapshots: one suite that each implementation passes, with real mounts.
//!
//! The cases are those that containerd's snapshotters have to pass, and those that its suite names as wanted. Each is a
//! function of a [`Stage`]: a snapshotter, and a place to mount. `suite!` makes one test for each and each implementation.
//!
//! - `names`: kinds, parents, labels, filters
//! - `contents`: what snapshots show
//! - `layers`: layers in and out
//! - `killed`: what is left when a process dies

mod contents;
mod killed;
mod layers;
mod names;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_bundle::ErrorKind;
use oci_bundle::snapshots::{
    Info, Mount, Mounter, SnapshotOptions, Snapshotter, StoreSnapshots, SystemMounter,
};
use oci_bundle::store::{GcOptions, Store, StoreOptions, SyncPolicy};

use super::machine::Scratch;

/// Where a case plays.
struct Stage<'a> {
    snapshots: &'a dyn Snapshotter,
    mounter: SystemMounter,
    directory: PathBuf,
    mounts: Cell<usize>,
}

/// Something that is mounted, and unmounted on drop.
struct Mounted<'a> {
    stage: &'a Stage<'a>,
    target: PathBuf,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let mut unmounted = self.stage.mounter.unmount(&self.target);
        // A child that another test starts has this one's files open until it runs its program.
        for _ in 0..100 {
            match &unmounted {
                Err(error) if error.kind() == ErrorKind::Busy => {}
                _ => break,
            }
            std::thread::sleep(Duration::from_millis(20));
            unmounted = self.stage.mounter.unmount(&self.target);
        }
        if !std::thread::panicking() {
            unmounted.unwrap();
        }
    }
}

impl Stage<'_> {
    /// Mounts somewhere.
    fn mount(&self, mounts: &[Mount]) -> Mounted<'_> {
        let count = self.mounts.get();
        self.mounts.set(count + 1);
        let target = self.directory.join(format!("mounted-{count}"));
        fs::create_dir(&target).unwrap();
        self.mounter.mount(&target, mounts).unwrap();
        Mounted {
            stage: self,
            target,
        }
    }

    /// Prepares a snapshot and does something in it.
    fn edit(&self, key: &str, parent: Option<&str>, edit: impl FnOnce(&Path)) {
        let mounts = self.snapshots.prepare(key, parent, &plain()).unwrap();
        edit(&self.mount(&mounts).target);
    }

    /// Commits what is done on top of a parent.
    fn layer(&self, name: &str, parent: Option<&str>, change: impl FnOnce(&Path)) {
        let key = format!("making {name}");
        self.edit(&key, parent, change);
        self.snapshots.commit(name, &key, &plain()).unwrap();
    }

    /// Looks at a committed snapshot.
    fn look(&self, name: &str, look: impl FnOnce(&Path)) {
        let key = format!("looking at {name}");
        let mounts = self.snapshots.view(&key, Some(name), &plain()).unwrap();
        look(&self.mount(&mounts).target);
        self.snapshots.remove(&key).unwrap();
    }

    /// The names of all that the filters take.
    fn walked(&self, filters: &[&str]) -> Vec<String> {
        let mut names = Vec::new();
        let mut visit = |info: &Info| {
            names.push(info.name.clone());
            Ok(())
        };
        self.snapshots.walk(filters, &mut visit).unwrap();
        names
    }
}

fn plain() -> SnapshotOptions {
    SnapshotOptions::default()
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

fn open_store(path: &Path) -> Store {
    let mut options = StoreOptions::new(path);
    options.sync = SyncPolicy::None;
    Store::open(options).unwrap()
}

fn in_store(case: fn(&Stage<'_>)) {
    let scratch = Scratch::new(&[]);
    let store = open_store(&scratch.path("store"));
    let snapshots = StoreSnapshots::new(&store).unwrap();
    let stage = stage(&scratch, &snapshots);
    case(&stage);
    // Nothing that a snapshot needs is taken, and nothing is left that no snapshot leads to.
    snapshots.cleanup().unwrap();
    store.gc(GcOptions::default()).unwrap();
    for name in stage.walked(&["kind==committed"]) {
        stage.look(&name, |root| drop(fs::read_dir(root).unwrap()));
    }
    let kept = stage.walked(&["kind!=committed"]).len();
    assert_eq!(store.containers().unwrap().len(), kept);
}

#[cfg(feature = "serve")]
fn over_the_socket(case: fn(&Stage<'_>)) {
    let scratch = Scratch::new(&[]);
    let server = super::serve::server::Server::start(&scratch);
    let client = server.client();
    let stage = stage(&scratch, &client);
    case(&stage);
    client.cleanup().unwrap();
    open_store(&server.store).gc(GcOptions::default()).unwrap();
    for name in stage.walked(&["kind==committed"]) {
        stage.look(&name, |root| drop(fs::read_dir(root).unwrap()));
    }
    let kept = stage.walked(&["kind!=committed"]).len();
    let store = open_store(&server.store);
    assert_eq!(store.containers().unwrap().len(), kept);
}

fn stage<'a>(scratch: &Scratch, snapshots: &'a dyn Snapshotter) -> Stage<'a> {
    let directory = scratch.path("mounts");
    fs::create_dir(&directory).unwrap();
    fs::create_dir(scratch.path("mounter")).unwrap();
    Stage {
        snapshots,
        mounter: SystemMounter::new(scratch.path("mounter")),
        directory,
        mounts: Cell::new(0),
    }
}

macro_rules! suite {
    ($($module:ident::$case:ident,)*) => {
        mod in_the_store {
            use super::*;
            $(
                #[test]
                #[ignore = "needs root: run with -- --include-ignored"]
                fn $case() {
                    in_store($module::$case);
                }
            )*
        }
        #[cfg(feature = "serve")]
        mod through_a_server {
            use super::*;
            $(
                #[test]
                #[ignore = "needs root: run with -- --include-ignored"]
                fn $case() {
                    over_the_socket($module::$case);
                }
            )*
        }
    };
}

suite! {
    contents::what_is_committed_is_seen_in_those_on_top,
    contents::snapshots_see_through_a_chain_of_three,
    contents::a_file_changed_in_several_layers_is_the_topmost,
    contents::a_directory_removed_and_made_again_has_nothing_of_the_old_one,
    contents::owners_are_changed_in_upper_layers,
    contents::the_mode_of_a_directory_survives_a_commit,
    contents::deleted_files_are_gone_above_and_there_below,
    contents::a_file_of_a_lower_layer_can_be_moved,
    contents::nothing_can_be_written_to_a_view,
    contents::the_root_of_a_first_snapshot_is_empty_with_mode_755,
    contents::files_and_directories_of_lower_layers_can_be_renamed,
    contents::a_chain_of_128_layers_shows_all_of_them,
    contents::sockets_do_not_keep_a_snapshot_from_being_committed,
    contents::a_directory_stays_the_same_inode_when_something_is_made_in_it,
    contents::an_open_file_is_the_file_of_its_name,
    contents::the_working_directory_is_found_by_its_name,
    contents::modes_of_lower_files_can_be_changed,
    contents::hard_links_stay_one_file,
    contents::what_was_removed_is_not_seen_after_a_rebase,
    contents::an_active_snapshot_shows_its_changes_when_it_is_mounted_again,
    names::an_active_snapshot_is_told_with_kind_and_parent,
    names::a_committed_snapshot_is_told_with_kind_and_parent,
    names::what_is_not_there_is_not_found,
    names::names_are_taken_once,
    names::only_what_is_committed_is_a_parent,
    names::labels_are_updated_by_field,
    names::labels_are_not_inherited,
    names::what_others_are_laid_on_is_not_removed,
    names::a_removed_name_can_be_used_again,
    names::an_intermediate_snapshot_is_removed_last,
    names::a_walk_tells_what_filters_take,
    names::a_walk_may_ask_for_what_it_tells_of,
    names::a_walk_may_remove_what_it_tells_of,
    names::the_error_of_a_visitor_ends_the_walk,
    names::closing_twice_is_no_error,
    names::a_committed_key_is_gone_and_its_name_can_be_removed,
    names::only_what_is_active_is_committed,
    names::a_commit_needs_a_free_name,
    names::a_commit_chooses_a_parent_where_there_was_none,
    names::usage_counts_what_is_its_own,
    names::names_may_be_any_text,
    names::several_threads_prepare_and_commit_at_once,
    names::one_of_several_commits_of_one_name_wins,
    layers::the_mounts_of_a_key_stay_the_same,
    layers::layers_of_an_image_are_applied_once,
    layers::a_wrong_diff_id_leaves_nothing,
    layers::a_diff_applied_again_is_the_same_content,
    layers::a_root_is_made_ready_for_a_runtime,
}
