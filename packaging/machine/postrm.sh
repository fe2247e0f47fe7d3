
case "$1" in
    remove)
        if systemd_runs; then systemctl daemon-reload; fi
        say "configuration (/etc/edgeferry) and stores (/var/lib/edgeferry*) stay"
        ;;
    purge)
        purge_stores
        ;;
esac
