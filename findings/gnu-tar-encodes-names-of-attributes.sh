#!/bin/bash
# GNU tar writes `=` and `%` in names of extended attributes as %3D and %25; other readers take that for the name.
#
# Seen with tar 1.34+dfsg-1.2+deb12u1, libarchive-tools 3.6.2-1+deb12u5, attr 1:2.5.1-4, python3 3.11.2-1+b1 (Debian 12), on ext4.
#
# PAX records are `LENGTH key=value`, so a name with `=` cannot be written as it is. GNU tar escapes it in "SCHILY.xattr.NAME" and
# unescapes it when it reads. Python's tarfile hands the key out as it stands; bsdtar, which escapes in the same way when it
# writes, does not unescape what it reads. So a file's attributes get other names on the way from GNU tar to either, without a
# warning; also the harmless `user.50%`, which needed no escape.
#
# Seen: the file has user.50% and user.a=b;
#   python: SCHILY.xattr.user.50%25 SCHILY.xattr.user.a%3Db
#   bsdtar: user.50%25 user.a%3Db
#   GNU tar, from the archive of bsdtar: user.50% user.a=b
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
cd "$dir"
apt-get -qq install --yes --no-install-recommends tar libarchive-tools attr python3 >/dev/null
dpkg-query -W tar libarchive-tools attr python3
mkdir from to back
echo >from/f
setfattr -n 'user.50%' -v 1 from/f
setfattr -n 'user.a=b' -v 1 from/f
names() { # of attributes; getfattr escapes what is not plain
    /usr/bin/python3 -c 'import os, sys; print(*sorted(name for name in os.listxattr(sys.argv[1]) if name.startswith("user.")))' "$1"
}
[[ $(names from/f) == "user.50% user.a=b" ]]
tar --xattrs -cf gnu.tar -C from f
python=$(/usr/bin/python3 -c '
import tarfile
headers = tarfile.open("gnu.tar").getmembers()[0].pax_headers
print(*sorted(key for key in headers if key.startswith("SCHILY.xattr.")))')
bsdtar --xattrs -xf gnu.tar -C to
bsdtar --xattrs --format=pax -cf bsd.tar -C from f
tar --xattrs --warning=no-unknown-keyword -xf bsd.tar -C back
seen="python: $python
bsdtar: $(names to/f)
GNU tar, from the archive of bsdtar: $(names back/f)"
echo "$seen"
[[ $seen == "python: SCHILY.xattr.user.50%25 SCHILY.xattr.user.a%3Db
bsdtar: user.50%25 user.a%3Db
GNU tar, from the archive of bsdtar: user.50% user.a=b" ]] || { echo "not as seen before" >&2; exit 1; }
