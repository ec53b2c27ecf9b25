# shellcheck shell=sh
# Makes $2 the owner of the configuration $1, and removes a stale lock file, because of which every
# later `git config` would fail. The file is root's. Where node runs this, it cannot be given the
# file, and puts a copy of its own in its place.
set -eu
if ! chown -h "$2" "$1" 2>/dev/null; then
    new=$(mktemp "$1.XXXXXX")
    cat -- "$1" >"$new"
    chmod 644 "$new"
    mv -fT -- "$new" "$1"
fi
rm -f "$1.lock"
