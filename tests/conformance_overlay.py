#!/usr/bin/env python3
"""Whether an overlay shows what a flat unpack makes, for every case of the conformance suite.

    conformance_overlay.py BINARY SUITE [-j JOBS]

Runs SUITE/run.py, in a mount namespace of its own, with this program as the tool: it unpacks each image flat, for the suite to
judge, and with --overlay, and compares the two trees. Device 0:0, which no overlay can have, is the one exception. The exit status
is 0 if there was no difference and no mount was left.
"""

import hashlib
import os
import stat
import subprocess
import sys
import tempfile

LOG = "CONFORMANCE_OVERLAY_LOG"
LARGE = 1 << 31


def attributes(fd, name):
    path = b"/proc/self/fd/%d/" % fd + name
    names = os.listxattr(path, follow_symlinks=False)
    return sorted((n, os.getxattr(path, n, follow_symlinks=False)) for n in names if n != "security.selinux")


def content(fd, name, info):
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(name, dir_fd=fd)
    if not stat.S_ISREG(info.st_mode) or info.st_size > LARGE:
        return None
    digest = hashlib.sha256()
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd), "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def tree(root):
    """Every entry by its path, as deep as 900 directories."""
    trees, inodes = {}, {}

    def entry(fd, name, path):
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        is_dir = stat.S_ISDIR(info.st_mode)
        link = None if is_dir else (inodes.setdefault((info.st_dev, info.st_ino), path), info.st_nlink)
        is_device = stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)
        trees[path] = (
            stat.S_IFMT(info.st_mode), info.st_mode & 0o7777, info.st_uid, info.st_gid, info.st_mtime_ns,
            0 if is_dir else info.st_size, info.st_rdev if is_device else 0, content(fd, name, info),
            attributes(fd, name), link,
        )
        return is_dir

    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    entry(top, b".", b"")
    levels = [(top, b"", sorted(map(os.fsencode, os.listdir(top)), reverse=True))]
    while levels:
        fd, path, names = levels[-1]
        if not names:
            os.close(fd)
            levels.pop()
            continue
        name = names.pop()
        below = path + b"/" + name
        if entry(fd, name, below) and len(levels) < 900:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            levels.append((inner, below, sorted(map(os.fsencode, os.listdir(inner)), reverse=True)))
    return trees


def compare(flat, overlay, bundle, mounted):
    if (flat.returncode == 0) != (overlay.returncode == 0):
        if b"device 0:0" in overlay.stderr:
            return "DEVICE", []
        return "EXIT", [f"{name} {run.returncode}: {run.stderr[-300:]!r}" for name, run in (("flat", flat), ("overlay", overlay))]
    if flat.returncode != 0:
        return "REFUSED", []
    ours, theirs = tree(os.path.join(bundle, "rootfs")), tree(os.path.join(mounted, "rootfs"))
    paths = [path for path in sorted(set(ours) | set(theirs)) if ours.get(path) != theirs.get(path)]
    lines = [f"{path[-200:]!r}\n  flat    {ours.get(path)}\n  overlay {theirs.get(path)}" for path in paths[:5]]
    return ("DIFFERENT" if paths else "SAME"), lines


def tool(binary, image, bundle):
    flat = subprocess.run([binary, "unpack", "--image", image, bundle], stderr=subprocess.PIPE, check=False)
    sys.stderr.buffer.write(flat.stderr)
    base = tempfile.mkdtemp(prefix=".overlay-", dir=os.path.dirname(os.path.abspath(bundle)))
    mounted, store = os.path.join(base, "b"), os.path.join(base, "store")
    try:
        command = [binary, "unpack", "--overlay", "--no-sync", "--store", store, "--image", image, mounted]
        overlay = subprocess.run(command, stderr=subprocess.PIPE, check=False)
        verdict, lines = compare(flat, overlay, bundle, mounted)
        if overlay.returncode == 0:
            subprocess.run([binary, "remove-bundle", mounted], check=True)
        with open("/proc/self/mounts", "rb") as mounts:
            if os.fsencode(base) in mounts.read():
                verdict, lines = "MOUNTED", lines + ["something is left mounted"]
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", base], check=False)
    with open(os.environ[LOG], "a", encoding="utf-8", errors="backslashreplace") as log:
        log.write("\n  ".join([f"{verdict} {image}", *lines]) + "\n")
    return flat.returncode if flat.returncode >= 0 else 1


def main():
    if LOG in os.environ:
        sys.exit(tool(*sys.argv[1:4]))
    binary, suite = (os.path.abspath(path) for path in sys.argv[1:3])
    log = tempfile.NamedTemporaryFile(prefix="conformance-overlay-", suffix=".log", delete=False)
    command = [
        "unshare", "--mount", "--propagation", "private", os.path.join(suite, "run.py"), "--set", "dev", "--no-sandbox",
        "--tool", f"{sys.executable} {os.path.abspath(__file__)} {binary} {{image}} {{bundle}}", *sys.argv[3:],
    ]
    environment = {**os.environ, LOG: log.name}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    counts, wrong = {}, []
    with open(log.name, encoding="utf-8") as lines:
        for line in lines:
            verdict = line.split(" ", 1)[0]
            if verdict:
                counts[verdict] = counts.get(verdict, 0) + 1
            if verdict not in ("SAME", "REFUSED", "DEVICE"):
                wrong.append(line)
    os.unlink(log.name)
    sys.stdout.writelines(wrong)
    print("overlay beside flat:", ", ".join(f"{count} {verdict.lower()}" for verdict, count in sorted(counts.items())))
    sys.exit(1 if wrong or not counts.get("SAME") else 0)


if __name__ == "__main__":
    main()
