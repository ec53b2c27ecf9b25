//! What the tests share: a host, a guest, and a way to run programs between them and see all that came of it.

mod certificates;
mod programs;
mod repositories;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use certificates::{Certificate, certificate};
pub use programs::{STEPS, keys};

/// The machine's name in the plans made here.
pub const MACHINE: &str = "claude-bottle-demo-abc12";
/// What the stand-in answers when it makes no calls: enough for every step.
const ANSWER: &str = "Updating certificates in /etc/ssl/certs...\n1 added, 0 removed; done.\n";

/// A host of its own with a smolvm on PATH, and perhaps a guest; gone when dropped.
pub struct Sandbox {
    directory: TempDir,
    has_guest: bool,
}

/// A program to be run in a sandbox.
pub struct Run<'a> {
    sandbox: &'a Sandbox,
    command: Command,
    stdin: Vec<u8>,
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
        let directory = tempfile::Builder::new().prefix("bottle-test-").tempdir().unwrap();
        let sandbox = Self { directory, has_guest: false };
        for name in ["bin", "home/.claude/skills", "stage", "machines", "guest-bin"] {
            fs::create_dir_all(sandbox.path(name)).unwrap();
        }
        symlink(repository().join("tests/stand-in/smolvm"), sandbox.path("bin/smolvm")).unwrap();
        sandbox.write("prompt.txt", "You are a helpful assistant.\n");
        certificate(&Certificate::Ca).write(&sandbox.path("ca.pem"));
        sandbox
    }

    /// A host with a running machine; none, said on stderr, where namespaces cannot be had (in CI that is a failure).
    pub fn with_guest() -> Option<Self> {
        let mut sandbox = Self::new();
        sandbox.has_guest = true;
        for verb in ["create", "start"] {
            let outcome = sandbox.run("smolvm").args(["machine", verb, "--name", MACHINE]).end();
            if outcome.status == 69 && std::env::var_os("CI").is_none() {
                eprintln!("skipped, no guest can be had here: {}", outcome.stderr);
                return None;
            }
            assert_eq!(outcome.status, 0, "{outcome:?}");
        }
        fs::remove_file(sandbox.path("log")).unwrap();
        Some(sandbox)
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
            "machine_name": MACHINE,
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
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.path("home")).current_dir(self.directory.path());
        command.env("SMOLVM_FAKE_DIR", self.path("machines")).env("SMOLVM_FAKE_LOG", self.path("log"));
        command.env("SMOLVM_FAKE_BIN", self.path("guest-bin"));
        if !self.has_guest {
            command.env("SMOLVM_FAKE_ANSWER", ANSWER);
        }
        Run { sandbox: self, command, stdin: Vec::new() }
    }

    /// The calls of smolvm's since the last time this was asked, each with its arguments; `--version` is left out.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.path("log"));
        let calls = log.split("\u{1e}\n").filter(|record| !record.is_empty());
        let calls = calls.map(|record| record.split_terminator('\u{1f}').map(str::to_owned).collect());
        calls.filter(|call: &Vec<String>| call[0] == "machine").collect()
    }

    /// Runs a shell script in the guest as root and gives what it prints.
    pub fn guest(&self, script: &str) -> String {
        let outcome = self.run("smolvm").args(["machine", "exec", "--name", MACHINE, "--", "sh", "-c", script]).end();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{script}: {}", outcome.stdout);
        outcome.stdout
    }

    /// All that a step can have changed in the guest: modes, owners, names, link targets and contents.
    pub fn tree(&self) -> String {
        let script = "cd / && find home etc/ssl run usr/local/share tmp root -printf '%M %u:%g %p -> %l\\n' | sort; \
                      find home etc/ssl usr/local/share tmp root -type f -exec sha256sum {} + | sort -k 2";
        let tree = self.guest(script);
        let _ = fs::remove_file(self.path("log"));
        tree
    }

    /// What is in the plan's stage directory.
    pub fn staged(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("stage")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.has_guest {
            self.run("smolvm").args(["machine", "delete", "--force", "--name", MACHINE]).end();
        }
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

    /// Runs the program to its end.
    pub fn end(self) -> Outcome {
        let (sandbox, stdin) = (self.sandbox, self.stdin.clone());
        let mut child = self.start();
        let mut pipe = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let outcome = sandbox.outcome(child);
        writer.join().unwrap();
        outcome
    }

    /// Starts the program and leaves it to itself, with stdin open.
    pub fn start(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Sandbox {
    /// Waits for `child`.
    pub fn outcome(&self, child: Child) -> Outcome {
        let output = child.wait_with_output().unwrap();
        let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default());
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let directory = fs::canonicalize(self.directory.path()).unwrap();
        let stderr = without_times(&stderr.replace(directory.to_str().unwrap(), "DIR"));
        Outcome { status, stdout, stderr }
    }
}

impl Outcome {
    /// Asserts on all of it at once; `stdout` is compared as JSON with `receipts` left out.
    #[track_caller]
    pub fn is(&self, status: i32, plan: &Value, stderr: &str) -> Value {
        assert_eq!((self.status, self.stderr.as_str()), (status, stderr));
        let mut printed: Value = serde_json::from_str(&self.stdout).expect("a plan on stdout");
        let receipts = printed.as_object_mut().unwrap().remove("receipts").expect("receipts");
        let mut plan = plan.clone();
        plan.as_object_mut().unwrap().remove("receipts");
        assert_eq!(printed, plan);
        receipts
    }

    /// Asserts that it failed: nothing on stdout, and these words.
    #[track_caller]
    pub fn fails(&self, status: i32, stderr: &str) {
        assert_eq!((self.status, self.stdout.as_str(), self.stderr.as_str()), (status, "", stderr));
    }
}

/// The first `(1.2s)` of each line as `(_s)`.
fn without_times(text: &str) -> String {
    let mut result = String::new();
    for line in text.lines() {
        match line.rsplit_once(" (") {
            Some((before, time)) if time.ends_with("s)") => writeln!(result, "{before} (_s)").unwrap(),
            _ => writeln!(result, "{line}").unwrap(),
        }
    }
    result
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// `exec ARGV` for the sandbox's machine as the recording smolvm sees it, a bare one since 1.14.0.
pub fn exec(argv: &[&str]) -> Vec<String> {
    let words = [&["machine", "exec", "--name", MACHINE, "--user", "root", "--"], argv].concat();
    words.into_iter().map(str::to_owned).collect()
}

/// `cp FROM TO` for the sandbox's machine.
pub fn cp(from: &Path, to: &str) -> Vec<String> {
    vec!["machine".to_owned(), "cp".to_owned(), from.to_str().unwrap().to_owned(), format!("{MACHINE}:{to}")]
}

/// Runs `step` with `plan` in guests of their own, killed before and after each of its calls and then run again;
/// asserts that the guest ends like after one clean run, and that one more run changes nothing.
///
/// `prepare` sets up each host and gives the plan.
#[track_caller]
pub fn converges(step: &str, prepare: impl Fn(&Sandbox) -> Value) {
    let Some(clean) = Sandbox::with_guest() else { return };
    let plan = prepare(&clean);
    let outcome = clean.run(step).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let calls = clean.calls().len();
    assert!(calls > 0);
    let tree = clean.tree();
    let outcome = clean.run(step).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    clean.calls();
    assert_same(&tree, &clean.tree(), "a second run");

    for call in 1..=calls {
        for moment in ["before", "after"] {
            let sandbox = Sandbox::with_guest().unwrap();
            let plan = prepare(&sandbox);
            let killed = sandbox.run(step).plan(&plan).env("SMOLVM_FAKE_KILL", format!("{call} {moment}")).end();
            assert_eq!((killed.status, killed.stdout.as_str()), (137, ""), "{}", killed.stderr);
            sandbox.calls();
            let outcome = sandbox.run(step).plan(&plan).end();
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
            assert_same(&tree, &sandbox.tree(), &format!("a run after one killed {moment} call {call}"));
        }
    }
}

#[track_caller]
fn assert_same(expected: &str, found: &str, what: &str) {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what} ends otherwise; missing: {missing:#?}; extra: {extra:#?}");
}
