
case "$1" in
    remove)
        reload_units
        rm -f "$STOPPED"
        say "configuration (/etc/edgeferry) and stores (/var/lib/edgeferry*) stay"
        ;;
    purge)
        purge_stores
        ;;
esac
