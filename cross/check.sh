#!/usr/bin/env bash
# cross/check.sh TARGET FILE: would this program start on every system that the target promises? Says all that speaks against it.
# It reads the file only, so it needs no machine of that kind; ./dev package-test is the proof that it really runs.
set -euo pipefail
export LC_ALL=C
# shellcheck source=targets.sh
source "$(dirname "${BASH_SOURCE[0]}")/targets.sh"

# Libraries that every system with that C library has. libgcc_s is not part of it, but of every system that has a package manager.
# packaging/parts/tree.sh knows the packages of the same ones; a test holds the two together.
system_libraries='^(ld-linux.*|libc|libm|libpthread|libdl|librt|libresolv|libgcc_s)\.so\.[0-9]+$'

problems=0
problem() {
    printf '%s: %s\n' "$file" "$*" >&2
    problems=$((problems + 1))
}

# True when version $1 is not newer than version $2.
not_newer() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

[[ $# -eq 2 ]] || { echo "usage: cross/check.sh TARGET FILE" >&2 && exit 64; }
name=$1
file=$2
baseline=$(cross_target "$name" glibc) || { echo "there is no target '$name'; there are: $(cross_names | paste -sd' ')" >&2 && exit 64; }
machine=$(cross_target "$name" machine)
loader=$(cross_target "$name" loader)
largest=$(cross_target "$name" largest)
[[ -f $file ]] || { echo "$file: there is no such file" >&2 && exit 1; }

bytes=$(stat -c %s "$file")
((bytes <= largest)) || problem "has $bytes bytes, $largest are allowed: make it smaller, or raise the limit in cross/targets.sh and say why"

header=$(readelf --file-header --wide "$file")
[[ $header == *"$machine"* ]] || problem "not built for $machine"
[[ $header == *'Type:'*'DYN '* ]] || problem "not position independent"

segments=$(readelf --program-headers --wide "$file")
[[ $segments == *"interpreter: $loader]"* ]] || problem "does not ask for the loader $loader"
[[ $segments == *GNU_RELRO* ]] || problem "its tables of functions stay writable (no GNU_RELRO)"
grep -q 'GNU_STACK.* RW ' <<<"$segments" || problem "its stack is executable"

dynamic=$(readelf --dynamic --wide "$file")
[[ $dynamic == *BIND_NOW* || $dynamic == *'FLAGS_1'*NOW* ]] || problem "its tables of functions stay writable (no BIND_NOW)"
while read -r library; do
    [[ $library =~ $system_libraries ]] || problem "needs $library, which is not part of every system"
done < <(sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' <<<"$dynamic")
[[ $dynamic == *RPATH* || $dynamic == *RUNPATH* ]] && problem "looks for libraries in a folder of the machine that built it"

highest=
while read -r version; do
    case $version in
        GLIBC_[0-9]*)
            version=${version#GLIBC_}
            not_newer "$version" "${highest:-0}" || highest=$version
            ;;
        # Of libgcc_s; 4.3.0 is the newest that a Rust program asks for, and older than every system meant here.
        GCC_[34].*) ;;
        *) problem "needs the symbol version $version, which glibc $baseline has not" ;;
    esac
done < <(readelf --version-info --wide "$file" | sed -n 's/^ *0x[0-9a-f]*: *Name: \([^ ]*\) .*/\1/p' | sort -u)
if [[ -z $highest ]]; then
    problem "asks for no version of glibc at all, so that the baseline cannot be checked"
elif ! not_newer "$highest" "$baseline"; then
    problem "needs glibc $highest, the baseline is $baseline"
fi

[[ $machine != ARM || $header == *'hard-float ABI'* ]] || problem "not for hard float"

[[ $problems -eq 0 ]] || exit 1
printf '%s: %s, glibc %s at most, %s\n' "$file" "$machine" "$highest" \
    "$(sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' <<<"$dynamic" | paste -sd' ')"
