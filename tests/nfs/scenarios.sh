# The scenarios, each a function: what two machines on one volume must see. It must never pass over a wrong answer: `expect` ends the run.
#
# Time is the machine's own, which is virtual: a second here is no second outside.

treewarden=/job/treewarden
# Trees are aged by `touch`, which no run believes otherwise: a debug build passes over the times at which inodes were changed.
export TREEWARDEN_TEST_TOUCHED=1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com TREEWARDEN_CONFIG=/tmp/config.yaml

now() { local up; read -r up _ </proc/uptime; echo "${up%.*}"; }
say() { echo "    $*"; }
expect() { if [ "$2" != "$3" ]; then die "$1: expected \`$2\`, got \`$3\`"; fi; }
# A lock of a machine that is gone is free after the lease, 90 s. A Linux client that waits for it asks after 1, 3, 7, 15, 31, 61, 91, 121, 151 s; who
# asks first after the lease may only have the server let go of it.
freed=160
within() { if [ "$2" -gt "$3" ]; then die "$1: $2 s are more than $3"; fi; say "$1: $2 s"; }
# until_true SECONDS COMMAND...
until_true() {
    local most=$(($(now) + $1)); shift
    until "$@"; do
        if [ "$(now)" -gt "$most" ]; then die "never came true: $*"; fi
        sleep 0.2
    done
}
# A command's exit code into $code, its output into /tmp/out.
code_of() { "$@" >/tmp/out 2>&1 && code=0 || code=$?; }

ended() { wait "$1" && code=0 || code=$?; }

