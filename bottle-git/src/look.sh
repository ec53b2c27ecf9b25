# shellcheck shell=sh
# Prints the attributes of the configuration $2, of its lock, of the workspace $3 and of the
# repository in it; the first file of the repository that does not belong to node, with its owner;
# and the output of the program $1, which runs as node with the workspace and the other parameters.
as_node=$1 config=$2 workspace=$3
shift 3
list "0:$config" "0:$config.lock" "0:$workspace" "0:$workspace/.git"
if [ -d "$workspace/.git" ]; then
    find "$workspace/.git" '(' ! -user node -o ! -group node ')' -printf '%p\0%u:%g\0' -quit
fi
printf '\0'
exec runuser -u node -- sh -c "$as_node" sh "$workspace" "$@"
