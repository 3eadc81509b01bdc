#!/usr/bin/env bash
# A million subscribers and the server on this machine. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

help() {
    cat <<'HELP'
Usage: scripts/million.sh [FLAG OF stentor-loadtest run]...

Runs the plan `million` against Stentor, both on this machine: 900,000 idle and 100,000 active
subscribers, one publication a second, and three broadcasts to all of them. Flags come after the
plan's and win, so `scripts/million.sh --idle 90000 --active 10000` is a tenth of it.

The run has a network namespace of its own. Only there does it get what a million sockets want: a
table of established connections with 4,194,304 buckets (the usual one costs a fifth of all
processor time in look-ups), all ports, a long backlog. Nothing is left changed on the machine.

It needs root, util-linux (unshare), iproute2 (ip), and some 11 GiB of free memory, most of it the
kernel's. Limits are checked before anything is connected.

Environment:
  STENTOR_PING_INTERVAL  the server's ping interval instead of 5m (its own default is 55s)
  STENTOR_RESULTS        a folder: the report goes there as million.json and million.html
HELP
}

fail() {
    echo "million.sh: $1" >&2
    exit 3
}

# At the default of 55 s a million subscribers are pinged 18,000 times a second, which takes a quarter
# of two cores from what is measured.
readonly PINGS="${STENTOR_PING_INTERVAL:-5m}"
readonly BUCKETS=4194304
readonly SETTING=net.ipv4.tcp_child_ehash_entries

main() {
    case "${1:-}" in -h | --help) help && exit 0 ;; esac
    if [ "${STENTOR_MILLION_INSIDE:-}" = yes ]; then inside "$@"; fi
    [ "$(id -u)" -eq 0 ] || fail "a network namespace takes root: sudo scripts/million.sh"
    local command
    for command in cargo unshare ip sysctl; do
        command -v "$command" >/dev/null || fail "there is no '$command': install util-linux, iproute2, procps and Rust"
    done
    cargo build --locked --release
    # A namespace gets its table when it is made, as large as this says at that moment.
    before="$(sysctl -n "$SETTING")" || fail "this kernel has no $SETTING: it takes Linux 6.1 or later"
    trap 'sysctl -q -w "$SETTING=$before"' EXIT
    sysctl -q -w "$SETTING=$BUCKETS" || fail "$SETTING cannot be set here (a container without the right?)"
    STENTOR_MILLION_INSIDE=yes unshare --net "$PWD/scripts/million.sh" "$@"
}

# Inside of the namespace, which goes when the last process in it ends.
inside() {
    ip link set lo up
    sysctl -q -w net.core.somaxconn=65535 net.ipv4.tcp_max_syn_backlog=65535 \
        net.ipv4.ip_local_port_range="1024 65535"
    local reports=()
    if [ -n "${STENTOR_RESULTS:-}" ]; then
        mkdir -p "$STENTOR_RESULTS"
        reports=(--json "$STENTOR_RESULTS/million.json" --html "$STENTOR_RESULTS/million.html")
    fi
    local slo="loss=0,connect-failures=0,broadcast-max=7s,ramp=50s"
    # The server's tables are made for a million: in less than the whole plan each has more of them.
    [ $# -gt 0 ] || slo+=",rss-per-connection=200B"
    exec target/release/stentor-loadtest run --plan million \
        --spawn "target/release/stentor serve --max-connections 1050000 --accept-rate 0 --ping-interval $PINGS" \
        --slo "$slo" \
        "${reports[@]}" "$@"
}

main "$@"
