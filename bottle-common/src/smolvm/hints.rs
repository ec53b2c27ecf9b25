//! Hints for failed calls, found by the words that the call printed.

use crate::error::Code;
use crate::plan::values::MachineName;
use crate::smolvm::version::OLDEST;

/// What a bare machine prints if a program is missing. It does not name the program, and prints the
/// same if the working directory is missing.
pub(crate) const NOT_SPAWNED: &str = "failed to spawn command: No such file";
/// The hint if smolvm cannot be run.
pub(crate) const INSTALL_SMOLVM: &str =
    "install smolvm, or name it with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM";
/// The hint if smolvm is too old.
pub(crate) const NEWER_SMOLVM: &str =
    "install a newer smolvm, or name one with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM";

struct Rule {
    /// The class of failure that the rule is for; `None` for every class. Some words are too common
    /// without it.
    code: Option<Code>,
    /// The call printed one of these.
    words: &'static [&'static str],
    /// The hint. `MACHINE` and `OLDEST` stand for the machine and the oldest supported smolvm.
    hint: &'static str,
}

const SMOLVM_ERROR: Option<Code> = Some(Code::SmolvmError);

/// The rules, of which the first that matches counts. The words were printed by smolvm 1.32.2 and
/// by programs of Debian 12 when these failures were provoked.
const RULES: &[Rule] = &[
    Rule {
        code: SMOLVM_ERROR,
        words: &["unrecognized subcommand"],
        hint: "bottle needs smolvm OLDEST or later: install a newer smolvm, or name one with \
               --smolvm PATH or CLAUDE_BOTTLE_SMOLVM",
    },
    Rule {
        code: SMOLVM_ERROR,
        words: &["unexpected argument '--user'"],
        hint: "`machine exec --user` came with smolvm 1.14.0; with --exec-user none, commands run \
               as the machine's default user",
    },
    Rule {
        code: None,
        words: &["vm not found"],
        hint: "`smolvm machine ls` lists the machines; -m NAME provisions another one than the \
               plan's",
    },
    Rule {
        code: None,
        words: &["is not running"],
        hint: "`smolvm machine start --name MACHINE` starts it; if it is running, it is busy: try \
               again",
    },
    Rule {
        code: SMOLVM_ERROR,
        words: &["connection closed", "send message: ", "Connection reset"],
        hint: "the machine stopped during the call: start it with `smolvm machine start --name \
               MACHINE`, then run this step again",
    },
    // An image machine prints only this, whatever the cause is.
    Rule {
        code: None,
        words: &["ns-file helper write: Broken pipe"],
        hint: "the guest could not write the file: the disk is full, or a parent of the file is not \
               a directory",
    },
    Rule {
        code: None,
        words: &["No space left on device", ": Wrote only "],
        hint: "the machine's disk is full",
    },
    Rule {
        code: None,
        words: &[
            "invalid user: ",
            "invalid group: ",
            "user node does not exist",
            "user 'node' not found",
            "unable to find user node",
        ],
        hint: "the guest needs the user `node` (uid and gid 1000, home /home/node), as in the node \
               image",
    },
    Rule {
        code: Some(Code::GuestCommand),
        words: &["chmod: changing permissions of"],
        hint: "what is there is not node's: somebody put it there; root can remove it in the guest",
    },
    Rule {
        code: Some(Code::GuestCommand),
        words: &[
            "mkdir: cannot create directory",
            " is a link",
            " is not node's",
        ],
        hint: "in the guest, each directory on the way has to be node's, and none a link",
    },
    // env(1) quotes differently in the C locale and in others.
    Rule {
        code: None,
        words: &["env: 'claude': No such file", "env: ‘claude’: No such file"],
        hint: "Claude Code is not on the guest's PATH: install it in the image with `npm install -g \
               @anthropic-ai/claude-code` or, if its own installer put it into ~/.local/bin, run \
               `ln -s /home/node/.local/bin/claude /usr/local/bin/`",
    },
    Rule {
        code: None,
        words: &[
            ": not found",
            "runuser: failed to execute ",
            "executable file `",
            NOT_SPAWNED,
        ],
        hint: "the guest lacks a program: it needs Debian's ca-certificates, git, tar and \
               util-linux",
    },
    Rule {
        code: Some(Code::GuestCommand),
        words: &[
            "Operation not permitted",
            "Permission denied",
            "may not be used by non-root users",
        ],
        hint: "the command needs root in the guest: --exec-user auto asks for root since smolvm \
               1.14.0; with an older smolvm, the machine's default user has to be root",
    },
];

