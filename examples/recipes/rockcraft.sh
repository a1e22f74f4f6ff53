#!/bin/sh
# rockcraft's calls of umoci: a rock is a base with layers, its entrypoint and its annotations.
#
#   rockcraft.sh IMAGE [DIRECTORY]
set -eu
image=$1 work=${2:-$(mktemp -d)}
base=${image%%:*} tag=${image#*:}
cp -r "$base" "$work/rock"
mkdir -p "$work/prime/opt" && echo app >"$work/prime/opt/app"

umoci unpack --keep-dirlinks --rootless --image "$work/rock:$tag" "$work/bundle"
tar --create --file="$work/layer.tar" --directory="$work/prime" --owner=0 --group=0 .
umoci raw add-layer --image "$work/rock:$tag" --tag rock "$work/layer.tar" --history.created_by "rockcraft"
echo control >"$work/control"
umoci insert --rootless --image "$work/rock:rock" --history.created_by "rockcraft: control data" "$work/control" /.rock
umoci config --image "$work/rock:rock" --clear config.entrypoint --clear config.cmd \
    --config.entrypoint /bin/pebble --config.entrypoint enter --config.user 584792 \
    --manifest.annotation org.opencontainers.image.version=1 --config.label org.opencontainers.image.title=rock
umoci stat --json --image "$work/rock:rock" | python3 -c '
import json, sys
stat = json.load(sys.stdin)
assert stat["config"]["blob"]["config"]["Entrypoint"] == ["/bin/pebble", "enter"], stat
print(len(stat["history"]), "steps")'
umoci gc --layout "$work/rock"
