# shellcheck shell=sh
# For the adapters. Descriptor 4 is what keeps the other side waiting.

# hold FILE SIZE: stdin becomes FILE, and then nothing, until this program has ended.
hold() {
    directory=$(mktemp -d "${TMPDIR:-/tmp}/bottle.XXXXXX")
    fifo=$directory/fifo
    mkfifo "$fifo"
    # shellcheck disable=SC2094
    exec 3<>"$fifo" && exec <"$fifo" 4>"$fifo" 3>&-
    rm -r "$directory"
    {
        cat -- "$1" >&4
        # The other side would wait for the rest.
        [ "$2" = none ] || [ "$(wc -c <"$1")" -ge "$2" ] ||
            { echo "Error: $1: it shrank while it was copied" >&2 && kill "$$"; }
    } &
}
