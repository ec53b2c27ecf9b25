//! `--dry-run`: the script that it prints makes of a guest what the step makes of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{Certificate, STEPS, Sandbox, certificate};
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");

/// Text that a shell or a here-document could misread.
const ODD: &str = "it's \"q\" $HOME `id` $(id) \\ é  x";

/// A plan with odd values wherever it may have them.
fn odd(sandbox: &Sandbox, ca: &str) -> Value {
    let mut plan = sandbox.set_up(BUILT);
    sandbox.add_claude();
    sandbox.write("ca.pem", ca);
    sandbox.write_skill(ODD);
    let script = sandbox.write(
        format!("home/.claude/skills/{ODD}/bin/{ODD}"),
        "END\n$HOME `id`\n",
    );
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write(
        "dir: $(id)/prompt.txt",
        "END\nEND_\n$HOME `id` \\\\ no newline",
    );
    plan["prompt_file"] = json!(sandbox.path("dir: $(id)/prompt.txt"));
    plan["guest_env"] = json!({"EOF": "END\nEND\n$x"});
    plan["agent_supervise_url"] = json!("http://127.0.0.1:9100/a='$HOME'&b=$(id)");
    plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!(["verify", ODD]);
    plan["spec"]["manifest"]["agents"]["demo"]["prompt"] = json!("\nEND\n");
    let git = &mut plan["spec"]["manifest"]["bottles"]["dev"]["git"];
    git["user"]["name"] = json!(ODD);
    git["remotes"]["odd"] =
        json!({"Name": "odd", "Upstream": "git@forge:team/it's $(id) \"q\"; # é.git"});
    sandbox.write("plan.json", serde_json::to_string_pretty(&plan).unwrap());
    plan
}

#[test]
fn the_script_of_each_step_does_what_the_step_does() {
    let ca = certificate(&Certificate::Ca).pem;
    for step in STEPS {
        let done = Sandbox::with_guest();
        odd(&done, &ca);
        let outcome = done.sh(&format!("bottle-{step} -q < plan.json > out.json"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{step}");

        let scripted = Sandbox::with_guest();
        odd(&scripted, &ca);
        let before = scripted.tree();
        let dry = scripted.sh(&format!("bottle-{step} -qn < plan.json > script"));
        assert_eq!((dry.status, dry.stderr), (0, outcome.stderr), "{step}");
        assert!(!scripted.path("log").exists(), "{step} -n called smolvm");
        assert_eq!(scripted.staged(), [""; 0], "{step} -n wrote a file");
        assert_eq!(scripted.tree(), before);
        let outcome = scripted.sh("cat script | TMPDIR=$PWD/stage sh");
        assert_eq!(outcome.status, 0, "{step}: {outcome:?}");
        assert_eq!(scripted.staged(), [""; 0], "{step}: the script left a file");
        assert_eq!(scripted.tree(), done.tree(), "{step}");
        // The script runs again, in a guest that has everything already.
        assert_eq!(scripted.sh("sh script").status, 0);
        assert_eq!(scripted.tree(), done.tree(), "{step}, twice");
    }
}

/// The step's own options decide what is in the script, which has no options itself.
#[test]
fn a_script_does_what_the_steps_own_options_ask_for() {
    let ca = certificate(&Certificate::Ca).pem;
    let [done, scripted] = [(); 2].map(|()| {
        let sandbox = Sandbox::with_guest();
        odd(&sandbox, &ca);
        sandbox.git("project", &["config", "http.extraHeader", "kept"]);
        sandbox
    });
    for run in [
        "bottle-skills --guest-skills-dir \"/home/node/it's \\$HOME\"",
        "bottle-git --only gate",
        "bottle-git --only identity",
        "bottle-git --only repository --keep-config",
    ] {
        let outcome = done.sh(&format!("{run} -q -f plan.json"));
        assert_eq!(outcome.status, 0, "{run}: {outcome:?}");
        let outcome = scripted.sh(&format!("{run} -qn -f plan.json > script && sh script"));
        assert_eq!(outcome.status, 0, "{run}: {outcome:?}");
        assert_eq!(scripted.tree(), done.tree(), "{run}");
    }
    let seen =
        "cd /home/node && cat \"it's \\$HOME/verify/SKILL.md\" workspace/.git/config .gitconfig";
    let seen = scripted.guest(seen);
    for part in [
        "name: verify\n",
        "extraHeader = kept\n",
        "claude-bottle.git\"]\n",
        "[user]\n",
    ] {
        assert!(seen.contains(part), "no {part:?} in {seen}");
    }
}

#[test]
fn one_script_does_what_all_steps_do() {
    let ca = certificate(&Certificate::Ca).pem;
    let done = Sandbox::with_guest();
    odd(&done, &ca);
    assert_eq!(done.sh("provision -q < plan.json").status, 0);
    let scripted = Sandbox::with_guest();
    odd(&scripted, &ca);
    let outcome = scripted.sh("provision -qn < plan.json > script");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert!(!scripted.path("log").exists());
    let outcome = scripted.sh("cat script | sh");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(scripted.tree(), done.tree());
    let script = fs::read_to_string(scripted.path("script")).unwrap();
    assert_eq!(script.matches("choose_user() {").count(), 1);
}

#[test]
fn a_script_makes_the_same_calls() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for (user, words) in [
        ("auto", &["--user"][..]),
        ("none", &[]),
        ("ada", &["--user", "ada"]),
    ] {
        for step in STEPS {
            assert_eq!(
                sandbox
                    .sh(&format!("bottle-{step} -q --exec-user {user} < plan.json"))
                    .status,
                0
            );
            let mut calls = sandbox.calls();
            let outcome = sandbox.sh(&format!(
                "bottle-{step} -n --exec-user {user} < plan.json | TMPDIR=$PWD sh"
            ));
            assert_eq!(outcome.status, 0, "{outcome:?}");
            let mut scripted = sandbox.calls();
            if user == "auto" {
                // The first call asks whether the machine accepts a user.
                assert_eq!(scripted.remove(0)[4..], ["--user", "root", "--", "true"]);
            }
            // Staged files have other names.
            for call in calls
                .iter_mut()
                .chain(&mut scripted)
                .filter(|call| call[1] == "cp")
            {
                let source = call.len() - 2;
                if call[source].contains("/stage/") || call[source].contains("/bottle.") {
                    call[source] = "staged".to_owned();
                }
            }
            assert_eq!(scripted, calls, "{step} {user}");
            let execs = calls.iter().filter(|call| call[1] == "exec");
            for call in execs {
                assert_eq!(call[4..4 + words.len()], *words, "{step}");
                assert!(
                    !call[5 + words.len()..].contains(&"--user".to_owned()),
                    "{step}"
                );
            }
        }
    }
}

#[test]
fn a_script_finds_the_version_among_other_words() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for (version, takes_user) in [
        ("1.40.0 (a1b2c3d 2026-12-01)", true),
        ("2.0.0 1.2.3", true),
        ("1.13.1 (2.0.0)", false),
        ("unknown", false),
    ] {
        let run = format!(
            "bottle-prompt -n < plan.json > script && STAND_IN_VERSION='{version}' sh script"
        );
        let outcome = sandbox.sh(&run);
        assert_eq!(outcome.status, 0, "{version}: {outcome:?}");
        let calls = sandbox.calls();
        assert_eq!(
            calls[0].contains(&"root".to_owned()),
            takes_user,
            "{version}: {calls:?}"
        );
        let users = calls
            .iter()
            .filter(|call| call.contains(&"--user".to_owned()));
        assert_eq!(
            users.count(),
            if takes_user { 3 } else { 0 },
            "{version}: {calls:?}"
        );
    }
}

