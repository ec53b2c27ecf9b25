//! `scripts/provision` and every step with a real smolvm, on the machine that
//! `CLAUDE_BOTTLE_TEST_MACHINE` names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use harness::{
    Certificate, KEPT, STEPS, Sandbox, certificate, converges_in, fingerprint, keys, send, tar_of,
    tool, wait_for,
};
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const LIST: &str =
    "find . -printf '%P %y %m %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum";

/// The files that all plans of a test refer to, on a host of their own.
struct Host(Sandbox);

impl Host {
    fn new() -> Self {
        let host = Self(Sandbox::new());
        let commit = "mkdir -p project && cd project && git init -q -b main && git add . && \
            git -c user.name=A -c user.email=a@example.com -c core.compression=0 commit -q --allow-empty -m 'Ünïcode' && \
            git gc -q && rm .git/index";
        host.0.write("commit", commit);
        host
    }

    fn commit(&self) {
        let outcome = self.0.run("sh").args(["commit"]).end();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    }

    /// A skill with files of many names.
    fn write_skill(&self, name: &str, files: usize) {
        for file in 0..files {
            let path = ["plain", "ä b/naïve file.txt", "deep/er/--flag", "日本語/x"][file % 4];
            self.0.write(
                format!("home/.claude/skills/{name}/{file}/{path}"),
                format!("{name} {file}\n"),
            );
        }
        let manifest = format!("---\nname: {name}\ndescription: A skill.\n---\n");
        self.0
            .write(format!("home/.claude/skills/{name}/SKILL.md"), manifest);
    }

