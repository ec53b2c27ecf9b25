# shellcheck shell=sh
# What an adapter runs on the other side. $1 is the length of the file that comes on stdin, or `none`,
# or `input` if all of stdin is for the command. The other parameters are the command. Its last one
# but one becomes the name of the file here. After the file, stdin stays open as long as somebody
# waits for the command. Exits like the command, but with 254 for 255, with which ssh says that it
# failed itself.
size=$1 file='' && shift
trap '[ -z "$file" ] || rm -f "$file"' EXIT
end() {
    [ "$status" -ne 255 ] || status=254
    exit "$status"
}
trap 'exit 129' HUP && trap 'exit 141' PIPE && trap 'exit 143' TERM
exec 3<&0
if [ "$size" = input ]; then
    "$@" <&3 && status=0 || status=$?
    end
fi
if [ "$size" != none ]; then
    file=$(mktemp "${TMPDIR:-/var/tmp}/bottle-copy.XXXXXX") || exit 1
    head -c "$size" <&3 >"$file"
    [ "$(wc -c <"$file")" -eq "$size" ] || {
        echo 'Error: the file was cut short' >&2
        exit 1
    }
    left=$#
    for word; do
        shift && left=$((left - 1))
        [ "$left" -ne 1 ] || word=$file
        set -- "$@" "$word"
    done
fi
cat <&3 >/dev/null 2>&1 &
reader=$!
(
    trap 'kill "$!"' TERM
    "$@" </dev/null 3<&- &
    wait "$!" 2>/dev/null && status=0 || status=$?
    kill -KILL "$reader" 2>/dev/null
    wait # a signal ends the first wait only
    exit "$status"
) &
exec 3<&-
# The reader ends by itself when nobody waits any more. A process that has just been started may miss
# a signal, so there are several.
if wait "$reader" 2>/dev/null; then
    for pause in 0 0.3 1 3; do
        sleep "$pause" && kill "$!" 2>/dev/null
    done
fi
wait "$!" 2>/dev/null && status=0 || status=$?
end
