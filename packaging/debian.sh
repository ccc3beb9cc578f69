#!/usr/bin/env bash
# A Debian to build and try in, where no registry of images can be reached: sourced by scripts in the top directory, as root.
#
# All that podman keeps stands in target/image: it must never write elsewhere.
here=$PWD/target/image
debian=localhost/debian:trixie
# The limits are this machine's to give: it may not raise its own.
export CONTAINERS_CONF=$PWD/packaging/containers.conf

engine() { podman --root "$here/storage" --runroot "$here/run" --runtime runc --cgroup-manager cgroupfs "$@"; }

# Makes it by debootstrap, as slim as the official image.
make_debian() {
    local root=$here/debian
    .ci/install podman:podman runc:runc debootstrap:debootstrap
    mkdir -p "$here"
    if engine image exists "$debian"; then return; fi
    rm -rf "$root"
    debootstrap --variant=minbase trixie "$root" >"$here/debootstrap.log" || { tail "$here/debootstrap.log"; exit 1; }
    # What the official slim image lacks, too.
    printf 'path-exclude /usr/share/%s/*\n' doc groff info lintian linda locale man >"$root/etc/dpkg/dpkg.cfg.d/slim"
    rm -rf "$root"/usr/share/{doc,groff,info,lintian,linda,locale,man}/* "$root"/var/{cache/apt,lib/apt/lists,log}/*
    tar -C "$root" -c . | engine import --quiet - "$debian" >/dev/null
    rm -rf "$root"
}
