//! `--check`: what it finds in a guest that somebody has broken, and that it leaves it as it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;

use harness::{MACHINE, STEPS, Sandbox, fingerprint};
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const SKILL: &str = "/home/node/.claude/skills/verify";
const PROMPT: &str = "/home/node/.claude-bottle-prompt.txt";
const CONFIG: &str = "/home/node/.gitconfig";
const REPOSITORY: &str = "/home/node/workspace/.git";
const CA: &str = "/usr/local/share/ca-certificates/claude-bottle-mitm.crt";

/// A guest that is provisioned, with its plan.
fn provisioned() -> (Sandbox, Value) {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.set_up(BUILT);
    sandbox.add_claude();
    sandbox.write("home/.claude/skills/verify/bin/run", "#!/bin/sh\n");
    let outcome = sandbox.sh("provision -q < plan.json");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    sandbox.calls();
    (sandbox, plan)
}

/// Gives the differences that a step prints. Asserts that it prints one line for each.
#[track_caller]
fn found(sandbox: &Sandbox, plan: &Value, step: &str) -> Vec<Value> {
    let outcome = sandbox.sh(&format!("bottle-{step} --check -q < plan.json"));
    let mut printed: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let checks = printed.as_object_mut().unwrap().remove("checks").unwrap();
    assert_eq!(&printed, plan);
    let differences = checks[step].as_array().unwrap().clone();
    assert_eq!(outcome.status, if differences.is_empty() { 0 } else { 3 });
    assert_eq!(outcome.stderr.lines().count(), differences.len());
    differences
}

fn difference(what: &str, path: &str, plan: impl Into<Value>, guest: impl Into<Value>) -> Value {
    json!({"what": what, "path": path, "plan": plan.into(), "guest": guest.into()})
}

#[test]
fn a_check_of_a_provisioned_guest_changes_nothing() {
    let (sandbox, plan) = provisioned();
    let tree = sandbox.tree();
    for step in STEPS {
        assert_eq!(found(&sandbox, &plan, step), [Value::Null; 0], "{step}");
        // A bare machine refuses the first attempt, with --user.
        let calls = sandbox.calls();
        assert_eq!((calls.len(), calls[1][1].as_str()), (2, "exec"), "{step}");
    }
    let outcome = sandbox.sh("provision --check < plan.json");
    let lines: Vec<_> = outcome
        .stderr
        .lines()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(lines, STEPS.map(|step| format!("bottle-{step}: in place")));
    let checked: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        checked["checks"],
        json!({"ca": [], "prompt": [], "skills": [], "git": [], "supervise": []})
    );
    assert_eq!(sandbox.tree(), tree);
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn a_check_finds_every_change_of_the_prompt() {
    let (sandbox, plan) = provisioned();
    sandbox.guest(&format!("chmod 644 {PROMPT}; chown root {PROMPT}"));
    let outcome = sandbox.sh("bottle-prompt --check -o receipt < plan.json");
    let said = format!(
        "bottle-prompt: {PROMPT}: mode: `600` in the plan, `644` in the guest\n\
         bottle-prompt: {PROMPT}: owner: `node:node` in the plan, `root:node` in the guest\n\
         hint: bottle-prompt without --check mends it, or says what is in the way\n"
    );
    assert_eq!((outcome.status, outcome.stderr), (3, said));
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        printed,
        json!([
            difference("mode", PROMPT, "600", "644"),
            difference("owner", PROMPT, "node:node", "root:node")
        ])
    );
    sandbox.guest(&format!(
        "chown node {PROMPT}; chmod 600 {PROMPT}; echo other > {PROMPT}"
    ));
    let sha256 = |text: &str| {
        sandbox
            .guest(&format!("printf '{text}' | sha256sum | cut -d ' ' -f 1"))
            .trim()
            .to_owned()
    };
    let differs = difference(
        "sha256",
        PROMPT,
        sha256("You are a helpful assistant.\\n"),
        sha256("other\\n"),
    );
    assert_eq!(found(&sandbox, &plan, "prompt"), [differs]);
    sandbox.guest(&format!("ln -sf /etc/passwd {PROMPT}"));
    assert_eq!(
        found(&sandbox, &plan, "prompt"),
        [difference("type", PROMPT, "file", "link")]
    );
    sandbox.guest(&format!("rm {PROMPT}"));
    assert_eq!(
        found(&sandbox, &plan, "prompt"),
        [difference("type", PROMPT, "file", Value::Null)]
    );
}

