#!/bin/sh
# A CI job that starts from the same image each time: the store is the directory that CI caches. Layers that are in it
# are neither read nor unpacked again, and what the last job changed is gone.
#
#   ci-cache.sh IMAGE [DIRECTORY]
set -eu
image=$1 work=${2:-$(mktemp -d)}
export BUNDLE_STORE="$work/cache"

for job in 1 2; do
    bundle unshare -- sh -euc '
        bundle unpack --overlay --image "$1" "$2"
        test ! -e "$2/rootfs/built"
        echo job "$3" >"$2/rootfs/built"
        bundle remove-bundle "$2"' sh "$image" "$work/job" "$job"
done
# What no image of this run needed is not worth caching.
bundle unshare -- bundle store gc
bundle unshare -- bundle store ls layers
