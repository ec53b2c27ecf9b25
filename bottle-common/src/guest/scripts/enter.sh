# shellcheck shell=sh
# Functions for scripts that root runs in places where node can make changes at the same time.
set -eu

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

# lock NAME: takes the lock NAME, and waits while somebody else holds it. Programs that are started
# later hold it, too. So if this script is killed and its program goes on, the next run waits.
lock() {
    # Nobody else can open it: a lock needs no more than that.
    mask=$(umask)
    umask 077
    exec 9>"/run/claude-bottle-$1.lock"
    umask "$mask"
    flock 9
}

# enter DIR HOME: changes to the directory DIR, or returns 1 if it is missing. Below HOME, no link
# is followed, and a directory that root created with mode 755 becomes node's. (Node could replace
# that directory by its own anyway, so this gives it no new rights.)
enter() {
    case $1 in
        "$2"/?*) ;;
        *)
            [ -d "$1" ] || return 1
            cd -- "$1" || exit
            return
            ;;
    esac
    cd -- "$2" || exit
    place=$(pwd -P) rest=${1#"$2"/}
    while [ -n "$rest" ]; do
        step=${rest%%/*} rest=${rest#"${rest%%/*}"} rest=${rest#/}
        [ -n "$step" ] || continue
        place=$place/$step
        [ ! -L "./$step" ] || fail "$place is a link"
        [ -e "./$step" ] || return 1
        cd -P "./$step" || fail "$place is no directory"
        [ "$(pwd -P)" = "$place" ] || fail "$place is a link"
        take_over
    done
}

# take_over: makes sure that the working directory belongs to node. Even if somebody replaces the
# directory at its path, the working directory stays the same.
take_over() {
    case $(stat -c '%U:%G %a' .) in
        node:node\ *) ;;
        node:* | 'root:root 755') chown node:node . || exit ;;
        *) fail "$place is not node's" ;;
    esac
}