#[test]
fn a_check_finds_every_change_of_the_skills() {
    let (sandbox, plan) = provisioned();
    sandbox.guest(&format!(
        "cd {SKILL}; mkdir -p more/deep; touch more/deep/file; chmod 755 bin/run; echo x >> SKILL.md; ln -s x '*\n'; \
         chown root .."
    ));
    let odd = format!("{SKILL}/*\n");
    let mut differences = found(&sandbox, &plan, "skills");
    for sha256 in ["plan", "guest"] {
        assert_eq!(
            differences[1]
                .as_object_mut()
                .unwrap()
                .remove(sha256)
                .unwrap()
                .as_str()
                .unwrap()
                .len(),
            64
        );
    }
    assert_eq!(
        differences,
        [
            difference(
                "owner",
                "/home/node/.claude/skills",
                "node:node",
                "root:node"
            ),
            json!({"what": "sha256", "path": format!("{SKILL}/SKILL.md")}),
            difference("mode", &format!("{SKILL}/bin/run"), "644", "755"),
            difference("type", &odd, Value::Null, "link"),
            difference("type", &format!("{SKILL}/more"), Value::Null, "directory"),
        ]
    );
    sandbox.guest(&format!(
        "chown node {SKILL}/..; rm -r {SKILL}; mkdir /home/node/.claude/skills/own"
    ));
    assert_eq!(
        found(&sandbox, &plan, "skills"),
        [difference("type", SKILL, "directory", Value::Null)]
    );
}

#[test]
fn a_check_finds_every_change_of_the_certificate() {
    let (sandbox, plan) = provisioned();
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let fingerprint = fingerprint(&sandbox.path("ca.pem"));
    sandbox.guest("cd /etc/ssl/certs; find . -lname claude-bottle-mitm.pem -delete");
    assert_eq!(
        found(&sandbox, &plan, "ca"),
        [difference("hash link", "/etc/ssl/certs", CA, Value::Null)]
    );
    let linked =
        "cd /etc/ssl/certs; find . -name '*.pem' -type l -exec cat {} + | grep -c 'BEGIN CERT'";
    let linked = sandbox.guest(linked);
    sandbox.guest(&format!(
        "sed -n '1,/END CERT/p' {bundle} > x; cat x > {bundle}"
    ));
    assert_eq!(
        found(&sandbox, &plan, "ca"),
        [
            difference("hash link", "/etc/ssl/certs", CA, Value::Null),
            difference("certificate", bundle, &*fingerprint, Value::Null),
            difference("number of certificates", bundle, linked.trim(), "1"),
        ]
    );
    for damage in [
        "sed -i 's/^-----END CERTIFICATE-----$/&x/'",
        "sed -i '3s/.*/!!!!/'",
        "sed -i 5d",
        "truncate -s 700",
    ] {
        assert_eq!(sandbox.sh("bottle-ca -q < plan.json").status, 0);
        sandbox.guest(&format!("{damage} {bundle}"));
        assert_eq!(
            found(&sandbox, &plan, "ca"),
            [difference(
                "type",
                bundle,
                "certificates in PEM",
                "damaged PEM"
            )],
            "{damage}"
        );
    }
    assert_eq!(sandbox.sh("bottle-ca -q < plan.json").status, 0);
    assert_eq!(found(&sandbox, &plan, "ca"), [Value::Null; 0]);
    sandbox.guest(&format!("rm {CA}; chmod 600 {bundle}"));
    assert_eq!(
        found(&sandbox, &plan, "ca"),
        [
            difference("mode", bundle, "644", "600"),
            difference("type", CA, "file", Value::Null),
            difference("hash link", "/etc/ssl/certs", CA, Value::Null),
        ]
    );
}

