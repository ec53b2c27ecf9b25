//! All programs of the workspace in one sandbox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Outcome, Sandbox, repository};

/// The steps, in their order.
pub const STEPS: [&str; 5] = ["ca", "prompt", "skills", "git", "supervise"];

/// As much of `claude mcp` as the step meets (2.1.197): what it writes, says and exits with.
const CLAUDE: &str = r#"#!/bin/sh
set -eu
[ "$(id -un) $HOME" = 'node /home/node' ]
file=$HOME/.claude.json
case "$1 $2 $3 $4" in
    'mcp add --scope user')
        [ "$5 $6 $7" = '--transport http supervise' ]
        if [ -e "$file" ]; then echo 'MCP server supervise already exists in user config' >&2; exit 1; fi
        printf '{"mcpServers":{"supervise":{"type":"http","url":"%s"}},"token":"SECRET"}\n' "$8" >"$file"
        ;;
    'mcp remove --scope user') rm "$file" ;;
esac
"#;

impl Sandbox {
    /// Puts a `claude` on the guest's PATH.
    pub fn add_claude(&self) {
        let claude = self.write("guest-bin/claude", CLAUDE);
        fs::set_permissions(claude, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts all programs on PATH, those that were built beside `built`, and a full plan in
    /// `plan.json`.
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
        symlink(repository().join("scripts/provision"), self.path("bin/provision")).unwrap();
        self.write_skill("verify");
        let git =
            Command::new("git").args(["init", "-q", "project"]).current_dir(self.path("")).status();
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

    /// The command lines of processes that were started in this sandbox and are still there.
    pub fn left_over(&self) -> String {
        let mark = format!("STAND_IN_LOG={}", self.path("log").display());
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours = processes.filter(|process| {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
        });
        ours.map(|process| fs::read_to_string(process.path().join("cmdline")).unwrap_or_default())
            .collect()
    }

    /// Starts `program`, waits for its first smolvm call, which hangs, and sends it `signal`.
    pub fn interrupt(&self, program: &str, signal: &str) -> Outcome {
        let child = self.run(program).args(["-f", "plan.json"]).env("STAND_IN_HANG", "1").start();
        for _ in 0..500 {
            if self.path("log.count").exists() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
        Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        self.outcome(child)
    }
}

/// The names in a JSON object, in order.
pub fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}
