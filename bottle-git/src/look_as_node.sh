# shellcheck shell=sh
# Prints why git cannot work with the repository in the workspace $1 (nothing if it can), the
# settings that decide about addresses and identities, and the URL to which git goes for each other
# parameter.
set -eu
export HOME=/home/node USER=node
command -v git >/dev/null || {
    echo 'git: not found' >&2
    exit 127
}
cd "$1" 2>/dev/null || cd
shift
said=''
if [ -d .git ]; then
    status='status --porcelain -uno --ignore-submodules=all'
    # shellcheck disable=SC2086 # several words
    said=$(git --no-optional-locks $status 2>&1 >/dev/null) && said=''
fi
printf '%s\0' "$said"
addresses='url\..*\.(push)?insteadof|remote\..*\.pushurl|protocol(\.git)?\.allow'
identities='(user|author|committer)\.(name|email)'
git config -z --show-origin --get-regexp "^($addresses|$identities)\$" 2>/dev/null || :
printf '\0'
for url; do
    printf '%s\0' "$(git ls-remote --get-url "$url" 2>&1)"
done
