#!/usr/bin/env bash
# Sees to what a Makefile target needs on this machine: dependencies.sh build|demo|lab|test|bench|emulated
# As root, what is missing is installed from the distribution (apt); otherwise the command to do so is printed.
set -euo pipefail

missing=()
virtme=.build/virtme

# need PACKAGE CHECK…: PACKAGE brings what CHECK finds.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

for_build() {
    if ! has swift >/dev/null; then
        echo "Culvert is built with Swift 6.2 or later, which is not on the PATH: https://www.swift.org/install" >&2
        exit 1
    fi
    need git has git
    need pkg-config has pkg-config
    need libssl-dev pkg-config --exists 'openssl >= 3.0'
    need libgnutls28-dev pkg-config --exists 'gnutls >= 3.7'
    need liblz4-dev pkg-config --exists liblz4
    # Found when the program runs, if it is there; compiling needs the header. It is for x86 only.
    [ "$(uname -m)" != x86_64 ] || need libipsec-mb-dev test -e /usr/include/intel-ipsec-mb.h
    # Swift's Foundation, linked in statically, asks for it.
    need libcurl4-openssl-dev pkg-config --exists libcurl
}

for_demo() {
    for_build
    need qemu-system-x86 has qemu-system-x86_64
    # Assembles the guest.
    need binutils has as
}

for_lab() {
    for_demo
    need libvirt-daemon has libvirtd
    need libvirt-daemon-driver-qemu compgen -G '/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so'
    need libvirt-clients has virsh
    need qemu-utils has qemu-img
    need nftables has nft
    need iproute2 has ip
    need util-linux has nsenter
    need procps has pgrep
}

for_test() {
    for_lab
    need openssl has openssl
    need gnutls-bin has gnutls-cli
    need python3 has python3
}

for_bench() {
    for_build
    need openssl has openssl
    need python3 has python3
    need haproxy has haproxy
    need nginx has nginx
    need libnginx-mod-stream test -e /usr/lib/nginx/modules/ngx_stream_module.so
    need stunnel4 has stunnel
    need spiped has spiped
    need socat has socat
    need openssh-client has ssh
    need openssh-server has sshd
    need iproute2 has tc
}

# What packaging/emulated/run boots, and what bench/netem runs there.
for_emulated() {
    need linux-image-amd64 compgen -G '/boot/vmlinuz-*-amd64'
    # For the initial file system.
    need busybox-static has busybox
    need qemu-system-x86 has qemu-system-x86_64
    need iproute2 has tc
    need util-linux has nsenter
    need haproxy has haproxy
    need openssl has openssl
    need python3 has python3
    need python3-venv python3 -c 'import ensurepip, venv'
}

# Debian 12 has no package of it. In the tree it gets into nobody's way.
install_virtme() {
    local version=1.42
    [ ! -e $virtme/$version ] || return 0
    echo "installing virtme-ng $version in $virtme"
    python3 -m venv --clear $virtme
    $virtme/bin/pip install --quiet --disable-pip-version-check virtme-ng==$version
    touch $virtme/$version
}

# Installs without starting what the packages would start as services: the benchmark and the lab start their own.
install_packages() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap "rm -f $policy" EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -qq --no-install-recommends "$@" >/dev/null; }
}

case ${1:-} in
    build | demo | lab | test | bench | emulated) "for_$1" ;;
    *)
        echo "usage: ${0##*/} build|demo|lab|test|bench|emulated" >&2
        exit 2
        ;;
esac

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && has apt-get >/dev/null; then
        echo "installing ${missing[*]}"
        install_packages "${missing[@]}"
    else
        echo "'make $1' needs what is not installed. On Debian or Ubuntu, install it with:" >&2
        echo "    sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
fi
if [ "$1" = emulated ]; then install_virtme; fi
