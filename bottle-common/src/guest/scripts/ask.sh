# shellcheck shell=sh
# Functions for programs that ask what works in the guest. They run as node with the agent's
# environment. $1 is the time limit for one question, in seconds.
set -f
limit=$1
shift

# need PROGRAM...: ends this program if the guest lacks one of them.
need() {
    for program; do
        command -v "$program" >/dev/null || {
            echo "$program: not found" >&2
            exit 127
        }
    done
}
need tail timeout tr

# ask COMMAND...: runs COMMAND with `request` on stdin. Sets `status` to its exit status, and `said`
# to the last `room` bytes of what it says. If others print at the same time, these have to be few.
request='' room=3000
ask() {
    said=$(
        {
            status=0
            printf %s "$request" | timeout -k 1 "$limit" "$@" 2>&1 || status=$?
            printf '\n%s' "$status"
        } | tail -c "$room" | tr -d '\0'
    )
    status=${said##*"$newline"}
    said=${said%"$newline"*}
}
newline='
'

# ask_quietly COMMAND...: does the same without what COMMAND says on stderr.
# shellcheck disable=SC2016 # for another shell
ask_quietly() { ask sh -c 'exec "$@" 2>/dev/null' sh "$@"; }

# each FUNCTION WORD...: calls FUNCTION for each WORD, for sixteen of them at a time. It has to
# print its fields at once, each ended by NUL.
each() {
    function=$1 count=0
    shift
    for word; do
        "$function" "$word" &
        count=$((count + 1))
        [ $((count % 16)) -ne 0 ] || wait
    done
    wait
}

# find_proxy SCHEME HOST: sets `proxy` to the proxy that both curl and undici would use, as
# `[USER:PASSWORD@]HOST:PORT`, or to nothing, and `kind` to nothing if it is not an HTTP proxy. They
# read NO_PROXY in the same way only if it is `*`, or has hosts, and domains with a dot before them.
find_proxy() {
    proxy='' kind=http
    folded=$(printf %s "$2" | tr '[:upper:]' '[:lower:]')
    exceptions=$(printf %s "${no_proxy-${NO_PROXY:-}}" | tr '[:upper:]' '[:lower:]' | tr , ' ')
    [ "$exceptions" != '*' ] || return 0
    for exception in $exceptions; do
        case $exception in
            "$folded") return ;;
            .*) case $folded in *"$exception") return ;; esac ;;
        esac
    done
    case $1 in
        https) proxy=${https_proxy:-${HTTPS_PROXY:-}} ;;
        http) proxy=${http_proxy:-${HTTP_PROXY:-}} ;;
    esac
    proxy=${proxy:-${all_proxy:-${ALL_PROXY:-}}}
    case $proxy in
        [Hh][Tt][Tt][Pp]://*) proxy=${proxy#*://} ;;
        *://*) kind='' ;;
    esac
    proxy=${proxy%%/*}
    case ${proxy##*@} in '' | *:*) ;; *) proxy=$proxy:80 ;; esac
    # A user without a password has an empty one.
    case $proxy in
        *:*@*) ;;
        *@*) proxy=${proxy%@*}:@${proxy##*@} ;;
    esac
}

# decode TEXT: sets `decoded` to TEXT without its percent-encoding.
decode() {
    decoded='' rest=$1
    while :; do
        case $rest in *%*) ;; *) break ;; esac
        decoded=$decoded${rest%%\%*} rest=${rest#*%}
        case $rest in
            [0-9A-Fa-f][0-9A-Fa-f]*)
                code=$(printf %o "0x${rest%"${rest#??}"}")
                # shellcheck disable=SC2059 # the format is an octal escape
                decoded=$decoded$(printf "\\$code") rest=${rest#??}
                ;;
            *) decoded=$decoded% ;;
        esac
    done
    decoded=$decoded$rest
}

# ask_tls HOST PORT OPTION...: asks OpenSSL for a TLS connection, through the proxy if there is one.
# The certificate has to be that of the host's name or address. The exit status 125 means that it
# cannot be asked.
ask_tls() {
    host=$1 address=$1:$2
    shift 2
    find_proxy https "$host"
    if [ -z "$kind" ]; then
        status=125 said='the proxy of the agent is not an HTTP proxy'
        return
    fi
    if [ -n "$proxy" ]; then set -- "$@" -proxy "${proxy##*@}"; fi
    case $proxy in
        *@*)
            account=${proxy%@*}
            decode "${account#*:}" && export BOTTLE_PROXY_PASSWORD="$decoded"
            decode "${account%%:*}"
            set -- "$@" -proxy_user "$decoded" -proxy_pass env:BOTTLE_PROXY_PASSWORD
            ;;
    esac
    host=${host#[} host=${host%]}
    case $host in
        *:*) set -- "$@" -verify_ip "$host" ;;
        *[!0-9.]*) set -- "$@" -servername "$host" -verify_hostname "$host" ;;
        *) set -- "$@" -verify_ip "$host" ;;
    esac
    ask openssl s_client -connect "$address" -verify_return_error "$@"
}
