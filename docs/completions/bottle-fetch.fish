complete -c bottle-fetch -s m -l machine -d 'Fetch from this machine instead of the plan\'s' -r
complete -c bottle-fetch -s f -l file -d 'Read the plan from FILE instead of stdin' -r
complete -c bottle-fetch -l max-size -d 'Take at most this much from the guest [default: 1024]' -r
complete -c bottle-fetch -l smolvm -d 'smolvm to run (1.8.1) [env: CLAUDE_BOTTLE_SMOLVM]' -r
complete -c bottle-fetch -l timeout -d 'Time limit [default: 10m, env: CLAUDE_BOTTLE_TIMEOUT]' -r
complete -c bottle-fetch -s q -l quiet -d 'Print only warnings and errors'
complete -c bottle-fetch -s h -l help -d 'Print help'
complete -c bottle-fetch -s V -l version -d 'Print version'
