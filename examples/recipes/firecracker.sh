#!/bin/sh
# An image as the root disk of a virtual machine, such as Firecracker's: ext4 without a mount, and as an ordinary user.
#
#   firecracker.sh IMAGE [DIRECTORY] [SIZE]
set -eu
image=$1 work=${2:-$(mktemp -d)} size=${3:-64M}

# In the user namespace, owners are those of the image.
bundle unshare -- sh -euc '
    bundle raw unpack --image "$1" "$2/rootfs"
    mkfs.ext4 -q -F -d "$2/rootfs" "$2/root.ext4" "$3"
    rm -rf "$2/rootfs"' sh "$image" "$work" "$size"
debugfs -R 'ls -p /etc' "$work/root.ext4" 2>/dev/null | head -3
