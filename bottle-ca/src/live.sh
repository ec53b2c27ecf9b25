# shellcheck shell=sh
# Asks for a TLS connection to each host, `HOST:PORT`, behind the first three parameters. It is
# verified with the certificate $1 alone, with the bundle $2, and with each other file that one of
# the variables $3 names. Prints the host, the name of the file, the file, the exit status of
# OpenSSL and what it said, and at the end `end`.
need openssl printenv
ours=$1 bundle=$2 variables=$3
shift 3
ask_host() {
    seen=
    for name in ours bundle $(printf %s "$variables"); do
        case $name in
            ours) file=$ours ;;
            bundle) file=$bundle ;;
            *) file=$(printenv "$name") || continue ;;
        esac
        case $seen in *"|$file|"*) continue ;; esac
        seen="$seen|$file|"
        ask_tls "${1%:*}" "${1##*:}" -brief -CAfile "$file"
        # shellcheck disable=SC2154 # set by ask_tls
        printf '%s\0' "$1" "$name" "$(printf %.200s "$file")" "$status" "$said"
    done
}
each ask_host "$@"
printf 'end\0'
