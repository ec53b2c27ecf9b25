complete -c bottle-ca -s m -l machine -d 'Provision this machine instead of the plan\'s' -r
complete -c bottle-ca -s f -l file -d 'Read the plan from a file instead of stdin' -r -F
complete -c bottle-ca -l archive -d 'Write the tar that is copied to PATH in the guest to stdout, and do nothing else: for the script of --dry-run' -r
complete -c bottle-ca -l receipt -d 'Make no smolvm call: print the plan with the receipt in FILE, which an earlier run printed with `-o receipt`' -r -F
complete -c bottle-ca -s o -l output -d 'What to print: the plan with this step\'s receipt, or the receipt alone [default: plan; receipt on a terminal]' -r -f -a "plan\t'the plan with the receipt'
receipt\t'the receipt, indented'"
complete -c bottle-ca -l smolvm -d 'The smolvm to run' -r
complete -c bottle-ca -l exec-user -d 'Whom guest commands run as: `auto` (root, from smolvm 1.14.0 on by `--user root`), `none` (whom smolvm takes) or a user' -r
complete -c bottle-ca -l timeout -d 'How long one smolvm call may take, like `30s` or `5m`' -r
complete -c bottle-ca -l error-format -d 'How errors are printed on stderr' -r -f -a "text\t'for people'
json\t'one JSON object on one line'"
complete -c bottle-ca -s n -l dry-run -d 'Print a script for sh(1) that makes the step\'s smolvm calls, and change nothing'
complete -c bottle-ca -l check -d 'Change nothing and see whether the guest still is as the plan says; exit status 3 when it is not'
complete -c bottle-ca -s q -l quiet -d 'Say nothing but warnings and errors'
complete -c bottle-ca -s v -l verbose -d 'Show every smolvm call as a line for a shell, with its exit status and milliseconds'
complete -c bottle-ca -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bottle-ca -s V -l version -d 'Print version'
