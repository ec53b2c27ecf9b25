# shellcheck shell=sh
# Makes node the owner of the directory $1 and of its parents below $2, as far as they exist and
# root created them with mode 755.
enter "$1" "$2" || :
