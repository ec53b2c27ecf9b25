//! What goes wrong with a real smolvm and in a real guest: each is said in one line, with the way
//! out of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use harness::{Outcome, Sandbox, tar_of, wait_for};
use serde_json::json;

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const PROGRAMS: &str =
    "the guest lacks a program: it needs Debian's ca-certificates, git, tar and util-linux";
const NODE: &str =
    "the guest needs the user `node` (uid and gid 1000, home /home/node), as in the node image";

/// Runs `step` between two scripts that root runs in the guest. The second one restores the guest
/// before a test can fail.
fn while_it_is(sandbox: &Sandbox, before: &str, step: &str, after: &str) -> Outcome {
    sandbox.guest(before);
    let outcome = sandbox.sh(&format!("{step} < plan.json"));
    sandbox.guest(after);
    outcome
}

/// Replaces the line number that dash prints by `LINE`.
fn without_line_number(stderr: &str) -> String {
    match stderr.split_once("sh: ") {
        Some((before, after)) => {
            let after = after.trim_start_matches(|character: char| character.is_ascii_digit());
            format!("{before}sh: LINE{after}")
        }
        None => stderr.to_owned(),
    }
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_missing_program_in_the_guest_has_a_hint() {
    let sandbox = Sandbox::with_real_guest();
    sandbox.set_up(BUILT);
    let not_started = |program: &str| {
        if sandbox.is_image() {
            format!(
                "exit status 255: executable file `{program}` not found in $PATH: No such file or directory"
            )
        } else {
            format!(
                "cannot start `{program}`: exit status 1: Error: agent operation failed: vm exec: failed to spawn \
                 command: No such file or directory (os error 2)"
            )
        }
    };
    for (program, step, doing, why) in [
        (
            "tar",
            "skills",
            "unpack /home/node/.claude/skills/verify",
            "exit status 127: sh: LINE: tar: not found".to_owned(),
        ),
        (
            "update-ca-certificates",
            "ca",
            "run update-ca-certificates",
            "exit status 127: sh: LINE: update-ca-certificates: not found".to_owned(),
        ),
        (
            "flock",
            "ca",
            "run update-ca-certificates",
            "exit status 127: sh: LINE: flock: not found".to_owned(),
        ),
        (
            "git",
            "git",
            "set user.name",
            "exit status 1: runuser: failed to execute git: No such file or directory".to_owned(),
        ),
        (
            "runuser",
            "git",
            "unpack /home/node/workspace/.git",
            "exit status 127: sh: LINE: runuser: not found".to_owned(),
        ),
        (
            "chown",
            "prompt",
            "chown node:node /home/node/.claude-bottle-prompt.txt",
            not_started("chown"),
        ),
    ] {
        let path = sandbox
            .guest(&format!("command -v {program}"))
            .trim()
            .to_owned();
        let (away, back) = (
            format!("mv {path} {path}.away"),
            format!("mv {path}.away {path}"),
        );
        let mut outcome = while_it_is(&sandbox, &away, &format!("bottle-{step}"), &back);
        outcome.stderr = without_line_number(&outcome.stderr);
        outcome.fails(
            1,
            &format!("bottle-{step}: {doing}: smolvm machine exec: {why}\nhint: {PROGRAMS}\n"),
        );
    }
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_guest_without_the_user_node_has_a_hint() {
    let sandbox = Sandbox::with_real_guest();
    let plan = sandbox.set_up(BUILT);
    let quote = if sandbox.is_image() {
        ["‘", "’"]
    } else {
        ["'"; 2]
    };
    for (file, kind) in [("passwd", "user"), ("group", "group")] {
        let before = format!("cp -p /etc/{file} /etc/{file}.away && sed -i /^node:/d /etc/{file}");
        let after = format!("mv /etc/{file}.away /etc/{file}");
        let outcome = while_it_is(&sandbox, &before, "bottle-prompt", &after);
        let why = if sandbox.is_image() && file == "passwd" {
            "Error: agent operation failed: run command: user 'node' not found in container rootfs"
                .to_owned()
        } else {
            format!("chown: invalid {kind}: {}node:node{}", quote[0], quote[1])
        };
        outcome.fails(
            1,
            &format!(
                "bottle-prompt: chown node:node /home/node/.claude-bottle-prompt.txt: smolvm machine exec: exit status 1: \
                 {why}\nhint: {NODE}\n"
            ),
        );
    }
    let before = "cp -p /etc/passwd /etc/passwd.away && sed -i /^node:/d /etc/passwd";
    let outcome = while_it_is(
        &sandbox,
        before,
        "bottle-supervise",
        "mv /etc/passwd.away /etc/passwd",
    );
    let why = "runuser -u node -- env HOME=/home/node claude mcp add --scope user --transport http supervise \
               http://127.0.0.1:55556/: smolvm machine exec: exit status 1: runuser: user node does not exist or the user \
               entry does not contain all the required fields";
    outcome.is(
        0,
        &plan,
        &format!("bottle-supervise: warning: {why}\nhint: {NODE}\n"),
    );
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_missing_or_stopped_machine_has_a_hint() {
    let sandbox = Sandbox::with_real_guest();
    sandbox.set_up(BUILT);
    let doing = "bottle-prompt: write /home/node/.claude-bottle-prompt.txt: smolvm machine cp: exit status 1: Error:";
    let name = format!("bottle-test-{}", std::process::id());
    sandbox.sh(&format!("bottle-prompt -m {name} < plan.json")).fails(
        1,
        &format!(
            "{doing} vm not found: {name}\n\
             hint: `smolvm machine ls` lists the machines; -m NAME provisions another one than the plan's\n"
        ),
    );
    assert_eq!(
        sandbox
            .run("smolvm")
            .args(["machine", "create", "--name", &name])
            .end()
            .status,
        0
    );
    let outcome = sandbox.sh(&format!("bottle-prompt -m {name} < plan.json"));
    assert_eq!(
        sandbox
            .run("smolvm")
            .args(["machine", "delete", "--force", "--name", &name])
            .end()
            .status,
        0
    );
    outcome.fails(
        1,
        &format!(
            "{doing} agent operation failed: connect: machine '{name}' is not running. Start it with 'smolvm machine start \
             --name {name}'; if a start is already in progress, retry once it finishes.\n\
             hint: `smolvm machine start --name {name}` starts it; if it is running, it is busy: try again\n"
        ),
    );
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_full_disk_has_a_hint() {
    let sandbox = Sandbox::with_real_guest();
    sandbox.set_up(BUILT);
    sandbox.write("home/.claude/skills/verify/large", vec![b'x'; 100_000]);
    if sandbox.is_image() {
        // root cannot mount there, but /run/lock is small.
        sandbox.write("home/.claude/skills/verify/large", vec![b'x'; 6 << 20]);
        let step = "bottle-skills --guest-skills-dir /run/lock/skills";
        let outcome = while_it_is(&sandbox, "true", step, "rm -rf /run/lock/skills");
        let doing =
            "bottle-skills: unpack /run/lock/skills/verify: smolvm machine exec: exit status 2: ";
        assert!(outcome.stderr.starts_with(doing), "{}", outcome.stderr);
        assert!(
            outcome
                .stderr
                .ends_with("\nhint: the machine's disk is full\n"),
            "{}",
            outcome.stderr
        );
        return;
    }
    for (full, doing, words) in [
        (
            "/var/lib/bottle",
            "copy /home/node/.claude/skills/verify: smolvm machine cp",
            "No space left on device",
        ),
        // tar's last block may be written in part.
        (
            "/home/node/.claude",
            "unpack /home/node/.claude/skills/verify: smolvm machine exec",
            ": tar: ",
        ),
    ] {
        let before = format!(
            "mkdir -p {full} && mount -t tmpfs -o size=64k,mode=755 tmpfs {full} && chown node:node {full}"
        );
        let after = format!("umount {full} && rm -rf {full}");
        let outcome = while_it_is(&sandbox, &before, "bottle-skills", &after);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
        let stderr = outcome.stderr;
        assert!(
            stderr.starts_with(&format!("bottle-skills: {doing}: exit status ")),
            "{stderr}"
        );
        assert!(stderr.contains(words), "{stderr}");
        assert!(
            stderr.ends_with("\nhint: the machine's disk is full\n") && stderr.lines().count() == 2,
            "{stderr}"
        );
    }
}

/// The machine of the real smolvm stops during a copy. It is started again, and the step runs
/// again.
#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_machine_that_stops_during_a_copy_has_a_hint() {
    let sandbox = Sandbox::with_real_guest();
    let mut plan = sandbox.set_up(BUILT);
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({});
    sandbox.write("plan.json", plan.to_string());
    let large = format!("objects/pack/pack-{}.pack", "0".repeat(40));
    std::fs::File::create(sandbox.path("project/.git").join(&large))
        .unwrap()
        .set_len(300 << 20)
        .unwrap();
    let machine = sandbox.machine();
    let child = sandbox
        .run("bottle-git")
        .args(["-q", "-f", "plan.json"])
        .start();
    wait_for("the copy", || {
        sandbox.log().contains(&tar_of("/home/node/workspace/.git"))
    });
    // This is in the middle of the copy, because 300 MiB take seconds.
    sleep(Duration::from_millis(500));
    let smolvm = |verb: &str| {
        assert!(
            Command::new("smolvm")
                .args(["machine", verb, "--name", machine])
                .status()
                .unwrap()
                .success()
        );
    };
    smolvm("stop");
    let outcome = sandbox.outcome(child);
    smolvm("start");
    assert_eq!(
        (outcome.status, outcome.stdout.as_str()),
        (1, ""),
        "{}",
        outcome.stderr
    );
    let doing =
        "bottle-git: copy /home/node/workspace/.git: smolvm machine cp: exit status 1: Error: ";
    assert!(outcome.stderr.starts_with(doing), "{}", outcome.stderr);
    let hint = format!(
        "\nhint: the machine stopped during the call: start it with `smolvm machine start --name {machine}`, then run this \
         step again\n"
    );
    assert!(
        outcome.stderr.ends_with(&hint) && outcome.stderr.lines().count() == 2,
        "{}",
        outcome.stderr
    );

    let outcome = sandbox.sh("bottle-git -q < plan.json");
    outcome.is(0, &plan, "");
    assert_eq!(
        sandbox.guest(&format!(
            "ls -A /home/node/workspace /var/lib/bottle; stat -c %s /home/node/workspace/.git/{large}"
        )),
        "/home/node/workspace:\n.git\n\n/var/lib/bottle:\n314572800\n"
    );
}
