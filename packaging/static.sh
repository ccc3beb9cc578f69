#!/usr/bin/env bash
# Builds one file that runs on any Linux with git: `packaging/static.sh`, with Rust from rustup; prints its path.
#
# It is linked with musl: the C library and its compiler wrapper come from Debian's musl-tools, Rust's standard library from where rustup
# takes the others. The script fails if the result needs any other file; with 69 if that library can't be had here.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(uname -m)-unknown-linux-musl
binary=target/$target/release/treewarden

.ci/install musl-gcc:musl-tools readelf:binutils >&2
if ! [ -d "$(rustc --print target-libdir --target "$target")" ] && ! rustup target add "$target" >&2; then
    echo "failed to get Rust's standard library for $target; install it as rustc was installed, and try again" >&2
    exit 69
fi
cargo build --locked --release --bin treewarden --target "$target" --target-dir target >&2

if readelf --program-headers "$binary" | grep -q INTERP || readelf --dynamic "$binary" | grep -q NEEDED; then
    echo "$binary is not static" >&2
    exit 1
fi
echo "$binary"
