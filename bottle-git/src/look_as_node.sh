# shellcheck shell=sh
# Prints why git cannot work with the repository in the workspace $1, what is set of what matters
# here, and where git goes for each of the other parameters.
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
    said=$(git --no-optional-locks status --porcelain -uno --ignore-submodules=all 2>&1 >/dev/null) && said=''
fi
printf '%s\0' "$said"
git config -z --show-origin --get-regexp \
    '^(url\..*\.(push)?insteadof|remote\..*\.pushurl|protocol(\.git)?\.allow|(user|author|committer)\.(name|email))$' \
    2>/dev/null || :
printf '\0'
for url; do
    printf '%s\0' "$(git ls-remote --get-url "$url" 2>&1)"
done
