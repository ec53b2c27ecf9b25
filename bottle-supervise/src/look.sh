# shellcheck shell=sh
# Prints the attributes of $1, then each of $@ that is a file.
list "0:$1"
for file; do
    if [ -f "$file" ]; then cat "$file"; fi
done
