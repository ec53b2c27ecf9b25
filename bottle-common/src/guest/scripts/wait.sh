# shellcheck shell=sh
# Waits until $1 exists, but at most 20 seconds.
seconds=20
until [ -e "$1" ] || [ "$seconds" -eq 0 ]; do
    sleep 1
    seconds=$((seconds - 1))
done
