
case "$1" in
    install | upgrade)
        if command -v look_at_processor >/dev/null; then look_at_processor; fi
        ;;
esac
