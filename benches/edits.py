#!/usr/bin/env python3
"""Repacks and inserts with `bundle` and with Debian's umoci, side by side, on a tmpfs.

    benches/edits.py [--image LAYOUT] [--runs 5]

Rows: a repack without a change, a repack after 100 files were touched and edited, and an insert of a directory of
about 200 MB. Each tool works on a bundle that it has unpacked itself; the runs are interleaved. The first column is
wall time, then CPU time and peak memory, as in compare.py, whose means these are. Needs root.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile

import compare

TOOLS = ("bundle", "umoci")


def edit(bundle, count=100):
    """Appends a line to regular files spread over the tree."""
    files = []
    for folder, _, names in os.walk(os.path.join(bundle, "rootfs", "usr")):
        files += [os.path.join(folder, n) for n in names if not os.path.islink(os.path.join(folder, n))]
    files.sort()
    for path in files[::max(1, len(files) // count)][:count]:
        with open(path, "ab") as fh:
            fh.write(b"edited\n")


def tree_of(bundle, target, size=200 << 20):
    """Copies directories of the bundle until `size` bytes are reached."""
    os.mkdir(target)
    total = 0
    for folder, _, names in os.walk(os.path.join(bundle, "rootfs", "usr")):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            into = os.path.join(target, os.path.relpath(folder, bundle))
            os.makedirs(into, exist_ok=True)
            shutil.copy2(path, into)
            total += os.path.getsize(path)
            if total >= size:
                return


def layer_size(program, layout, tag):
    """Size of the top layer's blob."""
    said = subprocess.run([program, "layers", "--image", f"{layout}:{tag}", "--json"], check=True, capture_output=True)
    return json.loads(said.stdout)[-1]["descriptor"]["size"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=os.path.join(tempfile.gettempdir(), "bench-image"), metavar="LAYOUT")
    parser.add_argument("--binary", default=os.path.join(compare.TOP, "target/release/bundle"))
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    compare.privately(__file__)
    program = {"bundle": os.path.abspath(args.binary), "umoci": "umoci"}
    with tempfile.TemporaryDirectory(prefix="bench-") as work, compare.filesystem("tmpfs", work) as mount:
        layout = os.path.join(mount, "layout")
        subprocess.run(["cp", "-a", os.path.abspath(args.image), layout], check=True)
        bundles = {tool: os.path.join(mount, tool) for tool in TOOLS}
        for tool in TOOLS:
            subprocess.run([program[tool], "unpack", "--image", layout + ":latest", bundles[tool]], check=True)
        tree = os.path.join(mount, "tree")
        tree_of(bundles["umoci"], tree)
        rows = {
            "repack, no change": lambda tool: ["repack", "--image", f"{layout}:{tool}", bundles[tool]],
            "repack, 100 files": lambda tool: ["repack", "--image", f"{layout}:{tool}", bundles[tool]],
            "insert, 200 MB": lambda tool: ["insert", "--image", f"{layout}:latest", "--tag", tool, tree, "/opt/tree"],
        }
        for row, command in rows.items():
            if "100" in row:
                for tool in TOOLS:
                    edit(bundles[tool])
            found = {tool: [] for tool in TOOLS}
            for run in range(args.runs):
                for tool in TOOLS if run % 2 else TOOLS[::-1]:
                    found[tool].append(compare.measure([program[tool], *command(tool)], mount))
            compare.report(row, found)
            ratios = [a["wall"] / b["wall"] for a, b in zip(found["bundle"], found["umoci"])]
            print(f"  pair by pair: {min(ratios):.3f} / {statistics.median(ratios):.3f} / {max(ratios):.3f}")
            if "insert" in row:
                sizes = {tool: layer_size(program["bundle"], layout, tool) for tool in TOOLS}
                print(f"  layer: {sizes['bundle']} and {sizes['umoci']} bytes, {sizes['bundle'] / sizes['umoci']:.3f}")


if __name__ == "__main__":
    main()
