#!/usr/bin/env bash
# Builds the image where no registry can be reached, and runs the demo in it as the CronJob's pod would: `cronjobs/image.sh`, as root on a Debian
# with Rust. What else it needs it installs.
#
# The bases of the Containerfile are replaced, nothing else is: Debian by one that debootstrap makes; Rust by that one with a C compiler, and this
# machine's toolchain, crates and target directory lent to it. So what packaging/static.sh has built is not built again, if nothing changed. Without
# Rust's static library the program is linked to Debian's C library, and built in the container alone.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
. packaging/debian.sh
rust=localhost/rust:here image=localhost/treewarden:here
crates=${CARGO_HOME:-$HOME/.cargo}

# No network of its own: a build asks for packages by this machine's.
build() { engine build --quiet --isolation chroot --network host "$@"; }

make_debian
if binary=$(packaging/static.sh); then
    built=$PWD/target static="ENV CARGO_BUILD_TARGET=$(basename "${binary%/release/*}")"
else
    [ $? = 69 ] || exit 1
    built=$here/built static=
    mkdir -p "$built"
fi
engine image exists "$rust" || build --tag "$rust" - >/dev/null <<FROM
FROM $debian
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev musl-tools && rm -rf /var/lib/apt/lists/*
ENV PATH=/rust/bin:/usr/sbin:/usr/bin CARGO_HOME=$crates CARGO_NET_OFFLINE=true
$static
FROM

# What an older build left.
engine image prune --force >/dev/null
cargo fetch --locked --quiet
began=$SECONDS
build --build-arg RUST="$rust" --build-arg DEBIAN="$debian" --tag "$image" --file cronjobs/Containerfile --volume "$built:/src/target" \
    --volume "$(rustc --print sysroot):/rust:ro" --volume "$crates/registry:$crates/registry" . >/dev/null
echo "built in $((SECONDS - began)) s"

# As in base/cronjob.yaml: no root, no capability, nothing to write to but /tmp; and no network, which the demo has no use for.
pod() {
    engine run --rm --read-only --read-only-tmpfs=false --tmpfs /tmp:rw,size=1g,mode=1777 --cap-drop all --security-opt no-new-privileges \
        --network none --memory 4g --pids-limit 1024 "$@"
}

pod --entrypoint sh "$image" -euc '
    [ "$(id -u):$(id -g)" = 1000:1000 ] || { echo "it runs as $(id)"; exit 1; }
    if touch /here /usr/here /var/here 2>/dev/null; then echo "the root can be written to"; exit 1; fi
    grep -q "^CapEff:[[:space:]]*0*$" /proc/self/status || { echo "it has capabilities"; exit 1; }
    git --version
    # The part of git that clones over TLS finds all its libraries.
    git ls-remote https://127.0.0.1:9 2>&1 | grep -q "Failed to connect" || { echo "git has no https"; exit 1; }'
pod "$image" demo
mib() { echo "$(($1 / 1048576)) MiB"; }
size=$(engine image inspect --format '{{.Size}}' "$image")
[ "$size" -lt $((60 << 20)) ] || { echo "the image has grown to $(mib "$size")" >&2; exit 1; }
echo "the image has $(mib "$size"), $(mib "$(engine save "$image" | gzip | wc -c)") as gzip sends it"
