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
# Where the quick way builds. It is in the same file system as what it replaces.
new=/etc/ssl/certs/.claude-bottle-ca
trap 'rm -rf "$new" "$lock"' EXIT

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
umask 022
chmod 644 "$1"
chown root:root "$1"
cd /etc/ssl/certs
rm -rf "$new"
link=claude-bottle-mitm.pem bundle=ca-certificates.crt
public=/usr/share/ca-certificates local=/usr/local/share/ca-certificates
hooks=/etc/ca-certificates/update.d

# quick CERTIFICATE: update-ca-certificates starts five processes for each public certificate. If
# those are all in place, it is called for the local ones alone, in a directory of its own, and what
# it made of CERTIFICATE is moved in place. Fails if the plain way could make anything else of this
# guest, and has then done nothing that it would not do again.
quick() {
    knows_options && has_no_hooks && ! [ -x /sbin/restorecon ] || return 1
    all=$(list)
    # Up to Debian 12 update-ca-certificates takes a backslash in a name for an escape.
    case $all in *\\*) return 1 ;; esac
    mkdir "$new" "$new/certs" && echo '# none' >"$new/list" || return 1
    said=$(TMPDIR=$new update-ca-certificates --certsconf "$new/list" --hooksdir "$new/none" \
        --etccertsdir "$new/certs") || return 1
    says_added || return 1
    hash_link=$(hash_link "$1" "$all") || return 1
    printf '%s\n' "$all" | joined >"$new/$bundle" || return 1
    if ! cmp -s "$new/$bundle" "$bundle"; then
        printf '%s\n' "$all" | grep -v -x -F -e "$1" | joined | cmp -s - "$bundle" || return 1
    fi
    ln -s "$link" "$new/$hash_link" || return 1
    # Each is a rename. After any of them the guest can be used, and this can be done again.
    mv -f -t . "$new/certs/$link" "$new/$hash_link" "$new/$bundle" || return 1
    hash=${hash_link%.*}
}

# Another program of this name, such as Alpine's, does not have these lines.
knows_options() {
    known=' *--\(certsconf\|certsdir\|localcertsdir\|etccertsdir\|hooksdir\))'
    [ "$(grep -c -x -e "$known" "$(command -v update-ca-certificates)")" = 5 ]
}

has_no_hooks() { [ ! -e "$hooks" ] || { said=$(run-parts --test -- "$hooks") && [ -z "$said" ]; }; }

# Prints the certificates of the bundle in its order, as update-ca-certificates finds them.
list() {
    sed -e '/^$/d' -e '/^#/d' -e '/^!/d' /etc/ca-certificates.conf | while read -r name; do
        if [ -f "$public/$name" ]; then printf '%s\n' "$public/$name"; fi
    done
    find -L "$local" -type f -name '*.crt' | sort | while read -r name; do
        printf '%s\n' "$name"
    done
}

# Joins the certificates that stdin lists, each with a newline at its end.
# shellcheck disable=SC1003,SC2016 # sed's `$` is the last line, and its `a\` ends there
joined() { xargs -r -d '\n' sed -s -e '$a\' --; }

# hash_link CERTIFICATE ALL: prints the name of CERTIFICATE's hash link, which may not be there yet.
# Fails unless there is nothing in this directory but the bundle, CERTIFICATE's links, and for each
# other certificate of ALL a link and a hash link to that.
hash_link() {
    {
        printf '%s\n' "$2"
        find . "$new/certs" -mindepth 1 -maxdepth 1 ! -path "./${new##*/}" \
            -printf '%H\t%y\t%f\t%l\n'
    } | awk -F '\t' -v certificate="$1" -v ours="$link" -v bundle="$bundle" -v local="$local/" '
        function fail() { has_failed = 1; exit 1 }
        function is_hash(name) {
            return name ~ /^[0-9a-f]+\.(0|[1-9][0-9]*)$/ && index(name, ".") == 9
        }
        $0 == certificate { next }
        /^\// && NF == 1 {
            name = $0
            gsub(/^.*\/|\.crt$/, "", name)
            gsub(/[ ,]/, "_", name)
            gsub(/[()]/, "=", name)
            expected[name ".pem"] = $0
            next
        }
        # What update-ca-certificates made: the hashes of the local certificates.
        $1 != "." {
            if (is_hash($3)) { made[$4] = substr($3, 1, 8) }
            next
        }
        $2 == "f" && $3 == bundle { next }
        $2 != "l" || is_hash($3) && $4 in hashed { fail() }
        is_hash($3) {
            names[$3] = $4
            hashed[$4] = $3
            next
        }
        { target[$3] = $4 }
        END {
            if (has_failed) { exit 1 }
            for (name in expected) {
                if (target[name] != expected[name] || !(name in hashed)) { exit 1 }
                # Of two equal ones it would hash the first.
                if (index(expected[name], local) == 1 && !(name in made)) { exit 1 }
                count++
            }
            # It would also hash a bundle of one certificate.
            if (count < 2 || ours in expected || !(ours in made)) { exit 1 }
            for (name in target) {
                if (!(name in expected) && (name != ours || target[name] != certificate)) { exit 1 }
            }
            for (name in made) {
                if (name in hashed && substr(hashed[name], 1, 8) != made[name]) { exit 1 }
            }
            for (name in names) {
                if (!(names[name] in target)) { exit 1 }
                number = substr(name, 10)
                if (number > 0 && !((substr(name, 1, 9) (number - 1)) in names)) { exit 1 }
            }
            if (!(ours in hashed)) {
                number = 0
                while ((made[ours] "." number) in names) {
                    if (!(names[made[ours] "." number] in made)) { exit 1 }
                    number++
                }
                hashed[ours] = made[ours] "." number
            }
            print hashed[ours]
        }'
}

plain() {
    # With a certificate in the bundle that OpenSSL cannot read there would be no TLS at all. In the
    # quick way that one gets no hash link.
    if [ "$has_openssl" ] && ! hash=$(openssl x509 -noout -hash -in "$1"); then
        refuse "$1" 'is not a certificate that OpenSSL can read'
    fi
    # With the link there a second run adds nothing, and leaves a renewed certificate under its old
    # hash. A killed run leaves `.new`, to which the next one would append.
    rm -rf "$new" "$link" "$bundle.new"
    status=0
    said=$(update-ca-certificates) || status=$?
    printf '%s\n' "$said"
    [ "$status" -eq 0 ] || exit "$status"
    says_added
}

says_added() { printf '%s\n' "$said" | grep -q '[1-9][0-9]* added'; }

has_openssl=$(command -v openssl) || :
if quick "$1" 2>/dev/null; then
    way=quick
    printf '%s\n' "$said"
else
    way=plain
    plain "$1"
fi
test -e "$link"

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
# The host reads this line.
echo "way: $way"
