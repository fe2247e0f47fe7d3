
case "$1" in
    # Not at an upgrade: the old program runs until the new one is there, because brokers drop QoS 0 while nobody listens. Not at a
    # deconfiguration either (something that edgeferry needs is being replaced): the program stays where it is, and runs.
    remove)
        stop_everything
        note_what_is_left
        ;;
esac
