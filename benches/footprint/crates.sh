#!/usr/bin/env bash
# What each dependency costs in the program file (docs/footprint.md). The program has to be built with CARGO_PROFILE_RELEASE_STRIP=none.
#
# Adds up the sizes of the symbols of a program that was not stripped: Rust's by the crate in their name, C's by the prefixes of
# the libraries. Generic code counts for the crate that has it, not for the one that needed it. What no symbol covers (tables for
# unwinding, relocations, texts without a name) is the rest.
set -euo pipefail

[[ $# -eq 1 && -r $1 ]] || {
    echo "usage: $0 PROGRAM, one that was not stripped" >&2
    exit 64
}
program=$1
nm=${NM:-nm}

symbols=$("$nm" --print-size --size-sort --radix=d "$program")
[[ -n $symbols ]] || {
    echo "$program has no symbols: it was stripped" >&2
    exit 1
}

echo "$symbols" | awk -v file="$(stat -c %s "$program")" '
    # The first name of a path in the legacy mangling: _ZN3std…, or of the type in _ZN…$LT$tokio..runtime….
    function crate(name, digits, path) {
        sub(/^_ZN/, "", name)
        match(name, /^[0-9]+/)
        digits = substr(name, 1, RLENGTH)
        path = substr(name, RLENGTH + 1, digits)
        gsub(/\$[A-Z]+[0-9]*\$|\$u[0-9a-f]+\$/, " ", path)
        gsub(/[&*();\[\]]/, " ", path)
        gsub(/^[ _]+(mut |dyn |const )*/, "", path)
        sub(/(\.\.|::| ).*/, "", path)
        # Code for any type has the name of its parameter there, or of a type that every program has.
        return path == "" || path ~ /^([A-Z][0-9]?|str|[iu][0-9]+|usize|bool|char)$/ ? "core" : path
    }
    function owner(name) {
        if (name ~ /^_ZN/) return crate(name)
        if (name ~ /^(_R|anon\.)/) return "texts and tables of Rust"
        if (name ~ /^(rd_|rdk|_?tls_rd|unittest_|cnd_|mtx_|thrd_|murmur|mc_|cj_|cJSON|LZ4|snappy|opentelemetry_proto|pb_|tinycthread|crc32c)/) return "librdkafka (C)"
        if (name ~ /^(ZSTD|HUF|FSE|HIST|ZBUFF|COVER|FASTCOVER|XXH|ERR_getErrorString|POOL_|huf|_?ZSTD)/) return "zstd (C)"
        if (name ~ /^ring_core|^ecp_|^x25519_ge|^gfp_|^p256|^p384|^LIMBS_|^CRYPTO_.*ring|^fiat_/) return "ring (C)"
        if (name ~ /^(deflate|inflate|adler32|crc32|zlib|gz|_tr_|compress|uncompress|zcalloc)/) return "zlib (C)"
        return "other C"
    }
    {
        size = $2 + 0
        sum[owner($4)] += size
        all += size
    }
    END {
        for (name in sum) printf "%10d %s\n", sum[name], name | "sort -rn"
        close("sort -rn")
        printf "%10d all symbols\n%10d the file, not stripped\n", all, file
    }'
