#!/bin/bash
# mutants.sh — proof that the random Raft test can find bugs.
#
# Builds the core once per known bug (src/base/mutant.h) in a folder of its own and demands that
# raft_random_test catches it within SEEDS lives.  Prints one line each; fails if any survives, or
# if the core without a bug does not pass.
#
#   tests/unit/cluster/mutants.sh [MUT_NAME ...]       SEEDS=n (default 10000)  CC=gcc|clang
set -eu -o pipefail
cd "$(dirname "$0")/../../.."
CC=${CC:-gcc}
SEEDS=${SEEDS:-10000}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/src" "$out/unit" # a copy: nobody's edits change what is being tried
cp -r src/base src/cluster "$out/src/"
cp -r tests/unit/test.h tests/unit/cluster "$out/unit/"

flags=(-std=gnu17 -O1 -D_GNU_SOURCE -DMINIDB_LIBC_MALLOC -I"$out/src" -I"$out/unit")
base=("$out"/src/base/{prng,assert,mem}.c)
all=$(grep -oh 'MUTANT(MUT_[A-Z_]*)' "$out"/src/cluster/*.c | sed 's/MUTANT(\(.*\))/\1/' | sort -u)
[ $# -gt 0 ] && all="$*"

build() { # name, flags...
    local name=$1
    shift
    "$CC" "${flags[@]}" "$@" "$out"/src/cluster/*.c "${base[@]}" \
        "$out/unit/cluster/raft_random_test.c" -o "$out/$name"
}

run() { # name
    RAFT_SEEDS=$SEEDS timeout 600 "$out/$1" random_lives 2>/dev/null >"$out/log" || true
    grep -m1 VIOLATION "$out/log" || true
}

survivors=0
count=0
for mutant in $all; do
    build "$mutant" "-D$mutant"
    found=$(run "$mutant")
    rm -f "$out/$mutant"
    count=$((count + 1))
    if [ -z "$found" ]; then
        echo "SURVIVED  $mutant ($SEEDS seeds)"
        survivors=$((survivors + 1))
    else
        seeds=$(sed 's/.*seeds tried: \([0-9]*\).*/\1/' <<<"$found")
        printf 'caught    %-34s within %5s seeds: %s\n' "$mutant" "$seeds" "${found#*): }"
    fi
done
build none
if [ -n "$(run none)" ]; then
    echo "FAILED    the core without a mutant"
    survivors=$((survivors + 1))
fi
echo "$((count - survivors)) of $count mutants caught"
[ "$survivors" -eq 0 ]
