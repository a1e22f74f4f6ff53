#!/usr/bin/env python3
"""containerd's imports and runs with `bundle serve` and with its own overlayfs snapshotter, side by side.

    benches/serve.py --programs DIR [--image LAYOUT] [--runs 5] [--filesystem ext4] [--rows import,shared,run,idle]

Rows, each with the minimum, median and maximum of its runs:

- import    `ctr image import` of an image that is not there
- shared    the same of an image that shares all layers but a small one with an image that is there
- run       `ctr run` of a container, to the end of `true`
- idle      CPU time of the server over ten seconds without a call, and its memory then and at its peak

DIR has the programs of containerd 2 (`containerd`, `ctr`, the shim); runc is the machine's. Every run of an import has an
engine of its own on an empty file system, of which the archive is no part. Needs root, and for an image of 1 GB about 10 GB
below $TMPDIR. All of it lives in a private mount namespace and ends with this process.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import compare
import overlay

ROWS = ("import", "shared", "run", "idle")
KINDS = ("bundle", "overlayfs")


def wait_for(path):
    for _ in range(400):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
            return
        time.sleep(0.025)
    sys.exit(f"{path}: nobody listens")


class Engine:
    """A containerd in a directory, with a server of ours or as it is by itself."""

    def __init__(self, args, place, kind):
        self.args, self.place, self.kind = args, place, kind
        self.socket = os.path.join(place, "containerd.sock")
        self.started = []

    def __enter__(self):
        version, rest = "version = 3", ""
        if self.kind == "bundle":
            own, store = os.path.join(self.place, "bundle.sock"), os.path.join(self.place, "store")
            self.server = self.start([self.args.binary, "serve", "--socket", own, "--store", store,
                                      "--containerd", self.socket], own)
            said = subprocess.run([self.args.binary, "serve", "--print-config", "2", "--socket", own,
                                   "--store", store], check=True, capture_output=True, text=True).stdout
            version, rest = said.split("\n", 1)
        config = os.path.join(self.place, "config.toml")
        with open(config, "w", encoding="utf8") as fh:
            fh.write(f'{version}\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", '
                     f'"io.containerd.cri.v1.runtime"]\nroot = "{self.place}/root"\nstate = "{self.place}/state"\n'
                     f'[grpc]\naddress = "{self.socket}"\n' + rest.split("# for Kubernetes")[0])
        self.start([os.path.join(self.args.programs, "containerd"), "--config", config], self.socket)
        return self

    def start(self, argv, listens):
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env={**os.environ, "PATH": f"{self.args.programs}:{os.environ['PATH']}"})
        self.started.append(child)
        wait_for(listens)
        return child

    def __exit__(self, *_):
        for child in reversed(self.started):
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        # Mounts that containerd has left.
        with open("/proc/self/mounts", encoding="utf8") as fh:
            left = [line.split()[1] for line in fh if line.split()[1].startswith(self.place + "/")]
        for target in reversed(left):
            subprocess.run(["umount", "-l", target], check=False)

    def ctr(self, *argv):
        return [os.path.join(self.args.programs, "ctr"), "--address", self.socket, *argv]

    def imported(self, archive, name):
        return self.ctr("image", "import", "--snapshotter", self.kind, "--base-name", name, archive)

    def measured(self, argv):
        """Wall time, also until all is on the device."""
        return compare.measure(argv, self.place)


def archive_of(layout, path):
    subprocess.run(["tar", "-C", layout, "-cf", path, "."], check=True)
    return path


def with_a_layer_more(layout, path):
    """A copy of an image with a small layer on top."""
    shutil.copytree(layout, path)
    small = overlay.Image(path + ".layer")
    descriptor = small.layer({f"opt/small/{number}": b"x" * 100 for number in range(20)})
    shutil.copytree(os.path.join(path + ".layer", "blobs"), os.path.join(path, "blobs"), dirs_exist_ok=True)

    def read(digest):
        with open(os.path.join(path, "blobs", digest.replace(":", "/")), encoding="utf8") as fh:
            return json.load(fh)

    index = os.path.join(path, "index.json")
    with open(index, encoding="utf8") as fh:
        manifest = read(json.load(fh)["manifests"][0]["digest"])
    config = read(manifest["config"]["digest"])
    config["rootfs"]["diff_ids"].append(descriptor["digest"])
    config["history"] = [{"created_by": "serve.py"} for _ in config["rootfs"]["diff_ids"]]
    more = overlay.Image(path + ".documents")
    manifest["config"] = more.document("config", config)
    manifest["layers"].append(descriptor)
    entry = more.document("manifest", manifest)
    shutil.copytree(os.path.join(path + ".documents", "blobs"), os.path.join(path, "blobs"), dirs_exist_ok=True)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    with open(index, "w", encoding="utf8") as fh:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, fh)
    return path


def report(row, kind, found):
    print(f"\n{row}, {kind}: min / median / max of {len(found['bundle'])} runs")
    for way, runs in found.items():
        walls = [numbers["wall"] for numbers in runs]
        print(f"  {way:10} {min(walls):6.2f} / {statistics.median(walls):6.2f} / {max(walls):6.2f} s, "
              f"+sync {statistics.median(numbers['synced'] for numbers in runs):6.2f} s")
    ratios = [a["wall"] / b["wall"] for a, b in zip(found["bundle"], found["overlayfs"])]
    print(f"  bundle : overlayfs {min(ratios):.3f} / {statistics.median(ratios):.3f} / {max(ratios):.3f}")


def memory(pid, name):
    with open(f"/proc/{pid}/status", encoding="utf8") as fh:
        line = next(line for line in fh if line.startswith(name + ":"))
    return int(line.split()[1]) / 1024


def ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="utf8") as fh:
        fields = fh.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def run_all(args, rows, fs, work, archives):
    found = {row: {kind: [] for kind in KINDS} for row in ROWS[:3]}
    for run in range(args.runs):
        for kind in KINDS if run % 2 else KINDS[::-1]:
            place = os.path.join(work, f"{fs}-{run}-{kind}")
            os.mkdir(place)
            with compare.filesystem(fs, place) as mount, Engine(args, mount, kind) as engine:
                found["import"][kind].append(engine.measured(engine.imported(archives[0], "bench/one")))
                if "shared" in rows:
                    found["shared"][kind].append(engine.measured(engine.imported(archives[1], "bench/two")))
                if "run" in rows:
                    argv = engine.ctr("run", "--rm", "--snapshotter", kind, "bench/one:latest", "box", "/bin/true")
                    subprocess.run(argv, check=True)
                    found["run"][kind].append(engine.measured(argv))
                if "idle" in rows and kind == "bundle" and run == args.runs - 1:
                    pid, before = engine.server.pid, ticks(engine.server.pid)
                    time.sleep(10)
                    idle = (f"\nidle: {ticks(pid) - before} ticks of CPU in 10 s, {memory(pid, 'VmRSS'):.0f} MiB, "
                            f"{memory(pid, 'VmHWM'):.0f} MiB at the peak")
            for row in rows:
                if found.get(row, {}).get(kind):
                    print(f"  {row} run {run + 1} {kind:10} {found[row][kind][-1]['wall']:6.2f} s", file=sys.stderr)
            os.rmdir(os.path.join(place, fs))
            compare.remove(place)
    for row in ROWS[:3]:
        if row in rows:
            report(row, fs, found[row])
    if "idle" in rows:
        print(idle)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, metavar="DIR")
    parser.add_argument("--image", default=os.path.join(tempfile.gettempdir(), "bench-image"), metavar="LAYOUT")
    parser.add_argument("--binary", default=os.path.join(compare.TOP, "target/release/bundle"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--filesystem", default="ext4")
    parser.add_argument("--rows", default=",".join(ROWS))
    args = parser.parse_args()
    args.image, args.binary = os.path.abspath(args.image), os.path.abspath(args.binary)
    args.programs = os.path.abspath(args.programs)
    rows = args.rows.split(",")
    if not set(rows) <= set(ROWS) or args.filesystem not in ("tmpfs", "ext4"):
        parser.error("unknown row or filesystem")
    compare.privately(__file__)
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        archives = [archive_of(args.image, os.path.join(work, "one.tar"))]
        if "shared" in rows:
            more = with_a_layer_more(args.image, os.path.join(work, "more"))
            archives.append(archive_of(more, os.path.join(work, "two.tar")))
        run_all(args, rows, args.filesystem, work, archives)


if __name__ == "__main__":
    main()
