#!/bin/sh
# An image as a container of systemd-nspawn, which runs OCI bundles itself.
#
#   systemd-nspawn.sh IMAGE [DIRECTORY]      as root
set -eu
image=$1 work=${2:-$(mktemp -d)}

bundle raw unpack --image "$image" "$work/rootfs"
systemd-nspawn --quiet --register=no --keep-unit --directory="$work/rootfs" --pipe /bin/sh -c 'echo hello from nspawn' </dev/null
