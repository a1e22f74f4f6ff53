#!/bin/sh
# distrobuilder's calls of umoci, from its source type `docker-http` and for its images: a layout is unpacked into the
# directory that a distribution is built in.
#
#   distrobuilder.sh IMAGE [DIRECTORY]
set -eu
image=$1 work=${2:-$(mktemp -d)}

umoci unpack --keep-dirlinks --image "$image" "$work/unpacked"
mkdir "$work/rootfs"
cp -a "$work/unpacked/rootfs/." "$work/rootfs/"
echo distrobuilder >"$work/rootfs/etc/hostname"

umoci init --layout "$work/oci"
umoci new --image "$work/oci:latest"
umoci unpack --image "$work/oci:latest" "$work/target"
cp -a "$work/rootfs/." "$work/target/rootfs/"
umoci repack --refresh-bundle --image "$work/oci:latest" "$work/target"
umoci ls --layout "$work/oci"
