# The benches on real NFS, run by name only: `cost_scan cost_delete cost_night cost_verdicts cost_evict`. They print figures, and fail only if a tool fails.
#
# Each way is run from client a, mounted anew, while the wire takes longer by each of the delays in turn, once a round trip. What is printed: virtual
# milliseconds, the ratio to treewarden's, how busy the processor was, how many round trips, how many of them were under way at a time in the mean, and which.

# The same on local disks and on the client, where git's absolute paths must fit.
make_volume() {
    umount_all; rm -rf /srv/vol/* /srv/local/*
    mount --bind /srv/vol /vol
    mkdir /vol/volume
    "$treewarden" init /vol/volume >/dev/null || die init
    "$@" || die "no volume: $*"
    umount /vol
}

each_delay() {
    local delay
    modprobe sch_netem || die "module sch_netem"
    for delay in $(cat /job/delays); do
        on a tc qdisc replace dev eth0 root netem delay "${delay}us" limit 100000 || die "no delay"
        say "a round trip takes $delay us more"
        first=
        "$@"
    done
    on a tc qdisc del dev eth0 root
}

# way NAME COMMAND...: runs it on client a. The first one is what the others are compared with.
way() {
    local name=$1 from to idle took; shift
    mount_on a "$version"
    idle=$(idle) from=$(date +%s%N)
    on a "$@" >/tmp/out 2>&1 || die "$name: $(tail -3 /tmp/out)"
    to=$(date +%s%N) took=$(((to - from) / 1000000)) idle=$(($(idle) - idle))
    first=${first:-$took}
    printf '    %-28s %6d ms %6.2f x %4d %% busy %s\n' "$name" "$took" "$(ratio "$took" "$first")" $((100 - 1000 * idle / (took + 1))) "$(trips "$took")"
}
# Hundredths of a second.
idle() { awk '/^cpu / { print $5 + $6 }' /proc/stat; }
ratio() { awk -v one="$1" -v two="$2" 'BEGIN { print one / two }'; }
# By the client's own count, which begins with the mount.
trips() {
    on a awk -v took="$1" '
        /max_slots|^\txprt/ { slots = $13; backlog = $12 }
        /per-op/ { ops = 1; next }
        ops && $2 > 0 { all += $2; queued += $7; waited += $8; if ($2 > 9) told[$2 " " tolower(substr($1, 1, length($1) - 1))] = $2 }
        END {
            printf "%6d round trips, %.1f under way, %.2f ms each, %.2f queued:", all, waited / (took + 1), waited / all, queued / all
            while (1) {
                most = ""
                for (op in told) if (most == "" || told[op] > told[most]) most = op
                if (most == "") break
                printf " %s", most
                delete told[most]
            }
            print ""
        }' /proc/self/mountstats
}

# 10,000 files in 500 directories, as if a run had been stopped before it emptied its trash.
fill() {
    local bin=/srv/vol/volume/.treewarden/trash/bin package
    if ! [ -e /srv/local/bin ]; then
        for package in {1..125}; do
            mkdir -p "/srv/local/bin/$package"/{dist,lib,test} && (cd "/srv/local/bin/$package" && touch {.,dist,lib,test}/module-{1..20}.js)
        done
    fi
    mkdir -p "${bin%/*}"
    if ! [ -e "$bin" ]; then cp -a /srv/local/bin "$bin"; fi
}
bare() {
    printf 'volume: {root: /vol/volume}\nrepos: []\n' >"$TREEWARDEN_CONFIG"
}

cost_scan() {
    make_volume bare
    fill
    each_delay scans
    say "and with 10,000 files in 5 directories"
    rm -rf /srv/vol/volume/.treewarden/trash/bin
    mkdir -p /srv/vol/volume/caches/{1..5} && (cd /srv/vol/volume/caches && touch {1..5}/module-{1..2000}.js)
    each_delay scans
}
scans() {
    way "treewarden report" "$treewarden" report
    way "du" du -s /vol
    if [ -e /job/others/pdu ]; then way "pdu" /job/others/pdu --quantity block-size /vol; way "pdu, 32 threads" /job/others/pdu --threads 32 /vol; fi
    if [ -e /job/others/dua ]; then way "dua" /job/others/dua /vol; way "dua, 32 threads" /job/others/dua --threads 32 /vol; fi
    if [ -e /job/others/gdu ]; then way "gdu" /job/others/gdu -np /vol; fi
}

cost_delete() {
    make_volume bare
    each_delay deletes
}
deletes() {
    deletion "treewarden run" "$treewarden" run
    deletion "rm -rf" rm -rf /vol/volume/.treewarden/trash/bin
    deletion "find -delete" find /vol/volume/.treewarden/trash/bin -delete
}
deletion() {
    fill
    way "$@"
    if [ -e /srv/vol/volume/.treewarden/trash/bin ]; then die "$1 left something"; fi
}

# As benches/night/volume.rs makes it: repos REPOS TREES DAYS; trees that nobody worked in for DAYS, but that one is idle for five.
repos() {
    local repo tree number
    mkdir -p /vol/volume/caches/npm
    printf 'volume: {root: /vol/volume}\neviction: {high: {bytes: 99%%, inodes: 99%%}, low: {bytes: 98%%, inodes: 98%%}}\ncaches: [{kind: npm, path: caches/npm}]\nrepos:\n' >"$TREEWARDEN_CONFIG"
    pattern /srv/local/pattern || die pattern
    for ((repo = 0; repo < $1; repo++)); do
        echo "  - {name: bench/repo$repo, path: repo$repo}" >>"$TREEWARDEN_CONFIG"
        cp -a /srv/local/pattern /vol/volume/repo$repo
        for ((number = 0; number < $2; number++)); do
            tree=/vol/volume/repo$repo/.worktrees/issue$number
            git -C /vol/volume/repo$repo worktree add -q -b issue$number $tree || return 1
            cp -a /srv/local/node_modules $tree/
            echo new >$tree/src/new.ts
            if [ $number = 1 ]; then git -C $tree add -A && git -C $tree commit -qm Saved || return 1; fi
            case $number in 0) idle_for 5 $repo $tree;; 1) idle_for 3 $repo $tree;; *) idle_for "$3" $repo $tree;; esac
        done
    done
}
idle_for() {
    local then admin=/vol/volume/repo$2/.git/worktrees/${3##*/}
    if [ "$1" = 0 ]; then return; fi
    then=$(($(date +%s) - 86400 * $1))
    find "$3" -type f -exec touch -d "@$((then - 86400))" {} +
    git -C "$3" status --porcelain >/dev/null
    sed -i "s/> [0-9]* /> $then /" "$admin/logs/HEAD"
    find "$admin" -type f -exec touch -d "@$then" {} +
}
# 200 files of a repo with 30 commits; 400 that npm installed.
pattern() {
    local number
    git init -q -b main "$1" && cd "$1" || return 1
    git config gc.auto 0
    mkdir -p src/part{0..19} /srv/local/node_modules/package{0..19}/lib
    for number in {0..199}; do
        printf "export const number = $number;\n%.0s" {1..20} >src/part$((number % 20))/file$number.ts
    done
    echo node_modules/ >.gitignore
    echo '{}' >package.json
    echo '{"lockfileVersion": 3, "packages": {}}' >package-lock.json
    for number in {0..29}; do
        echo "$number" >CHANGES
        git add -A && git commit -qm 'A change' || return 1
    done
    git update-ref refs/remotes/origin/main HEAD
    git symbolic-ref refs/remotes/origin/HEAD refs/remotes/origin/main
    git gc -q
    for number in {0..19}; do
        for file in {0..19}; do echo 'module.exports = 1;' >/srv/local/node_modules/package$number/lib/file$file.js; done
    done
    echo '{"lockfileVersion": 3, "packages": {}}' >/srv/local/node_modules/.package-lock.json
    cd /
}

