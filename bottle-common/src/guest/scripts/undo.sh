# shellcheck shell=sh
# Takes back what unpacking began of $1/$2: what was there before is there again, and nothing is
# beside it.
set -eu
target=$1/$2 tar=$1/.$2.bottle.tar new=$1/.$2.bottle
if [ ! -e "$target" ] && [ ! -L "$target" ] && [ -e "$new/old" ]; then
    mv -T "$new/old" "$target"
fi
rm -rf "$new" "$tar" "$tar".*
