# shellcheck shell=sh
# Makes what there is of the directory $1, and of its parents below $2, node's.
enter "$1" "$2" || :
