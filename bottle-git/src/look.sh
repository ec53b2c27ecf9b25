# shellcheck shell=sh
# Prints the attributes of the configuration $2, of its lock, of the workspace $3, of the repository
# in it and of its hooks and old lists of remotes; the first file of the repository that is not
# node's, with its owner; then what the program $1 prints as node, which gets the workspace and the
# other parameters.
as_node=$1 config=$2 workspace=$3
shift 3
git=$workspace/.git
list "0:$config" "0:$config.lock" "0:$workspace" "0:$git" \
    "9999:$git/branches" "9999:$git/hooks" "9999:$git/remotes"
if [ -d "$git" ]; then
    find "$git" '(' ! -user node -o ! -group node ')' -printf '%p\0%u:%g\0' -quit
fi
printf '\0'
exec runuser -u node -- sh -c "$as_node" sh "$workspace" "$@"
