#!/bin/sh
# Counts the instructions of the batch's decisions, per name, in every scenario of
# benches/buffer.rs. Unlike times, counts are exact. For sizes above 1,000, the ratio to size 1,000
# is also shown, and should hardly grow.
#
# usage: benches/instructions.sh      (needs valgrind)
set -eu

command -v valgrind > /dev/null || {
    echo "valgrind is missing; on Debian: apt-get install valgrind" >&2
    exit 1
}
cd "$(dirname "$0")/.."
# Callgrind finds the measured function by its name.
bench=$(cargo bench --all-features --bench buffer \
    --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*buffer-[^"]*\)".*/\1/p' | tail -n 1)
profile=$(mktemp)
trap 'rm -f "$profile"' EXIT

echo "instructions  to 1,000  scenario"
"$bench" list | while IFS="$(printf '\t')" read -r number weight size name; do
    valgrind --tool=callgrind --callgrind-out-file="$profile" --collect-atstart=no \
        --toggle-collect='buffer::decide' "$bench" once "$number" > /dev/null 2> "$profile.log" || {
        cat "$profile.log" >&2
        exit 1
    }
    rm -f "$profile.log"
    total=$(sed -n 's/^\(summary\|totals\): *\([0-9]*\).*/\2/p' "$profile" | head -n 1)
    each=$((total / weight))
    ratio=-
    if [ "$size" -le 1000 ]; then
        base=$each
    else
        ratio=$(awk -v each="$each" -v base="$base" 'BEGIN { printf "%.2f", each / base }')
    fi
    printf '%12d  %8s  %7d %s\n' "$each" "$ratio" "$size" "$name"
done
