#!/bin/bash
# mke2fs -d ARCHIVE keeps file capabilities and drops all other extended attributes and ACLs; mke2fs -d DIRECTORY keeps them all.
#
# Seen with e2fsprogs 1.47.4-1+b2 with libarchive 3.8.10-2 (Debian sid), on an archive of GNU tar 1.34 (Debian 12).
#
# Since 1.47.1 `mke2fs -d` also takes an archive, which needs no root and no copy on disk: handy for disks of virtual machines from
# images. The archive says SCHILY.xattr.user.note and SCHILY.acl.access as well as SCHILY.xattr.security.capability; only the last
# arrives. It exits with 0 and prints nothing about it.
#
# Seen, what debugfs lists of one file:
#   directory: 0 security.capability system.posix_acl_access user.note
#   archive: 0 security.capability
set -euo pipefail
[[ $EUID -eq 0 ]] || { echo "needs root: debootstrap, capabilities" >&2; exit 1; }
dir=$(mktemp -d -p /var/tmp)
trap 'rm -rf -- "$dir"' EXIT
apt-get -qq install --yes --no-install-recommends debootstrap tar attr acl libcap2-bin >/dev/null
timeout 600 debootstrap --variant=minbase --include=e2fsprogs,libarchive13t64 sid "$dir/root" >/dev/null
chroot "$dir/root" dpkg-query -W e2fsprogs libarchive13t64
cd "$dir/root/srv"
mkdir directory
echo >directory/file
setcap cap_net_raw+ep directory/file
setfattr -n user.note -v kept directory/file
setfacl -m u:5:r directory/file
tar --xattrs --xattrs-include='*' --acls -cf archive -C directory file
seen=
for source in directory archive; do
    truncate --size=32M "$source.ext4"
    status=0
    timeout 60 chroot "$dir/root" mke2fs -q -t ext4 -d "/srv/$source" "/srv/$source.ext4" 2>/dev/null || status=$?
    names=$(chroot "$dir/root" debugfs -R "ea_list /file" "/srv/$source.ext4" 2>/dev/null | grep -oE '[a-z]+\.[a-z_]+ \(' | tr -d ' (' | sort | xargs)
    seen+="$source: $status $names"$'\n'
done
echo "$seen"
[[ $seen == "directory: 0 security.capability system.posix_acl_access user.note
archive: 0 security.capability
" ]] || { echo "not as seen before" >&2; exit 1; }
