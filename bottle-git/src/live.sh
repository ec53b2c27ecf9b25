# shellcheck shell=sh
# In the workspace $1 if it is there, asks git for the identity of a commit, and prints its exit
# status and what it said. Then, for each remote whose address is one of the other parameters,
# prints that address, the one that git would use, the exit status of asking the remote, and what
# was said. At the end it prints `end`.
need git
cd "$1" 2>/dev/null || cd || exit
shift
export GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=true
export GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
# shellcheck disable=SC2016,SC2154 # for another shell; set by ask
ask_remote() {
    ask_quietly git ls-remote --get-url -- "$1"
    address=$said
    # git also takes the answer of any web server for an empty repository. The trace shows whether
    # the other side spoke git's protocol.
    ask sh -c 'GIT_TRACE_PACKET=1 exec git ls-remote -- "$1" >/dev/null' sh "$1"
    if [ "$status" = 0 ]; then
        case $said in *'packet:'*) ;; *) status=1 said='fatal: the answer is not that of a git server' ;; esac
    fi
    printf '%s\0' "$1" "$address" "$status" "$said"
}
# shellcheck disable=SC2154 # set by ask
ask_quietly git var GIT_AUTHOR_IDENT
[ "$status" = 0 ] || ask git var GIT_AUTHOR_IDENT
printf '%s\0' "$status" "$said"
each ask_remote "$@"
printf 'end\0'