# 10 repos with 5 trees, in which nothing has changed since the run before.
cost_night() {
    make_volume repos 10 5 0
    mount_on a "$version"
    on a "$treewarden" run >/tmp/out 2>&1 || die "the first night: $(tail -3 /tmp/out)"
    each_delay nights
}
nights() {
    local again
    # The others change what treewarden has seen, and what changed a moment ago isn't trusted to stay as it is.
    for again in 1 2; do
        sleep 4
        on a "$treewarden" run >/tmp/out 2>&1 || die "the night before: $(tail -3 /tmp/out)"
    done
    way "treewarden run" "$treewarden" run --format json
    expect "repos that rest" 10 "$(grep -c unchanged_since /tmp/out)"
    way "script, git gc" sh /job/night.sh /vol/volume gc --quiet
    way "script, git gc --auto" sh /job/night.sh /vol/volume gc --auto --quiet
    way "git maintenance run" sh -c 'for repo in /vol/volume/repo*; do git -C "$repo" maintenance run --quiet || exit 1; done'
}

# One repo with 40 trees, idle for three days, that all have to be looked at.
cost_verdicts() {
    make_volume repos 1 40 3
    each_delay verdicts
}
verdicts() {
    way "treewarden run --dry-run" "$treewarden" run --dry-run --output /dev/null
    way "git status in each" sh -c 'for tree in /vol/volume/repo*/.worktrees/*; do git -C "$tree" status --porcelain || exit 1; done'
}

