#!/bin/sh
# Counts the instructions of the batch's decisions, for each name that is asked for, in every
# scenario of benches/buffer.rs: exact where time is noisy. Beside each stands its ratio to the
# scenario's row for 1,000 (or the last one before it), which should hardly grow.
#
# usage: benches/instructions.sh      (needs valgrind)
set -eu

command -v valgrind > /dev/null || {
    echo "valgrind is missing; on Debian: apt-get install valgrind" >&2
    exit 1
}
cd "$(dirname "$0")/.."
# Callgrind finds the function by its name.
bench=$(cargo bench --all-features --bench buffer \
    --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*buffer-[^"]*\)".*/\1/p' | tail -n 1)
profile=$(mktemp)
trap 'rm -f "$profile"' EXIT

echo "instructions  to 1,000  scenario"
previous=
"$bench" list | while IFS="$(printf '\t')" read -r number weight size name; do
    valgrind --tool=callgrind --callgrind-out-file="$profile" --collect-atstart=no \
        --toggle-collect='buffer::decide' "$bench" once "$number" > /dev/null 2> "$profile.log" || {
        cat "$profile.log" >&2
        exit 1
    }
    rm -f "$profile.log"
    total=$(sed -n 's/^\(summary\|totals\): *\([0-9]*\).*/\2/p' "$profile" | head -n 1)
    each=$((total / weight))
    if [ "$name" != "$previous" ] || [ "$size" -le 1000 ]; then base=$each; fi
    previous=$name
    awk -v each="$each" -v base="$base" -v size="$size" -v name="$name" \
        'BEGIN { printf "%12d  %8.2f  %7d %s\n", each, each / base, size, name }'
done
