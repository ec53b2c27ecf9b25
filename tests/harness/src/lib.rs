//! What the tests share: sandboxes, which are a host and perhaps a guest, and ways to run programs
//! in them and to check the outcome.

mod certificates;
pub mod command_lines;
mod converge;
mod documents;
mod guests;
pub mod mutations;
mod other_hosts;
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
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use guests::Guest;

pub use certificates::{Certificate, Pair, certificate, fingerprint};
pub use converge::{converges, converges_in};
pub use documents::{command_documents, document, markdown_as_man_page, schema, step_documents};
pub use other_hosts::{OtherHosts, adapter};
pub use programs::{STEPS, keys, running, send};
pub use repositories::{CLONE, COPIED, KEPT};

/// The name of the machine in the plans of the tests.
pub const MACHINE: &str = "claude-bottle-demo-abc12";
/// What git begins a repository with: fewer files than its own template has, since these are copied
/// hundreds of times.
const GIT_TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/git-template");
/// What the stand-in prints when it only records calls. Every step accepts it.
const ANSWER: &str =
    "Updating certificates in /etc/ssl/certs...\n1 added, 0 removed; done.\nway: quick\n";

/// The time limit for a program, and for an event that a test waits for. Nothing takes this long.
/// It ends a test that would otherwise hang for ever.
const LIMIT: Duration = Duration::from_secs(600);

/// The PATH of what the tests run.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Prepares to run a program of this machine's, without this process's environment and without
/// git's settings of the user and the system. They would change what the program says and does: the
/// language, `commit.gpgsign`, and a hook's `GIT_DIR`, which leads to another repository.
pub fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH);
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TEMPLATE_DIR", GIT_TEMPLATE);
    command
}

/// Fails unless `program` is installed. `scripts/needs` asks for it before the tests are built.
#[track_caller]
pub fn need(program: &str, package: &str) {
    let mut sh = tool("sh");
    sh.args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null());
    assert!(
        sh.status().unwrap().success(),
        "this test needs {program}: apt-get install {package}"
    );
}

/// A directory that serves as a host, with a smolvm on PATH, and perhaps a guest. Dropping it
/// removes both.
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
    /// The exit status, or 128 plus the number of the signal that ended the program.
    pub status: i32,
    /// stdout
    pub stdout: String,
    /// stderr, in which times are `(_s)` and the sandbox's directory is `DIR`.
    pub stderr: String,
}

impl Sandbox {
    /// Makes a host whose smolvm records calls and checks their form, but does not carry them out.
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
        symlink(stand_in(), sandbox.path("bin/smolvm")).unwrap();
        sandbox.write("prompt.txt", "You are a helpful assistant.\n");
        certificate(&Certificate::Ca).write(&sandbox.path("ca.pem"));
        sandbox
    }

    /// Gives the path of a file on this host.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file on this host, and creates its directories.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Makes a skill of one file on this host.
    pub fn write_skill(&self, name: &str) -> PathBuf {
        self.write(
            format!("home/.claude/skills/{name}/SKILL.md"),
            format!("---\nname: {name}\ndescription: What {name} does\n---\n"),
        )
    }

    /// Makes a plan that asks for as little as possible.
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

    /// Prepares to run `program`, which is looked up on this host's PATH unless it is a path.
    pub fn run(&self, program: impl AsRef<OsStr>) -> Run<'_> {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{PATH}", self.path("bin").display()))
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

    /// Returns the smolvm calls since the last time, each as its arguments, without `--version`.
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

    /// Returns the log of the smolvm calls.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Lists the plan's stage directory.
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

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes `plan` to stdin.
    #[must_use]
    pub fn plan(self, plan: &Value) -> Self {
        self.stdin(plan.to_string())
    }

    /// Writes `text` to stdin.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// Makes stdout a pipe whose reader is closed.
    #[must_use]
    pub fn without_reader(mut self) -> Self {
        let (_reader, writer) = pipe().unwrap();
        self.stdout = writer.into();
        self
    }

    /// Runs the program and waits until it exits.
    pub fn end(self) -> Outcome {
        let (sandbox, stdin) = (self.sandbox, self.stdin.clone());
        let mut child = self.start();
        let mut pipe = child.stdin.take().unwrap();
        let writer = thread::spawn(move || drop(pipe.write_all(&stdin)));
        let outcome = sandbox.outcome(child);
        writer.join().unwrap();
        outcome
    }

    /// Starts the program and does not wait for it. Its stdin stays open.
    pub fn start(self) -> Child {
        self.started(false)
    }

    /// Does the same as [`Run::start`] in a new process group, like an interactive shell.
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
    /// Waits for `child`. If it does not exit in time, kills it and all that it started, and fails.
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
    /// Asserts that the program printed `plan` with receipts, and returns the receipts. stdout is
    /// compared as JSON, and stderr as text.
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

    /// Asserts that the program failed with this status and this stderr, and printed no plan.
    #[track_caller]
    pub fn fails(&self, status: i32, stderr: &str) {
        assert_eq!(
            (self.status, self.stdout.as_str(), self.stderr.as_str()),
            (status, "", stderr)
        );
    }
}

/// Replaces the time at the end of each line, such as `(1.2s)`, by `(_s)`.
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

/// Waits until `is_so` returns true. It is called every 10 ms.
#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The path of the stand-in for smolvm. `cargo test --workspace` builds it. Where it was never
/// built, this builds it.
#[track_caller]
pub fn stand_in() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let directory = test.parent().and_then(Path::parent).unwrap();
    let program = directory.join("stand-in");
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--package", "stand-in"]);
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        cargo.arg("--target-dir").arg(directory.parent().unwrap());
        cargo.current_dir(repository()).status().expect("cargo");
    }
    assert!(program.exists(), "{} is not built", program.display());
    program
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The path in the guest of the tar that is unpacked to `target`.
pub fn tar_of(target: &str) -> String {
    let digest = format!("{:x}", Sha256::digest(target));
    format!("/var/lib/bottle/{}.tar", &digest[..16])
}

/// The call `exec ARGV` as root for the sandbox's machine, as a smolvm since 1.14.0 logs it.
pub fn exec(argv: &[&str]) -> Vec<String> {
    exec_as("root", argv)
}

/// The call `exec ARGV` as `user`.
pub fn exec_as(user: &str, argv: &[&str]) -> Vec<String> {
    let words = [
        &["machine", "exec", "--name", MACHINE, "--user", user, "--"],
        argv,
    ]
    .concat();
    words.into_iter().map(str::to_owned).collect()
}

/// The call `cp FROM TO` for the sandbox's machine, as the recording smolvm logs it.
pub fn cp(from: &Path, to: &str) -> Vec<String> {
    let to = format!("{MACHINE}:{to}");
    let words = ["machine", "cp", from.to_str().unwrap(), &to];
    words.map(str::to_owned).to_vec()
}

/// The same for a file of root's with the mode 600, as a smolvm since 1.9.0 logs it.
pub fn cp_for_root(from: &Path, to: &str) -> Vec<String> {
    let options = ["--mode", "600", "--uid", "0", "--gid", "0"];
    let mut words = cp(from, to);
    words.splice(2..2, options.map(str::to_owned));
    words
}
