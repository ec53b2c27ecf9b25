# shellcheck shell=sh
# Of the first $1 parameters behind it, prints `unwritable` and those directories that are there and
# that this user cannot write to. Of the others, it prints `unreadable` and a path at or below each
# that it cannot read, and `mount` and the path of each mount that they are on, or that is below
# them. At the end it prints `end`. Each word and each path ends with NUL.
need find
number=$1
shift
while [ "$number" -gt 0 ]; do
    if [ -e "$1" ] && ! [ -w "$1" ]; then printf 'unwritable\0%s\0' "$1"; fi
    shift
    number=$((number - 1))
done
# shellcheck disable=SC2154 # set by ask
for target; do
    ask_quietly find "$target" '(' ! -readable -o -type d ! -executable ')' -printf %p -quit
    if [ "$status" != 0 ] && [ -z "$said" ]; then said=$target; fi
    if [ -n "$said" ]; then printf 'unreadable\0%s\0' "$said"; fi
done
while read -r _ _ _ _ point _; do
    point=$(printf %b "$point")
    case $point in /home | /home/*) ;; *) continue ;; esac
    for target; do
        case $target/ in "$point"/*) printf 'mount\0%s\0' "$point" && break ;; esac
        case $point/ in "$target"/*) printf 'mount\0%s\0' "$point" && break ;; esac
    done
done </proc/self/mountinfo
printf 'end\0'
