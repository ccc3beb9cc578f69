#!/usr/bin/env bash
# Runs the pods of base/, report/ and enroll/ for real, on the image of image.sh: `cronjobs/play.sh`, as root on a Debian, with kubectl and python3.
#
# podman takes each pod's spec as the cluster has it: config from the ConfigMap, the claim as a volume, ids, limits, a read-only root; and
# here no network. What it doesn't show is the Job (what it makes of an exit code), the NetworkPolicy, and NFS.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
. packaging/debian.sh
image=localhost/treewarden:here
claim=agents-volume
ours=target/play

engine image exists "$image" || { echo "there is no image: run cronjobs/image.sh first" >&2; exit 1; }
.ci/install catatonit:catatonit
clean() {
    engine pod rm --force --time 0 --all >/dev/null 2>&1
    engine rm --force --time 0 --all >/dev/null
    engine volume rm --force --all >/dev/null
    rm -rf "$ours"
}
trap clean EXIT
clean
if ! engine run --rm --network none "$image" --version >/dev/null; then
    # The message above is the kernel's or runc's.
    echo "LEFT OUT: the pod was not run, for no container starts here" >&2
    exit 0
fi

# Overlays as in example/, with the config from standard input, and a forge's password.
overlays() {
    local base
    mkdir -p "$ours"/{base,report,enroll}
    tee "$ours"/{base,report,enroll}/treewarden.yaml >/dev/null
    for base in base report enroll; do
        cat >"$ours/$base/kustomization.yaml" <<OVERLAY
resources: [../../../cronjobs/$base]
images: [{name: registry.example.internal/treewarden, newName: ${image%:*}, newTag: ${image#*:}}]
configMapGenerator: [{name: treewarden-config, behavior: replace, files: [treewarden.yaml]}]
OVERLAY
    done
    echo 'secretGenerator: [{name: treewarden-git, files: [gitconfig, token]}]' >>"$ours/enroll/kustomization.yaml"
    cat >"$ours/enroll/gitconfig" <<'GIT'
[credential "http://127.0.0.1:8080"]
    username = me
    helper = "!f() { test \"$1\" = get && echo \"password=$(cat /etc/treewarden-git/token)\"; }; f"
GIT
    echo secret >"$ours/enroll/token"
}

load() {
    kubectl kustomize "$ours/$1" | python3 cronjobs/pod.py "${@:2}" >"$ours/pod.yaml"
    engine kube play --quiet --network none --start=false --replace "$ours/pod.yaml" >/dev/null
}

start() { load "$@"; engine pod start treewarden >/dev/null; }

# What the last pod left: its exit code, and some words of its log.
expect() {
    local code log
    code=$(engine wait treewarden-treewarden)
    log=$(engine logs treewarden-treewarden 2>&1)
    if [ "$code" != "$1" ] || [[ $log != *"$2"* ]]; then
        echo "expected exit code $1 and \"$2\", got $code and: $log" >&2
        exit 1
    fi
    echo "    exit code $code: $2"
}

play() { start "${@:3}"; expect "$1" "$2"; }

# An agent of the same image, on the same volume: `agent SCRIPT [OPTION...]`.
agent() {
    engine run --volume "$claim:/data" --volume "$PWD/$ours/base/treewarden.yaml:/etc/treewarden/treewarden.yaml:ro" \
        --workdir /data --entrypoint sh "${@:2}" "$image" -euc "$1" >/dev/null
}

# As an NFS server's administrator does once.
engine volume create "$claim" >/dev/null
chown 1000:1000 "$(engine volume inspect --format '{{.Mountpoint}}' "$claim")"

overlays <<'CONFIG'
volume: {root: /data}
repos: [{name: acme/shop, path: acme__shop, url: "http://127.0.0.1:8080/shop.git"}]
defaults: {worktrees: {fresh: 1s, unsaved: 1s}}
CONFIG
play 3 'Refused: nothing was touched' base
taken=$(engine inspect --format '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Memory}}' treewarden-treewarden)
[ "$taken" = '1000:1000 true 4294967296' ] || { echo "podman took another spec: $taken" >&2; exit 1; }
play 0 'prepared `/data`' base init /data
play 3 'there is no git checkout at `acme__shop`' base check
play 1 'there is no git checkout at `acme__shop`' base

# A forge within the pod, where alone `127.0.0.1` is its own.
load enroll
agent 'git init --quiet --initial-branch main /tmp/shop
    echo begun >/tmp/shop/README
    git -C /tmp/shop add README
    git -C /tmp/shop -c user.name=a -c user.email=a@example.org commit --quiet --message begun
    git clone --quiet --bare /tmp/shop /tmp/forge/shop.git
    git -C /tmp/forge/shop.git update-server-info
    echo "/:me:secret" >/tmp/only
    exec busybox httpd -f -p 8080 -h /tmp/forge -c /tmp/only' --pod treewarden --detach --name forge
sleep 1
engine pod start treewarden >/dev/null
expect 0 'enrolled acme/shop'
engine rm --force --time 0 forge >/dev/null

agent 'cd acme__shop
    git worktree add --quiet .worktrees/looked-at
    git worktree add --quiet .worktrees/worked-in
    echo work >.worktrees/worked-in/notes
    sleep 2' --rm
play 0 'ok  repo acme/shop' base check
play 0 'looked-at' report
agent 'ls acme__shop/.worktrees/looked-at/.git acme__shop/.worktrees/worked-in/notes' --rm
play 0 'looked-at' base
agent '[ -z "$(ls acme__shop/.worktrees)" ]; cd acme__shop
    [ "$(git cat-file blob "$(git for-each-ref --format "%(refname)" refs/treewarden):notes")" = work ]' --rm

# A drained node: the pod is asked to stop while the run waits for an agent's lock.
agent 'git -C acme__shop worktree add --quiet .worktrees/late
    exec treewarden exec acme/shop -- sleep 300' --detach
start base
sleep 2
engine kill --signal TERM treewarden-treewarden >/dev/null
expect 4 'Stopped early. Freed nothing'

overlays <<'CONFIG'
volume: {root: /data}
repos: [{name: acme/shop, path: acme__shop}]
run: {dedline: 4h}
CONFIG
play 2 'dedline' base
