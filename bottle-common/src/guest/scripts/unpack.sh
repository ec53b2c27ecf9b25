# shellcheck shell=sh
# Unpacks $1/.$2.bottle.tar, which is in $6 parts, as $1/$2. The target is there complete and as
# $3's own, or not at all. $3 becomes the owner of $1 and of each parent of it below $4. With $5 =
# keep, a target that is there stays, and "kept" is printed.
#
# The tar goes last: while it is there the work is not done, and when it is gone a repetition has
# nothing left to do.
set -eu
dir=$1 target=$1/$2 tar=$1/.$2.bottle.tar new=$1/.$2.bottle owner=$3 home=$4 existing=$5 parts=$6
shift 6
part=1
while [ "$part" -lt "$parts" ]; do
    set -- "$@" "$tar.$part"
    part=$((part + 1))
done

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

unpack() {
    for part; do [ -f "$part" ]; done
    rm -rf "$new"
    mkdir -m 700 "$new"
    # Files get the present time (-m): the tar has none.
    if [ $# -eq 0 ]; then
        tar -xpmf "$tar" --no-same-owner -C "$new"
    else
        cat "$tar" "$@" | tar -xpmf - --no-same-owner -C "$new"
    fi
    chown -hR "$owner" "$new/root"
    if is_there "$target"; then mv -T "$target" "$new/old"; fi
    mv -T "$new/root" "$target"
}

if is_there "$tar"; then
    if [ "$existing" != keep ] || ! is_there "$target"; then
        unpack "$@"
    elif ! is_there "$new" || is_there "$new/root"; then
        # Beside an emptied directory the target is not another's, but ours of a moment ago.
        echo kept
    fi
    rm -rf "$new"
fi
while case $dir in "$home"/?*) ;; *) false ;; esac do
    chown -h "$owner" "$dir"
    dir=${dir%/*}
done
# The star is for what an agent that ended in the middle of a copy left beside the tar.
rm -f "$tar" "$tar".*
