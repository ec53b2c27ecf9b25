//! The guests: a new machine of the stand-in for each test, or the machine of the real smolvm that
//! `CLAUDE_BOTTLE_TEST_MACHINE` names.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tempfile::TempDir;

use crate::{MACHINE, Run, Sandbox, stand_in, tool};

/// The environment variable that names the machine of the real smolvm.
const VARIABLE: &str = "CLAUDE_BOTTLE_TEST_MACHINE";
/// How many public CAs the stand-in's machines trust. With all 140, update-ca-certificates takes a
/// second.
const CAS: &str = "3";
/// There is only one real machine, and each test removes what the one before has installed.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// The machine of which the stand-in's others are copies, while one of them is there. To build one
/// takes four times as long as to copy it.
static TEMPLATE: Mutex<Weak<Template>> = Mutex::new(Weak::new());
/// Removes what the steps install, and what Claude Code writes.
const EMPTY: &str = "rm -rf /var/lib/bottle /run/claude-bottle*; cd /home/node && rm -rf .claude .claude.json* .claude-bottle-prompt.txt* .gitconfig* workspace; \
    cd /usr/local/share/ca-certificates && if [ -e claude-bottle-mitm.crt ]; then \
        rm -f claude-bottle-mitm.crt && update-ca-certificates --fresh >/dev/null 2>&1; fi";
/// Prints everything that a step can change in a guest of the stand-in.
const WHOLE: &str = "cd / && find home etc/ssl run usr/local/share tmp root var/lib/bottle -printf '%M %u:%g %p -> %l\\n' 2>/dev/null | sort; \
    find home etc/ssl usr/local/share tmp root -type f -exec sha256sum {} + | sort -k 2";
/// Prints the same for a real machine, without the files of Claude Code, which contain times and
/// random ids.
const OURS: &str = "cd / && ours=\"$(ls -d home/node/.claude-bottle* home/node/.gitconfig* home/node/workspace \
        home/node/.claude/skills etc/ssl usr/local/share/ca-certificates run/claude-bottle* var/lib/bottle 2>/dev/null)\"; \
    find home/node home/node/.claude -maxdepth 0 -printf '%M %u:%g %p\\n' 2>/dev/null; \
    find $ours -printf '%M %u:%g %p -> %l\\n' | sort; find $ours -type f -exec sha256sum {} + | sort -k 2; \
    find home/node -name '*.bottle*' -o -name '*.smolvm-*'; \
    grep -s -A 4 '\"supervise\"' home/node/.claude.json || :";

/// The guest of a sandbox.
pub(crate) enum Guest {
    /// none: calls are recorded
    None,
    /// one of the stand-in's machines
    StandIn {
        /// whether it is an image machine
        is_image: bool,
        /// the machine that it is a copy of, which is kept for further copies
        _template: Arc<Template>,
    },
    /// a machine of the real smolvm
    Real {
        /// its name
        machine: String,
        /// whether it runs an image's container, not commands right in the VM
        is_image: bool,
        _alone: MutexGuard<'static, ()>,
    },
}

impl Sandbox {
    /// Makes a host with a running machine. If that is not possible here, the test fails and says
    /// what it needs.
    #[track_caller]
    pub fn with_guest() -> Self {
        Self::with_guest_of(&[])
    }

    /// Does the same as [`Sandbox::with_guest`], with these options for `machine create`.
    #[track_caller]
    pub fn with_guest_of(options: &[&str]) -> Self {
        let template = Template::get();
        let source = template.0.path().join(MACHINE);
        let mut sandbox = Self::new();
        sandbox.guest = Guest::StandIn {
            is_image: options.contains(&"--image"),
            _template: template,
        };
        for (verb, options) in [("create", options), ("start", &[])] {
            let run = sandbox.machine_command(verb).args(options);
            let outcome = run.env("STAND_IN_TEMPLATE", &source).end();
            assert_eq!(outcome.status, 0, "{outcome:?}");
        }
        fs::remove_file(sandbox.path("log")).unwrap();
        sandbox
    }

