# shellcheck shell=sh
# Prints what git's files in the guest are like: the attributes of the configuration $2, of its
# lock, of the workspace $3, of the repository in it, of everything in three of its directories, and
# of the files that are the lines of $5. Then it prints the first file below $4 that does not belong
# to node, with its owner, and whether the workspace has files beside the repository. At the end it
# runs the program $1 as node, with the workspace and the other parameters.
as_node=$1 config=$2 workspace=$3 whole=$4 included=$5
shift 5
git=$workspace/.git
look_at() {
    # 9999 is DEEP in listing.rs, which is more levels than a path can have.
    list "0:$config" "0:$config.lock" "0:$workspace" "0:$git" "0:$git/commondir" \
        "9999:$git/branches" "9999:$git/hooks" "9999:$git/remotes" "$@"
}
words=$IFS IFS='
'
set -f
# shellcheck disable=SC2086 # each line is a parameter
look_at $included
IFS=$words
if [ -d "$whole" ]; then
    find "$whole" '(' ! -user node -o ! -group node ')' -printf '%p\0%u:%g\0' -quit
fi
printf '\0'
[ ! -d "$workspace" ] || find "$workspace" -mindepth 1 -maxdepth 1 ! -name .git -printf x -quit
printf '\0'
exec runuser -u node -- sh -c "$as_node" sh "$workspace" "$@"
