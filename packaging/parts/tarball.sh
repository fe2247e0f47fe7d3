# shellcheck shell=bash
# shellcheck disable=SC2154 # facts.sh, which is sourced before it, sets them
# The same tree with a script that installs it, for distributions that have no dpkg. Sourced by packaging/build.sh.

# The tarball for architecture $1 of the tree $2, into folder $3.
make_tarball() {
    local architecture=$1 tree=$2 into=$3 name outer
    name=edgeferry-$version${trial:-}-linux-$architecture
    outer=$2.tar
    mkdir -p "$outer/$name"
    cp -a "$tree" "$outer/$name/files"
    {
        echo '#!/bin/sh'
        echo "# Installs edgeferry $version${trial:-} for $architecture: sudo ./install.sh; --help says more. docs/install.md"
        echo 'set -e'
        echo "VERSION='$version${trial:-}'"
        echo "ARCHITECTURE='$architecture'"
        cat packaging/machine/common.sh
        if [[ $architecture == armhf ]]; then cat packaging/machine/armv7.sh; fi
        cat packaging/machine/install.sh
    } >"$outer/$name/install.sh"
    chmod 755 "$outer/$name/install.sh"
    install -m 644 LICENSE docs/install.md "$outer/$name/"
    chmod 755 "$outer/$name"
    # Not what whoever packs happens to have as user, mask and hour.
    tar --create --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --directory="$outer" "$name" | gzip -n "$([[ -n $trial ]] && echo -1 || echo -9)" \
        >"$into/$name.tar.gz"
    rm -rf "$outer"
}