#[test]
#[allow(
    clippy::too_many_lines,
    reason = "one guest, broken in one way after another"
)]
fn a_check_finds_every_change_of_git() {
    let (sandbox, plan) = provisioned();
    let gate = "git://127.0.0.1:55555/claude-bottle.git";
    // The agent's own rules: one that goes around the gate, in the repository, and one with a
    // token.
    sandbox.guest(
        "runuser -u node -- sh -c 'cd ~node/workspace; export HOME=/home/node
        git config url.https://tok:en@elsewhere/.insteadOf https://other/
        git config --global --unset-all url.git://127.0.0.1:55555/claude-bottle.git.insteadOf ^git@host:repo$
        git config --global url.ssh://git@elsewhere/repo.insteadOf git@host:repo
        git config --global url.ssh://git@elsewhere/.pushInsteadOf svn://
        git config --global user.email eve@example.com'",
    );
    assert_eq!(
        found(&sandbox, &plan, "git"),
        [
            difference("url", "git@host:repo", gate, "ssh://git@elsewhere/repo"),
            difference(
                "rule",
                CONFIG,
                Value::Null,
                "url.ssh://git@elsewhere/repo.insteadof = git@host:repo"
            ),
            difference(
                "rule",
                CONFIG,
                Value::Null,
                "url.ssh://git@elsewhere/.pushinsteadof = svn://"
            ),
            difference(
                "rule",
                &format!("{REPOSITORY}/config"),
                Value::Null,
                "url.https://elsewhere/.insteadof = https://other/"
            ),
            difference("user.email", CONFIG, "ada@example.com", "eve@example.com"),
        ]
    );
    sandbox.guest(
        "runuser -u node -- sh -c 'cd ~node/workspace; export HOME=/home/node
        git config --unset url.https://tok:en@elsewhere/.insteadOf
        git config remote.origin.pushurl https://tok:en@elsewhere/repo?private_token=x
        git config --global protocol.git.allow never
        git config author.name Eve; git config user.name Eve; git config core.bare true'",
    );
    assert_eq!(
        sandbox.sh("bottle-git -q --only gate < plan.json").status,
        0
    );
    let local = format!("{REPOSITORY}/config");
    assert_eq!(
        found(&sandbox, &plan, "git"),
        [
            difference(
                "git status",
                REPOSITORY,
                "works",
                "fatal: this operation must be run in a work tree"
            ),
            difference(
                "rule",
                &local,
                Value::Null,
                "remote.origin.pushurl = https://elsewhere/repo"
            ),
            difference("user.name", &local, "Ada Lovelace", "Eve"),
            difference("user.email", CONFIG, "ada@example.com", Value::Null),
            difference("identity", &local, Value::Null, "author.name = Eve"),
        ]
    );
    sandbox
        .guest("runuser -u node -- git config -f /home/node/workspace/.git/config core.bare false");
    sandbox.guest(&format!(
        "echo '[broken' > {CONFIG}; chown root {REPOSITORY}/HEAD {CONFIG}"
    ));
    let differences = found(&sandbox, &plan, "git");
    assert_eq!(
        differences[0],
        difference(
            "owner",
            &format!("{REPOSITORY}/HEAD"),
            "node:node",
            "root:node"
        )
    );
    let broken = format!("fatal: bad config line 1 in file {CONFIG}");
    assert_eq!(
        differences[1],
        difference("git status", REPOSITORY, "works", broken.as_str())
    );
    assert_eq!(
        differences[2],
        difference("owner", CONFIG, "node:node", "root:node")
    );
    assert_eq!(
        differences[3],
        difference("url", "ssh://git@host/repo.git", gate, broken.as_str())
    );

    assert_eq!(
        sandbox.sh("bottle-git -q --only gate < plan.json").status,
        0
    );
    sandbox.guest(&format!("chown root {REPOSITORY}"));
    let dubious = found(&sandbox, &plan, "git");
    assert_eq!(
        dubious[0],
        difference("owner", REPOSITORY, "node:node", "root:node")
    );
    assert_eq!(
        dubious[1]["guest"],
        "fatal: detected dubious ownership in repository at '/home/node/workspace'"
    );
    sandbox.guest(&format!("rm -r {REPOSITORY} {CONFIG}"));
    let differences = found(&sandbox, &plan, "git");
    assert_eq!(
        differences[..2],
        [
            difference("type", REPOSITORY, "directory", Value::Null),
            difference("type", CONFIG, "file", Value::Null)
        ]
    );
    sandbox.guest(&format!("touch {CONFIG}.lock"));
    assert!(found(&sandbox, &plan, "git").contains(&difference(
        "lock",
        &format!("{CONFIG}.lock"),
        Value::Null,
        "there"
    )));
    // Only one part is checked.
    let outcome = sandbox.sh("bottle-git --check --only identity -o receipt < plan.json");
    assert_eq!(
        (outcome.status, outcome.stderr.lines().count()),
        (3, 3),
        "{outcome:?}"
    );
}

/// A repository without a gate, and a gate without a repository, are protected from such settings.
#[test]
fn a_check_of_one_part_of_git_finds_the_settings_that_it_forbids() {
    let (sandbox, _) = provisioned();
    sandbox.guest("HOME=/home/node runuser -u node -- git config --global core.askPass /tmp/x");
    let rule = format!(
        "bottle-git: {CONFIG}: rule: nothing in the plan, `core.askpass = /tmp/x` in the guest\n"
    );
    for (part, said) in [("repository", &*rule), ("gate", &rule), ("identity", "")] {
        let outcome = sandbox.sh(&format!("bottle-git --check -q --only {part} < plan.json"));
        let status = if said.is_empty() { 0 } else { 3 };
        assert_eq!((outcome.status, &*outcome.stderr), (status, said), "{part}");
    }
}

