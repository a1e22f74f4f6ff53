#!/usr/bin/env python3
"""Overlay bundles side by side with flat ones: the rows that the layer store promises.

    benches/overlay.py [--image LAYOUT] [--runs 5] [--filesystem tmpfs,ext4] [--umoci] [--rows first,second,...]

Rows, each with the minimum, median and maximum of its runs:

- first     first `unpack --overlay` of the image into an empty store, in turn with the flat `unpack` (and umoci's)
- second    a second bundle of the same image
- mount     `mount` of a bundle of 128 layers
- repack    `repack` after 100 edited files, of an image of 20 MB and of the large one, the flat bundle's beside
- list      `store ls` with 1,000 images, which are 1,000 manifests over the layers of one

The runs are interleaved, each of the first row on an empty tree and store. "+sync" is the wall time until a following
syncfs has ended too. The tmpfs and the ext4 (on a loop device, with a journal) live in a private mount namespace: they go
when this process goes. Needs root and, for an image of 1 GB, about 3 GB of memory and 8 GB below $TMPDIR.
"""

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import tarfile
import tempfile

import compare
import edits

ROWS = ("first", "second", "mount", "repack", "list")


class Image:
    """An OCI image layout in the making; one image after the other over the same blobs."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.join(path, "blobs", "sha256"))
        self.entries = []

    def blob(self, media_type, content):
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(self.path, "blobs", "sha256", digest), "wb") as fh:
            fh.write(content)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    def document(self, kind, value):
        return self.blob(f"application/vnd.oci.image.{kind}.v1+json", json.dumps(value).encode())

    def layer(self, files):
        """A layer of regular files, {name: content}."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(content), 1_600_000_000
                tar.addfile(entry, io.BytesIO(content))
        return self.blob("application/vnd.oci.image.layer.v1.tar", stream.getvalue())

    def image(self, tag, layers, author=""):
        config = self.document("config", {
            "architecture": "amd64", "os": "linux", "author": author, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
            "history": [{"created_by": "overlay.py"} for _ in layers]})
        entry = self.document("manifest", {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers})
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
        self.entries.append(entry)

    def finish(self):
        for name, value in (("index.json", {"schemaVersion": 2, "manifests": self.entries}),
                            ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
            with open(os.path.join(self.path, name), "w", encoding="utf8") as fh:
                json.dump(value, fh)
        return self.path


def small(path):
    """An image of 20 MB: 2,000 files."""
    image = Image(path)
    image.image("latest", [image.layer({f"usr/share/{n % 40}/{n}": os.urandom(10_000) for n in range(2_000)})])
    return image.finish()


def layered(path, count):
    """An image of many layers, of one file each."""
    image = Image(path)
    image.image("latest", [image.layer({f"d{n % 7}/{n}": b"x"}) for n in range(count)])
    return image.finish()


def many(path, count):
    """Many images over the same three layers."""
    image = Image(path)
    shared = [image.layer({f"l{n}": b"x"}) for n in range(3)]
    for number in range(count):
        image.image(f"t{number}", shared, author=str(number))
    return image.finish()


class Bench:
    """The rows on one file system."""

    def __init__(self, args, mount):
        self.args, self.mount = args, mount
        self.number = 0

    def path(self, name):
        return os.path.join(self.mount, name)

    def run(self, *argv, store="store"):
        """Measures a command of ours."""
        os.environ["BUNDLE_STORE"] = self.path(store)
        return compare.measure([self.args.binary, *argv], self.mount)

    def unpack(self, layout, store="store", overlay=True, tag="latest"):
        """Unpacks into a new bundle; returns it and the numbers."""
        self.number += 1
        bundle = self.path(f"bundle{self.number}")
        flags = ["--overlay"] if overlay else []
        return bundle, self.run("unpack", *flags, "--image", f"{layout}:{tag}", bundle, store=store)

    def remove(self, *bundles, store="store"):
        for bundle in bundles:
            self.run("remove-bundle", bundle, store=store)

    def first(self):
        tools = ["overlay", "flat"] + ["umoci"] * self.args.umoci
        found = {tool: [] for tool in tools}
        for run in range(self.args.runs):
            turn = run % len(tools)
            for tool in tools[turn:] + tools[:turn]:
                if tool == "umoci":
                    bundle = self.path("umoci")
                    argv = ["umoci", "unpack", "--image", self.args.image + ":latest", bundle]
                    numbers = compare.measure(argv, self.mount)
                    compare.remove(bundle)
                else:
                    bundle, numbers = self.unpack(self.args.image, "first", tool == "overlay")
                    self.remove(bundle, store="first")
                found[tool].append(numbers)
                compare.remove(self.path("first"))
        return found

    def second(self):
        bundles = [self.unpack(self.args.image)[0]]
        found = []
        for _ in range(self.args.runs * 4):
            bundle, numbers = self.unpack(self.args.image)
            bundles.append(bundle)
            found.append(numbers)
        self.remove(*bundles)
        return {"second bundle": found}

    def mount_layers(self):
        bundle, _ = self.unpack(layered(self.path("layered"), 128))
        found = []
        for _ in range(self.args.runs * 4):
            self.run("umount", bundle)
            found.append(self.run("mount", bundle))
        self.remove(bundle)
        return {"128 layers": found}

    def repack(self):
        large = self.path("large")
        subprocess.run(["cp", "-a", self.args.image, large], check=True)
        layouts = {"20 MB": small(self.path("small")), "large": large}
        bundles = {}
        for size, layout in layouts.items():
            for shape in ("overlay", "flat"):
                bundle, _ = self.unpack(layout, overlay=shape == "overlay")
                edits.edit(bundle)
                bundles[f"{shape}, {size}"] = (layout, bundle)
        found = {row: [] for row in bundles}
        for _ in range(self.args.runs * 2):
            for row, (layout, bundle) in bundles.items():
                tag = row.replace(", ", ".").replace(" ", "")
                found[row].append(self.run("repack", "--image", f"{layout}:{tag}", bundle))
        self.remove(*(bundle for _, bundle in bundles.values()))
        return found

    def list(self):
        if subprocess.run([self.args.binary, "store", "ls", "--help"], capture_output=True, check=False).returncode:
            return "there is no command `store ls`"
        layout = many(self.path("many"), 1_000)
        target = self.path("target")
        os.mkdir(target)
        for number in range(1_000):
            self.run_quickly("mount", "--image", f"{layout}:t{number}", target)
            self.run_quickly("umount", target)
        return {"1,000 images": [self.run("store", "ls") for _ in range(self.args.runs * 4)]}

    def run_quickly(self, *argv):
        os.environ["BUNDLE_STORE"] = self.path("store")
        subprocess.run([self.args.binary, *argv], check=True, stdin=subprocess.DEVNULL)


def report(title, found):
    print(f"\n{title}")
    if isinstance(found, str):
        print(f"  {found}")
        return
    for row, runs in found.items():
        def span(key, factor, form, runs=runs):
            values = [run[key] * factor for run in runs]
            return " / ".join(form % f(values) for f in (min, statistics.median, max))
        print(f"  {row:16} wall {span('wall', 1000, '%.0f'):>22} ms   +sync {span('synced', 1000, '%.0f'):>22} ms   "
              f"CPU {span('cpu', 1000, '%.0f'):>22} ms   memory {span('rss', 1, '%.0f'):>14} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=os.path.join(tempfile.gettempdir(), "bench-image"), metavar="LAYOUT",
                        help="OCI layout with a tag `latest`; made by make-image.sh when missing")
    parser.add_argument("--binary", default=os.path.join(compare.TOP, "target/release/bundle"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--filesystem", default="tmpfs,ext4")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--umoci", action="store_true", help="also unpack with umoci")
    args = parser.parse_args()
    args.image, args.binary = os.path.abspath(args.image), os.path.abspath(args.binary)
    rows = [row for row in args.rows.split(",") if row]
    if not set(rows) <= set(ROWS):
        parser.error("unknown row")
    compare.privately(__file__)
    if not os.path.exists(os.path.join(args.image, "index.json")):
        subprocess.run([os.path.join(compare.HERE, "make-image.sh"), args.image], check=True)
    for path in compare.layers(args.image):
        with open(path, "rb") as fh:
            while fh.read(1 << 20):
                pass
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        for kind in (kind for kind in args.filesystem.split(",") if kind):
            with compare.filesystem(kind, work) as mount:
                bench = Bench(args, mount)
                print(f"\n{kind}: min / median / max; load {os.getloadavg()[0]:.1f}")
                names = {"mount": "mount_layers"}
                for row in rows:
                    report(row, getattr(bench, names.get(row, row))())


if __name__ == "__main__":
    main()
