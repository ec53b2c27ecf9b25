# shellcheck shell=sh
# Unpacks the tar on stdin as $1 in the working directory: it is there complete, or not at all. What
# is beside it meanwhile has a name that begins with .bottle-$2, as nothing else has. The command $3
# makes the files, if there is one. With $4 = keep, a target that is there stays, and "kept" is
# printed, unless the program $5 fails on it: then the target is moved aside, and "broken" is printed
# with its number.
set -eu
name=$1 own=.bottle-$2 as_node=$3 existing=$4 probe=$5
old=$own.old
aside=$old number=1

is_there() { [ -e "./$1" ] || [ -L "./$1" ]; }

# In a directory that may not be written not even its owner can remove anything.
remove() {
    rm -rf -- "$@" 2>/dev/null && return
    chmod -R u+rwX -- "$@"
    rm -rf -- "$@"
}

is_good() { [ -z "$probe" ] || sh -c "$probe" sh "$name" </dev/null >/dev/null 2>&1; }

if ! is_there "$name" && is_there "$old"; then mv -T "$old" "$name"; fi
remove "$own".*
if [ "$existing" = keep ] && is_there "$name"; then
    if is_good; then
        echo kept
        exit
    fi
    while is_there "$name.broken-$number"; do number=$((number + 1)); done
    aside=$name.broken-$number
fi

new=$(mktemp -d "$own.XXXXXXXX")
[ -z "$as_node" ] || chown node:node "$new"
# Files get the present time (-m), because the tar has none. The new directory is the tar's root: one
# that may not be written could not be moved to another parent.
$as_node tar -xpmf - --no-same-owner --transform "s,^root,$new,Sh"
# Without this, a machine that is killed later has all the files, and nothing in them.
sync -f .
if is_there "$name"; then mv -T "./$name" "./$aside"; fi
mv -T "$new" "./$name"
[ "$aside" = "$old" ] || echo "broken $number"
remove "$old"