# A fresh volume at /vol/volume, with repos whose worktrees have landed long ago: `volume shop=3 api=1`.
volume() {
    umount_all; rm -rf /srv/vol/*
    mount_on a "$version"; mount_on b "$version"
    echo 'volume: {root: /vol/volume}' >"$TREEWARDEN_CONFIG"
    echo 'repos:' >>"$TREEWARDEN_CONFIG"
    mkdir /srv/vol/volume
    on a "$treewarden" init /vol/volume >/dev/null || die init
    local repo
    for repo in "$@"; do
        echo "  - {name: acme/${repo%=*}, path: ${repo%=*}, lock_wait: 5m}" >>"$TREEWARDEN_CONFIG"
        GIT_AUTHOR_DATE=@1600000000 GIT_COMMITTER_DATE=@1600000000 on a bash -euc '
            mkdir -p /vol/volume/worktrees; git init -q -b main "/vol/volume/$1"; cd "/vol/volume/$1"
            for n in 1 2 3; do echo "$n" >"file-$n"; done
            git add . && git commit -qm first
            git update-ref refs/remotes/origin/main HEAD
            git symbolic-ref refs/remotes/origin/HEAD refs/remotes/origin/main
            for ((n = 1; n <= $2; n++)); do git worktree add -q -b "$1-$n" "/vol/volume/worktrees/$1/tree-$n"; done
            find /vol/volume/worktrees .git -exec touch -h -d 2020-10-01 {} +' - "${repo%=*}" "${repo#*=}" || die "repo $repo"
    done
}
umount_all() { local who; for who in a b; do on $who umount -l /vol 2>/dev/null; done; true; }
trees() { ls "/srv/vol/volume/worktrees/$1" 2>/dev/null | wc -l; }
intact() { on b git -C "/vol/volume/$1" fsck --no-progress >/tmp/fsck 2>&1 || { cat /tmp/fsck; die "fsck of $1"; }; }
# Everything on the volume, by path, kind, size and time of writing: one line of all.
listing() { find /srv/vol/volume -printf '%P %y %s %T@\n' | sort | sha256sum; }

# hold CLIENT SECONDS: an agent's command that holds the lock of acme/shop. Gives $holder when it does.
hold() {
    rm -f /srv/vol/held
    on "$1" "$treewarden" exec acme/shop -- bash -c "touch /vol/held; sleep $2" >"/tmp/hold-$1" 2>&1 &
    holder=$!
    until_true 130 test -e /srv/vol/held
}

# Scenarios

options() {
    volume shop=3
    local before bad rescue
    echo new >/srv/vol/volume/worktrees/shop/tree-3/new
    code_of on a "$treewarden" worktree remove acme/shop tree-3 --rescue
    expect "a rescue ($(cat /tmp/out))" 0 "$code"
    rescue=$(git -C /srv/vol/volume/shop for-each-ref --format='%(refname)' refs/treewarden/rescue)
    before=$(listing)
    # On v4 the kernel takes no notice of these.
    for bad in 3:nolock 3:local_lock=all 3:local_lock=flock; do
        mount_on b "${bad%:*}" "${bad#*:}"
        local command
        for command in run 'exec acme/shop -- true' 'worktree add acme/shop new' 'worktree remove acme/shop tree-1' 'enroll acme/shop' "rescue restore $rescue"; do
            # shellcheck disable=SC2086 # words
            code_of on b "$treewarden" $command
            expect "$bad: $command ($(tail -1 /tmp/out))" 3 "$code"
        done
        code_of on b "$treewarden" report
        expect "$bad: report" 0 "$code"
        code_of on b "$treewarden" check
        expect "$bad: check" 3 "$code"
        grep -q '^!!  mount locks .*on this machine alone' /tmp/out || { cat /tmp/out; die "$bad: check says nothing"; }
        expect "$bad: what is on the volume" "$before" "$(listing)"
    done
    mount_on b 4.2 soft,actimeo=600
    code_of on b "$treewarden" check
    expect "soft: what check minds" 2 "$(grep -c '^!!' /tmp/out)"
    for bad in 4.2: 3:local_lock=posix 3:; do
        mount_on b "${bad%:*}" "${bad#*:}"
        code_of on b "$treewarden" check
        if [ "$code" != 0 ]; then cat /tmp/out; fi
        expect "$bad: check" 0 "$code"
        grep '^ok  mount' /tmp/out
        code_of on b "$treewarden" exec acme/shop -- true
        expect "$bad: exec ($(cat /tmp/out))" 0 "$code"
    done
}

contention() {
    volume shop=0
    echo 0 >/srv/vol/count
    local who n
    for who in a b; do
        for n in 1 2 3; do
            # One of three is a shell that knows nothing of treewarden.
            on $who bash -c '
                inside() { mkdir /vol/inside || echo overlap; read -r n </vol/count; echo $((n + 1)) >/vol/count; rmdir /vol/inside; }
                export -f inside
                lock=/vol/volume/.treewarden/locks/acme__shop.lock
                for ((turn = 0; turn < 12; turn++)); do
                    if [ $1 = 1 ]; then flock "$lock" bash -c inside; else /job/treewarden exec acme/shop --wait 10m -- bash -c inside; fi || echo "code $?"
                done' - $n >"/tmp/contend-$who-$n" 2>&1 &
        done
    done
    local began; began=$(now)
    wait $(jobs -p | tail -6)
    expect "what the holders say" "" "$(cat /tmp/contend-*)"
    expect "how often it was held" 72 "$(cat /srv/vol/count)"
    say "72 times held by 6 processes on 2 machines, 0 overlaps: $(($(now) - began)) s"
}

killed() {
    volume shop=0
    hold a 100000
    cut a
    local began; began=$(now)
    on a pkill -KILL treewarden
    code_of on b "$treewarden" exec acme/shop --no-wait -- true
    expect "b at once" 75 "$code"
    code_of on b "$treewarden" exec acme/shop --wait 10m -- true
    expect "b after a's lease ($(cat /tmp/out))" 0 "$code"
    reboot a 2
    within "b has the lock of a machine that died" $(($(now) - began)) $freed
}

restart() {
    volume shop=0
    hold a 200
    server_down
    sleep 5
    server_up
    local began; began=$(now)
    code_of on b "$treewarden" exec acme/shop --wait 20s -- true
    expect "b while a holds ($(cat /tmp/out))" 75 "$code"
    say "b was told so after $(($(now) - began)) s"
    ended $holder
    expect "a's own command ($(cat /tmp/hold-a))" 0 "$code"
    code_of on b "$treewarden" exec acme/shop --wait 1m -- true
    expect "b after a" 0 "$code"
    say "a kept the lock through the server's restart"
}

partition() {
    volume shop=0
    hold a 100000
    cut a
    local began; began=$(now)
    rm /srv/vol/held
    on b "$treewarden" exec acme/shop --wait 10m -- bash -c 'touch /vol/held; sleep 300' >/tmp/hold-b 2>&1 &
    local other=$!
    until_true 200 test -e /srv/vol/held
    within "b has the lock of a machine that is cut off" $(($(now) - began)) $freed
    plug a
    began=$(now)
    ended $holder
    expect "a's command ($(cat /tmp/hold-a))" 1 "$code"
    grep -q 'lost the lock' /tmp/hold-a || { cat /tmp/hold-a; die "a doesn't say why"; }
    within "a is back, sees its lock lost, and ends its command" $(($(now) - began)) 60
    ended $other
    expect "b's command ($(cat /tmp/hold-b))" 0 "$code"
}

partition_of_a_night() {
    volume shop=16
    on a "$treewarden" run --format json >/tmp/a.json 2>/tmp/a.err &
    local run=$!
    until_true 100 bash -c '[ "$(ls /srv/vol/volume/worktrees/shop | wc -l)" -lt 14 ]'
    cut a
    local began left; began=$(now) left=$(trees shop)
    # A cable may carry a packet more than is left to look at.
    sleep 1
    expect "trees that go while a is cut off" "$left" "$(trees shop)"
    code=3
    until_true 300 b_runs
    within "b's night goes ahead" $(($(now) - began)) 200
    expect "b's night ($(cat /tmp/b.err))" 0 "$code"
    expect "trees after b's night" 0 "$(trees shop)"
    # Now somebody works where trees of those names stood.
    local n
    for ((n = 1; n <= 16; n++)); do
        on b bash -euc 'git -C /vol/volume/shop worktree add -q --force "$1" "shop-$2"; echo new >"$1/new"' - "/vol/volume/worktrees/shop/tree-$n" "$n" \
            >>/tmp/add 2>&1 || { cat /tmp/add; die "b's tree $n"; }
    done
    plug a
    began=$(now)
    ended $run
    expect "a's night" 1 "$code"
    within "a is back, and its night over" $(($(now) - began)) 100
    grep -q 'lost the lock' /tmp/a.json || { cat /tmp/a.json; die "a doesn't say why"; }
    # One call may have been under way when the cable was pulled. What it moved, the next run puts back.
    local stands; stands=$(ls -d /srv/vol/volume/worktrees/shop/*/new | wc -l)
    say "of 16 new trees $stands stand, at once"
    code_of on b "$treewarden" run --format json
    expect "the next run ($(cat /tmp/out))" 0 "$code"
    expect "new trees that stand after the next run" 16 "$(ls -d /srv/vol/volume/worktrees/shop/*/new | wc -l)"
    intact shop
}
b_runs () {
    on b "$treewarden" run --format json >/tmp/b.json 2>/tmp/b.err && code=0 || code=$?
    if [ $code = 3 ]; then sleep 5; return 1; fi
}

