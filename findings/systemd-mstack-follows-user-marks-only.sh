#!/bin/bash
# systemd's mount stacks follow `user.overlay.*` marks, also for root: `trusted.overlay.opaque` hides nothing there.
#
# Seen with systemd-container 262.1-1 (Debian sid), Linux 6.18, as root of the machine, on ext4.
#
# A NAME.mstack directory has layers of overlayfs as `layer@N` (systemd.mstack(7)). What root lays on each other elsewhere, with
# mount(8), containerd or podman, has opaque directories marked by `trusted.overlay.opaque`, since overlayfs reads only `trusted.*`
# unless it is mounted with `userxattr`. systemd always mounts with `userxattr`, so the same layers show what an upper one hides,
# without a message; a copy of them with `user.overlay.opaque` is right there, and wrong for mount(8). Whiteouts that are devices
# work in both. So layers of another store can't be linked into a mount stack if any directory in them is opaque.
#
# Seen, of a layer with d/old and whiteout and opaque directories above it:
#   mount(8), trusted: d/new
#   mount(8), user: d/new d/old
#   systemd, trusted: d/new d/old
#   systemd, user: d/new
set -euo pipefail
[[ $EUID -eq 0 ]] || { echo "needs root: overlayfs and debootstrap" >&2; exit 1; }
if [[ -z ${INSIDE:-} ]]; then
    # What is mounted goes with the namespace.
    dir=$(mktemp -d -p /var/tmp)
    trap 'rm -rf -- "$dir"' EXIT
    INSIDE=$dir timeout 600 unshare --mount --propagation private "$0"
    exit
fi
root=$INSIDE/root
apt-get -qq install --yes --no-install-recommends debootstrap attr >/dev/null
debootstrap --variant=minbase --include=systemd-container sid "$root" >/dev/null
chroot "$root" dpkg-query -W systemd-container
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
cd "$root/srv"
mkdir -p lower/d at
touch lower/d/old lower/gone
for kind in trusted user; do
    mkdir -p "$kind/d" "$kind.mstack"
    touch "$kind/d/new"
    mknod "$kind/gone" c 0 0
    setfattr -n "$kind.overlay.opaque" -v y "$kind/d"
    ln -s /srv/lower "$kind.mstack/layer@0"
    ln -s "/srv/$kind" "$kind.mstack/layer@1"
done
shown() { # what the mount shows, which goes then
    (cd at && find . -type f -printf '%P\n') | sort | xargs
    umount -R at
}
seen=$(
    for kind in trusted user; do
        mount -t overlay -o "lowerdir=$kind:lower" overlay at
        echo "mount(8), $kind: $(shown)"
    done
    for kind in trusted user; do
        chroot "$root" systemd-mstack --read-only --mount "/srv/$kind.mstack" /srv/at
        echo "systemd, $kind: $(shown)"
    done
)
echo "$seen"
[[ $seen == "mount(8), trusted: d/new
mount(8), user: d/new d/old
systemd, trusted: d/new d/old
systemd, user: d/new" ]] || { echo "not as seen before" >&2; exit 1; }
