#!/usr/bin/env bash
# The machine's disk: a small Debian with kernel, NFS server and client, and git, out of Debian's packages. `image.sh DIRECTORY` makes
# DIRECTORY/{disk,kernel,initrd}, some minutes the first time and nothing after that. It needs root and must never write outside DIRECTORY.
set -euo pipefail
out=${1:?image.sh DIRECTORY}
self=$(sha256sum <"$0")
if [ "$(cat "$out/made-by" 2>/dev/null)" = "$self" ]; then exit; fi

"$(dirname "$0")/../../.ci/install" debootstrap:debootstrap qemu-system-x86_64:qemu-system-x86 mke2fs:e2fsprogs

# The same Debian as here, or treewarden would not find its C library; elsewhere a recent one.
source /etc/os-release
suite=trixie
if [ "$ID" = debian ]; then suite=$VERSION_CODENAME; fi
root=$out/root
rm -rf "$out" && mkdir -p "$out"
packages=linux-image-cloud-amd64,initramfs-tools,kmod,iproute2,procps,nfs-kernel-server,nfs-common,rpcbind,git,python3-minimal
debootstrap --variant=minbase --include="$packages" "$suite" "$root" >"$out/debootstrap.log" || { tail "$out/debootstrap.log"; exit 1; }

# The initramfs has only to find the disk.
sed -i 's/^MODULES=.*/MODULES=list/' "$root/etc/initramfs-tools/initramfs.conf"
printf '%s\n' virtio_pci virtio_blk ext4 >"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u
cp -L "$root"/boot/vmlinuz-* "$out/kernel"
cp -L "$root"/boot/initrd.img-* "$out/initrd"
rm -rf "$root"/boot/* "$root"/var/{cache/apt,lib/apt/lists}/* "$root"/usr/share/{doc,man,locale}/*

# Process 1 only unpacks the second disk, a tar archive: what runs changes often, the image seldom.
cat >"$root/first" <<'FIRST'
#!/bin/bash
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /job && tar -xf /dev/vdb -C /job
exec /job/machine.sh
FIRST
chmod +x "$root/first"
mke2fs -q -t ext4 -m 0 -O ^has_journal -d "$root" "$out/disk" 1500M
rm -rf "$root"
echo "$self" >"$out/made-by"
