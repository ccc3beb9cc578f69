#!/usr/bin/env bash
# Puts what a release offers for this kind of processor into a directory: `packaging/release.sh DIR`.
#
# That is the Debian package, and an archive with the static binary, its manual pages and completions.
set -euo pipefail
out=$(realpath -m "${1:?usage: packaging/release.sh DIR}")
cd "$(dirname "$0")/.."
package=$(packaging/deb.sh)
binary=$(packaging/static.sh)
name=treewarden-$("$binary" --version | cut -d' ' -f2)-$(uname -m)-linux
mkdir -p "$out"
cp "$package" "$out"
tar -czf "$out/$name.tar.gz" --owner=0 --group=0 --transform "s,^\(target/deb/\|.*release/\)\?,$name/," \
    "$binary" target/deb/man target/deb/completions.* README.md LICENSE config/treewarden.yaml
echo "$out/$name.tar.gz"