#[test]
fn a_script_fails_as_the_step_does() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let run = |step: &str, fault: &str| {
        sandbox.sh(&format!(
            "bottle-{step} -n < plan.json > script && {fault} sh script"
        ))
    };
    let outcome = run("ca", "STAND_IN_FAIL='2 1 flock: no'");
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (1, "flock: no\n")
    );
    let outcome = run("git", "STAND_IN_FAIL='4 1 chown: no'");
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (1, "chown: no\n")
    );
    let outcome = run("supervise", "STAND_IN_FAIL='* 1 boom'");
    let warning = "bottle-supervise: warning: that failed; the bottle works without it\n";
    assert_eq!(
        (outcome.status, outcome.stderr),
        (0, format!("boom\n{warning}"))
    );
    let outcome = sandbox.sh("bottle-prompt -n --smolvm ./nothing < plan.json | sh");
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (69, "./nothing: cannot be run\n")
    );
    // A step that fails prints no script.
    sandbox
        .sh("echo {} | bottle-git -n")
        .fails(65, "bottle-git: spec: required, but not there\n");
}

#[test]
fn contradictory_options_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for args in [
        "-n --check",
        "-n -o receipt",
        "-n --archive /x",
        "--check --archive /x",
    ] {
        let outcome = sandbox.sh(&format!("bottle-git {args} < plan.json"));
        assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{args}");
        assert!(
            outcome.stderr.contains("cannot be used with"),
            "{}",
            outcome.stderr
        );
    }
    sandbox
        .sh("bottle-git --archive /x < plan.json")
        .fails(1, "bottle-git: no directory is copied to /x\n");
    sandbox.sh("provision --archive /x < plan.json").fails(
        2,
        "provision: the argument '--dry-run' cannot be used with '--archive <PATH>'\n\
             hint: `provision --help` shows the options\n",
    );
    assert!(sandbox.calls().is_empty());
}
