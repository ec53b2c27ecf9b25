//! Steps that are run while the agent is at work in the guest, or has been: it is hostile, and
//! nothing that it plants makes a step do for it what it may not do itself. And steps that meet
//! what an earlier run left, or another run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

use harness::{COPIED, KEPT, MACHINE, Outcome, Sandbox, converges_in, tar_of, wait_for};
use serde_json::json;

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const REPOSITORY: &str = "/home/node/workspace/.git";
const SKILL: &str = "/home/node/.claude/skills/verify";
/// An image machine, on which commands run as node unless smolvm is given another user.
const IMAGE: [&str; 4] = ["--image", "node:22", "--user", "node"];
/// Makes files of root, which the agent must not be able to change or read.
const SECRET: &str =
    "mkdir -p /etc/own/skills && echo secret >/etc/own/secret && chmod 600 /etc/own/secret";

fn image() -> Sandbox {
    let sandbox = Sandbox::with_guest_of(&IMAGE);
    sandbox.set_up(BUILT);
    sandbox.guest(SECRET);
    sandbox
}

/// Lists the files of root that the agent may not change.
fn roots(sandbox: &Sandbox) -> String {
    sandbox.guest("cd /etc/own && find . -printf '%M %u:%g %p\\n' | sort; cat secret")
}

fn run(sandbox: &Sandbox, step: &str) -> Outcome {
    sandbox.sh(&format!("bottle-{step} < plan.json"))
}

