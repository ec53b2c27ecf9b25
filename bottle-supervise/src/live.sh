# shellcheck shell=sh
# Sends an MCP `initialize` to the server at the scheme $1, the host $2, the port $3 and the path
# $4, with TLS verified by the bundle $5. Prints the proxy that was used, if one was, the exit
# status of the program that was used, and the server's answer. At the end it prints `end`.
scheme=$1 host=$2 port=$3 path=$4 bundle=$5
client='{"name":"bottle-supervise","version":"1"}'
params='{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":'$client'}'
body='{"jsonrpc":"2.0","id":1,"method":"initialize","params":'$params'}'
find_proxy "$scheme" "$host"
target=$path authorization=
if [ "$scheme" = http ] && [ -n "$proxy" ]; then
    target=http://$host:$port$path
    case $proxy in
        *@*)
            account=$(printf %s "${proxy%@*}" | base64 -w 0)
            authorization=$(printf 'Proxy-Authorization: Basic %s\r\nX:' "$account")
            authorization=${authorization%X:}
            ;;
    esac
fi
# With HTTP/1.0 the answer is in one piece, and its end is that of the connection.
# shellcheck disable=SC2034 # read by ask
request=$(
    printf 'POST %s HTTP/1.0\r\nHost: %s:%s\r\n' "$target" "$host" "$port"
    printf '%sContent-Type: application/json\r\n' "$authorization"
    printf 'Accept: application/json, text/event-stream\r\nContent-Length: %s\r\n\r\n' "${#body}"
    printf %s "$body"
) room=65536
used=${proxy##*@}
case $scheme:$used in
    https:*) ask_tls "$host" "$port" -quiet -verify_quiet -CAfile "$bundle" ;;
    http:*://*) status=125 said="a proxy of this kind cannot be asked" ;;
    http:)
        name=${host#[}
        set -- "${name%]}" "$port"
        ;;
    *)
        case $used in *:*) ;; *) used=$used:80 ;; esac
        set -- "${used%:*}" "${used##*:}"
        ;;
esac
# bash is the only program of every Debian that makes a TCP connection.
if [ $# -eq 2 ]; then
    # shellcheck disable=SC2016 # for bash
    ask bash -c 'exec 3<>"/dev/tcp/$1/$2" && cat >&3 && exec cat <&3' bash "$@"
fi
printf '%s\0' "$used" "$status" "$said"
printf 'end\0'
