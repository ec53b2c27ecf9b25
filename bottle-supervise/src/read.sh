# shellcheck shell=sh
# Prints the agent's settings $1, then the project's file $2 if it exists. This reads the files
# itself, because `claude mcp get` would try to connect to the server.
set -eu
cat "$1"
if [ -f "$2" ]; then cat "$2"; fi
