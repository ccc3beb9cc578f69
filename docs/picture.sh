#!/usr/bin/env bash
# Makes docs/report.svg anew: the report that `treewarden demo` prints on a terminal of 100 columns, in its colours.
# Needs cargo, script(1) of util-linux, and Python 3. It must never draw anything but what was printed: folder, host and
# time of the machine at hand become fixed ones, and nothing else is changed.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cargo build --release --quiet
unset COLUMNS NO_COLOR
export TERM=xterm
script --quiet --return --command "stty cols 100; cargo run --release --quiet -- demo --at '$scratch/demo' 2>'$scratch/errors'" /dev/null </dev/null >"$scratch/screen" ||
    { cat "$scratch/screen" "$scratch/errors" >&2; exit 1; }
python3 docs/picture.py "$scratch/demo" <"$scratch/screen" >"$scratch/report.svg"
mv "$scratch/report.svg" docs/report.svg
