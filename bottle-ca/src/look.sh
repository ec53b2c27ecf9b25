# shellcheck shell=sh
# Prints the attributes of the certificate $1 and of the bundle $2; the hash link through which
# OpenSSL finds the certificate (it tries the numbers from 0 up to the first gap); the number of
# certificates that are linked for the bundle; and the bundle.
set -eu
list "0:$1" "0:$2"
cd /etc/ssl/certs
command -v openssl >/dev/null || {
    echo 'openssl: not found' >&2
    exit 127
}
found='' number=0
if [ -f "$1" ] && hash=$(openssl x509 -noout -hash -in "$1"); then
    while [ -e "$hash.$number" ]; do
        # shellcheck disable=SC3013 # every sh of a guest (dash, bash, busybox) has -ef
        if [ "$hash.$number" -ef "$1" ]; then found=$hash.$number; fi
        number=$((number + 1))
    done
fi
printf '%s\0' "$found"
find . -maxdepth 1 -name '*.pem' -type l -exec cat {} + | grep -c 'BEGIN CERTIFICATE' || :
printf '\0'
if [ -f "$2" ]; then cat "$2"; fi
