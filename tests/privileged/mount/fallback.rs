//! From one method to the next: where the kernel, or a filter of system calls, does not have what a method needs.
//!
//! The tests run themselves again below a filter that answers in the kernel's place, as old kernels and containers do.

use oci_bundle::ErrorKind;
use oci_bundle::fs::XattrNamespace;
use oci_bundle::fs::mount::{Features, MountMethod};

use super::namespace::step;
use super::{Stack, names, opened};
use crate::machine::{Bounded, Scratch, said};

/// The same numbers on all architectures but alpha.
const FSOPEN: u32 = 430;
const FSCONFIG: u32 = 431;
/// The command of `fsconfig` that passes a descriptor.
const SET_FD: u32 = 5;

/// Has one system call, or it with one second argument, answered with an error; then runs a program.
const FILTER: &str = "
import ctypes, os, struct, sys
number, argument, errno = sys.argv[1:4]
rules = [(0x20, 0, 0, 0), (0x15, 0, 3, int(number)), (0x20, 0, 0, 24),
         (0x15, 0, 1, int(argument)) if argument != 'any' else (0x05, 0, 0, 0),
         (0x06, 0, 0, 0x50000 | int(errno)), (0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b''.join(struct.pack('=HBBI', *rule) for rule in rules))
filter = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(rules), ctypes.addressof(program)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filter, 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[4], sys.argv[4:])
";

/// Runs a test once more, below a filter, with a step that says what it is to find.
#[track_caller]
fn run_below_filter(number: u32, argument: Option<u32>, errno: i32, step: &str, test: &str) {
    let argument = argument.map_or("any".to_owned(), |argument| argument.to_string());
    let output = Bounded::new("env", 60)
        .arg(format!("{}={step}", super::namespace::STEP))
        .args(&["python3", "-c", FILTER, &number.to_string(), &argument])
        .arg(errno.to_string())
        .arg(std::env::current_exe().unwrap())
        .args(&["--include-ignored", "--exact", "--nocapture", test])
        .output();
    let said = said(&output);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_next_method_is_tried_where_one_is_not_there() {
    const TEST: &str = "mount::fallback::the_next_method_is_tried_where_one_is_not_there";
    const INVAL: i32 = 22;
    const NOSYS: i32 = 38;
    const PERM: i32 = 1;
    let Some(step) = step() else {
        let _root = Scratch::new(&["python3"]);
        for (number, argument, errno, expected) in [
            (FSCONFIG, Some(SET_FD), INVAL, "string"),
            (FSCONFIG, Some(SET_FD), NOSYS, "string"),
            (FSOPEN, None, NOSYS, "legacy"),
            (FSOPEN, None, PERM, "legacy"),
        ] {
            run_below_filter(number, argument, errno, expected, TEST);
        }
        return;
    };
    let expected: MountMethod = step.parse().unwrap();
    let scratch = Scratch::new(&[]);
    let stack = Stack::of(&scratch, 3).with_upper("upper");
    let mounted = stack.mount(None).unwrap();
    assert_eq!(mounted.method(), Some(expected));
    assert_eq!(names(&mounted), ["all", "own-0", "own-1", "own-2"]);
    // Asked for, a method that is not there is an error.
    let error = stack.mount(Some(MountMethod::Fd)).unwrap_err();
    let kinds = [
        ErrorKind::Unsupported,
        ErrorKind::PermissionDenied,
        ErrorKind::Io,
    ];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    let found = Features::probe(&opened(&scratch.path("")), XattrNamespace::Trusted).unwrap();
    assert!(found.kernel_overlay().is_yes());
    let fd = found
        .methods
        .iter()
        .find(|(method, _)| *method == MountMethod::Fd);
    assert!(!fd.unwrap().1.is_yes());
}
