"""Reads treewarden's reports for the scenarios: `same A B` compares two nights, whose times, hosts and ids may differ, and nothing else.

It must never leave out what a night did or said.
"""

import json
import re
import sys

# What differs from night to night, or from place to place.
PASSING = {"id", "started", "finished", "host", "seconds", "waited_seconds", "idle_seconds", "total_bytes", "total_inodes"}
# How full the volume is: the place where a folder lists its files differs from disk to disk, and with it some KiB of what is wanted.
LEVELS = {"before", "after"}
MIB = 1 << 20
TIMES = re.compile(r"\d{8}T\d{6}Z|\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( UTC|Z)?|[\w.-]+ \(pid \d+\)|\b[0-9a-f]{40}\b|\d+ %")


def night(path):
    runs = json.load(open(path))
    return runs[-1] if isinstance(runs, list) else runs


def plain(value, inside=""):
    if inside == "wanted_bytes":
        return round(value / MIB)
    if isinstance(value, dict):
        kept = {key: plain(each, key) for key, each in value.items() if key not in PASSING}
        return {key: each for key, each in kept.items() if not (inside == "volume" and key in LEVELS)}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return TIMES.sub("TIME", value) if isinstance(value, str) else value


def lines(path):
    return json.dumps(plain(night(path)), indent=1, sort_keys=True).splitlines()


what, *files = sys.argv[1:]
if what == "seconds":
    print(round(sum(repo["seconds"] for repo in night(files[0])["repos"]), 1))
elif what == "tree":
    print("; ".join(f"{tree['outcome']}: {tree['reasons'][:1]}" for repo in night(files[0])["repos"] for tree in repo["worktrees"]))
else:
    import difflib

    different = list(difflib.unified_diff(*map(lines, files), *files, lineterm="", n=4))
    print("\n".join(different), end="\n" if different else "")
    sys.exit(bool(different))
