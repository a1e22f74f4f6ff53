#!/bin/sh
# What LXC's template `oci` does with umoci: the tag of a layout becomes the root file system of a container, and the
# command comes out of the image's configuration.
#
#   lxc.sh IMAGE [DIRECTORY]
set -eu
image=$1 work=${2:-$(mktemp -d)}

umoci unpack --image "$image" "$work/unpacked"
mkdir "$work/container"
mv "$work/unpacked/rootfs" "$work/container/rootfs"
command=$(umoci stat --json --image "$image" |
    python3 -c 'import json, sys; c = json.load(sys.stdin)["config"]["blob"]["config"]; print(*(c.get("Entrypoint") or []) + (c.get("Cmd") or []))')
cat >"$work/container/config" <<CONFIG
lxc.rootfs.path = dir:$work/container/rootfs
lxc.uts.name = recipe
lxc.execute.cmd = $command
CONFIG
cat "$work/container/config"
