# shellcheck shell=sh
# Sends an MCP `initialize` to the server at the scheme $1, the host $2, the port $3 and the path
# $4, whose Host header is $5, with TLS verified by the bundle $6. Prints the proxy that was used,
# if one was, the exit status of the program that was used, and the server's answer. At the end it
# prints `end`.
need base64 bash openssl
scheme=$1 host=$2 port=$3 target=$4 header=$5 bundle=$6
client='{"name":"bottle-supervise","version":"1"}'
params='{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":'$client'}'
body='{"jsonrpc":"2.0","id":1,"method":"initialize","params":'$params'}'
find_proxy "$scheme" "$host"
used=${proxy##*@} authorization=''
if [ "$scheme" = http ] && [ -n "$proxy" ]; then
    target=http://$header$target
    case $proxy in
        *@*)
            decode "${proxy%@*}"
            # shellcheck disable=SC2154 # set by decode
            authorization=$(printf %s "$decoded" | base64 -w 0)
            authorization=$(printf 'Proxy-Authorization: Basic %s\r\nX' "$authorization")
            authorization=${authorization%X}
            ;;
    esac
fi
# shellcheck disable=SC2034 # read by ask
request=$(
    printf 'POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n' "$target" "$header"
    printf '%sContent-Type: application/json\r\n' "$authorization"
    printf 'Accept: application/json, text/event-stream\r\nContent-Length: %s\r\n\r\n' "${#body}"
    printf %s "$body"
) room=1000000
if [ "$scheme" = https ]; then
    ask_tls "$host" "$port" -quiet -CAfile "$bundle"
elif [ -z "$kind" ]; then
    status=125 said='the proxy of the agent is not an HTTP proxy'
else
    name=${host#[}
    set -- "${name%]}" "$port"
    [ -z "$used" ] || set -- "${used%:*}" "${used##*:}"
    # bash is the only program of every Debian that makes a TCP connection.
    # shellcheck disable=SC2016 # for bash
    ask bash -c 'exec 3<>"/dev/tcp/$1/$2" && cat >&3 && exec cat <&3' bash "$@"
fi
printf '%s\0' "$used" "$status" "$said"
printf 'end\0'
