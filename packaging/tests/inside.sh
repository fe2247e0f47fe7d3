#!/usr/bin/env bash
# Runs a script of this folder in a copy of a clean root that vanishes with it: inside.sh ROOT SCRIPT FILE...
# The files are in its /tmp, and their names are its arguments. There is no network: whatever is fetched at an installation fails.
set -euo pipefail
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
root=$(realpath "$1") script=$2
shift 2

if [[ -z ${EDGEFERRY_INSIDE:-} ]]; then
    files=()
    for file in "$@"; do files+=("$(realpath "$file")"); done
    # Mounts and the network of its own end with it, however it ends.
    EDGEFERRY_INSIDE=yes exec unshare --mount --net --propagation=private "${BASH_SOURCE[0]}" "$root" "$script" "${files[@]}"
fi

layer=$(mktemp -d /var/tmp/edgeferry-root.XXXXXX)
trap 'umount --recursive "$layer/root" 2>/dev/null || true; umount "$layer"; rmdir "$layer"' EXIT
# In memory: it is small, and there is nothing to keep.
mount -t tmpfs -o size=1g,mode=755 layer "$layer"
mkdir "$layer"/{upper,work,root}
mount -t overlay -o "lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" overlay "$layer/root"
mount -t proc proc "$layer/root/proc"
# Root in there has no business with the disks of this machine.
mount -t tmpfs -o size=1m,mode=755 devices "$layer/root/dev"
for device in null zero full random urandom tty; do
    touch "$layer/root/dev/$device"
    mount --bind "/dev/$device" "$layer/root/dev/$device"
done
ln -s /proc/self/fd "$layer/root/dev/fd"
install -m 755 "$here/words.sh" "$here/$script" "$layer/root/tmp/"
cp "$here/../../tests/golden/export-v1.jsonl" "$layer/root/tmp/backlog.jsonl"
# A clean root has none: its first boot would make it.
tr --delete - </proc/sys/kernel/random/uuid >"$layer/root/etc/machine-id"
names=()
for file in "$@"; do
    cp "$file" "$layer/root/tmp/"
    names+=("${file##*/}")
done
status=0
env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root ${QEMU_CPU:+QEMU_CPU="$QEMU_CPU"} \
    chroot "$layer/root" /bin/bash "/tmp/$script" "${names[@]}" || status=$?
exit "$status"
