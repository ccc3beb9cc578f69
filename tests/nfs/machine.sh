#!/bin/bash
# The machine, from inside: an NFS server and two clients, each in its own network and mount namespace of one kernel, then the scenarios.
#
# The clients share nothing but the network: host names, mounts, caches, NFS state and lock daemons are their own. `on a CMD` runs CMD in a
# client, `cut a` pulls its cable without a word to anybody, `plug a` puts it back. It must never end without powering the machine off.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
exec </dev/null >/dev/ttyS1 2>&1

power_off() { echo o >/proc/sysrq-trigger; sleep 60; }
trap power_off EXIT
die() { echo "failed: $*"; exit 1; }

mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
ln -sfn /proc/self/mounts /etc/mtab
ip link set lo up
hostname server
printf '127.0.0.1 localhost\n10.0.0.1 server\n10.0.0.2 a\n10.0.0.3 b\n' >/etc/hosts
for module in loop ext4 nfsd nfsv3 nfsv4 lockd bridge veth; do modprobe "$module" || die "module $module"; done

# What is exported is an ext4 in memory: the disk would take its time outside of the virtual clock.
truncate -s 700M /run/disk && mkfs.ext4 -q -N 200000 -E nodiscard /run/disk && mkdir -p /srv && mount -o loop /run/disk /srv || die ext4
mkdir -p /srv/vol /srv/local /vol /run/rpcbind /run/rpc_pipefs /var/lib/nfs/{sm,sm.bak,nfsdcld,v4recovery}
mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
mount -t nfsd nfsd /proc/fs/nfsd
echo '/srv/vol *(rw,sync,no_subtree_check,no_root_squash,insecure,fsid=0)' >/etc/exports

server_up() {
    nfsdcld
    exportfs -ra
    rpc.mountd
    rpc.nfsd -V 3 -V 4.2 4 || die nfsd
}
# As a crash: no state is handed back, and the clients are not told.
server_down() {
    rpc.nfsd 0
    pkill -x rpc.mountd
    pkill -x nfsdcld
}
rpcbind -w
rpc.statd --no-notify
server_up

on() { local who=$1; shift; nsenter -t "$(cat "/run/client-$who")" -m -n -u -- "$@"; }
cut() { ip link set "to-$1" nomaster; }
plug() { ip link set "to-$1" master lan; }

ip link add lan type bridge && ip addr add 10.0.0.1/24 dev lan && ip link set lan up || die network
client() {
    local who=$1 number=$2
    ip netns add "$who"
    ip link add "to-$who" type veth peer name eth0 netns "$who"
    ip link set "to-$who" master lan up
    ip -n "$who" link set lo up
    ip -n "$who" addr add "10.0.0.$number/24" dev eth0
    ip -n "$who" link set eth0 up
    ip netns exec "$who" unshare --mount --uts --propagation private sleep infinity &
    echo $! >"/run/client-$who"
    sleep 0.5
    on "$who" hostname "$who"
    mkdir -p "/tmp/run-$who/rpcbind" "/tmp/nfs-$who"/{sm,sm.bak,rpc_pipefs} && chown -R statd "/tmp/nfs-$who"
    on "$who" mount --bind "/tmp/nfs-$who" /var/lib/nfs
    on "$who" bash -c "mount --bind /tmp/run-$who /run && rpcbind -w && rpc.statd --no-notify"
}
# A dead machine's successor, of the same name and address.
reboot() {
    kill -KILL "$(cat "/run/client-$1")"
    ip link del "to-$1"
    ip netns del "$1"
    client "$1" "$2"
}
# mount_on CLIENT VERSION [OPTIONS]
mount_on() {
    local from=10.0.0.1:/
    if [ "$2" = 3 ]; then from=10.0.0.1:/srv/vol; fi
    on "$1" umount /vol 2>/dev/null
    on "$1" mount -t nfs -o "vers=$2${3:+,$3}" "$from" /vol || die "client $1: no mount (vers=$2 ${3:-})"
}
client a 2
client b 3

source /job/benches.sh
source /job/scenarios.sh
