# shellcheck shell=sh
# Fails unless the directory $1 has room for $2 KiB. If that cannot be asked, or $3, which would be
# kept, is there, no room is needed.
set -eu
[ -z "$3" ] || [ ! -e "$3" ] || exit 0
free=$(df -k --output=avail "$1" 2>/dev/null | tail -n 1) || exit 0
if [ "$free" -lt "$2" ]; then
    # shellcheck disable=SC2086 # df pads the number with blanks
    echo "no room in $1: $2 KiB needed," $free "KiB free" >&2
    exit 1
fi
