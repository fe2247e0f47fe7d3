# shellcheck shell=bash
# shellcheck disable=SC2154 # facts.sh, which is sourced before it, sets them
# What the program is made of, for machines: CycloneDX. Crates by cargo-cyclonedx, C libraries beside them. Sourced by
# packaging/build.sh.

# The SBOM for architecture $1, into folder $2.
make_sbom() {
    local architecture=$1 into=$2 name libraries
    name=edgeferry-$version-linux-$architecture
    libraries=$(c_libraries | jq --raw-input --slurp 'split("\n") | map(select(. != "") | split("\t") | {
        type: "library", "bom-ref": "c:\(.[0])@\(.[1])", name: .[0], version: .[1], scope: "required",
        licenses: [{expression: .[2]}], purl: "pkg:generic/\(.[0])@\(.[1])",
        externalReferences: [{type: "website", url: .[3]}]
    })')
    # It writes beside Cargo.toml, nowhere else, and would change a lock file that is not up to date.
    cargo metadata --locked --format-version 1 --no-deps >/dev/null
    cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target "$(triple "$architecture")" \
        --no-default-features --features "$shipped_features" --override-filename "$name.part"
    # Without what differs at each run or on each machine: a number, and where the source lies.
    jq --sort-keys --argjson libraries "$libraries" --arg here "path+file://$PWD" --arg version "$version" --arg rust "$(rustc --version)" '
        del(.serialNumber)
        | .metadata.timestamp = (env.SOURCE_DATE_EPOCH | tonumber | todate)
        | walk(if type == "string" then split($here) | join("path:edgeferry") | split("?download_url=file://.") | join("") else . end)
        | .components += $libraries
        | .components += [{
            type: "library", "bom-ref": "rust-std", name: "rust-std", version: ($rust | split(" ")[1]), scope: "required",
            licenses: [{expression: "MIT OR Apache-2.0"}], purl: "pkg:generic/rust-std@\($rust | split(" ")[1])"
          }]
        | .metadata.component."bom-ref" as $program
        | (.dependencies[] | select(.ref == $program) | .dependsOn) += ["rust-std"]
        | (.dependencies[] | select(.ref | test("#rdkafka-sys@")) | .dependsOn) += [$libraries[] | select(.name | IN("librdkafka", "openssl", "zlib", "zstd")) | ."bom-ref"]
        | .dependencies += [{ref: ($libraries[] | select(.name == "librdkafka") | ."bom-ref"),
            dependsOn: [$libraries[] | select(.name | IN("lz4", "cJSON")) | ."bom-ref"]}]
        ' "$name.part.json" >"$into/$name.cdx.json"
    rm -f "$name.part.json"
}
