#!/bin/sh
# An image of a Debian that debootstrap makes, the same bytes whenever it is made from the same packages.
#
#   debootstrap.sh DIRECTORY [SUITE [MIRROR]]      as root
set -eu
work=$1 suite=${2:-bookworm} mirror=${3:-}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1600000000}

bundle init --layout "$work/layout"
bundle new --image "$work/layout:$suite"
bundle unpack --image "$work/layout:$suite" "$work/bundle"
debootstrap --variant=minbase "$suite" "$work/bundle/rootfs" ${mirror:+"$mirror"} >"$work/log"
rm -rf "$work/bundle/rootfs/var/cache/apt/archives" "$work/bundle/rootfs/var/lib/apt/lists" "$work/bundle/rootfs/var/log"
bundle repack --image "$work/layout:$suite" --history.created_by debootstrap "$work/bundle"
bundle config --image "$work/layout:$suite" --config.cmd /bin/bash
bundle layers --image "$work/layout:$suite"
