#!/bin/sh
# The same with crun.
set -eu
RUNTIME=crun exec "$(dirname "$0")/runc.sh" "$@"
