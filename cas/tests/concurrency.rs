//! The directory store among others: locks, leases, sweeps, and the leftovers of the dead.

use oci_cas::dir::{SCRATCH_PREFIX, Swept};
use oci_cas::{Algorithm, Digest, DirStore, Error, ErrorKind, Store, StoreExt};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use tempfile::TempDir;

fn open(path: &Path) -> DirStore {
    DirStore::create(File::open(path).unwrap().into()).unwrap()
}

fn fresh() -> (TempDir, DirStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    (directory, store)
}

fn scratch(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(SCRATCH_PREFIX))
        .collect()
}

/// Whether someone holds a lock on the directory that keeps us from this one.
fn is_locked(directory: PathBuf, operation: FlockOperation) -> bool {
    flock(File::open(directory).unwrap(), operation).is_err()
}

fn live(digests: &[&Digest]) -> BTreeSet<Digest> {
    digests.iter().map(|digest| (*digest).clone()).collect()
}

/// Marks the given digests and sweeps the rest.
fn sweep(store: &DirStore, digests: &[&Digest]) -> Result<Swept, Error> {
    store.mark_and_sweep(false, || Ok(live(digests)))
}

fn dry_sweep(store: &DirStore, digests: &[&Digest]) -> Result<Swept, Error> {
    store.mark_and_sweep(true, || Ok(live(digests)))
}

/// Another process: the ignored test below, which says `ready` and waits to be told to go on.
struct Other(Child, BufReader<std::process::ChildStdout>);

impl Other {
    fn start(directory: &Path, task: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "other_process", "--ignored", "--nocapture"])
            .env("OCI_CAS_TEST", directory)
            .env("OCI_CAS_TASK", task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            line.clear();
            assert!(
                output.read_line(&mut line).unwrap() > 0,
                "the other process died"
            );
        }
        Self(child, output)
    }

    fn end(mut self) {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert!(self.0.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        drop(self.1);
    }
}

#[test]
#[ignore = "the other process of the tests here, not a test"]
fn other_process() {
    let Some(directory) = std::env::var_os("OCI_CAS_TEST") else {
        return;
    };
    let store = open(Path::new(&directory));
    let wait = || {
        let mut output = std::io::stdout();
        output.write_all(b"ready\n").unwrap();
        output.flush().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
    };
    match std::env::var("OCI_CAS_TASK").unwrap().as_str() {
        "lock" => {
            let _guard = store.lock().unwrap();
            wait();
        }
        "ingest" => {
            let mut ingest = store.ingest(Algorithm::Sha256).unwrap();
            ingest.write_all(b"half a blob").unwrap();
            wait();
        }
        "put then refer" => {
            let digest = store
                .put(Algorithm::Sha256, b"from another process")
                .unwrap();
            wait();
            store
                .replace_file("names", digest.to_string().as_bytes())
                .unwrap();
        }
        task => panic!("unknown task {task}"),
    }
}

#[test]
fn no_update_is_lost_under_the_lock() {
    let (directory, store) = fresh();
    store.replace_file("counter", b"0").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = open(directory.path());
                for _ in 0..5 {
                    let _guard = store.lock().unwrap();
                    let text = fs::read_to_string(directory.path().join("counter")).unwrap();
                    let next = text.parse::<u32>().unwrap() + 1;
                    store
                        .replace_file("counter", next.to_string().as_bytes())
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(
        fs::read_to_string(directory.path().join("counter")).unwrap(),
        "20"
    );
}

#[test]
fn the_lock_excludes_another_process_until_it_ends() {
    let (directory, store) = fresh();
    let locked = || {
        is_locked(
            directory.path().join("blobs/sha256"),
            FlockOperation::NonBlockingLockExclusive,
        )
    };
    let other = Other::start(directory.path(), "lock");
    assert!(locked());
    other.end();
    assert!(!locked());
    let other = Other::start(directory.path(), "lock");
    other.kill();
    drop(store.lock().unwrap());
}

#[test]
fn a_script_that_locks_the_directory_itself_does_not_lock_us_out() {
    let (directory, store) = fresh();
    let script = File::open(directory.path()).unwrap();
    flock(&script, FlockOperation::NonBlockingLockExclusive).unwrap();
    let _guard = store.lock().unwrap();
    let digest = store.put(Algorithm::Sha256, b"x").unwrap();
    store.replace_file("names", b"x").unwrap();
    assert_eq!(sweep(&store, &[]).unwrap().blobs, [(digest, 1)]);
}

#[test]
fn a_sweep_waits_for_a_blob_of_another_process_to_be_referred_to() {
    let (directory, store) = fresh();
    let garbage = store.put(Algorithm::Sha256, b"garbage").unwrap();
    let other = Other::start(directory.path(), "put then refer");
    assert_eq!(
        store.sweep(&BTreeSet::new(), false).unwrap_err().kind(),
        ErrorKind::Busy
    );
    let (started, wait_for_start) = mpsc::channel();
    thread::scope(|scope| {
        let sweep = scope.spawn(move || {
            started.send(()).unwrap();
            // The marking reads what the other process wrote last, since it comes after the wait.
            let mark = || {
                let text = fs::read_to_string(directory.path().join("names")).unwrap();
                Ok::<_, Error>(live(&[&text.parse()?]))
            };
            let swept = store.mark_and_sweep(false, mark).unwrap();
            (swept, store.list().unwrap())
        });
        wait_for_start.recv().unwrap();
        other.end();
        let (swept, left) = sweep.join().unwrap();
        assert_eq!(swept.blobs, [(garbage, 7)]);
        assert_eq!(
            left,
            [Digest::of(Algorithm::Sha256, b"from another process")]
        );
    });
}

#[test]
fn a_committed_blob_is_protected_until_its_store_replaces_a_file() {
    let (directory, writer) = fresh();
    let sweeper = open(directory.path());
    let digest = writer.put(Algorithm::Sha256, b"new").unwrap();
    assert_eq!(
        sweeper.sweep(&BTreeSet::new(), false).unwrap_err().kind(),
        ErrorKind::Busy
    );
    writer
        .replace_file("names", digest.to_string().as_bytes())
        .unwrap();
    assert_eq!(sweeper.sweep(&live(&[&digest]), false).unwrap().blobs, []);

    let dropped = writer.put(Algorithm::Sha256, b"given up").unwrap();
    drop(writer);
    assert_eq!(
        sweeper.sweep(&live(&[&digest]), false).unwrap().blobs,
        [(dropped, 8)]
    );
    assert_eq!(sweeper.list().unwrap(), [digest]);
}

#[test]
fn an_explicit_lease_outlasts_replaced_files() {
    let (directory, writer) = fresh();
    let sweeper = open(directory.path());
    let lease = writer.lease().unwrap();
    writer.put(Algorithm::Sha256, b"new").unwrap();
    writer.replace_file("names", b"").unwrap();
    assert_eq!(
        sweeper.sweep(&BTreeSet::new(), true).unwrap_err().kind(),
        ErrorKind::Busy
    );
    // To wait for one's own lease would be to wait for ever.
    assert_eq!(sweep(&writer, &[]).unwrap_err().kind(), ErrorKind::Busy);
    drop(lease);
    assert_eq!(
        sweeper.sweep(&BTreeSet::new(), false).unwrap().blobs.len(),
        1
    );
}

#[test]
fn a_store_may_sweep_what_it_has_put_itself() {
    let (_directory, store) = fresh();
    let kept = store.put(Algorithm::Sha256, b"kept").unwrap();
    let dead = store.put(Algorithm::Sha512, b"dead").unwrap();
    let expected = vec![(dead.clone(), 4)];
    assert_eq!(dry_sweep(&store, &[&kept]).unwrap().blobs, expected);
    assert_eq!(
        store.stat(&dead).unwrap(),
        Some(4),
        "a dry run removes nothing"
    );
    assert_eq!(sweep(&store, &[&kept]).unwrap().blobs, expected);
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&kept));
    assert_eq!(sweep(&store, &[&kept]).unwrap(), Swept::default());
}

