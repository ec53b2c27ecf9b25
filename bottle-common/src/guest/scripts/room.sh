# shellcheck shell=sh
# Fails unless each of the directories $1 and $2 has room for $3 KiB, or for twice as much where they
# are on the same disk. Where that cannot be asked, or $4, which would be kept, is there, no room is
# needed.
set -eu
[ -z "$4" ] || [ ! -e "$4" ] || exit 0
needed=$3
devices=$(stat -c %d "$1" "$2" 2>/dev/null) || exit 0
[ "${devices%%[!0-9]*}" != "${devices##*[!0-9]}" ] || needed=$((needed * 2))
for dir in "$1" "$2"; do
    free=$(df -k --output=avail "$dir" 2>/dev/null | tail -n 1) || exit 0
    if [ "$free" -lt "$needed" ]; then
        # shellcheck disable=SC2086 # df pads the number with blanks
        echo "no room in $dir: $needed KiB needed," $free "KiB free" >&2
        exit 1
    fi
done
