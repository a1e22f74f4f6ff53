#!/bin/bash
# mke2fs -d ARCHIVE makes an inconsistent file system, and exits with 0, where a directory of the archive is replaced by a file.
#
# Seen with e2fsprogs 1.47.4-1+b2 with libarchive 3.8.10-2 (Debian sid).
#
# In a tar archive a later member replaces an earlier one of its name: `tar --append` and `--update` rely on it, and merged layers
# of images have it. mke2fs replaces a file by a file. Where the earlier one is a directory (empty here), its name then leads to the
# file, but its inode stays without a name: e2fsck finds an unconnected directory in a file system that was just made.
#
# Seen:
#   file over file: mke2fs 0, e2fsck 0
#   file over directory: mke2fs 0, e2fsck 4
#   Unconnected directory inode
set -euo pipefail
[[ $EUID -eq 0 ]] || { echo "needs root: debootstrap" >&2; exit 1; }
dir=$(mktemp -d -p /var/tmp)
trap 'rm -rf -- "$dir"' EXIT
apt-get -qq install --yes --no-install-recommends debootstrap tar >/dev/null
timeout 600 debootstrap --variant=minbase --include=e2fsprogs,libarchive13t64 sid "$dir/root" >/dev/null
chroot "$dir/root" dpkg-query -W e2fsprogs libarchive13t64
cd "$dir/root/srv"
seen=
for kind in file directory; do
    rm -rf name
    if [[ $kind == file ]]; then echo old >name; else mkdir name; fi
    tar -cf "$kind.tar" name
    rm -rf name
    echo new >name
    tar --append -f "$kind.tar" name
    truncate --size=32M "$kind.ext4"
    made=0 checked=0
    timeout 60 chroot "$dir/root" mke2fs -q -t ext4 -d "/srv/$kind.tar" "/srv/$kind.ext4" 2>/dev/null || made=$?
    said=$(timeout 60 chroot "$dir/root" e2fsck -fn "/srv/$kind.ext4" 2>&1) || checked=$?
    seen+="file over $kind: mke2fs $made, e2fsck $checked"$'\n'
    seen+=$(grep -o "Unconnected directory inode" <<<"$said" || true)
done
echo "$seen"
[[ $seen == "file over file: mke2fs 0, e2fsck 0
file over directory: mke2fs 0, e2fsck 4
Unconnected directory inode" ]] || { echo "not as seen before" >&2; exit 1; }
