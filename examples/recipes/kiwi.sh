#!/bin/sh
# KIWI's calls of umoci: an image made from a root file system, with its configuration; and one based on another.
#
#   kiwi.sh IMAGE [DIRECTORY]
set -eu
image=$1 work=${2:-$(mktemp -d)}
root=$work/root
mkdir "$root" && echo made by kiwi >"$root/made"

# A new image.
umoci init --layout "$work/new"
umoci new --image "$work/new:tag"
umoci raw unpack --image "$image" "$work/base-root"
umoci unpack --image "$work/new:tag" "$work/bundle"
cp -a "$work/base-root/." "$root/." && cp -a "$root/." "$work/bundle/rootfs/"
umoci repack --image "$work/new:tag" "$work/bundle"
umoci config --image "$work/new:tag" --config.cmd /bin/sh --config.env "CONTAINER=kiwi" --config.label "name=recipe" \
    --config.workingdir / --author KIWI --created 2020-01-01T00:00:00Z --history.created_by "KIWI" \
    --history.author KIWI --tag latest
umoci rm --image "$work/new:tag"
umoci gc --layout "$work/new"
umoci ls --layout "$work/new"

# One on top of it: only what differs is its layer.
umoci unpack --image "$work/new:latest" "$work/derived"
echo more >"$work/derived/rootfs/more"
umoci repack --image "$work/new:derived" "$work/derived"
umoci stat --image "$work/new:derived"
