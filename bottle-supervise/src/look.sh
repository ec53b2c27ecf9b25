# shellcheck shell=sh
# Prints the attributes of $1, then the contents of the parameters that are files.
list "0:$1"
for file; do
    if [ -f "$file" ]; then cat "$file"; fi
done