#[test]
fn a_failing_mark_removes_nothing() {
    let (_directory, store) = fresh();
    let digest = store.put(Algorithm::Sha256, b"kept").unwrap();
    let error = store
        .mark_and_sweep(false, || {
            Err(Error::new(ErrorKind::NotFound, "no such thing"))
        })
        .unwrap_err();
    assert_eq!(error.message(), "no such thing");
    assert_eq!(store.list().unwrap(), [digest]);
}

#[test]
fn ingesting_while_others_sweep_loses_nothing_that_is_referred_to() {
    let (directory, store) = fresh();
    store.replace_file("names", b"").unwrap();
    let names = directory.path().join("names");
    let referred = || -> Result<BTreeSet<Digest>, Error> {
        fs::read_to_string(&names)
            .unwrap()
            .lines()
            .map(str::parse)
            .collect()
    };
    thread::scope(|scope| {
        for writer in 0..3_u8 {
            let (directory, names) = (&directory, &names);
            scope.spawn(move || {
                let store = open(directory.path());
                for number in 0..8_u8 {
                    let digest = store.put(Algorithm::Sha256, &[writer, number]).unwrap();
                    let _guard = store.lock().unwrap();
                    let text = fs::read_to_string(names).unwrap();
                    store
                        .replace_file("names", format!("{text}{digest}\n").as_bytes())
                        .unwrap();
                }
            });
        }
        for _ in 0..10 {
            store.mark_and_sweep(false, referred).unwrap();
        }
    });
    let referred: Vec<_> = referred().unwrap().into_iter().collect();
    assert_eq!(referred.len(), 24);
    assert_eq!(store.list().unwrap(), referred);
}

#[test]
fn the_scratch_directory_comes_with_the_first_write_and_goes_with_the_store() {
    let (directory, store) = fresh();
    assert_eq!(scratch(directory.path()), [""; 0]);
    store.put(Algorithm::Sha256, b"x").unwrap();
    let names = scratch(directory.path());
    assert_eq!(names.len(), 1);
    let path = directory.path().join(&names[0]);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o700
    );
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    assert!(is_locked(path, FlockOperation::NonBlockingLockShared));
    drop(store);
    assert_eq!(scratch(directory.path()), [""; 0]);
}

#[test]
fn an_abandoned_ingest_removes_its_file() {
    let (directory, store) = fresh();
    let mut ingest = store.ingest(Algorithm::Sha256).unwrap();
    ingest.write_all(b"never mind").unwrap();
    let path = directory.path().join(&scratch(directory.path())[0]);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    drop(ingest);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn leftovers_of_a_killed_process_are_swept_and_those_of_a_living_one_are_not() {
    let (directory, store) = fresh();
    let living = Other::start(directory.path(), "ingest");
    let spared = scratch(directory.path());
    Other::start(directory.path(), "ingest").kill();
    let stale: Vec<_> = scratch(directory.path())
        .into_iter()
        .filter(|name| !spared.contains(name))
        .collect();
    assert_eq!(stale.len(), 1);
    assert_eq!(dry_sweep(&store, &[]).unwrap().scratch, stale);
    assert_eq!(sweep(&store, &[]).unwrap().scratch, stale);
    assert_eq!(scratch(directory.path()), spared);
    living.end();
    assert_eq!(scratch(directory.path()), [""; 0]);
}
