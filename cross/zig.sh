#!/usr/bin/env bash
# zig for the build, with one more step when it links edgeferry: functions that became the same code are made one.
#
# zig's front end refuses the option for it, but the lld inside of zig has it, and `-v` says with which words it is called. So
# the program is linked twice, the second time with the same words and the option. What that gives, and what it takes for
# granted of addresses of functions, is in docs/decisions/0034-size.md.
set -euo pipefail

zig=$EDGEFERRY_ZIG

output='' previous=''
for word in "$@"; do
    [[ $previous != -o ]] || output=$word
    previous=$word
done
# Only the program itself, and not the small ones that cargo runs while it builds.
[[ ${1:-} == cc && $output == */deps/edgeferry-* ]] || exec "$zig" "$@"

said=$("$zig" "$@" -v 2>&1) || {
    printf '%s\n' "$said" >&2
    exit 1
}
# Libraries that zig has to make first are linked too, and said.
words=$(sed -n 's/^ld\.lld //p' <<<"$said" | grep --fixed-strings -- " -o $output ") || {
    printf 'cross/zig.sh: zig does not say how it calls lld for %s, so equal functions cannot be made one. It said:\n%s\n' \
        "$output" "$said" >&2
    exit 1
}
# Words between spaces, without quotes: cross/build.sh refuses a folder with a space in its name.
read -ra link <<<"$words"
# lld leaves a function alone that has something to clean up in a panic, by its entry in .eh_frame. 32-bit ARM has another table
# for that, which lld does not look at: two functions may have the same code there, and not the same to clean up.
fold=all
[[ $words != *'-m armelf'* ]] || fold=none
exec "$zig" ld.lld "${link[@]}" -O2 --icf=$fold
