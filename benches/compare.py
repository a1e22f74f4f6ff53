#!/usr/bin/env python3
"""Unpacks one image with `bundle` and with its peers, side by side.

    benches/compare.py [--image LAYOUT] [--runs 5] [--filesystem tmpfs,ext4]
                       [--tools bundle,umoci,tar,bsdtar] [--syscalls]

Peers: Debian's umoci, and `tar -xzf` (or bsdtar) of the same layers in order into one directory, which
knows no whiteouts, verifies nothing and records nothing: the floor, not a rival.

The runs are interleaved, each on an empty tree; the tools' order rotates. Reported are wall time, CPU time
(user + system, all processes of the tool) and peak memory (the largest of its processes). "+sync" is
the wall time until a following syncfs has ended too: what a tool leaves to the kernel counts there.
Removing the tree is not timed. The image is read once beforehand, so all find it in the page cache.

Needs root and about 3 GB of memory and 8 GB below $TMPDIR for an image of 1 GB. The tmpfs and the ext4
(on a loop device, with a journal) live in a private mount namespace: they go when this process goes.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
TIMEOUT = 900


def layers(layout):
    """Paths of the image's layer blobs, in order."""
    def blob(digest):
        return os.path.join(layout, "blobs", digest.replace(":", "/"))
    with open(os.path.join(layout, "index.json"), encoding="utf8") as fh:
        index = json.load(fh)
    with open(blob(index["manifests"][0]["digest"]), encoding="utf8") as fh:
        return [blob(layer["digest"]) for layer in json.load(fh)["layers"]]


def command(tool, args, target):
    """What unpacks the image into `target`, which does not exist."""
    if tool == "bundle" or tool.startswith("umoci"):
        program = args.binary if tool == "bundle" else args.programs.get(tool, "umoci")
        return [program, "unpack", "--image", args.image + ":latest", target]
    program = "bsdtar --numeric-owner -xzpf" if tool == "bsdtar" else \
        "tar --numeric-owner --xattrs --xattrs-include=* -xzpf"
    script = f'set -ef; mkdir "$1"; t=$1; shift; for l in "$@"; do {program} "$l" -C "$t"; done'
    return ["sh", "-c", script, "sh", target, *layers(args.image)]


def measure(argv, target):
    """Runs the command once; returns its numbers."""
    os.sync()
    start = time.monotonic()
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, process_group=0)
    alarm = signal.signal(signal.SIGALRM, lambda *_: os.killpg(child.pid, signal.SIGKILL))
    signal.alarm(TIMEOUT)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    signal.alarm(0)
    signal.signal(signal.SIGALRM, alarm)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(argv)}: exit {child.returncode}\n{said.decode(errors='replace')}")
    subprocess.run(["sync", "-f", target], check=True)
    return {"wall": wall, "synced": time.monotonic() - start, "cpu": usage.ru_utime + usage.ru_stime,
            "rss": usage.ru_maxrss / 1024}


def remove(path):
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=True)


