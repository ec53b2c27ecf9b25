# shellcheck shell=sh
# Makes $2 the owner of the configuration $1, and removes a stale lock file, because of which every
# later `git config` would fail.
set -eu
chown -h "$2" "$1"
rm -f "$1.lock"
