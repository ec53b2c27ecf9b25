complete -c bottle-git -l only -d 'Do only this part' -r -f -a "repository\t'the project\'s .git'
gate\t'~/.gitconfig, which routes the remotes through the gate'
identity\t'user.name and user.email'"
complete -c bottle-git -l allow-outside -d 'Let the project use repositories in DIR, which is not in the project; repeatable' -r -F
complete -c bottle-git -s m -l machine -d 'Provision this machine instead of the plan\'s' -r
complete -c bottle-git -s f -l file -d 'Read the plan from a file instead of stdin' -r -F
complete -c bottle-git -l live-timeout -d 'Time limit for one question of --live' -r
complete -c bottle-git -l live-host -d 'Host to which --live makes a TLS connection, instead of those of the plan\'s egress routes' -r
complete -c bottle-git -s o -l output -d 'What to print on stdout [default: plan, or receipt if stdout is a terminal]' -r -f -a "plan\t'the plan with this step\'s receipt'
receipt\t'the receipt alone'"
complete -c bottle-git -l smolvm -d 'smolvm program to run' -r
complete -c bottle-git -l exec-user -d 'User that runs guest commands: `auto` (root or node, whichever a command needs, by `--user` since smolvm 1.14.0), `none` (the machine\'s default user), or a user name' -r
complete -c bottle-git -l timeout -d 'Time limit for one smolvm call, such as `30s` or `5m`' -r
complete -c bottle-git -l error-format -d 'Format of errors on stderr' -r -f -a "text\t'for people'
json\t'one JSON object on one line'"
complete -c bottle-git -l replace-repository -d 'Replace a repository that is already in the guest; the agent\'s commits in it are lost, and with `spec.copy_worktree` the whole workspace'
complete -c bottle-git -l keep-config -d 'Copy the repository\'s configuration, and files that git does not know, as they are'
complete -c bottle-git -s n -l dry-run -d 'Print a shell script that makes the step\'s smolvm calls, and change nothing'
complete -c bottle-git -l check -d 'Change nothing, and report how the guest differs from the plan; exit status 3 if it does'
complete -c bottle-git -l live -d 'With --check: ask the guest, as the agent, whether it works: TLS, git, the supervisor, files'
complete -c bottle-git -s q -l quiet -d 'Print only warnings and errors'
complete -c bottle-git -s v -l verbose -d 'Print every smolvm call as a shell command, with its exit status, its time and its output'
complete -c bottle-git -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bottle-git -s V -l version -d 'Print version'