@contextlib.contextmanager
def filesystem(kind, work):
    """Mounts an empty filesystem for as long as the context lasts."""
    mount = os.path.join(work, kind)
    os.mkdir(mount)
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90%,nr_inodes=0", "tmpfs", mount], check=True)
    else:
        disk = os.path.join(work, "disk")
        with open(disk, "wb") as fh:
            fh.truncate(8 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk], check=True)
        subprocess.run(["mount", "-o", "loop", disk, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def compare(kind, work, args):
    """All runs on one filesystem: {tool: [numbers of a run]}."""
    found = {tool: [] for tool in args.tools}
    with filesystem(kind, work) as mount:
        for run in range(args.runs):
            turn = run % len(args.tools)
            for tool in args.tools[turn:] + args.tools[:turn]:
                target = os.path.join(mount, "target")
                numbers = measure(command(tool, args, target), target)
                remove(target)
                found[tool].append(numbers)
                print(f"  run {run + 1} {tool:9} {numbers['wall']:6.2f} s", file=sys.stderr)
    return found


def report(kind, found):
    def span(runs, key, form):
        values = [run[key] for run in runs]
        return " / ".join(form % f(values) for f in (min, statistics.median, max))

    def median(tool, key):
        return statistics.median(run[key] for run in found[tool])

    print(f"\n{kind}: min / median / max of {len(next(iter(found.values())))} runs")
    print(f"  {'':9} {'wall, s':>22} {'+sync, s':>22} {'CPU, s':>22} {'peak memory, MiB':>20}")
    for tool, runs in found.items():
        print(f"  {tool:9} {span(runs, 'wall', '%.2f'):>22} {span(runs, 'synced', '%.2f'):>22} "
              f"{span(runs, 'cpu', '%.2f'):>22} {span(runs, 'rss', '%.0f'):>20}")
    if "bundle" in found:
        for peer in found:
            if peer != "bundle":
                print(f"  bundle : {peer:9} wall {median('bundle', 'wall') / median(peer, 'wall'):.2f}, "
                      f"+sync {median('bundle', 'synced') / median(peer, 'synced'):.2f}, "
                      f"CPU {median('bundle', 'cpu') / median(peer, 'cpu'):.2f}, "
                      f"memory {median('bundle', 'rss') / median(peer, 'rss'):.2f} (medians)")


def count_syscalls(work, args):
    """System calls of ours per regular file, counted by strace (which slows it down: no timing here)."""
    with filesystem("tmpfs", os.path.join(work, "strace")) as mount:
        target, table = os.path.join(mount, "target"), os.path.join(work, "calls")
        subprocess.run(["strace", "-f", "-c", "-S", "calls", "-U", "name,calls", "-o", table,
                        *command("bundle", args, target)], check=True, timeout=TIMEOUT * 4,
                       stdin=subprocess.DEVNULL)
        files = subprocess.run(["find", target, "-type", "f", "-printf", "x"], check=True,
                               capture_output=True).stdout.count(b"x")
    with open(table, encoding="utf8") as fh:
        rows = [line.split() for line in fh]
    calls = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and row[0] != "total"}
    total = sum(calls.values())
    print(f"\nsystem calls: {total} for {files} regular files, {total / files:.2f} per file")
    for name, count in sorted(calls.items(), key=lambda item: -item[1])[:15]:
        print(f"  {name:20} {count:9} {count / files:8.2f} per file")


def privately(program):
    """Starts the program again, as root, where its mounts are its own and go with it."""
    if os.geteuid():
        sys.exit("needs root (mounts, ownership)")
    if os.environ.get("COMPARE_INSIDE") != "1":
        os.environ["COMPARE_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--",
                              sys.executable, os.path.abspath(program), *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=os.path.join(tempfile.gettempdir(), "bench-image"), metavar="LAYOUT",
                        help="OCI layout with gzip layers and a tag `latest`; made by make-image.sh when missing")
    parser.add_argument("--binary", default=os.path.join(TOP, "target/release/bundle"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--filesystem", default="tmpfs,ext4")
    parser.add_argument("--tools", default="bundle,umoci,tar", help="any of bundle, umoci, tar, bsdtar, and another umoci as umoci-NAME=PROGRAM")
    parser.add_argument("--syscalls", action="store_true", help="also count the system calls of `bundle`")
    parser.add_argument("--json", metavar="FILE", help="also write all numbers there")
    args = parser.parse_args()
    args.image, args.binary = os.path.abspath(args.image), os.path.abspath(args.binary)
    tools = [tool.partition("=") for tool in args.tools.split(",") if tool]
    args.tools = [name for name, _, _ in tools]
    args.programs = {name: os.path.abspath(program) for name, _, program in tools if program}
    kinds = [kind for kind in args.filesystem.split(",") if kind]
    known = {"bundle", "umoci", "tar", "bsdtar", *args.programs}
    if not set(args.tools) <= known or not set(kinds) <= {"tmpfs", "ext4"}:
        parser.error("unknown tool or filesystem")
    privately(__file__)
    if not os.path.exists(os.path.join(args.image, "index.json")):
        subprocess.run([os.path.join(HERE, "make-image.sh"), args.image], check=True)
    for path in layers(args.image):
        with open(path, "rb") as fh:
            while fh.read(1 << 20):
                pass
    everything = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        os.mkdir(os.path.join(work, "strace"))
        for kind in kinds:
            everything[kind] = compare(kind, work, args)
            report(kind, everything[kind])
        if args.syscalls:
            count_syscalls(work, args)
    if args.json:
        with open(args.json, "w", encoding="utf8") as fh:
            json.dump(everything, fh, indent=1)


if __name__ == "__main__":
    main()
