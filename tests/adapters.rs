//! The adapters: what is behind them answers as if nothing were between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;

use harness::command_lines::{DIRECTORY, SAME, outcome, prepare};
use harness::{MACHINE, OtherHosts, Sandbox, adapter, running, wait_for};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");

/// What no adapter does: copies out of a machine.
const NOT_DONE: &[&[&str]] = &[&["cp", "M:D/owned", "back"]];

/// Command lines that have another outcome in a container, and why they may.
const OTHERWISE_IN_A_CONTAINER: &[(&[&str], &str)] = &[
    (
        &[
            "exec",
            "--name",
            "M",
            "--",
            "sh",
            "-c",
            "id -un; echo \"$HOME $TERM\"",
        ],
        "TERM is what the container has",
    ),
    (
        &["exec", "--name", "M", "-i", "--interactive", "--", "true"],
        "the last of an option that is repeated counts",
    ),
    (
        &["exec", "--name", "M", "--name", "M", "--", "true"],
        "the same",
    ),
    (
        &["cp", "M:D/owned", "back"],
        "no adapter copies out of a machine",
    ),
];

/// Asserts that `adapter` does with every command line what `smolvm` does. If a copy fails, only the
/// status has to say so.
#[track_caller]
fn answers_alike(sandbox: &Sandbox, adapter: &str, is_different: impl Fn(&[&str]) -> bool) {
    let mut wrong = String::new();
    for args in SAME {
        let [expected, found] = ["smolvm", adapter].map(|program| {
            let outcome = outcome(sandbox, program, args);
            let _ = fs::remove_file(sandbox.path("back"));
            // A file that travels has another name at the other end.
            let names = outcome.split("/var/tmp/bottle-copy.");
            let names = names.enumerate().map(|(number, text)| match number {
                0 => text.to_owned(),
                _ => format!("{}{}", args[args.len() - 2], &text[6..]),
            });
            names.collect::<String>().replace('\n', "\\n")
        });
        let fails = |outcome: &str| !outcome.starts_with("status 0");
        let is_failed_copy = args[0] == "cp" && fails(&expected) && fails(&found);
        if expected != found && !is_failed_copy && !NOT_DONE.contains(args) && !is_different(args) {
            wrong = format!("{wrong}\n{args:?}\nsmolvm:  {expected}\nadapter: {found}\n");
        }
    }
    sandbox.guest(&format!("rm -rf {DIRECTORY}"));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
#[ignore = "needs sshd: apt-get install openssh-server"]
fn over_ssh_every_command_line_has_the_same_outcome() {
    let sandbox = Sandbox::with_guest_of(&["--image", "any", "--user", "node"]);
    let _there = OtherHosts::new(&sandbox, &[("there", "machines")]);
    prepare(&sandbox);
    answers_alike(&sandbox, "over-ssh", |_| false);
}

#[test]
#[ignore = "needs sshd: apt-get install openssh-server"]
fn over_ssh_a_bottle_is_provisioned_twice_and_after_a_kill() {
    let sandbox = Sandbox::with_guest();
    let _there = OtherHosts::new(&sandbox, &[("there", "machines")]);
    let mut plan = sandbox.set_up(BUILT);
    plan["supervise_plan"] = serde_json::Value::Null; // the guest has no claude
    sandbox.write("plan.json", plan.to_string());
    let run = |options: &str| {
        sandbox.sh(&format!(
            "provision --smolvm $PWD/bin/over-ssh {options} < plan.json"
        ))
    };
    for delay in ["0.4", "0.8", "1.2"] {
        let outcome = sandbox.sh(&format!(
            "timeout -s KILL {delay} provision --jobs --smolvm $PWD/bin/over-ssh < plan.json"
        ));
        assert!(matches!(outcome.status, 0 | 137), "{outcome:?}");
    }
    for options in ["", "--jobs", "--check"] {
        let outcome = run(options);
        assert_eq!(outcome.status, 0, "{outcome:?}");
    }
    let over_ssh = sandbox.tree();
    assert_eq!(sandbox.sh("provision < plan.json").status, 0);
    assert_eq!(sandbox.tree(), over_ssh);
    let left = "ls -A /var/tmp | grep bottle-copy || :";
    assert_eq!(sandbox.sh(left).stdout, "");
}

#[test]
#[ignore = "needs sshd: apt-get install openssh-server"]
fn over_ssh_what_cannot_be_done_is_said() {
    let sandbox = Sandbox::with_guest();
    let there = OtherHosts::new(&sandbox, &[("there", "machines")]);
    let smolvm = |environment: &str, words: &str| {
        sandbox.sh(&format!("{environment} over-ssh machine {words}"))
    };
    let outcome = smolvm("BOTTLE_SSH_HOST=nowhere.invalid", "exec --name M -- true");
    let words = "Error: ssh to nowhere.invalid: ssh: Could not resolve hostname nowhere.invalid: ";
    assert_eq!(outcome.status, 1, "{outcome:?}");
    assert!(outcome.stderr.starts_with(words), "{outcome:?}");
    let outcome = sandbox.sh(&format!(
        "unset BOTTLE_SSH_HOST; {} --version",
        adapter("ssh").display()
    ));
    outcome.fails(1, "Error: BOTTLE_SSH_HOST is unset: it names the host\n");
    let outcome = smolvm(
        "",
        "exec --name M -- printf %s $(head -c 130000 /dev/zero | tr '\\0' x)",
    );
    outcome.fails(1, "Error: the command line is too long for ssh\n");
    drop(there);
}

#[test]
#[ignore = "needs sshd: apt-get install openssh-server"]
fn over_ssh_a_killed_call_ends_on_the_other_host() {
    let sandbox = Sandbox::with_guest();
    let there = OtherHosts::new(&sandbox, &[("there", "machines")]);
    sandbox.sh("over-ssh --version");
    let is_running = || !running("sleep 4321").is_empty();
    // Some are killed before the command has begun: the adapter's own words match, too.
    for signal in ["INT", "TERM", "HUP", "KILL"] {
        let child = sandbox
            .run_interruptible("over-ssh")
            .args(["machine", "exec", "--name", MACHINE, "--", "sleep", "4321"])
            .start_group();
        wait_for("the command to run", is_running);
        let group = format!("kill -{signal} -{}", child.id());
        assert_eq!(sandbox.sh(&group).status, 0);
        let outcome = sandbox.outcome(child);
        assert_ne!(outcome.status, 0, "{signal}: {outcome:?}");
        wait_for("the command to end", || !is_running());
    }
    drop(there);
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a container, and the adapter for it as smolvm on PATH"]
fn a_container_answers_as_a_machine_does() {
    let container = Sandbox::with_real_guest();
    let machine = Sandbox::with_guest_of(&["--image", "any", "--user", "root"]);
    prepare(&container);
    prepare(&machine);
    let mut wrong = String::new();
    for args in SAME {
        // What a program or the adapter says in words of its own is not compared, nor how it fails.
        let [expected, found] = [&machine, &container].map(|sandbox| {
            let outcome = outcome(sandbox, "smolvm", args);
            outcome.split_once("\nstderr").unwrap().0.to_owned()
        });
        let fails = |outcome: &str| !outcome.starts_with("status 0");
        let is_alike = expected == found || fails(&expected) && fails(&found);
        let is_listed = OTHERWISE_IN_A_CONTAINER
            .iter()
            .any(|(other, _)| other == args);
        if is_alike == is_listed {
            wrong = format!("{wrong}\n{args:?}\nmachine:   {expected}\ncontainer: {found}\n");
        }
    }
    container.guest(&format!("rm -rf {DIRECTORY}"));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a container, and the adapter for it as smolvm on PATH"]
fn a_container_is_not_written_through_links_of_the_agents() {
    let container = Sandbox::with_real_guest();
    container.write("file", "content\n");
    let links = "cd /home/node && ln -s /etc .claude && chown -h node:node .claude";
    container.guest(&format!("rm -rf /home/node/.claude; {links}"));
    let target = format!("{}:/home/node/.claude/bottle-test", container.machine());
    let copy = container
        .run("smolvm")
        .args(["machine", "cp", "file", &target]);
    assert_ne!(copy.end().status, 0);
    let left = "find /etc -name 'bottle-test*'; rm /home/node/.claude";
    assert_eq!(container.guest(left), "");
}
