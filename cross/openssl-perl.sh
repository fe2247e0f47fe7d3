#!/usr/bin/env bash
# Perl for the build of OpenSSL. openssl-src runs `perl ./Configure …` and has no way to leave out parts; it lets one name the perl,
# so the options are added here. docs/decisions/0034-size.md says what is left out and what nobody misses.
set -euo pipefail

left_out=(
    no-engine no-dso no-apps no-docs no-filenames no-async no-thread-pool no-default-thread-pool no-ui-console no-secure-memory
    # Protocols and formats that a Kafka client does not speak.
    no-dtls no-dgram no-quic no-srp no-psk no-srtp no-nextprotoneg no-cms no-cmp no-ts no-ocsp no-http no-ct no-rfc3779
    # Ciphers, hashes and curves of no TLS 1.2 or 1.3 suite in use, and of no key file that OpenSSL 3 opens by default.
    no-aria no-bf no-blake2 no-camellia no-cast no-dsa no-ec2m no-gost no-idea no-md4 no-mdc2 no-ocb no-rc2 no-rc4 no-rmd160
    no-seed no-siphash no-siv no-sm2 no-sm3 no-sm4 no-whirlpool no-argon2 no-ml-dsa no-slh-dsa
)

if [[ ${1:-} == ./Configure ]]; then
    # The assembler does what has to be fast. zig takes every -O for one of its own three; -Oz behind its back makes 8 % less than -Os.
    exec perl "$@" "${left_out[@]}" -Os -Xclang -Oz
fi
exec perl "$@"
