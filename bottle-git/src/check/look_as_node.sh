# shellcheck shell=sh
# Asks git about the repository in the workspace $1. Prints why git cannot read it, one of the
# commits $2 that it contains, its settings and those of its submodules, where git goes for each of
# the remotes that the other parameters declare, and `end`. `unreadable` is the setting of a file
# that git cannot parse, and `damaged` of a submodule that git takes for no repository or that lacks
# the commit which is checked out. If there is no repository, the remotes are declared in an empty
# one.
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
    said=$(git --no-optional-locks status --porcelain -uno --ignore-submodules=all \
        2>&1 >/dev/null) && said=''
    # On a branch without a commit, the branch may be missing, but neither it nor what lists all
    # branches may be empty, as after a crash.
    if [ -z "$said" ] && ! git rev-parse -q --verify HEAD >/dev/null 2>&1; then
        branch=$(sed -n 's/^ref: *//p' .git/HEAD)
        if [ -f ".git/$branch" ] || { [ -e .git/packed-refs ] && ! [ -s .git/packed-refs ]; }; then
            said="fatal: $branch is damaged"
        fi
    fi
    if [ -n "$commits" ]; then
        # With allow-any, git does not fetch missing objects.
        # shellcheck disable=SC2086
        known=$(git rev-list -1 --no-walk --missing=allow-any --ignore-missing $commits \
            2>/dev/null) || :
    fi
fi
printf '%s\0%s\0' "$said" "$known"
git config -z --show-origin --list 2>/dev/null || :
if [ -d .git ]; then
    # shellcheck disable=SC2016
    # A submodule may be called `logs`, too, but no HEAD is beside it.
    find .git/modules/ .git/worktrees/ \
        -type d '(' -name logs -o -name objects -o -name refs ')' \
        -exec sh -c '[ -e "${1%/*}/HEAD" ]' sh {} ';' -prune -o \
        ! -type d '(' -name config -o -name config.worktree ')' -exec sh -c '
            for file; do
                git config -z --show-origin -f "$file" --list 2>/dev/null ||
                    printf "file:%s\0unreadable\0" "$file"
            done' sh {} + 2>/dev/null || :
    # The repository of a submodule, whose work tree may be missing.
    # shellcheck disable=SC2016
    find .git/modules/ -type d -name objects -exec sh -c '
        directory=${1%/*}
        [ -e "$directory/HEAD" ] || [ -e "$directory/config" ] || exit
        ask() { git --git-dir="$directory" --work-tree="$directory" "$@" >/dev/null 2>&1; }
        if ask rev-parse --git-dir; then
            ask rev-parse --quiet --verify HEAD || exit 0
            ! ask cat-file -e "HEAD^{commit}" || exit 0
        fi
        printf "file:%s\0damaged\0" "$directory"
        ' sh {} ';' -prune 2>/dev/null || :
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