# What a remembers of a name that wasn't there must not cost a new tree of b's its registration.
late_name() {
    volume shop=1
    mount_on a "$version"
    on a ls /vol/volume/worktrees/shop/new 2>/dev/null
    on b git -C /vol/volume/shop worktree add -q /vol/volume/worktrees/shop/new
    on b bash -c 'echo work >/vol/volume/worktrees/shop/new/work'
    if on a test -e /vol/volume/worktrees/shop/new; then say "a sees it at once: this shows nothing"; fi
    code_of on a "$treewarden" worktree remove acme/shop new
    say "a says: $(cat /tmp/out)"
    expect "the registration" "branch refs/heads/new" "$(on b git -C /vol/volume/worktrees/shop/new worktree list --porcelain | grep '^branch.*/new$')"
    expect "the work" work "$(cat /srv/vol/volume/worktrees/shop/new/work)"
    expect "a's exit code" 1 "$code"
}

open_file() {
    volume shop=2
    # Somebody sits in his tree with a file open, and does nothing.
    on b bash -c 'cd /vol/volume/worktrees/shop/tree-1 && exec 3<file-1 && touch /tmp/sits && exec sleep 100000' &
    local sits=$!
    until_true 20 test -e /tmp/sits
    code_of on a "$treewarden" run
    expect "the run ($(cat /tmp/out))" 0 "$code"
    expect "trees after it" 0 "$(trees shop)"
    say "a tree with a file open elsewhere goes"
    kill -KILL $sits
}

