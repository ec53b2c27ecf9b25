# shellcheck shell=sh
# Makes the directory $1 writable, so that it can be removed: even the owner of a read-only
# directory cannot remove anything in it.
chmod -R u+rwX -- "$1"
