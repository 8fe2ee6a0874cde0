#!/bin/bash
# cluster.sh — a cluster on this machine, in the foreground: cluster.sh [nodes] [options ...]
#
# Node i listens on port 7000 + i for clients and 8000 + i for the other nodes; its data lies in
# ./data/node<i>, its log in ./data/node<i>.log.  What is worth seeing is shown here, line by line.
# Ctrl-C stops all nodes cleanly.  A node that ends by itself (kill it, to see what happens) is not
# started again: the line that says so shows how.
set -uo pipefail
cd "$(dirname "$0")/.."

count=${1:-3}
shift || true
options=("$@")
declare -a pids=()
declare -A names=()
stopping=0

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }

start_line() { # of node $1, as one would type it
    local seed=""
    [ "$1" -gt 1 ] && seed=" --seed 127.0.0.1:8001"
    echo "build/minidb --node-id node$1 --port $((7000 + $1)) --cluster-port $((8000 + $1))" \
        "--data-dir ./data/node$1 --log-file ./data/node$1.log$seed"
}

start_nodes() {
    local i
    mkdir -p data
    for ((i = 1; i <= count; i++)); do
        : >>"data/node$i.log"
        # shellcheck disable=SC2046  # split into words on purpose
        $(start_line "$i") "${options[@]}" 2>&3 &
        pids+=("$!")
        names[$!]=$i
        [ "$i" = 1 ] && wait_for_first
    done
}

# The others ask it to join: a moment's patience saves them a second of it.
wait_for_first() {
    local tries
    for ((tries = 0; tries < 40; tries++)); do
        grep -q event=ready data/node1.log && return
        sleep 0.05
    done
}

stop_nodes() {
    stopping=1
    echo
    say "stopping all nodes"
    kill -TERM "${pids[@]}" 2>/dev/null
}

# ── what is worth seeing ────────────────────────────────────────────────────────────────────

field() { # of the line in $line: field name -> $value
    value=""
    if [[ $line =~ [[:space:]]$1=\"([^\"]*)\" || $line =~ [[:space:]]$1=([^[:space:]]*) ]]; then
        value=${BASH_REMATCH[1]}
    fi
}

show_event() { # of node $1, its log's line in $line
    field event
    local event=$value
    case $event in
    ready)        field members; say "$1 is ready (members: $value)" ;;
    joining)      field seed; say "$1 asks $value to let it join" ;;
    joined)       field members; say "$1 has joined: a cluster of $value" ;;
    cluster_begun) say "$1 begins a cluster" ;;
    leading)      field partitions; leads[$1]=$value ;;
    node_alive)
        field node
        [ -n "${missed[$1-$value]:-}" ] && say "$1 sees $value again"
        unset "missed[$1-$value]" ;;
    node_suspect) field node; missed[$1-$value]=1; say "$1 has lost sight of $value" ;;
    node_dead)    field node; say "$1 takes $value for dead" ;;
    node_left)    field node; missed[$1-$value]=1; say "$1 has seen $value leave" ;;
    stopped)      say "$1 has stopped" ;;
    leader_changed)
        field group; local group=$value
        field self; [ "$value" = true ] && [ "$group" = 65535 ] && say "$1 leads the cluster" ;;
    peer_refused | peer_lost | no_cluster_port) ;;
    *)
        field level
        [[ $value == warn || $value == error ]] && say "$1: ${line#*event=}" ;;
    esac
}

# Leadership of hundreds of partitions moves bit by bit: shown when it rests.
show_leading() {
    local node
    for node in "${!leads[@]}"; do
        say "$node leads ${leads[$node]} partitions"
    done
    leads=()
}

show_logs() {
    local node="node1" line value status
    declare -A leads=() missed=()
    while true; do
        read -r -t 1 line
        status=$?
        if [ "$status" -gt 128 ]; then
            show_leading
        elif [ "$status" -ne 0 ]; then
            return
        elif [[ $line =~ ^==\>\ data/(node[0-9]+)\.log ]]; then
            node=${BASH_REMATCH[1]}
        elif [ -n "$line" ]; then
            show_event "$node"
        fi
    done
}

# ── all of it ────────────────────────────────────────────────────────────────────────────────────

for ((i = 1; i <= count; i++)); do
    rm -f "data/node$i.log"
done
exec 3>&2 2>/dev/null # nodes complain to the terminal; what the shell says of jobs is not needed
set -m # every node in a process group of its own: Ctrl-C reaches this script alone
trap stop_nodes INT TERM
start_nodes
show_logs < <(sleep 0.1; exec tail -n +1 -F data/node*.log --pid=$$ 2>/dev/null) &
viewer=$!
say "$count nodes on ports 7001 to $((7000 + count)), data in ./data/node1 ... ; Ctrl-C stops them"
say "talk to any of them:  build/minidb-cli 127.0.0.1 7001   or   redis-cli -p 7001"

while [ "${#names[@]}" -gt 0 ]; do
    ended=""
    wait -n -p ended "${!names[@]}"
    status=$?
    if [ -n "${ended:-}" ]; then
        node=${names[$ended]}
        unset "names[$ended]"
        if [ "$stopping" = 0 ]; then
            say "node$node has ended with status $status; again:  $(start_line "$node")"
        fi
    fi
done
sleep 0.3 # the last lines
kill -- "-$viewer" 2>/dev/null
exit $((stopping == 1 ? 0 : 1))
