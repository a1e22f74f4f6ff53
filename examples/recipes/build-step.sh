#!/bin/sh
# A build step: unpack, run something in the root file system, repack what it changed.
#
#   build-step.sh IMAGE [DIRECTORY]          as root, or in `bundle unshare`
set -eu
image=$1 work=${2:-$(mktemp -d)}
cp -r "${image%%:*}" "$work/layout"
image=$work/layout:${image#*:}

bundle unpack --image "$image" "$work/bundle"
chroot "$work/bundle/rootfs" /bin/sh -c 'echo built >/built; rm -f /etc/motd'
bundle repack --image "$work/layout:built" --history.created_by build-step "$work/bundle"
bundle config --image "$work/layout:built" --config.cmd /bin/sh
bundle diff --image "$image" "$work/layout:built"
