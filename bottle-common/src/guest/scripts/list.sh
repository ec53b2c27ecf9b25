# shellcheck shell=sh
# list DEPTH:PATH...: prints the attributes of each PATH and of the files below it, down to DEPTH
# levels. Then it prints the checksums of the regular files among them, in the same order. Every
# field ends with a NUL. All paths of one DEPTH are looked at together.
set -eu

# each LOOK DEPTH:PATH...: runs LOOK for each of the depths, with the paths that are there.
each() {
    look=$1 depths='
'
    shift
    for entry; do
        depth=${entry%%:*}
        case $depths in
            *"
$depth
"*) ;;
            *) depths="$depths$depth
" ;;
        esac
    done
    # A line for each, which the caller's IFS may be.
    for depth in $depths; do each_of "$@"; done
}

# each_of DEPTH:PATH...: does it for $depth.
each_of() {
    for entry; do
        shift
        path=${entry#*:}
        if [ "${entry%%:*}" = "$depth" ] && { [ -e "$path" ] || [ -L "$path" ]; }; then
            set -- "$@" "$path"
        fi
    done
    [ $# -eq 0 ] || "$look" "$@"
}

attributes() { find "$@" -maxdepth "$depth" -printf '%y %m %u:%g\0%p\0%l\0'; }

sums() { find "$@" -maxdepth "$depth" -type f -exec sha256sum -z -- {} + | cut -z -c 1-64; }

list() {
    each attributes "$@"
    printf 'sha256\0'
    each sums "$@"
    printf '\0'
}
