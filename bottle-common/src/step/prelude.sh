#!/bin/sh
# Makes the smolvm calls that the steps of bottle would make, but repeats none, sets no time limit,
# and does not refuse an old smolvm.
# shellcheck disable=SC2016,SC2154,SC2317 # quoted programs; variables set later; unused functions
set -eu
umask 077

# copy MODE FROM TO: makes root the owner and sets MODE, if MODE is not empty and smolvm can set it,
# as it can since 1.9.0. No call may read this script's stdin, because the script may be on it.
copy() {
    options=''
    [ -z "$1" ] || ! is_since 9 || options="--mode $1 --uid 0 --gid 0"
    # shellcheck disable=SC2086 # words without blanks
    "$smolvm" machine cp $options "$2" "$machine:$3" </dev/null
}

# guest USER OPTIONS...: runs a command as USER if smolvm accepts one, or as $user.
guest() {
    [ -z "$takes_user" ] || user=$1
    shift
    "$smolvm" machine exec --name "$machine" ${user:+--user "$user"} "$@" </dev/null
}

# choose_user: sets `takes_user` if smolvm accepts `--user`. That option came with smolvm 1.14.0,
# and a bare machine refuses it, because it runs every command as root.
choose_user() {
    user='' takes_user=''
    is_since 14 || return 0
    if said=$("$smolvm" machine exec --name "$machine" --user root -- true 2>&1 </dev/null); then
        takes_user=yes
    else
        case $said in *'needs an image machine'*) ;; *) printf '%s\n' "$said" >&2 && exit 1 ;; esac
    fi
}

# is_since MINOR: whether smolvm is 1.MINOR or later.
is_since() {
    major=${version%%.*} minor=${version#*.}
    minor=${minor%%.*}
    case $major:$minor in :* | *: | *[!0-9:]*) return 1 ;; esac
    [ "$major" -gt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -ge "$1" ]; }
}

# find_version: sets `version` to the first version number that `smolvm --version` prints.
find_version() {
    version=''
    printed=$("$smolvm" --version </dev/null) || return 0
    set -f
    for word in $printed; do
        case $word in [0-9]*.[0-9]*.[0-9]*) version=$word && break ;; esac
    done
    set +f
}

# expected WORDS SAID: fails unless SAID, the output of a failed command, contains WORDS.
expected() { case $2 in *"$1"*) ;; *) printf '%s\n' "$2" >&2 && exit 1 ;; esac }

end() {
    status=$?
    rm -rf -- "$stage"
    if [ -n "$optional" ] && [ "$status" -ne 0 ]; then
        printf '%s: warning: that failed; the bottle works without it\n' "$step" >&2
        status=0
    fi
    exit "$status"
}

# begin: every step starts with this.
begin() {
    command -v "$smolvm" >/dev/null || { printf '%s: cannot be run\n' "$smolvm" >&2 && exit 69; }
    find_version
    stage=$(mktemp -d "${TMPDIR:-/tmp}/bottle.XXXXXX")
    trap end EXIT
    trap 'optional= && exit 129' HUP
    trap 'optional= && exit 130' INT
    trap 'optional= && exit 143' TERM
}
