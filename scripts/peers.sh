# shellcheck shell=bash
# Peers that `./dev bench e2e --peers` compares with. Sourced, behind setup.sh.

telegraf_version=1.37.2

# What it is built with: the plug-ins of benches/e2e/bridges/telegraf.rs, and nothing else.
telegraf_tags=custom,inputs.mqtt_consumer,outputs.kafka,parsers.value,serializers.template

# By Go's own client, from its module. Go 1.19 of Debian 12 is too old for it and cannot fetch another one; a later one can.
install_telegraf() {
    mkdir -p "$1"
    # The module's own `replace` lines keep `go install` from taking it by its name: it is a module that ours requires. With `go get` the
    # modules of all of its plug-ins would have to be fetched; the build takes those that it needs.
    (
        cd "$1" &&
            go mod init edgeferry.invalid/peers &&
            go mod edit -require "github.com/influxdata/telegraf@v$telegraf_version" &&
            CGO_ENABLED=0 go build -mod=mod -tags "$telegraf_tags" -trimpath -ldflags '-s -w' -o telegraf \
                github.com/influxdata/telegraf/cmd/telegraf
    )
}

# Sets EDGEFERRY_BENCH_TELEGRAF, or says why there is none.
need_telegraf() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/telegraf-$telegraf_version
    if [[ ! -x $folder/telegraf ]]; then
        if ! command -v go >/dev/null; then
            say "Telegraf is left out: it is built with Go 1.25 or later, and there is no go here (https://go.dev/dl)"
            return
        fi
        say "building Telegraf $telegraf_version (a minute or more)"
        make_at "$folder" install_telegraf || {
            say "Telegraf is left out: $(go version) cannot build it, or its modules cannot be reached"
            return
        }
    fi
    export EDGEFERRY_BENCH_TELEGRAF=$folder/telegraf
}