    /// Prepares to run `smolvm machine VERB` for the stand-in's machine.
    fn machine_command(&self, verb: &str) -> Run<'_> {
        let words = ["machine", verb, "--name", MACHINE];
        self.run("smolvm").args(words)
    }

    /// Makes a host with the machine of the real smolvm, and removes what the steps install there.
    /// Calls go through the stand-in, which logs them and causes the faults.
    #[track_caller]
    pub fn with_real_guest() -> Self {
        let machine = std::env::var(VARIABLE).unwrap_or_default();
        let needs = format!("{VARIABLE} has to name a running machine of the real smolvm on PATH");
        assert!(!machine.is_empty(), "{needs}; it is unset");
        let mut sandbox = Self::new();
        assert!(
            sandbox.find_real_smolvm(),
            "{needs}; that one is a stand-in, or there is none"
        );
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        sandbox.guest = Guest::Real {
            machine,
            is_image: true,
            _alone: alone,
        };
        let user = ["--user", "root", "--", "true"];
        let run = sandbox
            .run("smolvm")
            .args(["machine", "exec", "--name", sandbox.machine()]);
        let as_root = run.args(user).end();
        if let Guest::Real { is_image, .. } = &mut sandbox.guest {
            *is_image = as_root.status == 0;
        }
        sandbox.guest(EMPTY);
        sandbox.calls();
        sandbox
    }

    /// Makes the sandbox's smolvm call the smolvm on the PATH of this process, with the environment
    /// of this process. Returns false if that is not the real smolvm.
    fn find_real_smolvm(&self) -> bool {
        let Ok(help) = Command::new("smolvm").arg("--help").output() else {
            return false;
        };
        if String::from_utf8_lossy(&help.stdout).contains("stand-in") {
            return false;
        }
        let script =
            r#"echo '#!/bin/sh'; export -p; printf 'exec "%s" "$@"\n' "$(command -v smolvm)""#;
        let script = Command::new("sh")
            .args(["-c", script])
            .output()
            .unwrap()
            .stdout;
        let script = self.write("real-smolvm", script);
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        true
    }

    /// The environment variables that control the stand-in.
    pub(crate) fn smolvm_variables(&self) -> Vec<(&str, OsString)> {
        let mut variables = vec![
            ("STAND_IN_DIR", self.path("machines").into()),
            ("STAND_IN_LOG", self.path("log").into()),
            ("STAND_IN_BIN", self.path("guest-bin").into()),
        ];
        match self.guest {
            Guest::None => variables.push(("STAND_IN_ANSWER", crate::ANSWER.into())),
            Guest::StandIn { .. } => {}
            Guest::Real { .. } => {
                variables.push(("STAND_IN_REAL", self.path("real-smolvm").into()));
            }
        }
        variables
    }

    /// The name of the machine in this sandbox's plans.
    pub fn machine(&self) -> &str {
        match &self.guest {
            Guest::Real { machine, .. } => machine,
            _ => MACHINE,
        }
    }

    /// Whether the guest is an image machine.
    pub fn is_image(&self) -> bool {
        matches!(
            self.guest,
            Guest::Real { is_image: true, .. } | Guest::StandIn { is_image: true, .. }
        )
    }

    /// Runs a shell script in the guest as root, and returns what it prints.
    pub fn guest(&self, script: &str) -> String {
        let user = if self.is_image() {
            &["--user", "root"][..]
        } else {
            &[]
        };
        let run = self
            .run("smolvm")
            .args(["machine", "exec", "--name", self.machine()])
            .args(user);
        let outcome = run.args(["--", "sh", "-c", script]).end();
        assert_eq!(
            (outcome.status, outcome.stderr.as_str()),
            (0, ""),
            "{script}: {}",
            outcome.stdout
        );
        outcome.stdout
    }

    /// Lists everything that a step can change in the guest: modes, owners, names, link targets and
    /// contents.
    pub fn tree(&self) -> String {
        let tree = self.guest(if matches!(self.guest, Guest::Real { .. }) {
            OURS
        } else {
            WHOLE
        });
        let _ = fs::remove_file(self.path("log"));
        tree
    }
}

/// A machine of the stand-in in a directory of its own.
pub(crate) struct Template(TempDir);

impl Template {
    /// Returns the machine that is there, or makes one.
    #[track_caller]
    fn get() -> Arc<Self> {
        let mut known = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = known.upgrade() {
            return template;
        }
        let template = Arc::new(Self(tempfile::tempdir().unwrap()));
        let output = template.command("create").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "this test needs a guest; scripts/needs says what this host lacks: {}",
            stderr.trim()
        );
        *known = Arc::downgrade(&template);
        template
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = tool(stand_in().to_str().unwrap());
        command
            .env("STAND_IN_DIR", self.0.path())
            .env("STAND_IN_CAS", CAS)
            .args(["machine", verb, "--name", MACHINE]);
        command
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        let _ = self.command("delete").arg("--force").output();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        match self.guest {
            Guest::None => {}
            Guest::StandIn { .. } => {
                self.machine_command("delete").args(["--force"]).end();
            }
            // A second panic would hide why the test failed.
            Guest::Real { .. } if std::thread::panicking() => {}
            Guest::Real { .. } => drop(self.guest(EMPTY)),
        }
    }
}
