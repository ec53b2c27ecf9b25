# shellcheck shell=sh
# Functions for programs that ask what works in the guest. They run as node with the agent's
# environment. $1 is the time limit for one question, in seconds.
set -f
limit=$1
shift

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

# find_proxy SCHEME HOST: sets `proxy` to the address of the proxy that curl and undici would use,
# or to nothing. NO_PROXY has hosts, and domains with a dot before them.
find_proxy() {
    proxy=''
    for exception in $(printf %s "${no_proxy-${NO_PROXY:-}}" | tr , ' '); do
        case $exception in
            '*' | "$2") return ;;
            .*) case $2 in *"$exception") return ;; esac ;;
        esac
    done
    case $1 in
        https) proxy=${https_proxy:-${HTTPS_PROXY:-}} ;;
        http) proxy=${http_proxy:-${HTTP_PROXY:-}} ;;
    esac
    proxy=${proxy:-${all_proxy:-${ALL_PROXY:-}}}
    proxy=${proxy#http://}
    proxy=${proxy%%/}
}

# ask_tls HOST PORT OPTION...: asks OpenSSL for a TLS connection, through the proxy if there is one.
# The certificate has to be that of the host's name or address.
ask_tls() {
    host=$1 address=$1:$2
    shift 2
    find_proxy https "$host"
    case $proxy in
        *://*) status=125 said="a proxy of this kind cannot be asked" && return ;;
        *@*)
            account=${proxy%@*}
            set -- "$@" -proxy "${proxy##*@}" -proxy_user "${account%%:*}" \
                -proxy_pass "pass:${account#*:}"
            ;;
        ?*) set -- "$@" -proxy "$proxy" ;;
    esac
    host=${host#[} host=${host%]}
    case $host in
        *:*) set -- "$@" -verify_ip "$host" ;;
        *[!0-9.]*) set -- "$@" -servername "$host" -verify_hostname "$host" ;;
        *) set -- "$@" -verify_ip "$host" ;;
    esac
    ask openssl s_client -connect "$address" -verify_return_error "$@"
}