/// Finds the hint for a failure of class `code` of a call that printed `printed`.
pub(crate) fn find(code: Code, printed: &str, machine: &MachineName) -> Option<String> {
    for rule in RULES {
        let is_for_code = rule.code.is_none_or(|only| only == code);
        if is_for_code && rule.words.iter().any(|words| printed.contains(words)) {
            let hint = rule.hint.replace("MACHINE", machine);
            return Some(hint.replace("OLDEST", &OLDEST.to_string()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::error::Code;
    use crate::plan::values::MachineName;

    fn hint(code: Code, printed: &str) -> Option<String> {
        find(
            code,
            printed,
            &MachineName::try_from("m".to_owned()).unwrap(),
        )
    }

    /// Asserts that each of `printed` has this hint, whoever failed.
    #[track_caller]
    fn has_hint(printed: &[&str], text: &str) {
        for printed in printed {
            for code in [Code::SmolvmError, Code::GuestCommand] {
                assert_eq!(hint(code, printed).as_deref(), Some(text), "{printed}");
            }
        }
    }

    /// Asserts that each of `printed` has this hint if the failure is of class `only`, and none if
    /// it is of the other class.
    #[track_caller]
    fn has_hint_only_for(only: Code, printed: &[&str], text: &str) {
        for printed in printed {
            for code in [Code::SmolvmError, Code::GuestCommand] {
                let expected = (code == only).then_some(text);
                assert_eq!(hint(code, printed).as_deref(), expected, "{printed}");
            }
        }
    }

    #[test]
    fn smolvms_own_failures_have_hints() {
        has_hint_only_for(
            Code::SmolvmError,
            &[
                "error: unrecognized subcommand 'machine'",
                "error: unrecognized subcommand 'cp'",
            ],
            "bottle needs smolvm 0.5.16 or later: install a newer smolvm, or name one with \
             --smolvm PATH or CLAUDE_BOTTLE_SMOLVM",
        );
        has_hint_only_for(
            Code::SmolvmError,
            &["error: unexpected argument '--user' found"],
            "`machine exec --user` came with smolvm 1.14.0; with --exec-user none, commands run as \
             the machine's default user",
        );
        has_hint(
            &["Error: vm not found: m"],
            "`smolvm machine ls` lists the machines; -m NAME provisions another one than the \
             plan's",
        );
        has_hint(
            &["Error: machine 'm' is not running"],
            "`smolvm machine start --name m` starts it; if it is running, it is busy: try again",
        );
        has_hint_only_for(
            Code::SmolvmError,
            &[
                "Error: io operation failed: connection closed",
                "Error: agent operation failed: send message: Broken pipe (os error 32)",
                "Error: Connection reset by peer",
            ],
            "the machine stopped during the call: start it with `smolvm machine start --name m`, \
             then run this step again",
        );
    }

    #[test]
    fn failures_in_the_guest_have_hints() {
        has_hint(
            &["ns-file helper write: Broken pipe (os error 32)"],
            "the guest could not write the file: the disk is full, or a parent of the file is not \
             a directory",
        );
        has_hint(
            &[
                "cat: write error: No space left on device",
                "tar: a: Wrote only 512 of 10240 bytes",
            ],
            "the machine's disk is full",
        );
        has_hint(
            &[
                "chown: invalid user: 'node:node'",
                "chown: invalid group: 'node:node'",
                "runuser: user node does not exist or the user entry does not contain all the \
                 required fields",
                "Error: user 'node' not found",
                "Error: unable to find user node: no matching entries in passwd file",
            ],
            "the guest needs the user `node` (uid and gid 1000, home /home/node), as in the node \
             image",
        );
        has_hint(
            &[
                "env: 'claude': No such file or directory",
                "env: ‘claude’: No such file or directory",
            ],
            "Claude Code is not on the guest's PATH: install it in the image with `npm install -g \
             @anthropic-ai/claude-code` or, if its own installer put it into ~/.local/bin, run \
             `ln -s /home/node/.local/bin/claude /usr/local/bin/`",
        );
        has_hint(
            &[
                "sh: 1: git: not found",
                "runuser: failed to execute git: No such file or directory",
                "executable file `runuser` not found in $PATH: No such file or directory",
                "failed to spawn command: No such file or directory (os error 2)",
            ],
            "the guest lacks a program: it needs Debian's ca-certificates, git, tar and util-linux",
        );
        has_hint_only_for(
            Code::GuestCommand,
            &[
                "chown: changing ownership of 'a': Operation not permitted",
                "cat: a: Permission denied",
                "runuser: may not be used by non-root users",
            ],
            "the command needs root in the guest: --exec-user auto asks for root since smolvm \
             1.14.0; with an older smolvm, the machine's default user has to be root",
        );
    }

    #[test]
    fn files_that_are_not_nodes_have_hints() {
        has_hint_only_for(
            Code::GuestCommand,
            &["chmod: changing permissions of 'a': Operation not permitted"],
            "what is there is not node's: somebody put it there; root can remove it in the guest",
        );
        has_hint_only_for(
            Code::GuestCommand,
            &[
                "mkdir: cannot create directory 'a': Permission denied",
                "/home/node/.claude is a link",
                "/home/node/.claude is not node's",
            ],
            "in the guest, each directory on the way has to be node's, and none a link",
        );
    }

    #[test]
    fn the_first_hint_that_fits_is_given_and_other_words_have_none() {
        let both = "tar: a: Cannot open: Permission denied; tar: b: No space left on device";
        let full = Some("the machine's disk is full".to_owned());
        assert_eq!(hint(Code::GuestCommand, both), full);
        for printed in ["", "fatal: not in a git directory", "VM NOT FOUND"] {
            assert_eq!(hint(Code::GuestCommand, printed), None, "{printed}");
        }
    }
}
