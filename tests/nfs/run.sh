#!/usr/bin/env bash
# Runs treewarden on real NFS: `tests/nfs/run.sh [SCENARIO...]`, all of them without a name. See README.md beside it.
#
# TREEWARDEN names another binary than target/debug/treewarden; NFS_IMAGE is where the machine's disk is kept. It must never leave a machine
# running: that ends with this script, or by itself when its time is up.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
binary=${TREEWARDEN:-$top/target/debug/treewarden}
image=${NFS_IMAGE:-$top/target/nfs}
most=${NFS_SECONDS:-1500}

[ -x "$binary" ] || { echo "no $binary: cargo build, or set TREEWARDEN" >&2; exit 2; }
"$here/image.sh" "$image"
work=$(mktemp -d)
trap 'kill "$machine" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
machine=
scenarios=("$@")
if [ $# = 0 ]; then
    mapfile -t scenarios < <(sed -n '/^# Scenarios$/,$ s/^\([a-z_]*\)() {$/\1/p' "$here/scenarios.sh")
fi
echo "${scenarios[*]}" >"$work/scenarios"
echo "${NFS_DELAYS:-500 2000}" >"$work/delays"
strip -o "$work/treewarden" "$binary"
mkdir "$work/others"
for other in pdu dua gdu; do
    if place=$(command -v $other); then cp -L "$place" "$work/others"; fi
done
cp "$top/benches/night/script.sh" "$work/night.sh"
cp "$top/benches/evict/script.sh" "$work/evict.sh"
tar -cf "$work/job" -C "$here" machine.sh scenarios.sh benches.sh compare.py -C "$work" treewarden scenarios delays others night.sh evict.sh

# Virtual time, one step an instruction: a lease of 90 s passes at once, and no figure depends on how busy this machine is.
: >"$work/result"
timeout "$most" qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -machine q35 -m 2048 \
    -accel tcg,thread=single -icount shift=0,sleep=off -cpu max \
    -kernel "$image/kernel" -initrd "$image/initrd" \
    -append "console=ttyS0 root=/dev/vda rw init=/first quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on" \
    -drive "file=$image/disk,format=raw,if=virtio,snapshot=on" -drive "file=$work/job,format=raw,if=virtio,readonly=on" \
    -device virtio-rng-pci -serial "file:$work/console" -serial "file:$work/result" </dev/null >"$work/qemu" 2>&1 &
machine=$!
tail -f -n +1 -s 0.3 --pid="$machine" "$work/result" | sed -u 's/\r$//'
if ! grep -q '^==> all is well' "$work/result"; then
    echo "--- the machine's console:" >&2
    tail -n "${NFS_CONSOLE:-15}" "$work/console" "$work/qemu" >&2
    exit 1
fi