/// Runs `step`. After each copy, and after each call that contains `moment`, the agent runs
/// `attack`.
fn attacked(sandbox: &Sandbox, step: &str, moment: &str, attack: &str) -> Outcome {
    let smolvm = format!(
        "#!/bin/sh\nsmolvm \"$@\"\nstatus=$?\ncase \"$*\" in 'machine cp '* | *'{moment}'*)\n    \
         smolvm machine exec --name {MACHINE} --user node -- sh -c '{attack}' ;;\nesac\nexit $status\n"
    );
    let smolvm = sandbox.write("bin/attacked", smolvm);
    fs::set_permissions(&smolvm, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.sh(&format!("bottle-{step} --smolvm attacked < plan.json"))
}

#[test]
fn a_link_that_replaces_a_copied_file_changes_nothing_of_roots() {
    let sandbox = image();
    let before = roots(&sandbox);
    for path in [".claude-bottle-prompt.txt", ".gitconfig"] {
        let attack = format!("ln -sf /etc/own/secret /home/node/{path}");
        let step = if path == ".gitconfig" {
            "git"
        } else {
            "prompt"
        };
        let outcome = attacked(&sandbox, step, "machine cp", &attack);
        assert_eq!(roots(&sandbox), before, "{path}: {outcome:?}");
    }
    let outcome = attacked(
        &sandbox,
        "prompt",
        "machine cp",
        "ln -sf /etc/own/secret /home/node/.claude-bottle-prompt.txt",
    );
    outcome.fails(
        1,
        "bottle-prompt: chown node:node /home/node/.claude-bottle-prompt.txt: smolvm machine exec: \
         exit status 1: chown: changing ownership of '/home/node/.claude-bottle-prompt.txt': \
         Operation not permitted\n\
         hint: the command needs root in the guest: --exec-user auto asks for root since smolvm \
         1.14.0; with an older smolvm, the machine's default user has to be root\n",
    );
}

/// This holds also on a bare machine, where root checks the parents before it unpacks anything.
#[test]
fn a_parent_that_is_a_link_or_not_nodes_is_an_error_that_names_it() {
    for (options, is_image) in [(&IMAGE[..], true), (&[], false)] {
        let sandbox = Sandbox::with_guest_of(options);
        sandbox.set_up(BUILT);
        sandbox.guest(SECRET);
        let before = roots(&sandbox);
        for (step, target, parent) in [
            ("git", REPOSITORY, "/home/node/workspace"),
            ("skills", SKILL, "/home/node/.claude"),
        ] {
            for (plant, why) in [
                (format!("ln -s /etc/own {parent}"), "is a link"),
                (
                    format!("mkdir /home/node/else && ln -s else {parent}"),
                    "is a link",
                ),
                (
                    format!("mkdir -m 700 {parent} && chown root:root {parent}"),
                    "is not node's",
                ),
            ] {
                sandbox.guest(&plant);
                let outcome = run(&sandbox, step);
                assert_eq!(
                    (outcome.status, outcome.stdout.as_str()),
                    (1, ""),
                    "{plant}"
                );
                let said = outcome.stderr;
                let is_named = said.contains(&format!(
                    "unpack {target}: smolvm machine exec: exit status 1: {parent} {why}\n"
                ));
                // node cannot make a directory there.
                let is_refused = is_image
                    && said.contains("mkdir: cannot create directory ")
                    && said.contains(parent);
                assert!(is_named || is_refused, "{plant}: {said}");
                assert_eq!(roots(&sandbox), before, "{plant}");
                sandbox.guest(&format!("rm -rf {parent} /home/node/else"));
                assert_eq!(sandbox.guest("ls -A /var/lib/bottle 2>/dev/null || :"), "");
            }
        }
    }
}

#[test]
fn a_directory_of_root_becomes_nodes() {
    let sandbox = image();
    sandbox.guest("mkdir -p /home/node/.claude /home/node/workspace");
    for step in ["skills", "git"] {
        assert_eq!(run(&sandbox, step).status, 0);
    }
    let owners = "cd /home/node && find . ! -user node -o ! -group node";
    assert_eq!(sandbox.guest(owners), "");
}

#[test]
fn a_hard_link_to_a_file_of_root_stays_roots() {
    let sandbox = image();
    for step in ["skills", "git"] {
        assert_eq!(run(&sandbox, step).status, 0);
    }
    sandbox.guest(&format!("ln /etc/own/secret {REPOSITORY}/hard"));
    let before = roots(&sandbox);
    let outcome = run(&sandbox, "git");
    assert_eq!(outcome.status, 1, "{outcome:?}");
    let why =
        format!("chown: changing ownership of '{REPOSITORY}/hard': Operation not permitted\n");
    assert!(outcome.stderr.contains(&why), "{}", outcome.stderr);
    // A skill is replaced, so the link disappears.
    sandbox.guest(&format!("ln /etc/own/secret {SKILL}/hard"));
    assert_eq!(run(&sandbox, "skills").status, 0);
    assert_eq!(roots(&sandbox), before);
}

/// The agent prepares links and programs where root would unpack. The unpacked files belong to node
/// nevertheless, and so does everything that they replace.
#[test]
fn nothing_is_unpacked_as_root_where_node_may_write() {
    let sandbox = image();
    let tar = "#!/bin/sh\nid -un >>/tmp/tars\nexec /usr/bin/tar \"$@\"\n";
    let tar = sandbox.write("guest-bin/tar", tar);
    fs::set_permissions(&tar, fs::Permissions::from_mode(0o755)).unwrap();
    let before = roots(&sandbox);
    let attack = "cd /home/node/.claude/skills && for dir in .*verify* .bottle*; do \
                  ln -sfT /etc/own \"$dir/root\"; ln -sfT /etc/own \"$dir/SKILL.md\"; done 2>/dev/null";
    let outcome = attacked(&sandbox, "skills", "rm -rf", attack);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(roots(&sandbox), before);
    assert_eq!(sandbox.guest("cat /tmp/tars"), "node\n");
    assert_eq!(sandbox.guest(&format!("ls -A {SKILL}")), "SKILL.md\n");
}

#[test]
fn a_read_only_directory_is_replaced() {
    let sandbox = image();
    let deep = sandbox.write("home/.claude/skills/verify/deep/file", "");
    let dirs = [
        deep.parent().unwrap(),
        deep.parent().unwrap().parent().unwrap(),
    ];
    for dir in dirs {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
    }
    for _ in 0..3 {
        let outcome = run(&sandbox, "skills");
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let seen = format!("cd {SKILL} && stat -c '%a %U %n' . deep");
        assert_eq!(sandbox.guest(&seen), "555 node .\n555 node deep\n");
    }
    for dir in dirs {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn the_steps_converge_in_an_image_machine_wherever_they_were_killed() {
    for step in ["prompt", "skills", "git"] {
        let program = std::path::Path::new(BUILT).with_file_name(format!("bottle-{step}"));
        converges_in(
            || Sandbox::with_guest_of(&IMAGE),
            program.to_str().unwrap(),
            &["before", "after"],
            |sandbox| {
                let plan = sandbox.set_up(BUILT);
                let _ = fs::remove_file(sandbox.path("project/.git/index"));
                plan
            },
        );
    }
}

/// smolvm (1.32.2) sets the owner and the mode of a copy by its path, as root, and follows a link
/// that the agent puts there.
#[test]
fn no_copy_into_nodes_home_sets_an_owner() {
    let sandbox = image();
    for run in ["provision -q < plan.json", "provision -qn < plan.json | sh"] {
        assert_eq!(sandbox.sh(run).status, 0);
        let calls = sandbox.calls();
        let copies: Vec<_> = calls.iter().filter(|call| call[1] == "cp").collect();
        let is_for_node = |call: &&&Vec<String>| call.last().unwrap().contains(":/home/node/");
        assert_eq!(copies.iter().filter(is_for_node).count(), 2, "{copies:?}");
        for copy in copies {
            let options = if is_for_node(&&copy) { 0 } else { 6 };
            assert_eq!(copy.len(), 4 + options, "{copy:?}");
        }
        let seen = "cd /home/node && stat -c '%a %U:%G %F' .claude-bottle-prompt.txt .gitconfig";
        let files = "600 node:node regular file\n644 node:node regular file\n";
        assert!(sandbox.guest(seen).starts_with(files));
    }
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let sandbox = image();
    for number in 0..50 {
        sandbox.write(format!("home/.claude/skills/verify/{number}"), "x");
    }
    for round in 0..2 {
        let steps = ["skills", "git", "skills", "git"];
        let children = steps.map(|step| {
            let run = sandbox.run(format!("{}/bottle-{step}", sandbox.path("bin").display()));
            run.args(["-q", "-f", "plan.json"]).start()
        });
        for child in children {
            let outcome = sandbox.outcome(child);
            assert_eq!(outcome.status, 0, "round {round}: {outcome:?}");
        }
        let seen = format!(
            "ls {SKILL} | wc -l; ls -A /home/node/workspace /var/lib/bottle; cd {SKILL}/.. && ls -A"
        );
        let left = "51\n/home/node/workspace:\n.git\n\n/var/lib/bottle:\nverify\n";
        assert_eq!(sandbox.guest(&seen), left);
    }
}

/// A call of a killed run may still run in the guest.
#[test]
fn a_run_waits_for_calls_that_still_run_in_the_guest() {
    let sandbox = image();
    for (step, target) in [("git", REPOSITORY), ("skills", SKILL)] {
        let lock = tar_of(target)
            .replace("/var/lib/bottle/", "/run/claude-bottle-")
            .replace(".tar", ".lock");
        let hold = format!(
            "flock {lock} sh -c 'touch /tmp/held; until [ -e /tmp/go ]; do sleep 0.1; done'"
        );
        let holder = sandbox
            .run("smolvm")
            .args(["machine", "exec", "--name", MACHINE, "--user", "root"])
            .args(["--", "sh", "-c", &hold])
            .start();
        wait_for("the lock", || {
            sandbox.guest("[ ! -e /tmp/held ] || echo held") == "held\n"
        });
        let mut child = sandbox
            .run(format!("bottle-{step}"))
            .args(["-q", "-f", "plan.json"])
            .start();
        sleep(Duration::from_secs(1));
        assert!(child.try_wait().unwrap().is_none(), "{step} did not wait");
        assert_eq!(
            sandbox.guest(&format!("ls -d {target} 2>/dev/null || :")),
            ""
        );
        sandbox.guest("rm /tmp/held && touch /tmp/go");
        assert_eq!(sandbox.outcome(child).status, 0);
        assert_eq!(sandbox.outcome(holder).status, 0);
        sandbox.guest("rm /tmp/go");
    }
}

/// Otherwise, a machine that is killed afterwards may have every file, but empty.
#[test]
fn unpacked_files_are_synced_before_the_rename() {
    let sandbox = image();
    let sync = "#!/bin/sh\n{ echo \"$* in $PWD as $(id -un)\"; find . -path './.bottle*' -type f | sed 's,.*/,,'; \
                ls -A | sed 's,^.bottle-.*,new,'; } >>/tmp/synced\n";
    let sync = sandbox.write("guest-bin/sync", sync);
    fs::set_permissions(&sync, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(run(&sandbox, "skills").status, 0);
    let expected = "-f . in /home/node/.claude/skills as node\nSKILL.md\nnew\n";
    assert_eq!(sandbox.guest("cat /tmp/synced"), expected);
}

#[test]
fn a_repository_that_git_cannot_read_is_moved_aside() {
    let sandbox = Sandbox::with_guest_of(&IMAGE);
    let mut plan = sandbox.set_up(BUILT);
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({});
    sandbox.write("plan.json", plan.to_string());
    sandbox.commit("project", "README", "hello\n");
    sandbox.git("project", &["pack-refs", "--all"]);
    run(&sandbox, "git").is(0, &plan, COPIED);
    let kept = &format!("{KEPT}bottle-git: /home/node/workspace/.git as it was (_s)\n");
    // Changes by the agent, after which git can still read the repository.
    for state in [
        "git -c user.name=N -c user.email=n@n commit -q --allow-empty -m new",
        "echo '[' >/home/node/.gitconfig",
        "git checkout -q --orphan none && rm .git/index",
        "rm -rf .git && git init -q --template= .",
    ] {
        sandbox.as_node(&format!("rm -f ../.gitconfig; {state}"));
        run(&sandbox, "git").is(0, &plan, kept);
    }
    // The state after the machine was killed before all files, or some, were on the disk.
    for (number, state) in [
        "chmod -R u+w .git && find .git -type f -exec truncate -s 0 {} +",
        "truncate -s 0 .git/packed-refs",
        "truncate -s 0 .git/HEAD",
        "find .git/objects -type f -exec chmod u+w {} + -exec truncate -s 0 {} +",
        "rm -rf .git && ln -s nowhere .git",
    ]
    .into_iter()
    .enumerate()
    {
        if number == 0 {
            sandbox.sh("bottle-git -q --replace-repository < plan.json");
        }
        sandbox.as_node(state);
        let number = number + 1;
        let moved = format!(
            "bottle-git: warning: git in the guest could not read /home/node/workspace/.git, which is \
             /home/node/workspace/.git.broken-{number} now\n{COPIED}"
        );
        run(&sandbox, "git").is(0, &plan, &moved);
        assert_eq!(
            sandbox.as_node("git log --format=%s").lines().count(),
            1,
            "{state}"
        );
        run(&sandbox, "git").is(0, &plan, kept);
    }
    // In an empty directory, there is nothing to keep.
    sandbox.as_node("rm -rf .git && mkdir .git");
    run(&sandbox, "git").is(0, &plan, COPIED);
    assert_eq!(
        sandbox.as_node(
            "ls -A | wc -l; [ -d .git.broken-1/objects ] && [ -L .git.broken-5 ] && echo all"
        ),
        "6\nall\n"
    );
}

/// For each smolvm: the user of commands, and the owner of copies. Its version is asked once.
#[test]
fn the_version_decides_which_user_runs_a_command() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for (version, args, user, copies_for) in [
        ("1.32.2", "", &["node", "root"][..], true),
        ("1.14.0", "", &["node", "root"], true),
        ("1.13.9", "", &[], true),
        ("1.9.0", "", &[], true),
        ("1.8.9", "", &[], false),
        ("nightly", "", &[], false),
        ("1.32.2", "--exec-user none", &[], true),
        ("1.32.2", "--exec-user ada", &["ada"], true),
        ("1.8.9", "--exec-user root", &["root"], false),
    ] {
        let script = format!("STAND_IN_VERSION={version} provision -q {args} < plan.json");
        let outcome = sandbox.sh(&script);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        assert_eq!(sandbox.log().matches("--version").count(), 1, "{script}");
        let mut users = Vec::new();
        for call in sandbox.calls() {
            if call[1] == "cp" {
                let is_roots = !call.last().unwrap().contains(":/home/node/");
                let expected = copies_for && is_roots;
                assert_eq!(call[2] == "--mode", expected, "{script}: {call:?}");
            } else if call[4] == "--user" {
                users.push(call[5].clone());
            }
        }
        users.sort();
        users.dedup();
        assert_eq!(users, user, "{script}");
    }
}
