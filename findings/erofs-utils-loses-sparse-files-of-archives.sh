#!/bin/bash
# mkfs.erofs --tar leaves sparse files of GNU's format out, and stores those of PAX as the map of their pieces; it exits with 0.
#
# Seen with erofs-utils 1.9.4-1 (Debian sid), in the modes --tar=f and --tar=i, on an archive of GNU tar 1.34 (Debian 12).
#
# `tar --sparse` writes a file with holes as an entry of type S (--format=gnu), or as an ordinary entry named
# DIR/GNUSparseFile.PID/NAME whose records have the real name (--format=posix, sparse format 1.0). mkfs.erofs knows neither: the
# first is skipped without a word, the second becomes a file of that odd name whose content is the map and the pieces. What builds
# images of layers by it, as containerd's EROFS differ does, loses such files (databases, disk images, /var/log/lastlog) silently.
#
# Seen, of an archive with the file "hole" of 4 MiB, of which 3 bytes are not zero, and what mkfs.erofs exited with:
#   gnu: 0
#   posix: 0 GNUSparseFile/hole
set -euo pipefail
[[ $EUID -eq 0 ]] || { echo "needs root: debootstrap" >&2; exit 1; }
dir=$(mktemp -d -p /var/tmp)
trap 'rm -rf -- "$dir"' EXIT
apt-get -qq install --yes --no-install-recommends debootstrap tar >/dev/null
timeout 600 debootstrap --variant=minbase --include=erofs-utils sid "$dir/root" >/dev/null
chroot "$dir/root" dpkg-query -W erofs-utils
cd "$dir/root/srv"
truncate --size=4M hole
printf end | dd of=hole bs=1 seek=3000000 conv=notrunc status=none
# names IMAGE DIRECTORY
names() {
    chroot "$dir/root" dump.erofs --ls --path="$2" "/srv/$1" | awk 'NF == 3 && $1 ~ /^[0-9]+$/ && $3 !~ /^[.]/ { print $3 }'
}
seen=
for format in gnu posix; do
    tar --sparse --format="$format" -cf "$format.tar" hole
    status=0
    timeout 60 chroot "$dir/root" mkfs.erofs --quiet --tar=f "/srv/$format.erofs" "/srv/$format.tar" || status=$?
    line="$format: $status"
    for name in $(names "$format.erofs" /); do
        line+=" ${name%.*}/$(names "$format.erofs" "/$name")"
    done
    seen+=$line$'\n'
done
echo "$seen"
[[ $seen == "gnu: 0
posix: 0 GNUSparseFile/hole
" ]] || { echo "not as seen before" >&2; exit 1; }