#[test]
fn a_check_finds_every_change_of_the_supervisor() {
    let (sandbox, plan) = provisioned();
    let file = "/home/node/.claude.json";
    let url = "http://127.0.0.1:55556/";
    for (edit, guest) in [
        ("sed -i s/55556/1/", json!("http://127.0.0.1:1/")),
        ("sed -i s/127/me:secret@127/", json!("another")),
        ("sed -i s/url/uri/", Value::Null),
        ("truncate -s 5", Value::Null),
    ] {
        assert_eq!(
            sandbox
                .sh(&format!(
                    "smolvm machine exec --name {MACHINE} -- {edit} {file}"
                ))
                .status,
            0
        );
        let outcome = sandbox.sh("bottle-supervise --check -v < plan.json");
        assert!(!format!("{outcome:?}").contains("SECRET"), "{outcome:?}");
        assert_eq!(
            found(&sandbox, &plan, "supervise"),
            [difference("url of supervise", file, url, guest)],
            "{edit}"
        );
    }
    sandbox.guest(&format!("rm {file}"));
    assert_eq!(sandbox.sh("bottle-supervise -q < plan.json").status, 0);
    sandbox.guest(&format!("sed -i s/http/sse/ {file}"));
    assert_eq!(
        found(&sandbox, &plan, "supervise")[0],
        difference("type of supervise", file, "http", "sse")
    );
    assert_eq!(sandbox.sh("bottle-supervise -q < plan.json").status, 0);
    assert_eq!(
        found(&sandbox, &plan, "supervise"),
        [Value::Null; 0],
        "the step mends what the check finds"
    );
    sandbox
        .guest("cd /home/node/workspace; echo '{\"mcpServers\": {\"supervise\": {}}}' > .mcp.json");
    assert_eq!(
        found(&sandbox, &plan, "supervise")[0]["what"],
        "other scope"
    );
    sandbox.guest("rm /home/node/workspace/.mcp.json");
    sandbox.guest(&format!("rm {file}"));
    assert_eq!(
        found(&sandbox, &plan, "supervise"),
        [difference("type", file, "file", Value::Null)]
    );
}

#[test]
fn all_steps_are_checked_even_if_one_differs_or_fails() {
    let (sandbox, _) = provisioned();
    sandbox.guest(&format!("chmod 640 {PROMPT}; rm -r {SKILL}"));
    let outcome = sandbox.sh("provision --check -q --keep-plan kept.json < plan.json");
    assert_eq!(outcome.status, 3);
    assert_eq!(outcome.stderr.lines().count(), 2, "{}", outcome.stderr);
    let checked: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let counts = STEPS.map(|step| checked["checks"][step].as_array().unwrap().len());
    assert_eq!(counts, [0, 1, 1, 0, 0]);
    assert_eq!(
        fs::read_to_string(sandbox.path("kept.json")).unwrap(),
        outcome.stdout
    );
    // A pipeline does not stop either.
    let outcome = sandbox.sh("bottle-prompt --check -q < plan.json | bottle-skills --check -q");
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (3, 2));

    fs::remove_file(sandbox.path("prompt.txt")).unwrap();
    let outcome = sandbox.sh("provision --check -q < plan.json");
    let cannot =
        "bottle-prompt: prompt_file: read DIR/prompt.txt: No such file or directory (os error 2)\n";
    let differs =
        format!("bottle-skills: {SKILL}: type: `directory` in the plan, nothing in the guest\n");
    assert_eq!(
        (outcome.status, outcome.stdout.as_str(), outcome.stderr),
        (1, "", format!("{cannot}{differs}"))
    );
    let outcome = sandbox.sh("provision --check --smolvm ./nothing < plan.json");
    assert_eq!(
        (outcome.status, outcome.stderr.lines().count()),
        (69, 2),
        "{outcome:?}"
    );
}

#[test]
fn a_check_without_work_succeeds_and_one_without_an_answer_fails() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    let empty = sandbox.plan();
    for (step, why) in [
        ("skills", "the agent has no skills"),
        ("git", "no repository, no remotes, no identity"),
        ("supervise", "the bottle has no supervisor"),
    ] {
        let outcome = sandbox
            .run(format!("bottle-{step}"))
            .args(["--check", "-o", "receipt"])
            .plan(&empty)
            .end();
        let said = format!("bottle-{step}: nothing to check: {why}\n");
        assert_eq!(
            (outcome.status, outcome.stdout.as_str(), outcome.stderr),
            (0, "[]\n", said)
        );
    }
    assert!(sandbox.calls().is_empty());
    for step in STEPS {
        for answer in ["rubbish", "f 644 node:node\0/x"] {
            let answer = sandbox.write("answer", answer);
            let run = sandbox.run(format!("bottle-{step}")).args(["--check"]);
            let run = run.env("STAND_IN_ANSWER_FILE", answer);
            let cut = format!("bottle-{step}: the guest's answer is cut short\n");
            run.plan(&plan).end().fails(1, &cut);
        }
        let run = sandbox
            .run(format!("bottle-{step}"))
            .args(["--check"])
            .env("STAND_IN_FAIL", "* 1 find: no");
        let said = format!(
            "bottle-{step}: look into the guest: smolvm machine exec: exit status 1: find: no\n"
        );
        run.plan(&plan).end().fails(1, &said);
    }
}
