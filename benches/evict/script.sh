#!/bin/bash
# The script that a user would write to free $2 bytes below $1: what treewarden's eviction is measured against.
set -eu; cd "$1"; wanted=$2
find . -type f -printf '%A@ %b %p\0' | sort -zn | awk -v RS='\0' -v ORS='\0' -v wanted="$wanted" \
    '{ if (freed >= wanted) exit; freed += $2 * 512; sub(/^[^ ]* [^ ]* /, ""); print }' | xargs -0 rm -f
find . -mindepth 2 -type d -empty -delete
