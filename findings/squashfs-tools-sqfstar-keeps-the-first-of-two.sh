#!/bin/bash
# sqfstar keeps the first of two members of one name, where tar, bsdtar and mkfs.erofs take the last; it exits with 0.
#
# Seen with squashfs-tools 1:4.7.5-1 and erofs-utils 1.9.4-1 (Debian sid), tar 1.34 and libarchive-tools 3.6.2 (Debian 12).
#
# `tar --append` and `tar --update` add a newer member behind the old one, and every extractor lets the last one win. sqfstar says
# "already exists in the tar file, ignoring" on stderr and packs the older content. tar2sqfs of squashfs-tools-ng refuses such an
# archive. So an updated archive becomes an image of the state before the update.
#
# Seen, the content of "file" after `tar --append`:
#   tar: new
#   bsdtar: new
#   mkfs.erofs: new
#   sqfstar: old, exit status 0
set -euo pipefail
[[ $EUID -eq 0 ]] || { echo "needs root: debootstrap" >&2; exit 1; }
dir=$(mktemp -d -p /var/tmp)
trap 'rm -rf -- "$dir"' EXIT
apt-get -qq install --yes --no-install-recommends debootstrap tar libarchive-tools >/dev/null
timeout 600 debootstrap --variant=minbase --include=squashfs-tools,erofs-utils sid "$dir/root" >/dev/null
chroot "$dir/root" dpkg-query -W squashfs-tools erofs-utils
cd "$dir/root/srv"
echo old >file
tar -cf update.tar file
echo new >file
tar --append -f update.tar file
mkdir tar bsdtar
tar -xf update.tar -C tar
bsdtar -xf update.tar -C bsdtar
in_root() { timeout 60 chroot "$dir/root" "$@"; }
in_root mkfs.erofs --quiet --tar=f /srv/update.erofs /srv/update.tar >/dev/null 2>&1
in_root fsck.erofs --extract=/srv/erofs /srv/update.erofs >/dev/null 2>&1
status=0
in_root sqfstar -quiet -no-progress /srv/update.sqfs <update.tar 2>/dev/null || status=$?
in_root unsquashfs -quiet -no-progress -d /srv/sqfs /srv/update.sqfs >/dev/null
seen="tar: $(<tar/file)
bsdtar: $(<bsdtar/file)
mkfs.erofs: $(<erofs/file)
sqfstar: $(<sqfs/file), exit status $status"
echo "$seen"
[[ $seen == "tar: new
bsdtar: new
mkfs.erofs: new
sqfstar: old, exit status 0" ]] || { echo "not as seen before" >&2; exit 1; }
