# shellcheck shell=sh
# Undoes an unpacking of the tar $4 as $1/$2 that failed: restores what was there before, and
# removes all temporary files. $3 is node's home.
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
# Even if the directory cannot be entered, the tar is removed.
(take_back) || :
rm -f "$tar" "$tar".[0-9]* "${tar%.tar}.taken" "${tar%.tar}.taken".*
