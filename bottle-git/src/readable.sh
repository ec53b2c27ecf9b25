# shellcheck shell=sh
# Fails if git cannot read the repository $1 of the working directory: it is none, or the commit that
# is checked out is not there. Without git there is nobody to ask.
set -eu
command -v git >/dev/null || exit 0
# Only the repository is judged, not what else git reads or what is above it.
here=$(pwd -P)
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_CEILING_DIRECTORIES="${here%/*}"
git rev-parse --git-dir
if git rev-parse --quiet --verify HEAD; then
    git cat-file -e 'HEAD^{commit}'
    exit
fi
# A branch without a commit yet, not one whose file is empty.
branch=$(git symbolic-ref HEAD)
[ ! -e "$1/$branch" ] && { [ ! -e "$1/packed-refs" ] || [ -s "$1/packed-refs" ]; }
