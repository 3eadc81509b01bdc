#!/usr/bin/env bash
# Stentor and Nchan under the same load, one after the other. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

help() {
    cat <<'HELP'
Usage: scripts/compare.sh [FLAG OF stentor-loadtest run]...

Runs the same plan against Stentor and against Nchan, in turn, and prints both side by side as a
Markdown table. Nchan is Debian's (`apt-get install nginx libnginx-mod-nchan`), configured by
loadtest/servers/nchan.conf. The flags go to both runs; without any it is
`--plan ticker --active 10000`.

Environment:
  STENTOR_RESULTS  a folder: the reports stay there as stentor.json and nchan.json
HELP
}

fail() {
    echo "compare.sh: $1" >&2
    exit 3
}

main() {
    case "${1:-}" in -h | --help) help && exit 0 ;; esac
    [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] ||
        fail "there is no Nchan: apt-get install nginx libnginx-mod-nchan"
    cargo build --locked --release
    [ $# -gt 0 ] || set -- --plan ticker --active 10000
    scratch="$(mktemp -d)"
    trap 'rm -rf "$scratch"' EXIT
    local results="${STENTOR_RESULTS:-$scratch}"
    mkdir -p "$results"
    against "$results/stentor.json" --server stentor \
        --spawn "target/release/stentor serve" "$@"
    against "$results/nchan.json" --server nchan \
        --spawn "nginx -p $scratch -c $PWD/loadtest/servers/nchan.conf" "$@"
    target/release/stentor-loadtest compare "$results/stentor.json" "$results/nchan.json"
}

# A run that found faults is a result, too: only one that could not be made ends the comparison.
against() {
    local report="$1" status=0
    shift
    target/release/stentor-loadtest run --json "$report" "$@" >&2 || status=$?
    case "$status" in 0 | 1 | 4) ;; *) exit "$status" ;; esac
}

main "$@"
