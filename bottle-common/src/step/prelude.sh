#!/bin/sh
# Makes the smolvm calls that the steps of bottle would make, but repeats none, and sets no time
# limit.
# shellcheck disable=SC2016,SC2154,SC2317 # quoted programs; variables set later; unused functions
set -eu
umask 077

# Calls must not read this script's stdin, because the script itself may be on it.
copy() { "$smolvm" machine cp "$1" "$machine:$2" </dev/null; }
guest() { "$smolvm" machine exec --name "$machine" ${user:+--user "$user"} "$@" </dev/null; }

# choose_user: sets `user` to root if smolvm accepts `--user root`. That option came with smolvm
# 1.14.0, and a bare machine refuses it, because it runs every command as root.
choose_user() {
    user=''
    find_version
    major=${version%%.*} minor=${version#*.}
    minor=${minor%%.*}
    case $major:$minor in :* | *: | *[!0-9:]*) return 0 ;; esac
    [ "$major" -gt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -ge 14 ]; } || return 0
    if said=$("$smolvm" machine exec --name "$machine" --user root -- true 2>&1 </dev/null); then
        user=root
    else
        case $said in *'needs an image machine'*) ;; *) printf '%s\n' "$said" >&2 && exit 1 ;; esac
    fi
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
    stage=$(mktemp -d)
    trap end EXIT
    trap 'optional= && exit 129' HUP
    trap 'optional= && exit 130' INT
    trap 'optional= && exit 143' TERM
}
