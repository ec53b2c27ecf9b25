# shellcheck shell=sh
# Prints why git cannot work with the repository in the workspace $1, one of the commits $2 that is
# in it, what is set there and in its submodules, and where git goes for each of the remotes that the
# other parameters declare; then `end`. Where there is no repository, an empty one is asked.
set -eu
export HOME=/home/node USER=node GIT_NO_LAZY_FETCH=1
command -v git >/dev/null || {
    echo 'git: not found' >&2
    exit 127
}
cd "$1" 2>/dev/null || cd
commits=$2
shift 2
said='' known=''
if [ -d .git ]; then
    said=$(git --no-optional-locks status --porcelain -uno --ignore-submodules=all 2>&1 >/dev/null) && said=''
    # What is missing must not be fetched: that is what allow-any is for.
    # shellcheck disable=SC2086
    [ -z "$commits" ] || known=$(git rev-list -1 --no-walk --missing=allow-any --ignore-missing $commits 2>/dev/null) || :
fi
printf '%s\0%s\0' "$said" "$known"
git config -z --show-origin --list 2>/dev/null || :
if [ -d .git ]; then
    # shellcheck disable=SC2016
    find .git/modules .git/worktrees -type d '(' -name logs -o -name objects -o -name refs ')' -prune -o \
        -type f '(' -name config -o -name config.worktree ')' -exec sh -c '
            for file; do
                git config -z --show-origin -f "$file" --list 2>/dev/null ||
                    printf "file:%s\0unreadable\0" "$file"
            done' sh {} + 2>/dev/null || :
fi
printf '\0'
if [ $# -gt 0 ]; then
    directory=$(mktemp -d)
    trap 'rm -r "$directory"' EXIT
    printf '%s\n' "$@" >"$directory/remotes"
    if ! git rev-parse --git-dir >/dev/null 2>&1; then
        mkdir "$directory/objects" "$directory/refs"
        echo 'ref: refs/heads/main' >"$directory/HEAD"
        export GIT_DIR="$directory"
    fi
    printf '%s' "$(git -c "include.path=$directory/remotes" remote -v 2>&1)"
fi
printf '\0end\0'
