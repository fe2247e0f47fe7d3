# shellcheck shell=bash
# shellcheck disable=SC2154 # facts.sh, which is sourced before it, sets them
# The licences of everything that is linked in: crates, C libraries and Rust's standard library, each by what its own source says.
# cargo-deny decides what may be linked at all (./dev deny). Sourced by packaging/build.sh.

# Every crate that becomes part of the program for $1, by name: name, version, licence, home, folder of its source. What only
# builds and tests use is not among them.
crates() {
    cargo metadata --format-version=1 --locked --no-default-features --features "$shipped_features" \
        --filter-platform "$(triple "$1")" | jq --raw-output '
            (.packages | map({key: .id, value: .}) | from_entries) as $package
            | (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $needs
            | def reach($next; $seen): if ($next | length) == 0 then $seen
                else reach(([$next[] | $needs[.][]] | unique) - $seen - $next; $seen + $next) end;
            .resolve.root as $root
            | reach([$root]; []) - [$root] | map($package[.]) | sort_by(.name, .version)[]
            | [.name, .version, .license // "-", .repository // "-", (.manifest_path | rtrimstr("/Cargo.toml"))] | @tsv'
}

# The folder with the source of crate $1, which may only help to build, and its version: "FOLDER VERSION".
crate() {
    cargo metadata --format-version=1 --locked --no-default-features --features "$shipped_features" |
        jq --raw-output --arg name "$1" '.packages[] | select(.name == $name) | "\(.manifest_path | rtrimstr("/Cargo.toml")) \(.version)"' |
        head -n 1
}

# The files in folder $1 with a licence or a notice.
texts() {
    find "$1" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' \
        -o -iname 'unlicense*' \) -size +0 | LC_ALL=C sort
}

# The common text of licence expression $1, for crates whose archive forgot it: the first of the alternatives that has one.
common_text() {
    local word shared
    shared=$(rustc --print sysroot)/share/doc/rust/licenses
    for word in $(tr '/()' '   ' <<<"$1"); do
        if [[ -s $shared/$word.txt ]]; then
            echo "$shared/$word.txt"
            return
        fi
    done
    return 1
}

# The value of the macro $2 in the header $1.
macro() { sed -n "s/^#[[:space:]]*define[[:space:]]\+$2[[:space:]]\+\"\?\([^\" ]*\).*/\1/p" "$1" | head -n 1; }

# One line for each C library that is linked in: name, version, licence, home, file with the text.
c_libraries() {
    local kafka zlib zstd openssl src
    read -r kafka version_kafka < <(crate rdkafka-sys)
    read -r zlib _ < <(crate libz-sys)
    read -r zstd version_zstd < <(crate zstd-sys)
    src=$kafka/librdkafka/src
    printf '%s\t%s\t%s\t%s\t%s\n' \
        librdkafka "${version_kafka#*+}" BSD-2-Clause https://github.com/confluentinc/librdkafka "$kafka/librdkafka/LICENSES.txt" \
        lz4 "$(macro "$src/lz4.h" LZ4_VERSION_MAJOR).$(macro "$src/lz4.h" LZ4_VERSION_MINOR).$(macro "$src/lz4.h" LZ4_VERSION_RELEASE)" \
        BSD-2-Clause https://github.com/lz4/lz4 "$kafka/librdkafka/LICENSE.lz4" \
        cJSON "$(macro "$src/cJSON.h" CJSON_VERSION_MAJOR).$(macro "$src/cJSON.h" CJSON_VERSION_MINOR).$(macro "$src/cJSON.h" CJSON_VERSION_PATCH)" \
        MIT https://github.com/DaveGamble/cJSON "$kafka/librdkafka/LICENSE.cjson" \
        zlib "$(macro "$zlib/src/zlib/zlib.h" ZLIB_VERSION)" Zlib https://zlib.net "$zlib/src/zlib/LICENSE" \
        zstd "${version_zstd#*+zstd.}" BSD-3-Clause https://github.com/facebook/zstd "$zstd/zstd/LICENSE"
    read -r openssl version_openssl < <(crate openssl-src)
    [[ -n $openssl ]] || fail "OpenSSL's source is not in Cargo.lock (openssl-src): its licence and version cannot be told"
    printf '%s\t%s\t%s\t%s\t%s\n' openssl "${version_openssl#*+}" Apache-2.0 https://openssl-library.org "$openssl/openssl/LICENSE.txt"
}

rule='----------------------------------------------------------------------'

# Puts the files of $2… below a head of $1. A text that is there already, to the letter, is named instead.
entry() {
    local head=$1 file sum
    shift
    printf '%s\n%s\n%s\n\n' "$rule" "$head" "$rule"
    for file in "$@"; do
        sum=$(sha256sum <"$file")
        if [[ -n ${first_with[$sum]:-} ]]; then
            printf '(%s: the same text as that of %s)\n\n' "${file##*/}" "${first_with[$sum]}"
        else
            first_with[$sum]=$(awk '{ print $1, $2; exit }' <<<"$head")
            cat "$file"
            echo
        fi
    done
}

# The licences of the program for $1, all of them, into file $2.
make_licences() {
    local architecture=$1 into=$2 name number licence home place shared files text
    local -A first_with=()
    printf 'What is linked into edgeferry %s for %s, and under which licences\n\n' "$version" "$architecture" >"$into"
    shared=$(rustc --print sysroot)/share/doc/rust
    while IFS=$'\t' read -r name number licence home place; do
        mapfile -t files < <(texts "$place")
        if [[ ${#files[@]} -gt 0 ]]; then
            entry "  $name $number  $licence  $home" "${files[@]}"
        else
            text=$(common_text "$licence") || fail "$name $number has no licence text, and there is none for '$licence'"
            entry "  $name $number  $licence  $home"$'\n'"  (its archive has no text; this is the common one)" "$text"
        fi
    done < <(crates "$architecture") >>"$into"
    grep -q '^  tokio ' "$into" || fail "cargo does not say what is linked in"
    while IFS=$'\t' read -r name number licence home text; do
        [[ -n $number && -s $text ]] || fail "$name $number: $text is missing; the licences would not be complete"
        entry "  $name $number (C library)  $licence  $home" "$text"
    done < <(c_libraries) >>"$into"
    grep -q '^  openssl ' "$into" || fail "OpenSSL is missing in the licences"
    [[ -s $shared/COPYRIGHT-library.html ]] || fail "$shared/COPYRIGHT-library.html is missing: it comes with rustc of rustup"
    entry "  The Rust Standard Library ($(rustc --version))  MIT OR Apache-2.0"$'\n'"  rust-standard-library.html.gz beside this file names everyone" \
        "$shared/licenses/MIT.txt" "$shared/licenses/Apache-2.0.txt" >>"$into"
    cp "$shared/COPYRIGHT-library.html" "$(dirname "$into")/rust-standard-library.html"
}
