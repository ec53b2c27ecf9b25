//! The way out of a failed call, found by the words that it printed.

use crate::error::Code;
use crate::plan::values::MachineName;
use crate::smolvm::version::OLDEST;

/// What a bare machine says of a program that is not there, without naming it. It says the same of
/// a missing working directory.
pub(crate) const NOT_SPAWNED: &str = "failed to spawn command: No such file";
/// The way out of a smolvm that is too old.
pub(crate) const NEWER_SMOLVM: &str =
    "install a newer smolvm, or name one with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM";

struct Rule {
    /// The only class of failure that this is for, where the words alone would be too common.
    code: Option<Code>,
    /// One of these is in what was printed.
    words: &'static [&'static str],
    /// The way out, with `MACHINE` and `OLDEST` for the names.
    hint: &'static str,
}

const SMOLVM_ERROR: Option<Code> = Some(Code::SmolvmError);

/// The words are those of smolvm 1.32.2 and of the programs of Debian 12, from failures that were
/// brought about. The first rule that fits counts.
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
        hint: "`machine exec --user` came with smolvm 1.14.0; with --exec-user none commands run \
               as the machine's own user",
    },
    Rule {
        code: None,
        words: &["vm not found"],
        hint: "`smolvm machine ls` shows the machines there are; -m NAME takes another than the \
               plan's",
    },
    Rule {
        code: None,
        words: &["is not running"],
        hint: "`smolvm machine start --name MACHINE` starts it; if it is running it is busy: try \
               again",
    },
    Rule {
        code: SMOLVM_ERROR,
        words: &["connection closed", "send message: ", "Connection reset"],
        hint: "the machine ended in the middle of the call: `smolvm machine start --name MACHINE` \
               starts it again, then run this step again",
    },
    // An image machine says this instead of why.
    Rule {
        code: None,
        words: &["ns-file helper write: Broken pipe"],
        hint: "the guest could not write the file: its disk is full, or a directory on the way is \
               none",
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
        ],
        hint: "the guest needs the user `node` (uid and gid 1000, home /home/node), as in the node \
               image",
    },
    // env(1) in the C locale and in others.
    Rule {
        code: None,
        words: &["env: 'claude': No such file", "env: ‘claude’: No such file"],
        hint: "Claude Code is not on the guest's PATH: in the image, `npm install -g \
               @anthropic-ai/claude-code` puts it there, or, when its own installer put it into \
               ~/.local/bin, `ln -s /home/node/.local/bin/claude /usr/local/bin/`",
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
        hint: "the command needs root in the guest: --exec-user auto asks for it from smolvm \
               1.14.0 on; with an older one the machine's own user has to be root",
    },
];

/// Finds the way out of a failure of this class that printed these words.
pub(crate) fn find(code: Code, printed: &str, machine: &MachineName) -> Option<String> {
    let is_for = |rule: &&Rule| {
        rule.code.is_none_or(|only| only == code)
            && rule.words.iter().any(|words| printed.contains(words))
    };
    let rule = RULES.iter().find(is_for)?;
    Some(
        rule.hint
            .replace("MACHINE", machine)
            .replace("OLDEST", &OLDEST.to_string()),
    )
}
