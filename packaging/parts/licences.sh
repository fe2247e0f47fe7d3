# shellcheck shell=bash
# The licences of everything that is linked in: crates by cargo-about, the C libraries and Rust's standard library by what their own
# source says. Sourced by packaging/build.sh.

# The folder with the source of crate $1, and its version, as Cargo.lock has it: "FOLDER VERSION".
crate() {
    cargo metadata --format-version=1 --locked --no-default-features --features "$shipped_features" |
        jq --raw-output --arg name "$1" '.packages[] | select(.name == $name) | "\(.manifest_path | rtrimstr("/Cargo.toml")) \(.version)"' |
        head -n 1
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

# Writes all of them into file $1, and Rust's page beside it.
make_licences() {
    local into=$1 rust name number licence home text
    cargo about generate --locked --fail --no-default-features --features "$shipped_features" --config packaging/licences/about.toml \
        packaging/licences/about.hbs >"$into"
    while IFS=$'\t' read -r name number licence home text; do
        [[ -n $number && -s $text ]] || fail "$name $number: $text is missing; the licences would not be complete"
        printf -- '-----------------------------------------------------------\n%s (C library)\n\n  %s %s  %s\n\n' \
            "$licence" "$name" "$number" "$home"
        cat "$text"
        echo
    done < <(c_libraries) >>"$into"
    rust=$(rustc --print sysroot)/share/doc/rust
    [[ -s $rust/COPYRIGHT-library.html ]] || fail "$rust/COPYRIGHT-library.html is missing: it comes with rustc of rustup"
    cp "$rust/COPYRIGHT-library.html" "$(dirname "$into")/rust-standard-library.html"
    {
        printf -- '-----------------------------------------------------------\nMIT OR Apache-2.0\n\n'
        printf '  The Rust Standard Library (%s): rust-standard-library.html.gz names everyone\n\n' "$(rustc --version)"
        cat "$rust/licenses/MIT.txt"
    } >>"$into"
}
