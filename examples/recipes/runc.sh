#!/bin/sh
# An image as a container of runc: as root, or --rootless.
#
#   runc.sh IMAGE [DIRECTORY]
set -eu
image=$1 work=${2:-$(mktemp -d)}

rootless=
[ "$(id -u)" -eq 0 ] || rootless=--rootless
# shellcheck disable=SC2086
bundle unpack $rootless --image "$image" "$work/bundle"
# No terminal, and a command of our own.
sed -i 's/"terminal": *true/"terminal": false/' "$work/bundle/config.json"
python3 - "$work/bundle/config.json" <<'PYTHON'
import json, sys
config = json.load(open(sys.argv[1]))
config["process"]["args"] = ["/bin/sh", "-c", "echo hello from $(cat /etc/hostname 2>/dev/null || echo a container)"]
json.dump(config, open(sys.argv[1], "w"))
PYTHON
"${RUNTIME:-runc}" --root "$work/state" run --bundle "$work/bundle" "recipe-$$"
