# shellcheck shell=bash
# What the tests inside a root share. Sourced.

export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
said=/tmp/said

miss() {
    printf 'FAILED: %s\n' "$*" >&2
    [[ ! -s $said ]] || sed 's/^/    /' "$said" >&2
    exit 1
}

# Runs a command, which must succeed; what it says is in $said.
run() { "$@" >"$said" 2>&1 || miss "$* ended with $?"; }

# Runs a command, which must fail.
refused() { if "$@" >"$said" 2>&1; then miss "$* should have failed"; fi; }

says() { grep -qF -- "$1" "$said" || miss "it does not say '$1'"; }

has() { [[ -e $1 ]] || miss "there is no $1"; }

has_no() { [[ ! -e $1 && ! -L $1 ]] || miss "there still is $1"; }

# $1 has owner, group and mode $2.
belongs() { [[ $(stat -c '%U:%G %a' "$1") == "$2" ]] || miss "$1 is $(stat -c '%U:%G %a' "$1"), not $2"; }

queued() { edgeferry queue ls --json | grep -o '"queued":[0-9]*' | cut -d: -f2; }

# The messages of a file wait in the store, as after a Kafka outage.
make_backlog() {
    install -d -o edgeferry -g edgeferry -m 0700 "${1%/*}" "$1"
    run edgeferry queue import /tmp/backlog.jsonl
    [[ $(queued) -gt 0 ]] || miss "there is no backlog"
}

# Longest wait for a gateway that starts or ends, seconds: under emulation, on a machine that has other things to do.
PATIENCE=300

# A gateway runs that no service manager knows of.
run_a_gateway() {
    # The store is that gateway's.
    sed -i 's|^# id = "pi-{serial}"|id = "gw-of-the-test"|' /etc/edgeferry/edgeferry.toml
    setpriv --reuid=edgeferry --regid=edgeferry --init-groups edgeferry run >/tmp/gateway.log 2>&1 &
    gateway=$!
    for _ in $(seq $((PATIENCE * 10))); do
        # Not by trying its lock: the daemon would find that taken.
        if grep -q ' running .*version=' /tmp/gateway.log; then return; fi
        kill -0 "$gateway" 2>/dev/null || break
        sleep 0.1
    done
    cp /tmp/gateway.log "$said"
    miss "it does not run"
}

end_the_gateway() {
    kill "$gateway"
    for _ in $(seq $((PATIENCE * 10))); do
        if ! kill -0 "$gateway" 2>/dev/null; then
            wait "$gateway" || true
            return
        fi
        sleep 0.1
    done
    kill -KILL "$gateway"
    cp /tmp/gateway.log "$said"
    miss "it does not end"
}

# What is in place after an installation, by whatever means.
look_at_installation() {
    has /usr/bin/edgeferry
    belongs /usr/bin/edgeferry 'root:root 755'
    belongs /etc/edgeferry/edgeferry.toml 'root:edgeferry 640'
    belongs /usr/lib/systemd/system/edgeferry.service 'root:root 644'
    has /usr/lib/systemd/system/edgeferry@.service
    has /usr/lib/sysusers.d/edgeferry.conf
    run edgeferry --version
    says "edgeferry "
    run edgeferry check
    says "edgeferry.toml: ok"
    [[ $(getent passwd edgeferry) == *:/var/lib/edgeferry:*nologin ]] || miss "no user edgeferry without a shell: $(getent passwd edgeferry)"
    [[ $(id -gn edgeferry) == edgeferry ]] || miss "the user's group is $(id -gn edgeferry)"
    # No page may be empty, and there is one for a verb.
    zcat /usr/share/man/man1/edgeferry.1.gz | grep -q '^\.TH' || miss "the manual is none"
    has /usr/share/man/man1/edgeferry-queue.1.gz
    bash -n /usr/share/bash-completion/completions/edgeferry || miss "the completions are no bash"
    has /usr/share/zsh/vendor-completions/_edgeferry
    has /usr/share/fish/vendor_completions.d/edgeferry.fish
    has /usr/share/doc/edgeferry/examples/minimal.toml
    zcat /usr/share/doc/edgeferry/changelog.gz | grep -q '^# Changelog' || miss "no changelog"
    grep -q Apache-2.0 /usr/share/doc/edgeferry/copyright || miss "no copyright"
    look_at_licences
    has_no /etc/systemd/system/multi-user.target.wants/edgeferry.service
}

# Every library is named with its text; a package for tests says that it has none.
look_at_licences() {
    local name texts
    texts=$(zcat /usr/share/doc/edgeferry/licences.txt.gz)
    [[ $texts != *"Not to be passed on"* ]] || return 0
    for name in librdkafka openssl zlib zstd lz4 cJSON ring rustls rumqttc sled tokio "Rust Standard Library"; do
        [[ $texts == *"  $name "* || $texts == *"The $name"* ]] || miss "the licences do not name $name"
    done
    for name in "Magnus Edenhill" "Jean-loup Gailly" "Facebook" "Yann Collet" "Apache License"; do
        [[ $texts == *"$name"* ]] || miss "the licences do not have the words '$name'"
    done
}
