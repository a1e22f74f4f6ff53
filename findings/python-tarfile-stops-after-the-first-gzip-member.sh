#!/bin/bash
# Python's tarfile reads only the first member of a gzip file in stream mode, and calls that the whole archive.
#
# Seen with python3 3.11.2-1+b1 of Debian 12.
#
# A gzip file may have several members (RFC 1952, 2.2); `cat a.gz b.gz`, eStargz layers and parallel compressors make such files,
# and gunzip, GNU tar and tarfile's own mode "r:gz" read all of them. Mode "r|gz" (and "r|*"), the one for pipes and sockets, so the
# one that a program uses that reads a layer as it is downloaded, stops at the end of the first member. Where the members end at
# an entry's end, which they do in eStargz on purpose, there is no exception: the archive just seems to have one file.
#
# Seen:
#   r:gz ['a', 'b']
#   r|gz ['a']
#   r|* ['a']
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
cd "$dir"
apt-get -qq install --yes --no-install-recommends python3 tar gzip >/dev/null
dpkg-query -W python3
# One entry in each member, the end of the archive in the last.
echo 1 >a && echo 2 >b
for name in a b; do
    tar --format=ustar -b 1 -cf one.tar "$name"
    head -c 1024 one.tar | gzip >>all.tar.gz
done
head -c 1024 /dev/zero | gzip >>all.tar.gz
[[ $(tar -tzf all.tar.gz | xargs) == "a b" ]]
cat >read.py <<'EOF'
import sys, tarfile
for mode in ("r:gz", "r|gz", "r|*"):
    with open("all.tar.gz", "rb") as file, tarfile.open(fileobj=file, mode=mode) as archive:
        print(mode, [member.name for member in archive])
EOF
seen=$(/usr/bin/python3 read.py)
echo "$seen"
[[ $seen == "r:gz ['a', 'b']
r|gz ['a']
r|* ['a']" ]] || { echo "not as seen before" >&2; exit 1; }
