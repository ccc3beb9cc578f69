#!/usr/bin/env bash
# Builds the Debian package: `packaging/deb.sh`; prints its path. It holds the static binary, and so suits every Debian and Ubuntu.
#
# What it holds is listed in Cargo.toml. Completions and manual pages are printed by the binary itself.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(packaging/static.sh)
parts=target/deb

# Unoptimised it is built in half the time, and it is asked once.
command -v cargo-deb >/dev/null || cargo install --quiet --locked --debug --no-default-features cargo-deb@3.8.0 >&2
rm -rf "$parts"
mkdir -p "$parts"
"$binary" man --output "$parts/man"
for shell in bash zsh fish; do
    "$binary" completions "$shell" >"$parts/completions.$shell"
done
cargo deb --quiet --locked --no-build --target "$(uname -m)-unknown-linux-musl" --output "$parts/" >&2
ls "$parts"/*.deb
