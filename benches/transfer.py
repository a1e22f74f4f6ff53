#!/usr/bin/env python3
"""Archives, a registry and exports with `bundle` and with what its users called before, side by side.

    benches/transfer.py [--image LAYOUT] [--runs 5] [--filesystem ext4] [--rows copy,pull,export]

Rows, each with the minimum, median and maximum of its runs:

- copy      an archive as of `docker save` into an OCI layout: `bundle copy`, and skopeo
- pull      an image of a registry on loopback into a bundle: `bundle unpack docker://` in one pass, `bundle copy` and
            then `unpack`, and skopeo with umoci
- export    the root file system as one tar into a pipe: `bundle export`, and `bundle unpack` with `tar -c`

The runs are interleaved, each into an empty place. "written" is what reaches the file system's device until it has been
synced, where that is known. Peak memory is that of the largest process. The registry is Debian's docker-registry on a free
port of 127.0.0.1. Needs root, skopeo, umoci and docker-registry, and for an image of 1 GB about 8 GB below $TMPDIR.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import compare

ROWS = ("copy", "pull", "export")


def sectors(mount):
    """Sectors of 512 bytes written so far to the device of a mount; 0 if it has none."""
    device = os.stat(mount).st_dev
    try:
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat", encoding="utf8") as fh:
            return int(fh.read().split()[6])
    except OSError:
        return 0


def size(path):
    """Bytes of all files below a path."""
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


class Registry:
    """A docker-registry for as long as the context lasts."""

    def __init__(self, work):
        self.directory = os.path.join(work, "registry")

    def __enter__(self):
        os.mkdir(self.directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        config = os.path.join(self.directory, "config.yml")
        with open(config, "w", encoding="utf8") as fh:
            # JSON is YAML.
            json.dump({"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                       "http": {"addr": self.address},
                       "storage": {"filesystem": {"rootdirectory": os.path.join(self.directory, "data")}}}, fh)
        self.child = subprocess.Popen(["docker-registry", "serve", config], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      env={**os.environ, "OTEL_TRACES_EXPORTER": "none"})
        for _ in range(200):
            try:
                host, port = self.address.split(":")
                socket.create_connection((host, int(port)), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        sys.exit("docker-registry: does not listen")

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()


def sh(script, *words):
    """A pipe or a sequence, of which every part must succeed."""
    return ["bash", "-euo", "pipefail", "-c", script, "bash", *words]


def commands(row, args, place, source):
    """What each way runs, and where it leaves the outcome."""
    bundle, target = args.binary, os.path.join(place, "target")
    layout = os.path.join(place, "layout")
    if row == "copy":
        archive = "docker-archive:" + source["archive"]
        return {"bundle": [bundle, "copy", archive, layout + ":latest"],
                "skopeo": ["skopeo", "--insecure-policy", "copy", "--quiet", archive, f"oci:{layout}:latest"]}
    if row == "pull":
        name = "docker://" + source["registry"]
        return {"bundle": [bundle, "unpack", "--tls-verify=false", "--cache", layout, "--image", name, target],
                "bundle, two steps": sh('"$1" copy --tls-verify=false "$2" "$3" >&2; "$1" unpack --image "$3" "$4"',
                                        bundle, name, layout + ":latest", target),
                "skopeo, umoci": sh('skopeo --insecure-policy copy --quiet --src-tls-verify=false "$1" "oci:$2" >&2; '
                                    'umoci unpack --image "$2" "$3"', name, layout + ":latest", target)}
    return {"bundle": sh('"$1" export --image "$2" | cat >/dev/null', bundle, args.image + ":latest"),
            "unpack, tar": sh('"$1" unpack --image "$2" "$3"; '
                              'tar -C "$3/rootfs" --xattrs --xattrs-include=\'*\' -c . | cat >/dev/null',
                              bundle, args.image + ":latest", target)}


def run_row(row, kind, args, source, mount):
    ways = list(commands(row, args, mount, source))
    found, sizes = {way: [] for way in ways}, {}
    for run in range(args.runs):
        turn = run % len(ways)
        for way in ways[turn:] + ways[:turn]:
            place = os.path.join(mount, "place")
            os.mkdir(place)
            subprocess.run(["sync", "-f", mount], check=True)
            before = sectors(mount)
            numbers = compare.measure(commands(row, args, place, source)[way], place)
            numbers["written"] = (sectors(mount) - before) / 2048
            if row == "copy":
                sizes[way] = size(os.path.join(place, "layout"))
            compare.remove(place)
            found[way].append(numbers)
            print(f"  {row} run {run + 1} {way:18} {numbers['wall']:6.2f} s", file=sys.stderr)
    print(f"\n{row}, {kind}: min / median / max of {args.runs} runs")
    for way, runs in found.items():
        walls = [numbers["wall"] for numbers in runs]
        largest = max(numbers["rss"] for numbers in runs)
        written = statistics.median(numbers["written"] for numbers in runs)
        print(f"  {way:18} {min(walls):6.2f} / {statistics.median(walls):6.2f} / {max(walls):6.2f} s, "
              f"+sync {statistics.median(numbers['synced'] for numbers in runs):6.2f} s, "
              f"CPU {statistics.median(numbers['cpu'] for numbers in runs):6.2f} s, "
              f"memory {largest:4.0f} MiB, written {written:5.0f} MiB"
              + (f", {sizes[way]} bytes" if sizes else ""))
    for way in ways[1:]:
        ratios = [a["wall"] / b["wall"] for a, b in zip(found["bundle"], found[way])]
        print(f"  bundle : {way:18} {min(ratios):.3f} / {statistics.median(ratios):.3f} / {max(ratios):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=os.path.join(tempfile.gettempdir(), "bench-image"), metavar="LAYOUT")
    parser.add_argument("--binary", default=os.path.join(compare.TOP, "target/release/bundle"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--filesystem", default="ext4")
    parser.add_argument("--rows", default=",".join(ROWS))
    args = parser.parse_args()
    args.image, args.binary = os.path.abspath(args.image), os.path.abspath(args.binary)
    rows, kinds = args.rows.split(","), args.filesystem.split(",")
    if not set(rows) <= set(ROWS) or not set(kinds) <= {"tmpfs", "ext4"}:
        parser.error("unknown row or filesystem")
    compare.privately(__file__)
    with tempfile.TemporaryDirectory(prefix="bench-") as work, Registry(work) as registry:
        source = {"archive": os.path.join(work, "archive.tar"), "registry": registry.address + "/bench:latest"}
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{args.image}:latest"]
        if "copy" in rows:
            subprocess.run([*copy, f"docker-archive:{source['archive']}:bench:latest"], check=True)
        if "pull" in rows:
            subprocess.run([*copy, "--dest-tls-verify=false", "docker://" + source["registry"]], check=True)
        for kind in kinds:
            with compare.filesystem(kind, work) as mount:
                for row in rows:
                    run_row(row, kind, args, source, mount)


if __name__ == "__main__":
    main()
