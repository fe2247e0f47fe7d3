# shellcheck shell=bash
# shellcheck disable=SC2154 # facts.sh, which is sourced before it, sets them
# A Debian package of a tree. dpkg-deb, and not a tool on top of it: docs/decisions/0030-packages.md. Sourced by packaging/build.sh.

# What has to be installed for the program $1.
dependencies() {
    local binary=$1 library
    {
        for library in $(libraries "$binary"); do
            package_of "$library"
        done
    } | LC_ALL=C sort -u | sed "s/^libc6\$/libc6 (>= $(glibc "$binary"))/"
    # TLS believes the authorities in it.
    echo ca-certificates
    # For the unit, and for the user; a container may have the second alone.
    echo "systemd | systemd-standalone-sysusers"
}

# A script of the package: what all of them share, the words of this one, and for preinst what only this architecture needs.
make_script() {
    local name=$1 architecture=$2 into=$3
    {
        echo '#!/bin/sh'
        echo "# $name of edgeferry $(deb_version) for $architecture"
        echo 'set -e'
        cat packaging/machine/common.sh
        if [[ $architecture == armhf && $name == preinst ]]; then cat packaging/machine/armv7.sh; fi
        cat "packaging/machine/$name.sh"
    } >"$into/$name"
    chmod 755 "$into/$name"
}

# The package for architecture $1 of the tree $2, into folder $3.
make_deb() {
    local architecture=$1 tree=$2 into=$3 root=$2.deb name size
    cp -a "$tree" "$root"
    mkdir -p "$root/DEBIAN"
    size=$(find "$root" -path "$root/DEBIAN" -prune -o -type f -printf '%s\n' | awk '{ k += int(($1 + 1023) / 1024) } END { print k }')
    cat >"$root/DEBIAN/control" <<CONTROL
Package: edgeferry
Version: $(deb_version)
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $size
Depends: $(dependencies "$tree/usr/bin/edgeferry" | paste -sd, | sed 's/,/, /g')
Suggests: mosquitto
Section: net
Priority: optional
Description: carries MQTT messages durably into Apache Kafka
 edgeferry subscribes to MQTT brokers, keeps each message in a queue on disk
 until Kafka has confirmed it, and neither loses nor reorders one. For
 gateways that have power cuts, bad links and nobody beside them.
 .
 The service is not enabled by installing it: it wants to be told first where
 its brokers are (/etc/edgeferry/edgeferry.toml).
CONTROL
    echo /etc/edgeferry/edgeferry.toml >"$root/DEBIAN/conffiles"
    (cd "$root" && find . -type f -not -path './DEBIAN/*' -not -path './etc/*' -printf '%P\n' | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
    for name in preinst postinst prerm postrm; do
        make_script "$name" "$architecture" "$root/DEBIAN"
    done
    chmod 644 "$root"/DEBIAN/{control,conffiles,md5sums}
    chmod 755 "$root/DEBIAN"
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    # xz is what Debian 11 can read. More threads would cut the data elsewhere. A test need not wait for it.
    DPKG_DEB_THREADS_MAX=1 dpkg-deb --root-owner-group "$([[ -n $trial ]] && echo -Zgzip || echo -Zxz)" \
        "$([[ -n $trial ]] && echo -z1 || echo -z6)" --build "$root" "$into/edgeferry_$(deb_version)_$architecture.deb" >&2
    rm -rf "$root"
}
