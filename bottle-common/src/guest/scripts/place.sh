# shellcheck shell=sh
# Unpacks the tar on stdin as the target $1 in the working directory. The target is either complete
# or not there at all. All other files that this script creates have names that begin with
# .bottle-$2, and nothing else has such a name. If $3 is not empty, it is a command that runs tar as
# node.
#
# If $4 is "keep", an existing target is kept, and "kept" is printed. But if there is a program $5
# and it fails on the target, the target is renamed, and "broken" is printed with its number. If it
# is an empty directory, it is replaced.
set -eu
name=$1 own=.bottle-$2 as_node=$3 existing=$4 probe=$5
old=$own.old
aside=$old number=1

is_there() { [ -e "./$1" ] || [ -L "./$1" ]; }

# Even the owner of a read-only directory cannot remove anything in it, so it is made writable.
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
# Files get the current time (-m), because the tar contains no times. The root of the tar becomes
# the new directory itself: if it were a read-only directory in there, it could not be moved out.
$as_node tar -xpmf - --no-same-owner --transform "s,^root,$new,Sh"
# Without this, all files would be there but empty after the machine is killed.
sync -f .
if is_there "$name"; then mv -T "./$name" "./$aside"; fi
mv -T "$new" "./$name"
# An empty directory is not kept.
[ "$aside" = "$old" ] || rmdir "./$aside" 2>/dev/null || echo "broken $number"
remove "$old"
