# shellcheck shell=sh
# Trusts the certificate $1, whose SHA-256 is $2. This is one exec, since early ones may be killed.
set -eu

# Without a lock, two runs at once would double the bundle. The holder removes the lock file, so the
# lock counts only if the file still has its name.
umask 077
lock=/run/claude-bottle-ca.lock
while :; do
    exec 9>>"$lock"
    flock 9
    # shellcheck disable=SC3013 # every sh of a guest (dash, bash, busybox) has -ef
    if [ "$lock" -ef /proc/self/fd/9 ]; then break; fi
done
trap 'rm -f "$lock"' EXIT

refuse() {
    rm -f "$1"
    echo "$1 $2: it is removed" >&2
    exit 1
}

# It was judged on the host and copied afterwards. In between its file may have become another one,
# such as the one with the proxy's key.
case $(sha256sum <"$1") in
    "$2 "*) ;;
    *) refuse "$1" 'is not the file that was judged, which changed on the host' ;;
esac
# With a certificate in the bundle that OpenSSL cannot read there would be no TLS at all.
has_openssl=$(command -v openssl) || :
if [ "$has_openssl" ] && ! hash=$(openssl x509 -noout -hash -in "$1"); then
    refuse "$1" 'is not a certificate that OpenSSL can read'
fi

umask 022
chmod 644 "$1"
chown root:root "$1"
# With the link there a second run adds nothing, and leaves a renewed certificate under its old
# hash. A killed run leaves `.new`, to which the next one would append.
cd /etc/ssl/certs
rm -f claude-bottle-mitm.pem ca-certificates.crt.new
status=0
said=$(update-ca-certificates) || status=$?
printf '%s\n' "$said"
[ "$status" -eq 0 ] || exit "$status"
printf '%s\n' "$said" | grep -q '[1-9][0-9]* added'
test -e claude-bottle-mitm.pem

# OpenSSL looks for it under its hash, counting from 0 up to the first gap.
number=0
# shellcheck disable=SC3013 # as above
while [ "$has_openssl" ] && ! [ "$hash.$number" -ef "$1" ]; do
    if ! [ -e "$hash.$number" ]; then
        echo "there is no link to $1 under its hash, $hash, in /etc/ssl/certs" >&2
        exit 1
    fi
    number=$((number + 1))
done
