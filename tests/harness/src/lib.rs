//! What the tests share: a host, a guest, and a way to run programs between them and see all that
//! came of it.

mod certificates;
mod converge;
mod documents;
mod guests;
mod programs;
mod repositories;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{Write as _, pipe};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use guests::Guest;

pub use certificates::{Certificate, certificate};
pub use converge::{converges, converges_in};
pub use documents::{command_documents, document, schema, step_documents};
pub use programs::{STEPS, keys, send};

/// The machine's name in the plans made here.
pub const MACHINE: &str = "claude-bottle-demo-abc12";
/// What the stand-in answers when it makes no calls: enough for every step.
const ANSWER: &str = "Updating certificates in /etc/ssl/certs...\n1 added, 0 removed; done.\n";

/// How long a program of a test may take, and an event that a test waits for. Nothing takes as
/// long: it is for a run that would otherwise hang for ever.
const LIMIT: Duration = Duration::from_secs(600);

/// A host of its own with a smolvm on PATH, and perhaps a guest; gone when dropped.
pub struct Sandbox {
    directory: TempDir,
    guest: Guest,
}

/// A program to be run in a sandbox.
pub struct Run<'a> {
    sandbox: &'a Sandbox,
    command: Command,
    stdin: Vec<u8>,
    stdout: Stdio,
}

/// What came of a [`Run`].
#[derive(Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The exit status, 128 + n for signals.
    pub status: i32,
    /// stdout
    pub stdout: String,
    /// stderr, with times as `(_s)` and the sandbox's directory as `DIR`.
    pub stderr: String,
}

