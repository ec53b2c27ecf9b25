complete -c bottle-provision -l only -d 'Run only these steps' -r -f -a "ca\t''
prompt\t''
skills\t''
git\t''
supervise\t''"
complete -c bottle-provision -l from -d 'Run this step and the later ones' -r -f -a "ca\t''
prompt\t''
skills\t''
git\t''
supervise\t''"
complete -c bottle-provision -l keep-plan -d 'Keep the plan, with the receipts so far, in FILE (mode 0600)' -r -F
complete -c bottle-provision -s m -l machine -d 'Provision this machine instead of the plan\'s' -r
complete -c bottle-provision -s f -l file -d 'Read the plan from a file instead of stdin' -r -F
complete -c bottle-provision -l live-timeout -d 'Time limit for one question of --live' -r
complete -c bottle-provision -l live-host -d 'Host for --live\'s TLS connection, instead of the plan\'s egress routes' -r
complete -c bottle-provision -l smolvm -d 'smolvm program to run' -r
complete -c bottle-provision -l exec-user -d 'User that runs guest commands: `auto`, `none` or a user name' -r
complete -c bottle-provision -l timeout -d 'Time limit for one smolvm call, such as `30s` or `5m`' -r
complete -c bottle-provision -l error-format -d 'Format of errors on stderr' -r -f -a "text\t'for people'
json\t'one JSON object on one line'"
complete -c bottle-provision -s j -l jobs -d 'Run all steps at once'
complete -c bottle-provision -s n -l dry-run -d 'Print a shell script of the step\'s smolvm calls, and change nothing'
complete -c bottle-provision -l check -d 'Change nothing; exit with status 3 if the guest differs from the plan'
complete -c bottle-provision -l live -d 'With --check: ask the guest, as the agent, whether it works'
complete -c bottle-provision -s q -l quiet -d 'Print only warnings and errors'
complete -c bottle-provision -s v -l verbose -d 'Print every smolvm call as a shell command, with what it printed'
complete -c bottle-provision -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bottle-provision -s V -l version -d 'Print version'
