#!/usr/bin/env bash
# Installs the Debian package on a fresh Debian and uses all that it holds: `packaging/try.sh`, as root on a Debian with Rust.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
. packaging/debian.sh
package=$(packaging/deb.sh) || {
    # The workflows of a release have it.
    [ $? = 69 ] || exit 1
    echo "left out: there is no static library for this Rust here"
    exit 0
}
make_debian
# The size of what people download, and that it runs where nothing else is.
alone=$(mktemp -d)
trap 'rm -rf "$alone"' EXIT
cp "$(packaging/static.sh)" "$alone"
chroot "$alone" /treewarden --version
du -h --apparent-size "$alone/treewarden" "$package" | sed 's/^/    /'

engine run --rm --network host --volume "$PWD/$package:/treewarden.deb:ro" \
    --volume "$PWD/packaging/tried.sh:/tried.sh:ro" "$debian" bash /tried.sh
