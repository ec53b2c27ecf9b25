//! Sandboxes with all programs of the workspace, and processes that are interrupted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Outcome, Run, Sandbox, repository, tool, wait_for};

/// The steps, in the order in which provision runs them.
pub const STEPS: [&str; 5] = ["ca", "prompt", "skills", "git", "supervise"];

/// The parts of `claude mcp` that the step uses, with their output and exit status.
const CLAUDE: &str = include_str!("../../stand-in/claude");

impl Sandbox {
    /// Puts a `claude` on the guest's PATH.
    pub fn add_claude(&self) {
        let claude = self.write("guest-bin/claude", CLAUDE);
        fs::set_permissions(claude, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts all programs on PATH, and writes a full plan to `plan.json`. `built` is the path of one
    /// of the programs.
    pub fn set_up(&self, built: &str) -> Value {
        let built = Path::new(built).parent().unwrap();
        for step in STEPS {
            let program = built.join(format!("bottle-{step}"));
            assert!(
                program.exists(),
                "{} is not built: run the tests of the whole workspace",
                program.display()
            );
            symlink(program, self.path(format!("bin/bottle-{step}"))).unwrap();
        }
        symlink(
            repository().join("scripts/provision"),
            self.path("bin/provision"),
        )
        .unwrap();
        self.write_skill("verify");
        let git = tool("git")
            .args(["init", "-q", "project"])
            .current_dir(self.path(""))
            .status();
        assert!(git.unwrap().success());
        let mut plan = self.plan();
        plan["spec"]["copy_cwd"] = json!(true);
        plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!(["verify"]);
        plan["spec"]["manifest"]["agents"]["demo"]["prompt"] =
            json!("You are a helpful assistant.");
        plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({
            "remotes": {"host": {"Name": "claude-bottle", "Upstream": "ssh://git@host/repo.git"}},
            "user": {"name": "Ada Lovelace", "email": "ada@example.com"},
        });
        plan["supervise_plan"] = json!({});
        self.write("plan.json", plan.to_string());
        plan
    }

    /// Runs a shell script on this host.
    pub fn sh(&self, script: &str) -> Outcome {
        self.run("sh").args(["-c", script]).end()
    }

    /// Gives the command lines of the processes that were started in this sandbox and still run.
    pub fn left_over(&self) -> String {
        let lines = self
            .processes()
            .into_iter()
            .map(|process| process.join("cmdline"));
        lines
            .map(|line| fs::read_to_string(line).unwrap_or_default())
            .collect()
    }

    /// Kills the processes that were started in this sandbox and still run.
    pub fn kill_left_over(&self) {
        for process in self.processes() {
            // It may have exited just now.
            let _ = kill("KILL", &process.file_name().unwrap().to_string_lossy());
        }
    }

    /// Lists the directories in /proc of the processes that were started in this sandbox.
    fn processes(&self) -> Vec<PathBuf> {
        let mark = format!("STAND_IN_LOG={}", self.path("log").display());
        let is_ours = |process: &PathBuf| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        let processes = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        processes.filter(is_ours).collect()
    }

    /// Prepares to run `program`, which the test is going to end by a signal.
    ///
    /// The tests may have been started with ignored signals, by nohup(1) or as a background job of
    /// a shell. Child processes inherit that, and a shell cannot trap a signal that was ignored
    /// when it started, so this gives each signal its default action again.
    pub fn run_interruptible(&self, program: &str) -> Run<'_> {
        self.run("env")
            .args(["--default-signal=HUP,INT,QUIT,TERM", program])
    }

    /// Starts `program`, waits for its first smolvm call, which hangs, and sends it `signal`.
    #[track_caller]
    pub fn interrupt(&self, program: &str, signal: &str) -> Outcome {
        let run = self.run_interruptible(program).args(["-f", "plan.json"]);
        self.interrupt_at_call(run, 1, signal)
    }

    /// Does the same as [`Sandbox::interrupt`] for `run`, at its call number `call`.
    #[track_caller]
    pub fn interrupt_at_call(&self, run: Run, call: usize, signal: &str) -> Outcome {
        let child = run.env("STAND_IN_HANG", call.to_string()).start();
        self.wait_for_call(call);
        send(signal, &child.id().to_string());
        self.outcome(child)
    }

    /// Waits until call number `call`. Only calls with a fault set are counted.
    #[track_caller]
    pub fn wait_for_call(&self, call: usize) {
        let (count, call) = (self.path("log.count"), format!("{call}\n"));
        wait_for("a call", || {
            fs::read_to_string(&count).is_ok_and(|count| count == call)
        });
    }
}

/// Sends a signal to a process, or to a process group, which is a number with a `-` before it.
#[track_caller]
pub fn send(signal: &str, to: &str) {
    assert!(kill(signal, to), "kill -s {signal} {to}");
}

/// The shell's own kill, because kill(1) is in procps, which not every machine has.
fn kill(signal: &str, to: &str) -> bool {
    let mut sh = tool("sh");
    sh.args(["-c", "kill -s \"$0\" -- \"$1\"", signal, to]);
    sh.stderr(Stdio::null()).status().unwrap().success()
}

/// Lists the processes of this machine whose command line contains `words`, by their numbers.
pub fn running(words: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line)
            .replace('\0', " ")
            .contains(words)
    });
    processes
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        .collect()
}

/// Lists the keys of a JSON object, in order.
pub fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}