# 1,100 units with 3,900 files: unpacked crates, and what go builds.
cost_evict() {
    make_volume bare
    each_delay evictions
}
caches() {
    python3 - /srv/vol/volume/caches <<'PYTHON'
import os, sys, time
def put(path, size, days):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file: file.write(bytes(size))
    os.utime(path, (time.time() - 86400 * days,) * 2)
registry = sys.argv[1] + "/cargo/registry"
for unit in range(100):
    name, days = "index.crates.io-1949/crate-%d-1.0.0" % unit, 2 + 2 * unit
    crate = registry + "/src/" + name
    put(registry + "/cache/" + name + ".crate", 2000, days)
    for file in [".cargo-ok"] + ["%s/file-%d.rs" % (directory, number) for directory in ("src", "src/deep", "tests") for number in range(9)]:
        put(crate + "/" + file, 2000, days)
    for directory in ("/src/deep", "/src", "/tests", ""):
        os.utime(crate + directory, (time.time() - 86400 * days,) * 2)
for unit in range(1000):
    digits = "%08x" % (unit * 2654435761 % 2**32) + 56 * "0"
    put("%s/go-build/%s/%s-a" % (sys.argv[1], digits[:2], digits), 3000, 2 + unit // 5)
PYTHON
}
evictions() {
    eviction "treewarden run --only evict" "$treewarden" run --only evict
    eviction "find | sort | awk | rm" bash /job/evict.sh /vol/volume/caches '$wanted'
}
eviction() {
    local before wanted freed
    # A copy would read what it copies, and so use it.
    rm -rf /srv/vol/volume/caches
    caches || die caches
    mount_on a "$version"
    before=$(bytes) wanted=$(du -s --block-size=1 /srv/vol/volume/caches | awk '{ printf "%d", $1 / 5 }')
    marks "$wanted"
    way "${@//\$wanted/$wanted}"
    freed=$((before - $(bytes)))
    if [ $freed -lt $((wanted * 95 / 100)) ] || [ $freed -gt $((wanted * 120 / 100)) ]; then die "$1: $freed bytes freed, $wanted wanted"; fi
}
bytes() { sync; stat -f -c '%b %f %S' /srv | awk '{ printf "%d", ($1 - $2) * $3 }'; }
# The marks at which so many bytes have to go.
marks() {
    stat -f -c '%b %f %a %S' /srv | awk -v wanted="$1" '{
        used = ($1 - $2) * $4; all = ($1 - $2 + $3) * $4
        printf "volume: {root: /vol/volume}\nrepos: []\neviction:\n  high: {bytes: %.4f%%, inodes: 100%%}\n  low: {bytes: %.4f%%, inodes: 99%%}\n", 100 * used / all - 0.01, 100 * (used - wanted) / all
        print "caches: [{kind: cargo, path: caches/cargo}, {kind: go-build, path: caches/go-build}]"
    }' >"$TREEWARDEN_CONFIG"
}
