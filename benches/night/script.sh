#!/bin/sh
# The script that a user would write, to compare a run with. $1 is the volume, $2 how to collect garbage.
set -eu
volume=$1
shift
for checkout in "$volume"/*/.git; do
    repo=${checkout%/.git}
    git -C "$repo" worktree prune
    git -C "$repo" worktree list --porcelain | sed -n 's/^worktree //p' | tail -n +2 | while read -r tree; do
        [ -n "$(git -C "$tree" status --porcelain)" ] && continue
        # Clean, and nobody wrote there for a month.
        [ -n "$(find "$tree" -newermt '30 days ago' -print -quit)" ] || git -C "$repo" worktree remove "$tree"
    done
    git -C "$repo" "$@"
done
du -s "$volume"/caches/*
used=$(df --output=pcent "$volume" | tail -n 1 | tr -dc 0-9)
if [ "$used" -ge 99 ]; then
    find "$volume/caches" -type f -printf '%A@ %p\n' | sort -n | head -n 1000 | cut -d ' ' -f 2- | xargs -r -d '\n' rm -f
fi
