#!/bin/bash
# npm's tar and tar-stream extract a sparse file of a PAX archive under another name and with other content, without a warning.
#
# Seen with tar 7.4.3 and tar-stream 3.1.7 on node 20.20.2; the archive is GNU tar's, 1.34+dfsg-1.2+deb12u1.
#
# `tar -S --format=pax` writes a file with holes as PAX sparse 1.0: the records GNU.sparse.name and GNU.sparse.realsize hold its name
# and size, the header a name that warns readers who do not know this (GNUSparseFile.PID/NAME), and the content begins with a
# map. Neither package knows the records. Nothing fails: `npm` tools that unpack an image layer, a cache or a backup get a file
# that is small, begins with decimal numbers, and lies in a directory that nobody made; the file itself is missing.
#
# Seen, for a file `sp` of 1048576 bytes with one byte of content:
#   tar-stream: ./GNUSparseFile.N/sp 4608
#   tar: ./GNUSparseFile.N/sp 4608
#   extracted: GNUSparseFile.N/sp 4608
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund tar@7.4.3 tar-stream@3.1.7 >/dev/null
node --version
dpkg-query -W tar
truncate -s 1M sp
printf x | dd of=sp bs=1 seek=900000 conv=notrunc status=none
tar --format=pax -S -cf sp.tar sp
[[ $(tar -tvf sp.tar | awk '{ print $3, $6 }') == "1048576 sp" ]]
cat >read.js <<'EOF'
const fs = require('fs'), stream = require('tar-stream'), tar = require('tar');
const extract = stream.extract();
extract.on('entry', (header, content, next) => {
  console.log('tar-stream:', header.name, header.size);
  content.on('end', next);
  content.resume();
});
extract.on('finish', () => {
  tar.t({ file: 'sp.tar', sync: true, onReadEntry: entry => console.log('tar:', entry.path, entry.size) });
  fs.mkdirSync('out');
  tar.x({ file: 'sp.tar', cwd: 'out', sync: true });
});
fs.createReadStream('sp.tar').pipe(extract);
EOF
seen=$(node read.js; cd out; find . -type f -printf 'extracted: %P %s\n')
seen=$(sed 's/GNUSparseFile\.[0-9]*/GNUSparseFile.N/' <<<"$seen")
echo "$seen"
[[ $seen == "tar-stream: ./GNUSparseFile.N/sp 4608
tar: ./GNUSparseFile.N/sp 4608
extracted: GNUSparseFile.N/sp 4608" ]] || { echo "not as seen before" >&2; exit 1; }
