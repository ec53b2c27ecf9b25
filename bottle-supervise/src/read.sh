# shellcheck shell=sh
# Prints Claude Code's own file $1, then $2, what the project has for everybody, where it is there.
# They are read as files, since `claude mcp get` would try to connect.
set -eu
cat "$1"
if [ -f "$2" ]; then cat "$2"; fi
