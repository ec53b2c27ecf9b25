complete -c bottle-prompt -s m -l machine -d 'Provision this machine instead of the plan\'s' -r
complete -c bottle-prompt -s f -l file -d 'Read the plan from a file instead of stdin' -r -F
complete -c bottle-prompt -l live-timeout -d 'Time limit for one question of --live' -r
complete -c bottle-prompt -l live-host -d 'Host for --live\'s TLS connection, instead of the plan\'s egress routes' -r
complete -c bottle-prompt -s o -l output -d 'What to print [default: plan, or receipt on a terminal]' -r -f -a "plan\t'the plan with this step\'s receipt'
receipt\t'the receipt alone'"
complete -c bottle-prompt -l smolvm -d 'smolvm program to run' -r
complete -c bottle-prompt -l exec-user -d 'User that runs guest commands: `auto`, `none` or a user name' -r
complete -c bottle-prompt -l timeout -d 'Time limit for one smolvm call, such as `30s` or `5m`' -r
complete -c bottle-prompt -l error-format -d 'Format of errors on stderr' -r -f -a "text\t'for people'
json\t'one JSON object on one line'"
complete -c bottle-prompt -s n -l dry-run -d 'Print a shell script of the step\'s smolvm calls, and change nothing'
complete -c bottle-prompt -l check -d 'Change nothing; exit with status 3 if the guest differs from the plan'
complete -c bottle-prompt -l live -d 'With --check: ask the guest, as the agent, whether it works'
complete -c bottle-prompt -s q -l quiet -d 'Print only warnings and errors'
complete -c bottle-prompt -s v -l verbose -d 'Print every smolvm call as a shell command, with what it printed'
complete -c bottle-prompt -s h -l help -d 'Print help'
complete -c bottle-prompt -s V -l version -d 'Print version'
