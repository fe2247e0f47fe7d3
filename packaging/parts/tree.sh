# shellcheck shell=bash
# The files of an installation, as they lie on a gateway. The Debian package and the tarball are made of the same tree, so that they
# cannot differ in what goes where. Sourced by packaging/build.sh.

# The pages that the program $1 makes of its own definitions, into the folder $2: man/ and completions.
make_pages() {
    local voice=$1 into=$2
    mkdir -p "$into/man"
    "$voice" man "$into/man"
    "$voice" completions bash >"$into/edgeferry.bash"
    "$voice" completions zsh >"$into/edgeferry.zsh"
    "$voice" completions fish >"$into/edgeferry.fish"
}

# Refuses what would not run on a gateway: another machine's program, and libraries that a gateway need not have.
look_at_program() {
    local architecture=$1 binary=$2 machine library
    machine=$(LC_ALL=C readelf --file-header "$binary" | sed -n 's/^ *Machine: *//p')
    case "$architecture:$machine" in
        arm64:AArch64 | armhf:ARM | "amd64:Advanced Micro Devices X86-64") ;;
        *) fail "$binary is a program for '$machine', not for $architecture" ;;
    esac
    for library in $(libraries "$binary"); do
        package_of "$library" >/dev/null || fail "$binary needs $library, which not every gateway has." \
            "./dev cross links it in; a debug build can only be packed with --trial"
    done
    # Half of a program for development is its description of itself.
    if [[ -z $trial && $(LC_ALL=C readelf --sections --wide "$binary") == *.debug_info* ]]; then
        fail "$binary is not stripped: pack what ./dev cross builds"
    fi
}

# What the program $1 wants loaded beside it.
libraries() { LC_ALL=C readelf --dynamic "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# The Debian package of the library $1; fails for what a package of edgeferry must not ask for.
package_of() {
    case "$1" in
        libc.so.6 | libm.so.6 | libdl.so.2 | librt.so.1 | libpthread.so.0 | libresolv.so.2 | ld-linux*.so.*) echo libc6 ;;
        # Its name until Debian 10, which has the C library that is the baseline.
        libgcc_s.so.1) echo "libgcc-s1 | libgcc1" ;;
        libssl.so.3 | libcrypto.so.3) [[ -n $trial ]] && echo libssl3 ;;
        libz.so.1) [[ -n $trial ]] && echo zlib1g ;;
        *) return 1 ;;
    esac
}

# The oldest glibc that has all that the program $1 asks of it.
glibc() {
    LC_ALL=C readelf --version-info --wide "$1" | grep -o 'GLIBC_[0-9][0-9.]*' | cut -d_ -f2 | sort --version-sort | tail -n 1
}

# Puts a compressed copy of $1 at $2.gz, the same at any time.
put_gz() {
    mkdir -p "$(dirname "$2")"
    gzip -9n <"$1" >"$2.gz"
    chmod 644 "$2.gz"
}

put() { install -D -m "$1" "$2" "$3"; }

# The tree for architecture $1 with program $2 and what is the same for all ($3), as folder $4.
make_tree() {
    local architecture=$1 binary=$2 shared=$3 tree=$4 doc=$4/usr/share/doc/edgeferry page file
    [[ -f $binary ]] || fail "there is no $binary: ./dev cross $(cross_name "$architecture") builds it"
    look_at_program "$architecture" "$binary"
    put 755 "$binary" "$tree/usr/bin/edgeferry"
    # Only this machine's own tools know this machine's programs, and only those are built for tests.
    if [[ -n $trial ]]; then strip "$tree/usr/bin/edgeferry" 2>/dev/null || true; fi
    put 644 systemd/edgeferry.service "$tree/usr/lib/systemd/system/edgeferry.service"
    put 644 systemd/edgeferry@.service "$tree/usr/lib/systemd/system/edgeferry@.service"
    put 644 systemd/edgeferry.sysusers.conf "$tree/usr/lib/sysusers.d/edgeferry.conf"
    put 640 config/edgeferry.toml "$tree/etc/edgeferry/edgeferry.toml"
    put 644 "$shared/edgeferry.bash" "$tree/usr/share/bash-completion/completions/edgeferry"
    put 644 "$shared/edgeferry.zsh" "$tree/usr/share/zsh/vendor-completions/_edgeferry"
    put 644 "$shared/edgeferry.fish" "$tree/usr/share/fish/vendor_completions.d/edgeferry.fish"
    for page in "$shared"/man/*.1; do
        put_gz "$page" "$tree/usr/share/man/man1/${page##*/}"
    done
    put 644 packaging/licences/copyright "$doc/copyright"
    put_gz "$shared/licences.txt" "$doc/licences.txt"
    [[ ! -f $shared/rust-standard-library.html ]] || put_gz "$shared/rust-standard-library.html" "$doc/rust-standard-library.html"
    put_gz CHANGELOG.md "$doc/changelog"
    # Messages of the program name them, and a gateway may have no other way to read them.
    for file in docs/*.md; do
        put_gz "$file" "$doc/docs/${file##*/}"
    done
    while IFS= read -r file; do
        put 644 "$file" "$doc/examples/${file#config/examples/}"
    done < <(find config/examples -type f | LC_ALL=C sort)
    # For programs beside this one: Mosquitto on the same board.
    for file in config/*; do
        if [[ -f $file && $file != config/edgeferry.toml ]]; then put 644 "$file" "$tree/usr/share/edgeferry/${file##*/}"; fi
    done
    while IFS= read -r file; do
        put 644 "$file" "$doc/examples/$file"
    done < <(find monitoring -type f | LC_ALL=C sort)
    # Whoever packs may have another mask.
    find "$tree" -type d -exec chmod 755 {} +
    find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}