    fn skills(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path("home/.claude/skills")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    /// The whole plan, for the machine of `sandbox`.
    fn plan(&self, sandbox: &Sandbox) -> Value {
        let mut plan = sandbox.set_up(BUILT);
        fs::remove_dir_all(sandbox.path("home/.claude/skills")).unwrap();
        symlink(
            self.0.path("home/.claude/skills"),
            sandbox.path("home/.claude/skills"),
        )
        .unwrap();
        plan["spec"]["user_cwd"] = json!(self.0.path("project"));
        plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!(self.skills());
        plan["proxy_plan"]["ca_cert_host_path"] = json!(self.0.path("ca.pem"));
        sandbox.write("plan.json", plan.to_string());
        plan
    }

    /// Asserts that the guest has what this host has, and that it belongs to node.
    #[track_caller]
    fn is_in(&self, sandbox: &Sandbox) {
        for (here, there) in [
            ("home/.claude/skills", ".claude/skills"),
            ("project/.git", "workspace/.git"),
        ] {
            let here = tool("sh")
                .args(["-c", LIST])
                .current_dir(self.0.path(here))
                .output()
                .unwrap();
            let there = sandbox.guest(&format!("cd /home/node/{there} && {{ {LIST}; }}"));
            assert!(
                there == String::from_utf8(here.stdout).unwrap(),
                "another tree in the guest:\n{there}"
            );
        }
        let left = sandbox.guest(
            "cd /home/node && find .claude-bottle-prompt.txt .gitconfig .claude workspace ! -user node; \
                                  find / -xdev -name '*.bottle*' 2>/dev/null || :",
        );
        assert_eq!(left, "");
        let seen = sandbox.guest(
            "cd /home/node && stat -c '%a %U:%G' .claude-bottle-prompt.txt && cat .claude-bottle-prompt.txt && \
             export HOME=/home/node && node='runuser -u node -- git -C workspace' && $node fsck --strict && \
             $node log --format=%s && $node ls-remote --get-url git@host:repo && $node config user.email",
        );
        assert_eq!(
            seen,
            "600 node:node\nYou are a helpful assistant.\nÜnïcode\ngit://127.0.0.1:55555/claude-bottle.git\nada@example.com\n"
        );
        let bundle = sandbox.guest("cat /etc/ssl/certs/ca-certificates.crt");
        let ours = fs::read_to_string(self.0.path("ca.pem")).unwrap();
        assert_eq!(
            bundle.matches(ours.trim()).count(),
            1,
            "our certificate is in the bundle once"
        );
        assert!(
            bundle.matches("BEGIN CERTIFICATE").count() > 50,
            "the public roots are in it, too"
        );
    }
}

/// What bottle-supervise prints at the end, which depends on whether the guest has Claude Code.
/// `is_quiet` is for `-q`.
fn supervised(sandbox: &Sandbox, is_quiet: bool) -> String {
    let url = "http://127.0.0.1:55556/";
    if !sandbox.guest("command -v claude || :").is_empty() {
        let done = format!("bottle-supervise: MCP server at {url} (_s)\n");
        return if is_quiet { String::new() } else { done };
    }
    let [open, close] = if sandbox.is_image() {
        ["‘", "’"]
    } else {
        ["'"; 2]
    };
    format!(
        "bottle-supervise: warning: runuser -u node -- env HOME=/home/node claude mcp add --scope \
         user --transport http supervise {url}: smolvm machine exec: exit status 127: env: \
         {open}claude{close}: No such file or directory\n\
         hint: Claude Code is not on the guest's PATH: install it in the image with `npm install -g \
         @anthropic-ai/claude-code` or, if its own installer put it into ~/.local/bin, run `ln -s \
         /home/node/.local/bin/claude /usr/local/bin/`\n"
    )
}

/// To be killed after a call is the same as before the next one.
#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn every_step_converges_wherever_it_was_killed() {
    let host = Host::new();
    host.commit();
    host.write_skill("verify", 4);
    for step in STEPS {
        let program = Path::new(BUILT).with_file_name(format!("bottle-{step}"));
        converges_in(
            Sandbox::with_real_guest,
            program.to_str().unwrap(),
            &["after"],
            |sandbox| host.plan(sandbox),
        );
    }
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_second_plan_replaces_the_first() {
    let host = Host::new();
    host.commit();
    host.write_skill("verify", 4);
    let sandbox = Sandbox::with_real_guest();
    let plan = host.plan(&sandbox);
    let project = host.0.path("project/.git");
    let all = |ca: &Path, git: &str| {
        format!(
            "bottle-ca: trusts pipelock CA, sha256 {} (_s)\n\
             bottle-prompt: prompt in /home/node/.claude-bottle-prompt.txt (_s)\n\
             bottle-skills: verify in /home/node/.claude/skills (_s)\n\
             {git}; claude-bottle through the gate at 127.0.0.1:55555; commits as Ada Lovelace <ada@example.com> (_s)\n",
            fingerprint(ca)
        )
    };
    let outcome = sandbox.sh("provision < plan.json");
    let copied = format!(
        "bottle-git: {} in /home/node/workspace/.git",
        project.display()
    );
    let stderr = all(&host.0.path("ca.pem"), &copied) + &supervised(&sandbox, false);
    let receipts = outcome.is(0, &plan, &stderr);
    assert_eq!(keys(&receipts), STEPS);
    host.is_in(&sandbox);

    // A renewed CA, and a skill that lost a file.
    certificate(&Certificate::Ca).write(&host.0.path("ca.pem"));
    fs::remove_dir_all(host.0.path("home/.claude/skills/verify/3")).unwrap();
    let outcome = sandbox.sh("provision < plan.json");
    let kept = format!("{KEPT}bottle-git: /home/node/workspace/.git as it was");
    outcome.is(
        0,
        &plan,
        &(all(&host.0.path("ca.pem"), &kept) + &supervised(&sandbox, false)),
    );
    host.is_in(&sandbox);
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_script_provisions_the_same_guest_and_a_check_accepts_it() {
    let host = Host::new();
    host.commit();
    host.write_skill("it's $HOME \"q\" é", 4);
    let mut trees = Vec::new();
    for run in [
        "provision -q < plan.json",
        "provision -qn < plan.json | sh",
        "provision -q --jobs < plan.json",
    ] {
        let sandbox = Sandbox::with_real_guest();
        let plan = host.plan(&sandbox);
        let outcome = sandbox.sh(run);
        assert_eq!(outcome.status, 0, "{run}: {outcome:?}");
        let tree = sandbox.tree();
        // The steps of a machine without Claude Code have no supervisor to look for.
        let steps = if sandbox.guest("command -v claude || :").is_empty() {
            &STEPS[..4]
        } else {
            &STEPS[..]
        };
        let outcome = sandbox.sh(&format!(
            "provision --check -q --only {} < plan.json",
            steps.join(",")
        ));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{run}");
        assert_eq!(sandbox.tree(), tree, "a check changed the guest");
        let checked: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(checked["spec"], plan["spec"]);
        // Claude Code writes to these files whenever it runs.
        let its_own = ["/.claude.json", "/.claude/backups", "/.claude/telemetry"];
        let lines = tree
            .lines()
            .filter(|line| !its_own.iter().any(|name| line.contains(name)));
        trees.push(lines.map(|line| line.to_owned() + "\n").collect::<String>());
    }
    assert_eq!(trees[0], trees[1], "one after another, and as a script");
    assert_eq!(trees[0], trees[2], "one after another, and side by side");
}

/// 300 MiB of repository and 40 skills with 3,000 files, interrupted and killed in the middle.
#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_large_project_arrives_after_interrupts_and_kills() {
    let host = Host::new();
    let random = fs::File::open("/dev/urandom").unwrap();
    fs::create_dir(host.0.path("project")).unwrap();
    let mut large = fs::File::create(host.0.path("project/large")).unwrap();
    std::io::copy(&mut std::io::Read::take(random, 300 << 20), &mut large).unwrap();
    host.commit();
    for skill in 0..40 {
        host.write_skill(&format!("skill-{skill}"), 75);
    }
    let sandbox = Sandbox::with_real_guest();
    let plan = host.plan(&sandbox);

    interrupt_the_copy(&sandbox);
    // The steps are killed during the copy and the unpacking of .git. Before these are five calls
    // of bottle-ca and bottle-prompt; the mkdir of bottle-skills, and for each skill the rm, the
    // copy, the unpacking and the chown; the mkdir of bottle-git; and one call that makes room,
    // because the tar of .git is larger than 256 MiB.
    let room = 5 + 1 + 4 * 40 + 1 + 1;
    // The user is given: otherwise, each step on a bare machine would make one more call, which the
    // machine refuses.
    let user = if sandbox.is_image() { "root" } else { "none" };
    for call in [room + 1, room + 2] {
        let _ = fs::remove_file(sandbox.path("log.count"));
        let killed = format!("{call} during");
        let run = sandbox
            .run("provision")
            .args(["-q", "-f", "plan.json", "--exec-user", user]);
        let outcome = run.env("STAND_IN_KILL", killed).end();
        assert_eq!(
            (outcome.status, outcome.stdout.as_str()),
            (137, ""),
            "{}",
            outcome.stderr
        );
        assert!(
            outcome
                .stderr
                .contains("provision: bottle-git failed, exit status 137; not run: supervise\n")
        );
    }
    let outcome = sandbox.sh("provision -q < plan.json");
    // The second run may have been killed when only the removal of its tar was left.
    let kept = if outcome.stderr.starts_with(KEPT) {
        KEPT
    } else {
        ""
    };
    outcome.is(0, &plan, &format!("{kept}{}", supervised(&sandbox, true)));
    host.is_in(&sandbox);

    let tree = sandbox.tree();
    let outcome = sandbox.sh("provision -q < plan.json");
    outcome.is(0, &plan, &format!("{KEPT}{}", supervised(&sandbox, true)));
    assert_eq!(sandbox.tree(), tree);
    assert_eq!(
        sandbox.staged(),
        [""; 0],
        "what the killed steps staged is gone, too"
    );
}

/// Sends the signal of Ctrl-C to the whole process group while the repository is copied.
fn interrupt_the_copy(sandbox: &Sandbox) {
    let run = sandbox
        .run_interruptible("provision")
        .args(["-q", "-f", "plan.json"]);
    let child = run.start_group();
    wait_for("the copy", || {
        sandbox.log().contains(&tar_of("/home/node/workspace/.git"))
    });
    // This is in the middle of the copy, because 300 MiB take seconds.
    sleep(Duration::from_millis(300));
    send("INT", &format!("-{}", child.id()));
    sandbox
        .outcome(child)
        .fails(130, "bottle-git: interrupted\n");
    assert_eq!(sandbox.left_over(), "");
    assert_eq!(sandbox.staged(), [""; 0]);
}
