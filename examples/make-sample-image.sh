#!/bin/bash
# Makes examples/sample-image: a small OCI layout, tag `latest`, to try `bundle` with.
#
#     examples/make-sample-image.sh [LAYOUT]        (default: sample-image beside this script)
#
# Debian's static busybox in a first layer; a second one that changes a file, deletes another (whiteout)
# and adds a home directory for an ordinary user.  `bin/sh` is a hard link, the other applets are
# symbolic links.  Everything in it is a function of the package and SOURCE_DATE_EPOCH: two runs give
# the same digests.  Needs apt-get, dpkg-deb, GNU tar, gzip, sha256sum, jq; no root.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022

version=${BUSYBOX_VERSION:-1:1.35.0-4+deb12u1+b1}
epoch=${SOURCE_DATE_EPOCH:-1735689600}
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
layout=$(realpath -m -- "${1:-$here/sample-image}")

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
staged=$work/layout
mkdir -p "$staged/blobs/sha256"

# ---------------------------------------------------------------------------------------------------
# Two trees.

mkdir "$work/deb" && cd "$work/deb"
apt-get -q download "busybox-static=$version" >&2
dpkg-deb -x ./busybox-static_*.deb .
architecture=$(dpkg-deb -f ./busybox-static_*.deb Architecture)
busybox=$(find . -name busybox -type f -perm -u+x | head -n 1)

lower=$work/1
mkdir -p "$lower"/{bin,dev,etc,proc,root,sys,tmp,usr/share/doc/busybox-static,var}
install -m 0755 "$busybox" "$lower/bin/busybox"
ln "$lower/bin/busybox" "$lower/bin/sh"
"$busybox" --list | grep -vxE 'busybox|sh|init|linuxrc' | while read -r applet; do
    ln -s busybox "$lower/bin/$applet"
done
ln -s bin "$lower/sbin"
install -m 0644 usr/share/doc/busybox-static/copyright "$lower/usr/share/doc/busybox-static/copyright"
printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'guest:x:1000:1000:guest:/home/guest:/bin/sh' >"$lower/etc/passwd"
printf '%s\n' 'root:x:0:' 'guest:x:1000:' >"$lower/etc/group"
printf 'first layer\n' >"$lower/etc/motd"
printf 'deleted by the second layer\n' >"$lower/etc/draft"
chmod 1777 "$lower/tmp"
chmod 0700 "$lower/root"

upper=$work/2
mkdir -p "$upper"/{etc,home/guest}
printf 'Hello from the sample image.\n' >"$upper/etc/motd"
: >"$upper/etc/.wh.draft"
printf 'This file belongs to guest.\n' >"$upper/home/guest/note"

# ---------------------------------------------------------------------------------------------------
# Blobs and documents.

# blob FILE: moves the file into the layout and prints its descriptor's digest and size.
blob() {
    local digest
    digest=$(sha256sum <"$1" | cut -d ' ' -f 1)
    jq -n --arg digest "sha256:$digest" --argjson size "$(stat -c %s -- "$1")" '{digest: $digest, size: $size}'
    mv -- "$1" "$staged/blobs/sha256/$digest"
}

# layer TREE: the tree as a gzip layer. /home/guest is guest's, the rest root's.
layer() {
    local tree=$1 common=(--format=gnu --no-recursion --sort=name --numeric-owner --mtime="@$epoch" --null -T -)
    (cd "$tree" && find . -mindepth 1 ! -path './home/guest*' -printf '%P\0' | sort -z |
        tar "${common[@]}" --owner=0 --group=0 -cf "$tree.tar")
    if [[ -d $tree/home/guest ]]; then
        (cd "$tree" && find home/guest -print0 | sort -z |
            tar "${common[@]}" --owner=1000 --group=1000 -rf "$tree.tar")
    fi
    echo "sha256:$(sha256sum <"$tree.tar" | cut -d ' ' -f 1)" >>"$work/diff_ids"
    gzip -9n "$tree.tar"
    blob "$tree.tar.gz" >>"$work/layers"
}

layer "$lower"
layer "$upper"

jq -cn --arg created "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" --arg arch "$architecture" \
    --arg busybox "busybox-static $version" --rawfile ids "$work/diff_ids" '
    {created: $created, architecture: $arch, os: "linux",
     config: {Env: ["PATH=/bin"], Cmd: ["/bin/sh", "-c", "cat /etc/motd; exec /bin/sh"], WorkingDir: "/",
              Labels: {"org.opencontainers.image.licenses": "GPL-2.0-only"}},
     rootfs: {type: "layers", diff_ids: ($ids | rtrimstr("\n") | split("\n"))},
     history: [{created: $created, created_by: $busybox},
               {created: $created, created_by: "second layer: motd, whiteout of etc/draft, home/guest"}]}' >"$work/config"
jq -cn --argjson config "$(blob "$work/config")" --slurpfile layers "$work/layers" '
    "application/vnd.oci.image." as $oci |
    {schemaVersion: 2, mediaType: ($oci + "manifest.v1+json"),
     config: ({mediaType: ($oci + "config.v1+json")} + $config),
     layers: [$layers[] | {mediaType: ($oci + "layer.v1.tar+gzip")} + .]}' >"$work/manifest"
jq -cn --argjson manifest "$(blob "$work/manifest")" '
    {schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
     manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json"} + $manifest +
                 {annotations: {"org.opencontainers.image.ref.name": "latest"}}]}' >"$staged/index.json"
printf '{"imageLayoutVersion":"1.0.0"}\n' >"$staged/oci-layout"

rm -rf -- "$layout"
mv -T -- "$staged" "$layout"
echo "$layout: busybox-static $version, manifest $(jq -r '.manifests[0].digest' "$layout/index.json")"
