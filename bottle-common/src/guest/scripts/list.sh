# shellcheck shell=sh
# list DEPTH:PATH...: prints the attributes of each PATH and of the files below it, down to DEPTH
# levels. Then it prints the checksums of the regular files among them, in the same order. Every
# field ends with a NUL.
set -eu

each() {
    for entry; do
        depth=${entry%%:*} path=${entry#*:}
        if [ -e "$path" ] || [ -L "$path" ]; then "$look"; fi
    done
}

attributes() { find "$path" -maxdepth "$depth" -printf '%y %m %u:%g\0%p\0%l\0'; }

sums() { find "$path" -maxdepth "$depth" -type f -exec sha256sum -z -- {} + | cut -z -c 1-64; }

list() {
    look=attributes
    each "$@"
    printf 'sha256\0'
    # shellcheck disable=SC2034 # each reads it
    look=sums
    each "$@"
    printf '\0'
}
