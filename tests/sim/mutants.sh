#!/bin/bash
# mutants.sh — proof that the simulators can find bugs.
#
# Builds whole nodes once per known bug (src/base/mutant.h: those of the Raft core and those of the
# node around it) and demands that cluster_sim catches it within SEEDS lives, or else crash_sim, or
# else one of the named points (--points); what whole nodes cannot show, the unit test named below
# must.  The nodes without a bug must pass.  One line each; fails if any survives.
# Works on a copy: nobody's edits change what is being tried; only the files that contain the bug
# are compiled anew.
#
#   tests/sim/mutants.sh [MUT_NAME ...]       SEEDS=n (default 300)  JOBS=n
set -eu -o pipefail
cd "$(dirname "$0")/../.."
SEEDS=${SEEDS:-300}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp -rL Makefile src tests "$tree/"
cd "$tree"
make --no-print-directory -j"${JOBS:-2}" B=made made/sim/cluster_sim made/sim/crash_sim >/dev/null

# Bugs that need a schedule too rare for whole nodes (a step down by CheckQuorum mostly comes
# first): raft_random_test finds them.
elsewhere="MUT_CONFIG_NO_ROLLBACK MUT_CONFIG_ANY_TIME MUT_JOINT_NEW_ONLY
MUT_LEARNER_COUNTS MUT_REMOVED_LEADER_STAYS MUT_TRANSFER_NEVER_ABORTS MUT_CONFIG_ON_APPLY
MUT_LEASE_AFTER_TRANSFER MUT_SNAPSHOT_OLD MUT_PERSIST_ABA MUT_PROBE_STUCK MUT_TRUNCATE_ON_MATCH
MUT_COMMIT_OLD_TERM MUT_OLD_TERM_ACK MUT_SUSPECT_VOTES MUT_READ_SEQ_REUSED MUT_HEARTBEAT_COMMIT
MUT_SNAPSHOT_WITHOUT_CONFIG MUT_LEASE_BOOT MUT_LEASE_NO_CHECKQUORUM MUT_LEASE_IGNORES_DRIFT
MUT_LEASE_NO_PROMISE MUT_READ_NO_QUORUM MUT_GONE_STALE"
# The simulator's clients wait for each answer; test_cluster.py (Readindex) finds what goes wrong in
# a pipeline.
elsewhere+=" MUT_WRITE_BEFORE_READ"

# Bugs that change nothing which whole nodes can meet: other evidence always says the same.
declare -A unit=(
    # Only when the log's first file vanishes is a hole the sole evidence: sim_rot.c spares it.
    [MUT_HOLE_FORGOTTEN]=root/recovery_test
    # A leader that is behind the times has to name the node between its word and its end.
    [MUT_LEAVING_TAKES_IN]=root/vacancy_test
    [MUT_LEFT_ON_OLD_WORD]=root/hints_test
)

if [ $# -gt 0 ]; then
    all="$*"
else
    all=$(grep -rohE 'MUTANT\(MUT_[A-Z_]+\)' src --include='*.c' --include='*.h' |
        sed 's/MUTANT(\(.*\))/\1/' | sort -u | grep -vxF "$(tr ' ' '\n' <<<"$elsewhere")")
fi

read -r -a compile <made/flags # the compiler and its flags, as the build used them
libraries=$(make --no-print-directory B=made sim-link)

build() { # name, program's source without .c, ...
    local objects=() rest=() file at name=$1
    shift
    for file in $(grep -rlE "MUTANT\($name\)" src --include='*.c'); do
        "${compile[@]}" "-D$name" -Isrc -c "$file" -o "$(tr / _ <<<"$file").o"
        objects+=("$(tr / _ <<<"$file").o")
    done
    for at in $libraries; do # an object that was compiled anew must not be linked twice
        file=${at#made/}
        [ -e "$(tr / _ <<<"${file%.o}.c").o" ] || rest+=("$at")
    done
    for file in "$@"; do
        "${compile[@]}" -Isrc -Itests/sim -Itests/unit "$file.c" ${objects[@]+"${objects[@]}"} \
            "${rest[@]}" -ljansson -lcrypto -lpthread -lm -ljemalloc -o "${file##*/}"
    done
    rm -f ${objects[@]+"${objects[@]}"}
}

run() { # program and arguments: the first failure, and who found it
    local found
    timeout 1800 "$@" >log 2>&1 || true
    found=$(grep -m1 '^FAIL seed' log || true)
    [ -z "$found" ] || echo "${1#./} ${found#FAIL }"
}

find_bug() { # name
    local found
    found=$(run ./cluster_sim 1 "$SEEDS" --quiet --first)
    [ -n "$found" ] || found=$(run ./crash_sim 1 "$SEEDS")
    if [ -z "$found" ] && [ -n "${unit[$1]:-}" ]; then
        build "$1" "tests/unit/${unit[$1]}"
        "./${unit[$1]##*/}" >log 2>&1 || found="${unit[$1]##*/} seed -: $(head -1 log)"
    fi
    [ -n "$found" ] || found=$(run ./cluster_sim --points --quiet --first)
    echo "$found"
}

survivors=0
count=0
for mutant in $all; do
    build "$mutant" tests/sim/cluster_sim tests/sim/crash_sim
    found=$(find_bug "$mutant")
    count=$((count + 1))
    if [ -z "$found" ] || grep -q 'signal 11' <<<"$found"; then
        echo "SURVIVED  $mutant ($SEEDS seeds) $found"
        survivors=$((survivors + 1))
    else
        read -r finder _ seed _ <<<"$found"
        why=$(grep -m1 'broken invariant' log || echo "${found#*: }")
        printf 'caught    %-30s by %-13s at seed %4s: %.80s\n' \
            "$mutant" "$finder" "${seed%:}" "$why"
    fi
done
SEEDS=$((SEEDS < 50 ? SEEDS : 50))
build none tests/sim/cluster_sim tests/sim/crash_sim
found=$(run ./cluster_sim 1 "$SEEDS" --quiet --first)$(run ./crash_sim 1 "$SEEDS")
if [ -n "$found" ]; then
    echo "FAILED    the nodes without a mutant: $found"
    survivors=$((survivors + 1))
fi
echo "$((count - survivors)) of $count mutants caught"
[ "$survivors" -eq 0 ]
