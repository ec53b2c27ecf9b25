# shellcheck shell=sh
# Makes it possible to remove the directory $1: in one that may not be written not even its owner can
# remove anything.
chmod -R u+rwX -- "$1"
