
case "$1" in
    configure)
        make_user
        # Who had the tarball's installation has this now, at the same places.
        rm -f /usr/share/doc/edgeferry/installed-files
        start_again
        say_how_to_go_on
        ;;
esac