impl Sandbox {
    /// A host whose smolvm records calls, checks their form and makes none.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("bottle-test-")
            .tempdir()
            .unwrap();
        let sandbox = Self {
            directory,
            guest: Guest::None,
        };
        for name in [
            "bin",
            "home/.claude/skills",
            "stage",
            "machines",
            "guest-bin",
        ] {
            fs::create_dir_all(sandbox.path(name)).unwrap();
        }
        symlink(
            repository().join("tests/stand-in/smolvm"),
            sandbox.path("bin/smolvm"),
        )
        .unwrap();
        sandbox.write("prompt.txt", "You are a helpful assistant.\n");
        certificate(&Certificate::Ca).write(&sandbox.path("ca.pem"));
        sandbox
    }

    /// A path on this host.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file on this host, with its directories.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A skill of one file on this host.
    pub fn write_skill(&self, name: &str) -> PathBuf {
        self.write(
            format!("home/.claude/skills/{name}/SKILL.md"),
            format!("---\nname: {name}\ndescription: What {name} does\n---\n"),
        )
    }

    /// A plan that asks for as little as a plan can.
    pub fn plan(&self) -> Value {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        json!({
            "version": 1,
            "spec": {
                "manifest": {
                    "bottles": {"dev": {}},
                    "agents": {"demo": {"bottle": "dev", "skills": [], "prompt": ""}},
                },
                "agent_name": "demo",
                "copy_cwd": false,
                "user_cwd": path("project"),
            },
            "stage_dir": path("stage"),
            "machine_name": self.machine(),
            "prompt_file": path("prompt.txt"),
            "proxy_plan": {"ca_cert_host_path": path("ca.pem")},
            "egress_plan": {"routes": [], "mitmproxy_ca_cert_only_host_path": ""},
            "supervise_plan": null,
            "agent_git_gate_host": "127.0.0.1:55555",
            "agent_supervise_url": "http://127.0.0.1:55556/",
        })
    }

    /// `program` is looked up on this host's PATH unless it is a path.
    pub fn run(&self, program: impl AsRef<OsStr>) -> Run<'_> {
        let mut command = Command::new(program);
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            self.path("bin").display()
        );
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .current_dir(self.directory.path());
        command.envs(self.smolvm_variables());
        Run {
            sandbox: self,
            command,
            stdin: Vec::new(),
            stdout: Stdio::piped(),
        }
    }

    /// The calls of smolvm's since the last time this was asked, each with its arguments;
    /// `--version` is left out.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let log = self.log();
        let _ = fs::remove_file(self.path("log"));
        let calls = log.split("\u{1e}\n").filter(|record| !record.is_empty());
        let calls = calls.map(|record| {
            record
                .split_terminator('\u{1f}')
                .map(str::to_owned)
                .collect()
        });
        calls
            .filter(|call: &Vec<String>| call[0] == "machine")
            .collect()
    }

    /// What smolvm's calls have written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What is in the plan's stage directory.
    pub fn staged(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("stage")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Run<'_> {
    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives `plan` on stdin.
    #[must_use]
    pub fn plan(self, plan: &Value) -> Self {
        self.stdin(plan.to_string())
    }

    /// Gives `text` on stdin.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// Gives a pipe whose reader is gone for stdout.
    #[must_use]
    pub fn without_reader(mut self) -> Self {
        let (_reader, writer) = pipe().unwrap();
        self.stdout = writer.into();
        self
    }

    /// Runs the program to its end.
    pub fn end(self) -> Outcome {
        let (sandbox, stdin) = (self.sandbox, self.stdin.clone());
        let mut child = self.start();
        let mut pipe = child.stdin.take().unwrap();
        let writer = thread::spawn(move || drop(pipe.write_all(&stdin)));
        let outcome = sandbox.outcome(child);
        writer.join().unwrap();
        outcome
    }

    /// Starts the program and leaves it to itself, with stdin open.
    pub fn start(self) -> Child {
        self.started(false)
    }

    /// The same in a process group of its own, as a shell at a terminal starts a job.
    pub fn start_group(self) -> Child {
        self.started(true)
    }

    fn started(mut self, group: bool) -> Child {
        if group {
            self.command.process_group(0);
        }
        self.command
            .stdin(Stdio::piped())
            .stdout(self.stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Sandbox {
    /// Waits for `child`. When it does not end, it and all that it started are killed, and the test
    /// fails.
    pub fn outcome(&self, child: Child) -> Outcome {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(LIMIT) else {
            let left_over = self.left_over();
            self.kill_left_over();
            panic!("after {LIMIT:?} these had not ended: {left_over}");
        };
        let output = output.unwrap();
        let status = output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default());
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let directory = fs::canonicalize(self.directory.path()).unwrap();
        let stderr = without_times(&stderr.replace(directory.to_str().unwrap(), "DIR"));
        Outcome {
            status,
            stdout,
            stderr,
        }
    }
}

impl Outcome {
    /// Asserts on all of it at once; `stdout` is compared as JSON with `receipts` left out.
    #[track_caller]
    pub fn is(&self, status: i32, plan: &Value, stderr: &str) -> Value {
        assert_eq!((self.status, self.stderr.as_str()), (status, stderr));
        let mut printed: Value = serde_json::from_str(&self.stdout).expect("a plan on stdout");
        let receipts = printed
            .as_object_mut()
            .unwrap()
            .remove("receipts")
            .expect("receipts");
        let mut plan = plan.clone();
        plan.as_object_mut().unwrap().remove("receipts");
        assert_eq!(printed, plan);
        receipts
    }

    /// Asserts that it failed: nothing on stdout, and these words.
    #[track_caller]
    pub fn fails(&self, status: i32, stderr: &str) {
        assert_eq!(
            (self.status, self.stdout.as_str(), self.stderr.as_str()),
            (status, "", stderr)
        );
    }
}

/// The first `(1.2s)` of each line as `(_s)`.
fn without_times(text: &str) -> String {
    let mut result = String::new();
    for line in text.lines() {
        match line.rsplit_once(" (") {
            Some((before, time)) if time.ends_with("s)") => {
                writeln!(result, "{before} (_s)").unwrap();
            }
            _ => writeln!(result, "{line}").unwrap(),
        }
    }
    result
}

/// Waits until `is_so`, which is asked again and again.
#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// `exec ARGV` for the sandbox's machine as the recording smolvm sees it, a bare one since 1.14.0.
pub fn exec(argv: &[&str]) -> Vec<String> {
    let words = [
        &["machine", "exec", "--name", MACHINE, "--user", "root", "--"],
        argv,
    ]
    .concat();
    words.into_iter().map(str::to_owned).collect()
}

/// `cp FROM TO` for the sandbox's machine.
pub fn cp(from: &Path, to: &str) -> Vec<String> {
    vec![
        "machine".to_owned(),
        "cp".to_owned(),
        from.to_str().unwrap().to_owned(),
        format!("{MACHINE}:{to}"),
    ]
}
