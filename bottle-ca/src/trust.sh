# shellcheck shell=sh
# Makes the guest trust the certificate $1. This is one exec, because smolvm may kill early execs.
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

umask 022
chmod 644 "$1"
chown root:root "$1"
# With the link, update-ca-certificates would add nothing, and would leave a renewed certificate
# under its old hash. A killed run leaves `.new`, to which the next run would append.
rm -f /etc/ssl/certs/claude-bottle-mitm.pem /etc/ssl/certs/ca-certificates.crt.new
status=0
said=$(update-ca-certificates) || status=$?
printf '%s\n' "$said"
[ "$status" -eq 0 ]
printf '%s\n' "$said" | grep -q '[1-9][0-9]* added'
test -e /etc/ssl/certs/claude-bottle-mitm.pem
