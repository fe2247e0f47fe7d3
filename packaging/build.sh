#!/usr/bin/env bash
# ./dev package: Debian packages, tarballs, SBOM and checksums of the programs that ./dev cross builds, into target/packages.
# docs/decisions/0030-packages.md says why in this way, docs/releasing.md when.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh
# shellcheck source=parts/facts.sh
source packaging/parts/facts.sh
# shellcheck source=parts/licences.sh
source packaging/parts/licences.sh
# shellcheck source=parts/sbom.sh
source packaging/parts/sbom.sh
# shellcheck source=parts/tree.sh
source packaging/parts/tree.sh
# shellcheck source=parts/deb.sh
source packaging/parts/deb.sh
# shellcheck source=parts/tarball.sh
source packaging/parts/tarball.sh

usage="usage: ./dev package [--check] [--out FOLDER] [--binary FILE] [--trial SUFFIX] [ARCH...]
  ARCH             arm64, armhf, amd64; all three without a name
  --check          make everything twice, and fail unless the bytes are the same
  --out FOLDER     instead of target/packages; packages of an earlier run that are in it are replaced
  --binary FILE    pack this program instead of what ./dev cross builds; with one ARCH
  --speaker FILE   the program for this machine that says the manual and the completions, instead of what ./dev cross builds
  --trial SUFFIX   for tests only: a debug build may be packed, without licences and SBOM; SUFFIX goes behind the version"

# --- What is wanted ----------------------------------------------------------------------------------

architectures=()
check='' out='' given='' voice='' trial=''
while [[ $# -gt 0 ]]; do
    case "$1" in
        --check) check=yes ;;
        --out | --binary | --speaker | --trial)
            [[ -n ${2:-} ]] || fail "$1 needs a value"$'\n'"$usage"
            case "$1" in
                --out) out=$2 ;;
                --binary) given=$(realpath "$2") ;;
                --speaker) voice=$(realpath "$2") ;;
                --trial) trial=$2 ;;
            esac
            shift
            ;;
        arm64 | armhf | amd64) architectures+=("$1") ;;
        *) fail "'$1' is no architecture of these packages"$'\n'"$usage" ;;
    esac
    shift
done
[[ ${#architectures[@]} -gt 0 ]] || architectures=(arm64 armhf amd64)
[[ -z $given || ${#architectures[@]} -eq 1 ]] || fail "--binary is the program of one ARCH: name it"$'\n'"$usage"
[[ -z $trial || $trial =~ ^[+~][a-z0-9]+$ ]] || fail "--trial wants + or ~ and letters behind it, for example +test2"
out=$(realpath --canonicalize-missing "${out:-$target_folder/packages}")
# It is replaced as a whole, so it must be one that was made here.
if [[ -e $out && ! -f $out/SHA256SUMS && -n $(ls -A "$out" 2>/dev/null || echo 'no folder') ]]; then
    fail "$out is not empty, and has no packages of an earlier run (SHA256SUMS): name a folder that is new, empty or only for packages"
fi
if [[ -f $out/SHA256SUMS ]]; then
    foreign=$(find "$out" -mindepth 1 ! -name 'edgeferry[_-]*' ! -name SHA256SUMS -print -quit)
    [[ -z $foreign ]] || fail "$out has more in it than packages: $foreign. Name a folder that is new, empty or only for packages"
fi

# --- What is packed ----------------------------------------------------------------------------------

# The program for architecture $1, as a file.
program() {
    if [[ -n $given ]]; then echo "$given"; else echo "$target_folder/cross/$(triple "$1")/edgeferry"; fi
}

# Builds what is missing or older than the source; cargo knows.
build_programs() {
    local architecture
    [[ -z $given ]] || return 0
    for architecture in "${architectures[@]}"; do
        cross/build.sh "$(cross_name "$architecture")"
    done
}

# A program of this version that runs here: it says the manual and the completions, which are the same for all.
speaker() {
    local candidate native
    native=$target_folder/cross/$(triple "$(dpkg --print-architecture)")/edgeferry
    for candidate in "$voice" "$given"; do
        if [[ -n $candidate && $("$candidate" --version 2>/dev/null) == "edgeferry $version" ]]; then
            echo "$candidate"
            return
        fi
    done
    # One that lies there can be of an older commit with the same version: cargo knows.
    say "manual and completions come out of the program: building one that runs on this machine"
    cross/build.sh "$(cross_name "$(dpkg --print-architecture)")" >&2
    echo "$native"
}

# Everything for $architectures, into the folder $1.
make_all() {
    local into=$1 work architecture tree pages
    work=$(mktemp -d "$fresh/work.XXXXXX")
    mkdir -p "$into" "$work/shared"
    pages=$(speaker)
    make_pages "$pages" "$work/shared"
    for architecture in "${architectures[@]}"; do
        say "packing for $architecture"
        tree=$work/$architecture
        if [[ -z $trial ]]; then
            make_licences "$architecture" "$work/shared/licences.txt"
        else
            echo "A package for tests: without the licences of what is linked. Not to be passed on." >"$work/shared/licences.txt"
        fi
        make_tree "$architecture" "$(program "$architecture")" "$work/shared" "$tree"
        make_deb "$architecture" "$tree" "$into"
        make_tarball "$architecture" "$tree" "$into"
        [[ -n $trial ]] || make_sbom "$architecture" "$into"
    done
    (cd "$into" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >"$work/sums" && mv "$work/sums" SHA256SUMS && chmod 644 SHA256SUMS)
    rm -rf "$work"
}

need_packages package
if [[ -n $given ]]; then look_at_program "${architectures[0]}" "$given"; fi
# Of a release people must be able to say which source it was made of.
if in_checkout; then
    if [[ -z $trial && -n $(git status --porcelain --untracked-files=no) ]]; then
        fail "files of this checkout differ from its commit, whose time and number the packages would bear: commit them, or put them away"
    fi
else
    [[ $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]] ||
        fail "this is not a git checkout: set SOURCE_DATE_EPOCH to the time of the commit that the archive was made of (seconds since 1970)"
    [[ -n $trial || -n $given || ${EDGEFERRY_COMMIT:-} =~ ^[0-9a-f]{7,40}$ ]] ||
        fail "this is not a git checkout: set EDGEFERRY_COMMIT to the number of the commit that the archive was made of; edgeferry --version --verbose says it"
fi
if [[ -z $trial ]]; then
    need_cargo
    need_tool cargo-cyclonedx
fi
build_programs

# Beside the final place, so that it gets there by being renamed: what is there is always whole.
mkdir -p "$(dirname "$out")"
fresh=$(mktemp -d "$(dirname "$out")/.packages.XXXXXX")
trap 'rm -rf --one-file-system "$fresh"' EXIT
make_all "$fresh/one"
if [[ -n $check ]]; then
    say "once more, to compare"
    # Neither the hour nor the zone, the locale or the mask of whoever packs may be in it.
    (umask 077 && export TZ=Pacific/Chatham LC_ALL=C && make_all "$fresh/two")
    if ! diff -r "$fresh/one" "$fresh/two" >&2; then
        trap - EXIT
        fail "not the same bytes twice: $fresh/one and $fresh/two are kept"
    fi
    say "the same bytes twice"
fi
chmod 755 "$fresh/one"
# Who stops it between the two has both beside the place.
trap - EXIT
if [[ -e $out ]]; then mv -T "$out" "$fresh/former"; fi
mv -T "$fresh/one" "$out" || fail "the packages could not be put in $out: they are in $fresh/one, and those before in $fresh/former"
rm -rf --one-file-system "$fresh"
cat "$out/SHA256SUMS"
say "in $out"
