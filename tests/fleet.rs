//! Many bottles on two hosts, as docs/fleet.md has it: with GNU parallel, while a host dies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::thread;
use std::time::Duration;

use harness::{OtherHosts, Sandbox, adapter, repository, stand_in, wait_for};
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
/// The number of machines on each of the two hosts.
const MACHINES: usize = 10;

/// Returns the command in docs/fleet.md that begins with `start`, for the programs of this sandbox.
fn documented(start: &str) -> String {
    let text = fs::read_to_string(repository().join("docs/fleet.md")).unwrap();
    let begin = text.find(start).expect("the command");
    let command = text[begin..].split("```").next().unwrap();
    let command = command.split("\nawk").next().unwrap();
    command
        .replace(
            "scripts/adapters/ssh",
            &adapter("ssh").display().to_string(),
        )
        .replace("bottle-provision", "provision")
        .replace("--jobs 32", "--jobs 4")
        .replace(
            "BOTTLE_SSH_HOST",
            "BOTTLE_SSH_SMOLVM=$BOTTLE_SSH_SMOLVM BOTTLE_SSH_HOST",
        )
}

#[test]
#[ignore = "needs sshd and GNU parallel: apt-get install openssh-server parallel"]
fn a_fleet_is_provisioned_although_a_host_dies() {
    let sandbox = Sandbox::with_guest();
    let hosts = OtherHosts::new(&sandbox, &[("one", "one"), ("two", "two")]);
    let mut plan = sandbox.set_up(BUILT);
    plan["supervise_plan"] = Value::Null; // the guests have no claude
    let mut fleet = Vec::new();
    for host in ["one", "two"] {
        for number in 0..MACHINES {
            let machine = format!("{host}-{number}");
            let new = format!("STAND_IN_DIR=$PWD/{host} smolvm machine");
            let make = format!("{new} create --name {machine} && {new} start --name {machine}");
            assert_eq!(sandbox.sh(&make).status, 0);
            plan["machine_name"] = json!(machine);
            sandbox.write(format!("plans/{machine}.json"), plan.to_string());
            fleet.push(format!("{host}\tplans/{machine}.json\n"));
        }
    }
    sandbox.write("fleet.tsv", fleet.concat());
    let smolvm = stand_in();
    let environment = format!(
        "export BOTTLE_SSH_SMOLVM={} XDG_RUNTIME_DIR=$PWD/run; mkdir -p home/.parallel && : >home/.parallel/will-cite; ",
        smolvm.display()
    );
    let provision = environment.clone() + &documented("parallel --colsep");
    let log = || fs::read_to_string(sandbox.path("fleet.log")).unwrap_or_default();
    thread::scope(|scope| {
        let first = scope.spawn(|| sandbox.sh(&provision));
        wait_for("the first bottles", || log().lines().count() > 3);
        hosts.take_away("two");
        let outcome = first.join().unwrap();
        assert_ne!(outcome.status, 0, "{outcome:?}");
    });
    let before = log();
    hosts.bring_back("two");
    thread::sleep(Duration::from_millis(100));
    let outcome = sandbox.sh(&provision);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{before}\n{}", log());

    // Each has been provisioned, and none once more after it had succeeded.
    let log = log();
    let mut succeeded = Vec::new();
    for line in log.lines().skip(1) {
        let fields: Vec<_> = line.split('\t').collect();
        if fields[6] == "0" {
            succeeded.push(fields[0].to_owned());
        }
    }
    succeeded.sort();
    succeeded.dedup();
    assert_eq!(succeeded.len(), 2 * MACHINES, "{log}");
    for host in ["one", "two"] {
        for number in 0..MACHINES {
            let file = sandbox.path(format!("receipts/{host}-{number}"));
            let printed: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            for step in ["ca", "prompt", "skills", "git"] {
                assert_eq!(
                    printed["receipts"][step]["status"],
                    "done",
                    "{}",
                    file.display()
                );
            }
        }
    }

    // One of them is changed, and the check of all finds it.
    let remove = "STAND_IN_DIR=$PWD/one smolvm machine exec --name one-3 -- rm /home/node/.claude-bottle-prompt.txt";
    assert_eq!(sandbox.sh(remove).status, 0);
    let check = "parallel --colsep '\\t' -a fleet.tsv --jobs 32 --joblog check.log";
    let outcome = sandbox.sh(&(environment + &documented(check)));
    assert_ne!(outcome.status, 0, "{outcome:?}");
    let differ = sandbox
        .sh("awk '$7 != 0 { print $7, $NF }' check.log")
        .stdout;
    let differ: Vec<_> = differ.lines().skip(1).collect();
    assert_eq!(differ.len(), 1, "{differ:?}");
    assert!(differ[0].starts_with("3 "), "{differ:?}");
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_ANSIBLE, the path of an ansible-playbook, and sshd"]
fn the_playbook_provisions_once_and_its_check_mode_changes_nothing() {
    let playbook = std::env::var("CLAUDE_BOTTLE_TEST_ANSIBLE").expect("a path");
    let sandbox = Sandbox::with_guest();
    let _hosts = OtherHosts::new(&sandbox, &[("one", "one"), ("two", "two")]);
    let mut plan = sandbox.set_up(BUILT);
    plan["supervise_plan"] = Value::Null; // the guests have no claude
    plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!([]); // they are at home there
    let mut inventory = vec!["[bottles]\n".to_owned()];
    for host in ["one", "two"] {
        let new = format!("STAND_IN_DIR=$PWD/{host} smolvm machine");
        let make = format!("{new} create --name {host} && {new} start --name {host}");
        assert_eq!(sandbox.sh(&make).status, 0);
        plan["machine_name"] = json!(host);
        let plan_file = sandbox.write(format!("plans/{host}.json"), plan.to_string());
        inventory.push(format!("{host} plan_file={}\n", plan_file.display()));
    }
    let example = repository().join("examples/ansible/playbook.yml");
    sandbox.write(
        "ansible.cfg",
        format!(
            "[defaults]\ninterpreter_python=auto_silent\n[ssh_connection]\nssh_args=-F {}\n",
            sandbox.path("ssh/config").display()
        ),
    );
    sandbox.write("inventory", inventory.concat());
    std::os::unix::fs::symlink(
        sandbox.path("bin/provision"),
        sandbox.path("bin/bottle-provision"),
    )
    .unwrap();
    let run_playbook = |options: &str| {
        sandbox.sh(&format!(
            "LC_ALL=C.UTF-8 ANSIBLE_CONFIG=$PWD/ansible.cfg ANSIBLE_NOCOLOR=1 {playbook} -i inventory {} {options}",
            example.display()
        ))
    };
    for (options, recap) in [
        ("--check", "changed=1"),
        ("", "changed=1"),
        ("--check", "changed=0"),
    ] {
        let outcome = run_playbook(options);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        for host in ["one", "two"] {
            let line = outcome.stdout.lines().rfind(|line| line.starts_with(host));
            assert!(line.unwrap().contains(recap), "{options}: {outcome:?}");
        }
    }
}
