# shellcheck shell=sh
# Replaces the file $1, which is root's, by a copy that belongs to the user who runs this.
set -eu
new=$(mktemp "$1.XXXXXX")
cat -- "$1" >"$new"
mv -fT -- "$new" "$1"
