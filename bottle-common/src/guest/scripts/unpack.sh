# shellcheck shell=sh
# Unpacks $4, a tar in $5 parts, as $1/$2. $3 is node's home. The program $6 does the unpacking, and
# gets the other parameters. It runs as the owner of $1, and creates the files as node.
#
# The tar is removed last: as long as it is there, the work is not done. It is renamed while the
# lock is held, so that it cannot be confused with a tar that another run copies meanwhile.
dir=$1 name=$2 home=$3 tar=$4 parts=$5 program=$6
shift 6
id=${tar##*/} id=${id%.tar}
store=${tar%/*}
taken=$store/$id.taken

# take PARAMETER...: renames the parts of the tar, unpacks them if there are any, and removes the
# first part. The program gets the PARAMETERs.
take() {
    part=0
    from=$tar to=$taken
    while [ "$part" -lt "$parts" ]; do
        [ ! -e "$from" ] || mv -f "$from" "$to"
        part=$((part + 1))
        from=$tar.$part to=$taken.$part
    done
    [ -e "$taken" ] || return 0
    if [ "$parts" -eq 1 ]; then
        unpack "$@" <"$taken"
    else
        all | unpack "$@"
    fi
    rm -f "$taken"
}

# all: prints the parts of the tar in order.
all() {
    cat "$taken"
    part=1
    while [ "$part" -lt "$parts" ]; do
        cat "$taken.$part"
        part=$((part + 1))
    done
}

# unpack PARAMETER...: runs the program as the owner of the working directory, with the tar on
# stdin. If that is root, only the unpacked files belong to node.
unpack() {
    case $(stat -c %U .) in
        node) runuser -u node -- sh -c "$program" sh "$name" "$id" '' "$@" ;;
        root) sh -c "$program" sh "$name" "$id" 'runuser -u node --' "$@" ;;
        *) fail "$dir is neither root's nor node's" ;;
    esac
}

# remove_left_over: removes the temporary files of copies that did not finish. These are older than
# the start of the machine, or have not been written to for two minutes. The temporary file of a
# copy that another run is making now stays.
remove_left_over() {
    stat=$(cat /proc/1/stat)
    read -r uptime _ </proc/uptime
    # shellcheck disable=SC2086 # no word contains a blank
    set -- ${stat##*) }
    # The time at which process 1 was started, in hundredths of a second since 1970.
    started=$(($(date +%s%N) / 10000000 - (${uptime%.*}${uptime#*.} - ${20})))
    find "$store" -maxdepth 1 -type f -name '*.smolvm-*' \
        '(' ! -newermt "@${started%??}.${started#"${started%??}"}" -o -mmin +2 ')' \
        -exec rm -f {} + 2>/dev/null || : # a copy beside us may have ended meanwhile
}

lock "$id"
chmod 700 "$store"
enter "$dir" "$home" || fail "$dir: No such directory"
take "$@"
[ -e "./$name" ] || [ -L "./$name" ] || fail "$tar: No such file"
rm -f "$taken".*
remove_left_over
