# shellcheck shell=sh
# Unpacks $4, a tar in $5 parts, as $1/$2. The owner of $1 runs the program $6, which does that and
# has the other parameters. $3 is node's home.
#
# The tar is removed last: while it is there, the work is not done. Under the lock it gets a name of
# its own, so that a tar which another run copies meanwhile is not taken for this one.
dir=$1 name=$2 home=$3 tar=$4 parts=$5 program=$6
shift 6
id=${tar##*/} id=${id%.tar}
store=${tar%/*}
taken=$store/$id.taken

# take PARAMETERS OF THE PROGRAM...
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

all() {
    cat "$taken"
    part=1
    while [ "$part" -lt "$parts" ]; do
        cat "$taken.$part"
        part=$((part + 1))
    done
}

# In a directory of root's, node owns only what is unpacked.
unpack() {
    case $(stat -c %U .) in
        node) runuser -u node -- sh -c "$program" sh "$name" "$id" '' "$@" ;;
        root) sh -c "$program" sh "$name" "$id" 'runuser -u node --' "$@" ;;
        *) fail "$dir is neither root's nor node's" ;;
    esac
}

# Removes what copies left that have ended: those from before the machine was started, and those that
# have written nothing for two minutes. Another run may be copying now.
remove_left_over() {
    stat=$(cat /proc/1/stat)
    read -r uptime _ </proc/uptime
    # shellcheck disable=SC2086 # words without blanks
    set -- ${stat##*) }
    # In hundredths of a second: the time of day when process 1 began.
    started=$(($(date +%s%N) / 10000000 - (${uptime%.*}${uptime#*.} - ${20})))
    find "$store" -maxdepth 1 -type f -name '*.smolvm-*' \
        '(' ! -newermt "@${started%??}.${started#"${started%??}"}" -o -mmin +2 ')' -exec rm -f {} +
}

lock "$id"
chmod 700 "$store"
enter "$dir" "$home" || fail "$dir: No such directory"
take "$@"
[ -e "./$name" ] || [ -L "./$name" ] || fail "$tar: No such file"
rm -f "$taken".*
remove_left_over
