#!/usr/bin/env bash
# Keeps what fuzzing has found: of each target's corpus the inputs that reach something new, in seeds.tar.gz.
# To be run after a long run of the targets, which must be built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
kept="$(mktemp -d)"
trap 'rm -rf "$kept"' EXIT
for target in fuzz_targets/*.rs; do
    target="$(basename "$target" .rs)"
    mkdir -p "$kept/$target" "corpus/$target"
    if ! cargo run --locked --release --quiet --bin "$target" -- -merge=1 "$kept/$target" "corpus/$target" 2>"$kept.log"; then
        cat "$kept.log" >&2
        exit 1
    fi
    echo "$target: $(find "$kept/$target" -type f | wc -l) of $(find "corpus/$target" -type f | wc -l)"
done
rm -f "$kept.log"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$kept" -c . | gzip -n -9 >seeds.tar.gz
