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

now() { quietly cargo build; quietly cargo check; quietly cargo test --no-run; }

# Seconds of `cargo build` after a source file of the crate was touched.
next_build() {
    (cd "$1" && touch "$(find src -name main.rs -o -name lib.rs | sort | head -1)"
        began=$(date +%s.%N) && quietly cargo build && echo "$(date +%s.%N) - $began" | bc)
}

# Builds one crate in all its past states in $work/$1/repo's worktree, and prints the tree's path.
prepare() {
    local name=${1%@*} version=${1#*@} base=$work/${1%@*}
    mkdir -p "$base/vol"
    quietly cargo new --vcs none "$base/fetch"
    (cd "$base/fetch" && quietly cargo add "$name@=$version" && quietly cargo vendor --locked "$base/vendor" ||
        quietly cargo vendor "$base/vendor")
    git -c init.defaultBranch=main init -q --bare "$base/origin.git"
    quietly git clone -q "$base/origin.git" "$base/vol/repo"
    cp -r "$base/vendor/$name/." "$base/vol/repo/"
    rm -f "$base/vol/repo/.cargo-checksum.json" "$base/vol/repo/Cargo.toml.orig"
    printf 'target/\n' >"$base/vol/repo/.gitignore"
    printf '\n[workspace]\n' >>"$base/vol/repo/Cargo.toml"
    (cd "$base/vol/repo" && git checkout -q -B main && git add -Af && git commit -qm all && quietly git push -q origin main &&
        quietly git remote set-head origin main && git worktree add -q -b work "$base/vol/tree")
    cd "$base/vol/tree"
    printf 'volume: {root: %s/vol}\nrepos:\n  - {name: repo, path: repo}\ncaches:\n  - {kind: build-output}\n' "$base" >"$base/treewarden.yaml"
    # Full above 0.1 %, so that the ladder is climbed; the last two steps stay out, as the tree has unsaved work and a note in `target`.
    printf 'eviction: {high: 0.001, low: 0.0009, critical: {min_idle: 1h}}\n' >>"$base/treewarden.yaml"
    cp Cargo.lock "$base/locked" 2>/dev/null || true
    quietly cargo update
    now
    if rustup toolchain list | grep -q "^$other"; then quietly cargo "+$other" build; fi
    quietly cargo build --no-default-features || true
    quietly cargo build --profile bench
    if [ -f "$base/locked" ]; then cp "$base/locked" Cargo.lock; fi
    older "$base/vol/tree" 192
    now
    older "$base/vol/tree" 3
    echo mine >target/notes.md
    cp -a target "$base/target"
    quietly cargo build --target-dir "$base/fresh"
    quietly cargo check --target-dir "$base/fresh"
    quietly cargo test --no-run --target-dir "$base/fresh"
}

again() { rm -rf "$work/$1/vol/tree/target"; cp -a "$work/$1/target" "$work/$1/vol/tree/target"; }

# MiB of what `fresh` doesn't have, by name.
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
    tree=$base/vol/tree
    before=$(dead "$base/target" "$base/fresh")
    all=$(size "$base/target")
    report() {
        local left gone
        left=$(dead "$tree/target" "$base/fresh") gone=$((all - $(size "$tree/target")))
        row "$crate" "$1" "$before" "$gone" "$(awk "BEGIN {printf \"%.1f %%\", 100 * ($before - $left) / $before}")" "$(next_build "$tree") s"
    }
    again "$name"
    report nothing
    again "$name"
    "$treewarden" --config "$base/treewarden.yaml" init "$base/vol" >>"$work/log"
    find "$base/vol/repo/.git/worktrees" "$tree/.git" -exec touch -d '2 hours ago' {} +
    "$treewarden" --config "$base/treewarden.yaml" run --format json >"$base/report.json" 2>>"$work/log" || true
    report treewarden
    if command -v cargo-sweep >/dev/null; then
        again "$name"
        (cd "$tree" && quietly cargo sweep --time 7)
        report 'cargo-sweep 7'
        again "$name"
        (cd "$tree" && quietly cargo sweep --installed)
        report 'cargo-sweep -i'
    fi
    again "$name"
    (cd "$tree" && quietly cargo clean)
    report 'cargo clean'
done
