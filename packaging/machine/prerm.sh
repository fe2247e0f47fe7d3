
case "$1" in
    # At an upgrade the old program runs until the new one is there: brokers drop QoS 0 while nobody listens.
    remove | deconfigure)
        stop_everything
        note_what_is_left
        ;;
esac
