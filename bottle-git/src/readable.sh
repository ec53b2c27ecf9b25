# shellcheck shell=sh
# Fails if git cannot read the repository $1 in the working directory: if it is not a repository, or
# if the commit that is checked out is missing. Succeeds if there is no git.
set -eu
command -v git >/dev/null || exit 0
# Only this repository counts, and neither other configuration files nor repositories above it.
here=$(pwd -P)
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_CEILING_DIRECTORIES="${here%/*}"
git rev-parse --git-dir
if git rev-parse --quiet --verify HEAD; then
    git cat-file -e 'HEAD^{commit}'
    exit
fi
# The branch has no commit. That is all right if its file is missing, but not if it is empty.
branch=$(git symbolic-ref HEAD)
[ ! -e "$1/$branch" ] && { [ ! -e "$1/packed-refs" ] || [ -s "$1/packed-refs" ]; }
