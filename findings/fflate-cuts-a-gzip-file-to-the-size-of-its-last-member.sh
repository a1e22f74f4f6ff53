#!/bin/bash
# fflate's gunzipSync gives the beginning of the first member of a gzip file, as long as the last member is.
#
# Seen with fflate 0.8.2 (npm) on node 20.20.2, beside node's zlib and pako 2.1.0.
#
# A gzip file of several members is valid (RFC 1952, 2.2), and is what parallel compressors and eStargz write. fflate takes the size
# of the result from the last four bytes of the file, which is the size of the last member alone, inflates the first member into
# a buffer of that size, and returns it: no exception, no sign of the rest. With a short last member, as an archive's end is,
# even the first member is cut.
#
# Seen, for the members "one " and "two":
#   zlib "one two"
#   pako "one two"
#   fflate "one"
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund fflate@0.8.2 pako@2.1.0 >/dev/null
node --version
cat >read.js <<'EOF'
const zlib = require('zlib'), fflate = require('fflate'), pako = require('pako');
const file = Buffer.concat(['one ', 'two'].map(member => zlib.gzipSync(member)));
const show = (name, bytes) => console.log(name, JSON.stringify(Buffer.from(bytes).toString()));
show('zlib', zlib.gunzipSync(file));
show('pako', pako.ungzip(file));
show('fflate', fflate.gunzipSync(file));
EOF
seen=$(node read.js)
echo "$seen"
[[ $seen == 'zlib "one two"
pako "one two"
fflate "one"' ]] || { echo "not as seen before" >&2; exit 1; }
