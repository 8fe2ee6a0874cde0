#!/bin/bash
# mutants.sh — proof that the cluster simulator can find bugs.
#
# Builds whole nodes once per known bug (src/base/mutant.h: those of the Raft core and those of the
# node around it) and demands that cluster_sim catches it within SEEDS lives.  Only the files that
# contain the bug are compiled anew.  One line each; fails if any survives.
#
#   tests/sim/mutants.sh [MUT_NAME ...]       SEEDS=n (default 300)  B=build/release  JOBS=n
set -eu -o pipefail
cd "$(dirname "$0")/../.."
B=${B:-build/release}
SEEDS=${SEEDS:-300}
make --no-print-directory B="$B" "$B/sim/cluster_sim" >/dev/null
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Bugs that only show where members come and go, disks are wiped, or leadership is handed over by
# operators: cluster_sim does none of this (yet); raft_random_test finds them.
elsewhere="MUT_ANY_INCARNATION MUT_CONFIG_NO_ROLLBACK MUT_CONFIG_ANY_TIME MUT_JOINT_NEW_ONLY
MUT_LEARNER_COUNTS MUT_REMOVED_LEADER_STAYS MUT_TRANSFER_NEVER_ABORTS MUT_CONFIG_ON_APPLY
MUT_LEASE_AFTER_TRANSFER MUT_SNAPSHOT_OLD MUT_PERSIST_ABA MUT_PROBE_STUCK MUT_TRUNCATE_ON_MATCH
MUT_COMMIT_OLD_TERM MUT_OLD_TERM_ACK MUT_SUSPECT_VOTES MUT_READ_SEQ_REUSED MUT_HEARTBEAT_COMMIT
MUT_SNAPSHOT_WITHOUT_CONFIG MUT_LEASE_BOOT MUT_LEASE_NO_CHECKQUORUM"

if [ $# -gt 0 ]; then
    all="$*"
else
    all=$(grep -rohE 'MUTANT\(MUT_[A-Z_]+\)' src --include='*.c' --include='*.h' |
        sed 's/MUTANT(\(.*\))/\1/' | sort -u | grep -vxF "$(tr ' ' '\n' <<<"$elsewhere")")
fi

read -r -a compile <"$B/flags" # the compiler and its flags, as the build used them
libraries=$(make --no-print-directory B="$B" sim-link)
"${compile[@]}" -Isrc -Itests/sim -c tests/sim/cluster_sim.c -o "$out/cluster_sim.o"

build() { # name
    local objects=() file
    for file in $(grep -rlE "MUTANT\($1\)" src --include='*.c' --include='*.h'); do
        [ "${file##*.}" = c ] || file=$(dirname "$file")/raft.c # a header of the core
        local object
        object="$out/$(tr / _ <<<"$file").o"
        "${compile[@]}" "-D$1" -DMINIDB_REVISION='"mutant"' -Isrc -c "$file" -o "$object"
        objects+=("$object")
    done
    local rest=() at
    for at in $libraries; do # a root object that was compiled anew must not be linked twice
        local name=${at#"$B"/}
        [ -e "$out/$(tr / _ <<<"${name%.o}.c").o" ] || rest+=("$at")
    done
    gcc "${objects[@]}" "$out/cluster_sim.o" "${rest[@]}" -ljansson -lpthread -lm -ljemalloc \
        -o "$out/$1"
    rm -f "${objects[@]}"
}

survivors=0
count=0
for mutant in $all; do
    build "$mutant"
    timeout 900 "$out/$mutant" 1 "$SEEDS" --quiet --first >"$out/log" 2>&1 || true
    found=$(grep -m1 -E '^FAIL seed' "$out/log" || true)
    rm -f "$out/$mutant"
    count=$((count + 1))
    if [ -z "$found" ]; then
        echo "SURVIVED  $mutant ($SEEDS seeds)"
        survivors=$((survivors + 1))
    else
        seed=$(sed -n 's/^FAIL seed \([0-9]*\).*/\1/p' <<<"$found")
        printf 'caught    %-34s within %4s seeds: %.90s\n' "$mutant" "${seed:-?}" "${found#*s: }"
    fi
done
echo "$((count - survivors)) of $count mutants caught"
[ "$survivors" -eq 0 ]
