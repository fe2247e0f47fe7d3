
# Every file that the archive's install.sh put there, as it noted them.
LIST=/usr/share/doc/edgeferry/installed-files

# Who had the archive's installation has this now, at the same places; what an older archive put elsewhere is nobody's.
take_over() {
    [ -f "$LIST" ] || return 0
    ours=$(dpkg-query --listfiles edgeferry)
    while IFS= read -r file; do
        if ! echo "$ours" | grep -qxF "$file"; then rm -f "$file"; fi
        # Of an installation that was cut short.
        rm -f "$file.edgeferry-new" "$file.edgeferry-old"
    done <"$LIST"
    rm -f "$LIST"
}

case "$1" in
    configure)
        make_user
        take_over
        forget_removal
        start_again
        say_how_to_go_on
        ;;
    # Nothing was stopped for abort-deconfigure: the files were never away.
    abort-remove)
        undo_stop
        ;;
esac
