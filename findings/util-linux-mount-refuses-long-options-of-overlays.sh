#!/bin/bash
# mount(8) of Debian 13 can't mount an overlay whose lowerdir= is longer than 255 bytes; that of Debian 12 can, up to a page.
#
# Seen with mount 2.41.5-0+deb13u1 (Debian 13) and mount 2.38.1-5+deb12u3 (Debian 12), Linux 6.18.
#
# util-linux 2.39 and later use the newer system calls of mounting, whose string parameters the kernel limits to 255 bytes, where
# mount(2) takes a page of options. Two layers with paths of container stores (/var/lib/.../<64 digits>/fs) are enough. The message
# is "wrong fs type, bad option, bad superblock", and nothing falls back. Relative paths, or LIBMOUNT_FORCE_MOUNT2=always in the
# environment, work; engines that call mount(2) themselves see nothing of it. So a line of fstab, a script or a printed mount
# command for an overlay that worked for years fails after an upgrade, or when one more layer comes.
#
# Seen, lowerdir= with two directories:
#   bookworm, 220 bytes: mounted
#   bookworm, 280 bytes: mounted
#   trixie, 220 bytes: mounted
#   trixie, 280 bytes: refused
#   trixie, 280 bytes, mount(2): mounted
set -euo pipefail
[[ $EUID -eq 0 ]] || { echo "needs root: overlayfs and debootstrap" >&2; exit 1; }
if [[ -z ${INSIDE:-} ]]; then
    # What is mounted goes with the namespace.
    dir=$(mktemp -d -p /var/tmp)
    trap 'rm -rf -- "$dir"' EXIT
    INSIDE=$dir timeout 900 unshare --mount --propagation private "$0"
    exit
fi
apt-get -qq install --yes --no-install-recommends debootstrap >/dev/null
# try RELEASE SIZE [VARIABLE=VALUE]
try() {
    local one two options
    one=/srv/$(printf 'x%.0s' $(seq $((($2 - 11) / 2)))) two=${one%x}y
    mkdir -p "$INSIDE/$1/$one" "$INSIDE/$1/$two" "$INSIDE/$1/mnt"
    options=lowerdir=$one:$two
    if chroot "$INSIDE/$1" env "${@:3}" mount -t overlay -o "$options" overlay /mnt 2>/dev/null; then
        chroot "$INSIDE/$1" umount /mnt
        echo mounted
    else
        echo refused
    fi
}
seen=
for release in bookworm trixie; do
    debootstrap --variant=minbase --include=mount "$release" "$INSIDE/$release" >/dev/null
    chroot "$INSIDE/$release" dpkg-query -W mount
    mount -t proc proc "$INSIDE/$release/proc"
    for size in 220 280; do
        seen+="$release, $size bytes: $(try "$release" "$size")"$'\n'
    done
done
seen+="trixie, 280 bytes, mount(2): $(try trixie 280 LIBMOUNT_FORCE_MOUNT2=always)"
echo "$seen"
[[ $seen == "bookworm, 220 bytes: mounted
bookworm, 280 bytes: mounted
trixie, 220 bytes: mounted
trixie, 280 bytes: refused
trixie, 280 bytes, mount(2): mounted" ]] || { echo "not as seen before" >&2; exit 1; }
