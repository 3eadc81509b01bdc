#!/bin/sh
# Puts the settings as they are into the manuals, in place of the tables that are there.
set -eu
cd "$(dirname "$0")/.."
reference=$(mktemp)
trap 'rm -f "$reference"' EXIT
cargo run --quiet --bin stentor -- config --reference > "$reference"
python3 - "$reference" <<'END'
import re, sys
reference = open(sys.argv[1]).read()
settings, inputs = reference.split("\n### Kinds of inputs")
for page, part in ("docs/operations.md", settings), ("docs/bus.md", "### Kinds of inputs" + inputs):
    text = open(page).read()
    first, last = part.split("\n")[0], part.rstrip().split("\n### ")[-1].split("\n")[0]
    start = text.index("\n" + first + "\n") + 1
    end = text.index("\n### " + last.removeprefix("### ") + "\n", start - 1) + 1
    rows = re.compile(r"### [^\n]*\n\n(\|[^\n]*\n)+").match(text, end)
    open(page, "w").write(text[:start] + part.rstrip() + "\n" + text[rows.end():])
END
