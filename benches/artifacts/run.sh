#!/usr/bin/env bash
# How much of what newer builds replaced goes from inside `target`, beside cargo-sweep and `cargo clean`, and what does the next build
# cost? `benches/artifacts/run.sh TREEWARDEN WORK CRATE@VERSION...`; WORK is a new directory. Minutes for each crate, and a gigabyte.
#
# A crate's own source is built with newer dependencies, another toolchain, without its default features and with another profile.
# A week passes. Then it is built, checked, and its tests are built as it is: what a build of that alone doesn't make, is dead.
# OTHER names the other toolchain (nightly; none if it is not installed). cargo-sweep takes part if it is on the path.
set -euo pipefail
treewarden=$(realpath "$1") work=$2
shift 2
mkdir "$work"
work=$(realpath "$work")
unset CARGO_TARGET_DIR RUSTFLAGS CARGO_INCREMENTAL
other=${OTHER:-nightly}
export GIT_AUTHOR_NAME=bench GIT_AUTHOR_EMAIL=bench@example.com GIT_COMMITTER_NAME=bench GIT_COMMITTER_EMAIL=bench@example.com

quietly() { "$@" >>"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }; }
size() { du --summarize --block-size=1M "$1" | cut -f1; }
paths() { (cd "$1" && find . -path '*/incremental/*/*' -prune -o -type f -print -o -path '*/incremental/*' -print | sort); }

# Makes all of a directory so many hours older, each inode once: Cargo compares the times with each other.
older() {
    python3 - "$1" "$2" <<'P'
import os, sys
seen, by = set(), int(sys.argv[2]) * 3600 * 10**9
for at, directories, files in os.walk(sys.argv[1], topdown=False):
    for place in [os.path.join(at, name) for name in files] + [at]:
        stat = os.lstat(place)
        if os.path.islink(place) or stat.st_ino in seen:
            continue
        seen.add(stat.st_ino)
        os.utime(place, ns=(stat.st_atime_ns - by, stat.st_mtime_ns - by))
P
}

# `times save DIRECTORY FILE` writes all times down, and `times restore` sets them: a copy reads, which moves access times.
times() {
    python3 - "$@" <<'P'
import json, os, sys
verb, top, file = sys.argv[1:]
if verb == "save":
    stats = {}
    for at, directories, files in os.walk(top):
        for place in [os.path.join(at, name) for name in files] + [at]:
            stat = os.lstat(place)
            stats[os.path.relpath(place, top)] = stat.st_atime_ns, stat.st_mtime_ns
    json.dump(stats, open(file, "w"))
else:
    stats = json.load(open(file))
    for path in sorted(stats, key=len, reverse=True):
        os.utime(os.path.join(top, path), ns=tuple(stats[path]), follow_symlinks=False)
P
}

now() { quietly cargo build; quietly cargo check; quietly cargo test --no-run; }

# Seconds of `cargo build` after a source file of the crate was touched.
next_build() {
    (cd "$1" && touch "$(find src -name main.rs -o -name lib.rs | sort | head -1)"
        began=$(date +%s.%N) && quietly cargo build && awk "BEGIN {printf \"%.1f\", $(date +%s.%N) - $began}")
}

# Builds one crate in all its past states in `vol/target`, and keeps a copy; `fresh` has what the last state alone makes.
prepare() {
    local name=${1%@*} version=${1#*@} base=$work/${1%@*}
    mkdir -p "$base/vol"
    quietly cargo new --vcs none "$base/fetch"
    (cd "$base/fetch" && quietly cargo add "$name@=$version" && quietly cargo vendor "$base/vendor")
    cp -r "$base/vendor/$name" "$base/src"
    rm -f "$base/src/.cargo-checksum.json"
    printf '\n[workspace]\n' >>"$base/src/Cargo.toml"
    printf 'volume: {root: %s/vol}\nrepos: []\ncaches:\n  - {kind: cargo-target, path: target, min_age: 0s}\n' "$base" >"$base/treewarden.yaml"
    # Any disk is fuller.
    printf 'eviction:\n  high: {bytes: 0.0002%%, inodes: 100%%}\n  low: {bytes: 0.0001%%, inodes: 99%%}\n' >>"$base/treewarden.yaml"
    quietly "$treewarden" --config "$base/treewarden.yaml" init "$base/vol"
    cd "$base/src"
    export CARGO_TARGET_DIR=$base/vol/target
    cp Cargo.lock "$base/locked"
    quietly cargo update
    now
    if rustup toolchain list | grep -q "^$other"; then quietly cargo "+$other" build; fi
    quietly cargo build --no-default-features || true
    quietly cargo build --profile bench
    cp "$base/locked" Cargo.lock
    older "$CARGO_TARGET_DIR" 192
    now
    older "$CARGO_TARGET_DIR" 3
    times save "$CARGO_TARGET_DIR" "$base/times"
    cp -a "$CARGO_TARGET_DIR" "$base/target"
    CARGO_TARGET_DIR=$base/fresh now
}

again() {
    rm -rf "$work/$1/vol/target"
    cp -a "$work/$1/target" "$work/$1/vol/target"
    times restore "$work/$1/vol/target" "$work/$1/times"
}

# MiB of what the second directory doesn't have, by name.
dead() {
    comm -23 <(paths "$1") <(paths "$2") | (cd "$1" && tr '\n' '\0' | du --files0-from=- --total --summarize --block-size=1K 2>/dev/null | tail -1 | cut -f1) |
        awk '{printf "%d", $1 / 1024}'
}

row() { printf '%-24s %-14s %9s %9s %11s %10s\n' "$@"; }
row crate by 'dead MiB' 'gone MiB' 'of the dead' 'next build'
for crate in "$@"; do
    name=${crate%@*}
    base=$work/$name
    (prepare "$crate")
    export CARGO_TARGET_DIR=$base/vol/target
    before=$(dead "$base/target" "$base/fresh")
    all=$(size "$base/target")
    report() {
        local left gone
        left=$(dead "$CARGO_TARGET_DIR" "$base/fresh") gone=$((all - $(size "$CARGO_TARGET_DIR")))
        row "$crate" "$1" "$before" "$gone" "$(awk "BEGIN {printf \"%.1f %%\", 100 * ($before - $left) / $before}")" "$(next_build "$base/src") s"
    }
    again "$name"
    report nothing
    again "$name"
    # It falls short, and exits with 1: no disk gets that empty.
    "$treewarden" --config "$base/treewarden.yaml" run --format json >"$base/report.json" 2>>"$work/log" || true
    report treewarden
    if command -v cargo-sweep >/dev/null; then
        again "$name"
        (cd "$base/src" && quietly cargo sweep --time 7)
        report 'cargo-sweep 7'
        again "$name"
        (cd "$base/src" && quietly cargo sweep --installed)
        report 'cargo-sweep -i'
    fi
    again "$name"
    (cd "$base/src" && quietly cargo clean && mkdir -p "$CARGO_TARGET_DIR")
    report 'cargo clean'
done
