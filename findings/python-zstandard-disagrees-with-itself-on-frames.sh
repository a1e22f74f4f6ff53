#!/bin/bash
# python-zstandard: of one file with two frames, half of the ways to decompress it give all, the others the first frame.
#
# Seen with zstandard 0.23.0 (pip) on python3 3.11.2-1+b1 of Debian 12.
#
# Frames after each other are one stream (RFC 8878, 3): `cat a.zst b.zst`, pzstd, zstd:chunked layers. One
# object of this package, ZstdDecompressor, decompresses all frames by copy_stream, stream_writer and stream_reader, and only the first
# by decompress and read_to_iter, which is the one for iterating over a large file. None of them fails: the rest is dropped.
#
# Seen, for the frames "one " and "two":
#   copy_stream b'one two'
#   stream_writer b'one two'
#   stream_reader b'one two'
#   decompress b'one '
#   read_to_iter b'one '
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
cd "$dir"
apt-get -qq install --yes --no-install-recommends python3 python3-venv >/dev/null
/usr/bin/python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install zstandard==0.23.0
venv/bin/python --version
cat >read.py <<'EOF'
import io
import zstandard

file = b"".join(zstandard.ZstdCompressor().compress(frame) for frame in (b"one ", b"two"))


def new():
    return zstandard.ZstdDecompressor()


out = io.BytesIO()
new().copy_stream(io.BytesIO(file), out)
print("copy_stream", out.getvalue())
out = io.BytesIO()
new().stream_writer(out).write(file)
print("stream_writer", out.getvalue())
print("stream_reader", new().stream_reader(io.BytesIO(file)).read())
print("decompress", new().decompress(file))
print("read_to_iter", b"".join(new().read_to_iter(io.BytesIO(file))))
EOF
seen=$(venv/bin/python read.py)
echo "$seen"
[[ $seen == "copy_stream b'one two'
stream_writer b'one two'
stream_reader b'one two'
decompress b'one '
read_to_iter b'one '" ]] || { echo "not as seen before" >&2; exit 1; }
