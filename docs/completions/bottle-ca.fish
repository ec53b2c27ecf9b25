complete -c bottle-ca -s m -l machine -d 'Provision this machine instead of the plan\'s' -r
complete -c bottle-ca -s f -l file -d 'Read the plan from a file instead of stdin' -r -F
complete -c bottle-ca -s o -l output -d 'What to print: the plan with this step\'s receipt, or the receipt alone [default: plan; receipt on a terminal]' -r -f -a "plan\t'the plan with the receipt'
receipt\t'the receipt, indented'"
complete -c bottle-ca -l smolvm -d 'The smolvm to run' -r
complete -c bottle-ca -l exec-user -d 'User that runs guest commands: `auto` (root, by `--user root` from smolvm 1.14.0 on), `none` (the machine\'s own user), or a user\'s name' -r
complete -c bottle-ca -l timeout -d 'How long one smolvm call may take, like `30s` or `5m`' -r
complete -c bottle-ca -l error-format -d 'How errors are printed on stderr' -r -f -a "text\t'for people'
json\t'one JSON object on one line'"
complete -c bottle-ca -s n -l dry-run -d 'Print a shell script that makes the step\'s smolvm calls, and change nothing'
complete -c bottle-ca -l check -d 'Change nothing, and report how the guest differs from the plan; exit status 3 if it does'
complete -c bottle-ca -s q -l quiet -d 'Print only warnings and errors'
complete -c bottle-ca -s v -l verbose -d 'Show every smolvm call as a command for a shell, with its exit status and milliseconds'
complete -c bottle-ca -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bottle-ca -s V -l version -d 'Print version'
