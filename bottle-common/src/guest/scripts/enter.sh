# shellcheck shell=sh
# Functions for root's scripts that work where node may be at work, too.
set -eu

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

# lock NAME: waits until nobody else works on NAME. What is started from here holds the lock, too: a
# program that goes on without us keeps the next run waiting.
lock() {
    exec 9>"/run/claude-bottle-$1.lock"
    flock 9
}

# enter DIR HOME: makes DIR the working directory, or ends with status 1 where it is missing. Below
# HOME no link is followed, and a directory that root made for everybody to enter becomes node's.
# (Node could put one of its own in that place, so this gives it nothing.)
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

# The working directory is what it is, whatever is put in its place meanwhile.
take_over() {
    case $(stat -c '%U:%G %a' .) in
        node:node\ *) ;;
        node:* | 'root:root 755') chown node:node . || exit ;;
        *) fail "$place is not node's" ;;
    esac
}
