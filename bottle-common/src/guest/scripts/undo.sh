# shellcheck shell=sh
# Takes back what unpacking $4 began of $1/$2: what was there before is there again, and nothing is
# beside it. $3 is node's home.
dir=$1 name=$2 home=$3 tar=$4
id=${tar##*/} id=${id%.tar}

take_back() {
    enter "$dir" "$home" || exit
    as_node=''
    [ "$(stat -c %U .)" != node ] || as_node='runuser -u node --'
    # shellcheck disable=SC2016 # for the other shell
    $as_node sh -c '
        if [ ! -e "./$1" ] && [ ! -L "./$1" ] && [ -e "./$2.old" ]; then mv -T "$2.old" "./$1"; fi
        rm -rf "$2".* 2>/dev/null || { chmod -R u+rwX "$2".* && rm -rf "$2".*; }
    ' sh "$name" ".bottle-$id"
}

lock "$id"
# A parent that cannot be entered is no reason to leave the tar.
(take_back) || :
rm -f "$tar" "$tar".[0-9]* "${tar%.tar}.taken" "${tar%.tar}.taken".*
