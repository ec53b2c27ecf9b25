# shellcheck shell=sh
# Fails unless the disks of the directories $1 and $2 each have $3 KiB free, or twice as much if it
# is the same disk. Succeeds if the free space cannot be found out, or if $4 exists, because then
# nothing is unpacked.
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
