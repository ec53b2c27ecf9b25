# shellcheck shell=sh
# Prints what git's files in the guest are like: the attributes of the configuration $2, of its
# lock, of the workspace $3, and of the paths in the parameters before `--`, one a line as `list`
# takes them. Then it prints the first file below $4 that does not belong to node, with its owner,
# and whether the workspace has files beside the repository. At the end it runs the program $1 as
# node, with the workspace and the parameters behind `--`.
as_node=$1 config=$2 workspace=$3 whole=$4
shift 4
paths=''
while [ "$1" != -- ]; do
    paths=$paths$1 && shift
done
shift
words=$IFS IFS='
'
set -f
# shellcheck disable=SC2086 # each line is a parameter
list "0:$config" "0:$config.lock" "0:$workspace" $paths
IFS=$words
if [ -d "$whole" ]; then
    find "$whole" '(' ! -user node -o ! -group node ')' -printf '%p\0%u:%g\0' -quit
fi
printf '\0'
[ ! -d "$workspace" ] || find "$workspace" -mindepth 1 -maxdepth 1 ! -name .git -printf x -quit
printf '\0'
exec runuser -u node -- sh -c "$as_node" sh "$workspace" "$@"