# b writes to a file of which a remembers what it was: in the run's second look, by the repo's probe.
late_write() {
    volume shop=1
    mount_on a "$version" actimeo=60
    cat >/tmp/probe <<'PROBE'
#!/bin/bash
echo >>/tmp/probes
if [ "$(wc -l </tmp/probes)" = 2 ]; then
    touch /tmp/go
    until [ -e /tmp/wrote ]; do sleep 0.1; done
fi
exit 1
PROBE
    chmod +x /tmp/probe
    sed -i 's|lock_wait: 5m|lock_wait: 5m, busy_probe: [/tmp/probe]|' "$TREEWARDEN_CONFIG"
    on b bash -c 'until [ -e /tmp/go ]; do sleep 0.1; done; echo precious >>/vol/volume/worktrees/shop/tree-1/file-1; touch /tmp/wrote' &
    code_of on a "$treewarden" run
    expect "the run ($(cat /tmp/out))" 0 "$code"
    expect "b wrote" 2 "$(wc -l </tmp/probes)"
    expect "what b wrote" precious "$(tail -1 /srv/vol/volume/worktrees/shop/tree-1/file-1)"
    say "what b wrote a moment ago stays, though a remembered the file as it was"
}

stuck() {
    volume shop=1 api=1
    # b has a file of shop's tree delegated to it, and is cut off: whoever takes that file waits for b.
    on b bash -c 'exec 3</vol/volume/worktrees/shop/tree-1/file-1; cat <&3 >/dev/null; touch /tmp/reads; exec sleep 100000' &
    until_true 20 test -e /tmp/reads
    cut b
    local began; began=$(now)
    on a "$treewarden" run --format json >/tmp/a.json 2>/tmp/a.err &
    local run=$!
    until_true 130 bash -c '[ "$(ls /srv/vol/volume/worktrees/api | wc -l)" = 0 ]'
    within "the other repo's tree goes" $(($(now) - began)) 30
    ended $run
    expect "the run ($(cat /tmp/a.err))" 0 "$code"
    expect "trees of shop" 0 "$(trees shop)"
    within "the run ends" $(($(now) - began)) 200
    plug b
}

# A run of `treewarden demo`, in every state that a repo can be in: the same report everywhere.
night() {
    local where
    for where in local 4.2 3; do
        umount_all; rm -rf /srv/vol/demo
        if [ $where = local ]; then
            mount --bind /srv/local /vol
            code_of "$treewarden" demo --at /vol/demo
            "$treewarden" history --config /vol/demo/treewarden.yaml --format json >/tmp/night-local
            umount /vol
            rm -rf /srv/local/demo
        else
            mount_on a $where
            local began; began=$(now)
            code_of on a "$treewarden" demo --at /vol/demo
            on a "$treewarden" history --config /vol/demo/treewarden.yaml --format json >/tmp/night-$where
            say "NFS $where: $(($(now) - began)) s, the night $(python3 /job/compare.py seconds /tmp/night-$where) s"
        fi
        if [ "$code" != 0 ]; then cat /tmp/out; fi
        expect "$where: the demo" 0 "$code"
        python3 /job/compare.py same /tmp/night-local /tmp/night-$where || die "the reports differ: local and $where"
    done
}

version=4.2
mount_on a 4.2
on a flock /vol/first true
say "the server's grace period is over, $(now) s after the start"
ended_well=
for scenario in $(cat /job/scenarios); do
    echo "==> $scenario"
    began_all=$(now)
    $scenario
    say "$(($(now) - began_all)) s in all"
    ended_well="$ended_well${ended_well:+ }$scenario"
done
# An error of bash's own leaves the loop.
expect "what ran" "$(cat /job/scenarios)" "$ended_well"
echo "==> all is well"
