#!/bin/bash
# deps.sh — installs the Debian packages that building (deps.sh build), testing (deps.sh test) or
# measuring (deps.sh bench) needs and that are missing.  With nothing missing it does nothing and
# needs no network.
#
# The one list of what the project needs from outside:
set -euo pipefail
cd "$(dirname "$0")/.."

build_packages="gcc make libc6-dev libjansson-dev libxxhash-dev libjemalloc-dev
                libedit-dev libssl-dev"
test_packages="clang clang-format libclang-rt-dev libasan8 libubsan1 libtsan2
               git strace redis-server redis-tools python3 python3-redis libhiredis-dev"
bench_packages="redis-server redis-tools python3 etcd-server"
# Node.js may come from elsewhere: looked for by command.
test_commands="node:nodejs npm:npm"
# Servers that Debian starts when their package is installed.  Ours is not to have them running.
services="redis-server:redis-server etcd-server:etcd"

say() { echo "deps: $*" >&2; }

missing_packages() {
    local name
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || echo "$name"
    done
}

missing_commands() {
    local pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo ${CI:+-n} "$@"
    fi
}

install_packages() {
    say "installing:" "$@"
    if ! command -v apt-get >/dev/null; then
        say "apt-get not found: please install these packages (Debian's names) by hand: $*"
        exit 1
    fi
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        say "neither root nor sudo: please run  apt-get install $*"
        exit 1
    fi
    local apt="env DEBIAN_FRONTEND=noninteractive apt-get -q"
    apt="$apt -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300"
    as_root $apt update </dev/null >&2 || say "apt-get update failed; trying with what is known"
    as_root $apt install -y --no-install-recommends "$@" </dev/null >&2 || {
        say "could not install: $*"
        exit 1
    }
    stop_services "$@"
}

# Only of packages that were not there before: nobody relies on those.
stop_services() {
    local pair
    for pair in $services; do
        if [ -d /run/systemd/system ] && [[ " $* " == *" ${pair%%:*} "* ]]; then
            say "stopping and disabling the service ${pair##*:}"
            as_root systemctl disable --quiet --now "${pair##*:}" </dev/null >&2 ||
                say "could not: please look at  systemctl status ${pair##*:}"
        fi
    done
}

# Client libraries of Node.js, pinned by tests/e2e/package-lock.json, into build/node.  They ask for
# Node.js 20 and work with Debian's 18.
install_node_modules() {
    local to=build/node
    if cmp -s tests/e2e/package-lock.json $to/installed-lock.json; then
        return
    fi
    say "installing Node.js clients into $to"
    mkdir -p $to
    cp tests/e2e/package.json tests/e2e/package-lock.json $to/
    (cd $to && npm ci --no-audit --no-fund --ignore-scripts --engine-strict=false \
        --loglevel=error </dev/null >&2) || {
        say "npm ci failed in $to"
        exit 1
    }
    cp tests/e2e/package-lock.json $to/installed-lock.json
}

case "${1:-}" in
build) packages="$build_packages" commands="" ;;
test) packages="$build_packages $test_packages" commands="$test_commands" ;;
bench) packages="$build_packages $bench_packages" commands="" ;;
*) echo "usage: tools/deps.sh build|test|bench" >&2; exit 2 ;;
esac
wanted=$(missing_packages $packages; missing_commands $commands)
if [ -n "$wanted" ]; then
    install_packages $wanted
fi
if [ "$1" = test ]; then
    install_node_modules
fi
