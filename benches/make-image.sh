#!/bin/bash
# Builds the image that the peer comparison unpacks: an OCI layout, tag `latest`, of about 1 GB and
# 40,000 files in a few `gzip -6` layers.
#
#     benches/make-image.sh DIR
#
# A Debian minbase tree is the first layer; every further one is what an `apt-get` step changed, taken
# from the upper directory of an overlay, whiteouts included.  Without a Debian mirror (debootstrap
# fails) the machine's own /usr, cut in pieces, takes the place of all that.
#
# Needs root, debootstrap, python3, overlayfs, and about 4 GB below $TMPDIR.  Does nothing when DIR
# holds an image already.  Everything is mounted in a private mount namespace, and all processes live
# in a PID namespace that ends with this script: nothing stays behind, even after a SIGKILL.
set -euo pipefail

if [[ $# -ne 1 || $1 == -* ]]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
out=$(realpath -m -- "$1")
if [[ -e $out/index.json ]]; then
    echo "$out: exists already"
    exit 0
fi
if [[ $EUID -ne 0 ]]; then
    echo "$0: needs root (mounts, ownership)" >&2
    exit 1
fi
if [[ ${MAKE_IMAGE_INSIDE:-} != 1 ]]; then
    exec env MAKE_IMAGE_INSIDE=1 timeout --kill-after=10 1800 unshare --mount --propagation private \
        --pid --fork --kill-child --mount-proc -- "$0" "$out"
fi

step() { printf '%s %s\n' "$(date +%T)" "$*"; }

mkdir -p -- "$(dirname -- "$out")"
work=$(mktemp -d -t bench-image.XXXXXX)
staged=$(mktemp -d -- "$out.XXXXXX")
cleanup() {
    # The namespace would unmount by itself, but the trees are removed while it is alive.
    umount -R "$work"/*/merged/proc "$work"/*/merged 2>/dev/null || true
    if grep -q " $work/" /proc/self/mounts; then
        echo "$0: still mounted below $work, left alone" >&2
        return
    fi
    rm -rf --one-file-system -- "$work" "$staged"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# ---------------------------------------------------------------------------------------------------
# The layout's documents and the layers' tar streams.

cat >"$work/layout.py" <<'PY'
"""layer UPPER LAYOUT | tar FILE LAYOUT | finish LAYOUT"""
import hashlib, json, os, stat, subprocess, sys, tarfile, time

class Tee:
    """Feeds gzip and the diff ID from one write."""
    def __init__(self, sink):
        self.sink, self.hash, self.size = sink, hashlib.sha256(), 0
    def write(self, data):
        self.hash.update(data)
        self.size += len(data)
        return self.sink.write(data)

def blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{layout}/blobs/sha256/{digest}", "wb") as fh:
        fh.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}

def entries(upper):
    """(tar entry, source) of an overlay upper directory, or of a plain tree; sorted, parents first."""
    seen = {}
    def visit(path, name):
        st = os.lstat(path)
        if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
            head, base = os.path.split(name)
            info = tarfile.TarInfo(os.path.join(head, ".wh." + base))
            info.mtime = int(st.st_mtime)
            yield info, None
            return
        if stat.S_ISSOCK(st.st_mode):
            return
        info = tarfile.TarInfo(name)
        info.mode, info.uid, info.gid = stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid
        info.mtime = st.st_mtime_ns // 10**9
        for key in os.listxattr(path, follow_symlinks=False):
            if not key.startswith("trusted.overlay.") and key != "security.selinux":
                value = os.getxattr(path, key, follow_symlinks=False)
                info.pax_headers["SCHILY.xattr." + key] = value.decode("utf8", "surrogateescape")
        if stat.S_ISDIR(st.st_mode):
            info.type = tarfile.DIRTYPE
            yield info, None
            if "trusted.overlay.opaque" in os.listxattr(path):
                opaque = tarfile.TarInfo(name + "/.wh..wh..opq")
                yield opaque, None
            for child in sorted(os.listdir(path)):
                yield from visit(f"{path}/{child}", f"{name}/{child}" if name != "." else child)
            return
        key = (st.st_dev, st.st_ino)
        if st.st_nlink > 1 and key in seen:
            info.type, info.linkname = tarfile.LNKTYPE, seen[key]
            yield info, None
            return
        seen[key] = name
        if stat.S_ISLNK(st.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        elif stat.S_ISREG(st.st_mode):
            info.size = st.st_size
            yield info, path
            return
        else:
            info.type = {stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE,
                         stat.S_IFIFO: tarfile.FIFOTYPE}[stat.S_IFMT(st.st_mode)]
            info.devmajor, info.devminor = os.major(st.st_rdev), os.minor(st.st_rdev)
        yield info, None
    yield from visit(upper, ".")

def add(layout, write):
    """Stores one gzip layer whose tar stream `write(sink)` makes, and notes it in layers.json."""
    temporary = f"{layout}/layer.tmp"
    with open(temporary, "wb") as fh:
        gzip = subprocess.Popen(["gzip", "-6n"], stdin=subprocess.PIPE, stdout=fh)
        tee = Tee(gzip.stdin)
        count = write(tee)
        gzip.stdin.close()
        if gzip.wait():
            sys.exit("gzip failed")
    with open(temporary, "rb") as fh:
        digest = hashlib.file_digest(fh, "sha256").hexdigest()
    size = os.path.getsize(temporary)
    os.rename(temporary, f"{layout}/blobs/sha256/{digest}")
    known = json.load(open(f"{layout}/layers.json")) if os.path.exists(f"{layout}/layers.json") else []
    known.append({"digest": f"sha256:{digest}", "size": size, "diff": f"sha256:{tee.hash.hexdigest()}"})
    json.dump(known, open(f"{layout}/layers.json", "w"))
    print(f"         layer {len(known)}: {count} entries, {tee.size} bytes, {size} bytes compressed")

def write_upper(upper):
    def write(sink):
        count = 0
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 16) as tar:
            for info, source in entries(upper):
                count += 1
                if source:
                    with open(source, "rb") as fh:
                        tar.addfile(info, fh)
                else:
                    tar.addfile(info)
        return count
    return write

def write_tar(path):
    def write(sink):
        with open(path, "rb") as fh:
            while chunk := fh.read(1 << 20):
                sink.write(chunk)
        with tarfile.open(path) as tar:
            return sum(1 for _ in tar)
    return write

def finish(layout):
    oci = "application/vnd.oci.image."
    layers = json.load(open(f"{layout}/layers.json"))
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "architecture": arch, "os": "linux",
              "config": {"Cmd": ["/bin/bash"]},
              "rootfs": {"type": "layers", "diff_ids": [layer["diff"] for layer in layers]}}
    manifest = {"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
                "config": {"mediaType": oci + "config.v1+json", **blob(layout, json.dumps(config).encode())},
                "layers": [{"mediaType": oci + "layer.v1.tar+gzip", "digest": layer["digest"],
                            "size": layer["size"]} for layer in layers]}
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": oci + "manifest.v1+json", **blob(layout, json.dumps(manifest).encode()),
         "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}
    os.unlink(f"{layout}/layers.json")
    open(f"{layout}/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}\n')
    open(f"{layout}/index.json", "w").write(json.dumps(index))

match sys.argv[1:]:
    case ["layer", upper, layout]: add(layout, write_upper(upper))
    case ["tar", path, layout]: add(layout, write_tar(path))
    case ["finish", layout]: finish(layout)
PY
mkdir -p -- "$staged/blobs/sha256"

# ---------------------------------------------------------------------------------------------------
# The steps.

# What apt on this machine already uses: "<mirror> <codename>".
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
        awk '$3 == "Debian" && $4 == "main" && $2 !~ /-/ { print $1, $2; exit }'
}

# change NAME COMMAND: runs the command in an overlay over all steps so far; the upper directory becomes a layer.
lower=
change() {
    local name=$1 dir=$work/$1
    step "$name"
    mkdir -p "$dir"/{upper,work,merged}
    chmod 0755 "$dir/upper"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work,redirect_dir=off,metacopy=off,index=off" \
        "$dir/merged"
    mount -t proc proc "$dir/merged/proc"
    env -u TMPDIR DEBIAN_FRONTEND=noninteractive LC_ALL=C timeout 900 chroot "$dir/merged" /bin/sh -ec "$2" \
        >"$work/log" 2>&1 </dev/null || {
            grep -aiE -B 10 'error|fail' "$work/log" | tail -n 60 >&2
            return 1
        }
    umount "$dir/merged/proc" "$dir/merged"
    python3 "$work/layout.py" layer "$dir/upper" "$staged" || return 1
    lower=$dir/upper:$lower
}

# Called in a condition, where bash ignores `set -e`: every step says `|| return 1`.
from_debian() {
    local uri codename apt='apt-get -qy --no-install-recommends -o Dpkg::Options::=--force-unsafe-io'
    read -r uri codename < <(mirror) || return 1
    step "debootstrap"
    env -u TMPDIR timeout 900 debootstrap --variant=minbase "$codename" "$work/base" "$uri" >"$work/log" 2>&1 </dev/null || {
        tail -n 5 "$work/log" >&2
        return 1
    }
    # No daemon starts while packages are configured, as in other people's base images.
    printf '#!/bin/sh\nexit 101\n' >"$work/base/usr/sbin/policy-rc.d"
    chmod 0755 "$work/base/usr/sbin/policy-rc.d"
    chroot "$work/base" apt-get clean || return 1
    python3 "$work/layout.py" layer "$work/base" "$staged" || return 1
    lower=$work/base
    change tools "apt-get -q update; $apt install build-essential git perl-doc python3 python3-pip; apt-get clean" || return 1
    change libraries "$apt install linux-headers-amd64 libboost1.81-dev openjdk-17-jdk-headless; apt-get clean" || return 1
    change trim "$apt purge perl-doc; rm -rf /var/lib/apt/lists/* /usr/share/locale/[a-d]*; apt-get clean" || return 1
}

# The machine's own /usr in four pieces of 256 MiB.
from_usr() {
    step "no Debian mirror: taking /usr of this machine"
    (cd / && find usr -xdev \( -type f -o -type l -o -type d \) -printf '%s\t%p\0') >"$work/all"
    python3 - "$work" <<'PY'
import sys
work, total = sys.argv[1], 0
for line in sorted(open(f"{work}/all", "rb").read().split(b"\0")[:-1], key=lambda line: line.split(b"\t", 1)[1]):
    size, name = line.split(b"\t", 1)
    total += int(size)
    if total >= 1 << 30:
        break
    with open(f"{work}/list.{total >> 28}", "ab") as fh:
        fh.write(name + b"\0")
PY
    local list
    for list in "$work"/list.*; do
        tar -C / --no-recursion --null --numeric-owner --format=pax -T "$list" -cf "$work/piece.tar"
        python3 "$work/layout.py" tar "$work/piece.tar" "$staged"
    done
}

if ! from_debian; then
    rm -rf --one-file-system -- "$staged"/blobs/sha256/* "$staged/layers.json"
    from_usr
fi
python3 "$work/layout.py" finish "$staged"
chmod 0755 "$staged"
rmdir -- "$out" 2>/dev/null || true
mv -T -- "$staged" "$out"
step "done: $out ($(du -sh -- "$out" | cut -f1))"
