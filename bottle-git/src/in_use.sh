# shellcheck shell=sh
# Ends unless there is a repository in the workspace $1, and makes $1 its name: succeeds if there
# are other files, and fails if there is nothing. Another script follows, which looks at the
# repository.
set -eu
cd -- "$1"
if [ ! -e .git ] && [ ! -L .git ]; then
    [ -n "$(ls -A)" ]
    exit
fi
set -- .git
