# shellcheck shell=sh
# Prints what git's files in the guest are like: the attributes of the configuration $2, of its
# lock, of the workspace $3, of the repository in it, and of everything in three of its directories.
# Then it prints the first file of the repository that does not belong to node, with its owner. At
# the end it runs the program $1 as node, with the workspace and the other parameters.
as_node=$1 config=$2 workspace=$3
shift 3
git=$workspace/.git
# 9999 is DEEP in listing.rs, which is more levels than a path can have.
list "0:$config" "0:$config.lock" "0:$workspace" "0:$git" "0:$git/commondir" \
    "9999:$git/branches" "9999:$git/hooks" "9999:$git/remotes"
if [ -d "$git" ]; then
    find "$git" '(' ! -user node -o ! -group node ')' -printf '%p\0%u:%g\0' -quit
fi
printf '\0'
exec runuser -u node -- sh -c "$as_node" sh "$workspace" "$@"
