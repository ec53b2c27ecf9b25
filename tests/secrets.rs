//! `bottle-git`'s repository part: what the host keeps secret stays there, and no way leads around
//! the gate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;

use harness::{COPIED, Sandbox, tool};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");

/// The repository's secrets: each holds the word `s3cret`.
const SECRETS: &[(&str, &str)] = &[
    ("remote.origin.url", "https://ada:s3cret@host/repo.git"),
    ("remote.origin.pushurl", "https://s3cret@elsewhere/repo.git"),
    ("remote.origin.proxy", "http://ada:s3cret@proxy"),
    ("remote.second.url", "ssh://git:s3cret@host/second.git"),
    (
        "remote.third.url",
        "https://host/third.git?private_token=s3cret",
    ),
    ("http.extraheader", "Authorization: Basic s3cret"),
    (
        "http.https://host/.extraheader",
        "Authorization: Basic s3cret",
    ),
    ("http.https://ada:s3cret@host/.sslverify", "false"),
    ("credential.helper", "store --file /home/ada/s3cret"),
    ("core.sshcommand", "ssh -i /home/ada/s3cret"),
    ("core.fsmonitor", "/home/ada/s3cret"),
    ("core.hookspath", "/home/ada/s3cret"),
    ("include.path", "/home/ada/s3cret"),
    ("includeif.gitdir:/home/ada/.path", "/home/ada/s3cret"),
    ("url.https://s3cret@host/.insteadof", "https://host/"),
    ("url.ssh://git@host/.pushinsteadof", "https://host/s3cret"),
    ("lfs.url", "https://ada:s3cret@host/lfs"),
    ("lfs.https://ada:s3cret@host/lfs.access", "basic"),
    ("submodule.lib.url", "https://s3cret@host/lib.git"),
    ("branch.main.pushremote", "https://s3cret@host/fork.git"),
    (
        "branch.topic.description",
        "see https://ada:s3cret@host/topic",
    ),
    ("sendemail.smtppass", "s3cret"),
    ("github.token", "s3cret"),
    ("alias.leak", "!curl -H s3cret"),
    ("diff.x.mytoken", "s3cret"),
];

const LEFT_OUT: &str = "bottle-git: warning: left out of DIR/project/.git/config in the guest: core.sshcommand, \
    core.fsmonitor, core.hookspath, credentials in remote.origin.url, remote.origin.pushurl, remote.origin.proxy, \
    credentials in remote.second.url, credentials in remote.third.url, http.extraheader, http.*.extraheader, \
    http.*.sslverify, credential.helper, include.path, includeif.*.path, url.*.insteadof, url.*.pushinsteadof, \
    credentials in lfs.url, lfs.*.access, credentials in submodule.lib.url, branch.main.pushremote, \
    credentials in branch.topic.description, sendemail.smtppass, github.token, alias.leak, diff.x.mytoken, user.name, user.email, \
    commit.gpgsign; --keep-config keeps it\n";

/// A repository with secrets in it, and a plan with one remote and an identity.
fn with_secrets(sandbox: &Sandbox) -> Value {
    sandbox.repository("project", &[]);
    for (key, value) in SECRETS {
        sandbox.git(
            "project",
            &["config", "-f", ".git/config", "--add", key, value],
        );
    }
    for (key, value) in [
        ("user.name", "Somebody Else"),
        ("user.email", "e@e"),
        ("commit.gpgsign", "true"),
    ] {
        sandbox.git("project", &["config", "-f", ".git/config", key, value]);
    }
    let config = fs::read_to_string(sandbox.path("project/.git/config")).unwrap();
    sandbox.write("project/.git/config", config + "# the old one: s3cret\n");
    let mut plan = sandbox.plan_with_repository();
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({
        "remotes": {"host": {"Name": "repo", "Upstream": "ssh://git@host/repo.git"}},
        "user": {"name": "Ada Lovelace", "email": "ada@example.com"},
    });
    plan
}

#[test]
#[allow(clippy::too_many_lines, reason = "a test that tells one story")]
fn no_secret_of_the_host_reaches_the_guest() {
    let sandbox = Sandbox::with_guest();
    let plan = with_secrets(&sandbox);
    fs::create_dir(sandbox.path("project/.git/modules")).unwrap();
    sandbox.git(
        "",
        &[
            "init",
            "-q",
            "--separate-git-dir",
            "project/.git/modules/lib",
            "lib",
        ],
    );
    sandbox.git("lib", &["config", "http.extraheader", "s3cret"]);
    sandbox.git(
        "project",
        &[
            "config",
            "-f",
            ".git/config",
            "extensions.worktreeConfig",
            "true",
        ],
    );
    sandbox.write(
        "project/.git/config.worktree",
        "[credential]\n\thelper = s3cret\n",
    );
    for file in ["credentials", "config.bak", "cookies/s3cret"] {
        sandbox.write(format!("project/.git/{file}"), "s3cret\n");
    }
    for file in [
        "index.lock",
        "config.lock",
        "refs/heads/main.lock",
        "objects/pack/tmp_pack_1",
        "lfs/logs/1",
    ] {
        sandbox.write(format!("project/.git/{file}"), "s3cret\n");
    }
    let log = "0000000000000000000000000000000000000000 0000000000000000000000000000000000000000 A <a@b> 0 +0000\t\
               pull https://ada:s3cret@host/repo.git: Fast-forward\n";
    sandbox.write("project/.git/logs/refs/heads/old", log);
    sandbox.write(
        "project/.git/FETCH_HEAD",
        "x\t\tbranch 'main' of https://s3cret@host/repo\n",
    );
    let pipe = sandbox.path("project/.git/s3cret.fifo");
    assert!(tool("mkfifo").arg(pipe).status().unwrap().success());

    sandbox.write("project/.git/svn/a file", "of another tool's\n");
    let why = "is left out: it may hold secrets; --keep-config keeps it";
    let unknown =
        |name: &str| format!("bottle-git: warning: repository: DIR/project/.git/{name} {why}\n");
    let left_out = |file: &str, names: &str| {
        let what = format!("left out of DIR/project/.git/{file} in the guest: {names}");
        format!("bottle-git: warning: {what}; --keep-config keeps it\n")
    };
    let stderr = format!(
        "{LEFT_OUT}{}{}{}{}{}bottle-git: DIR/project/.git in /home/node/workspace/.git; repo through the gate at \
         127.0.0.1:55555; commits as Ada Lovelace <ada@example.com> (_s)\n",
        left_out("config.worktree", "credential.helper"),
        left_out("modules/lib/config", "http.extraheader"),
        unknown("config.bak"),
        unknown("cookies"),
        unknown("credentials")
    );
    let outcome = sandbox.run(STEP).args(["-v"]).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("s3cret"), "{}", outcome.stderr);
    sandbox.guest("rm -rf /home/node/workspace");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);

    assert_eq!(sandbox.search("s3cret"), "");
    assert_eq!(
        sandbox.guest("cat '/home/node/workspace/.git/svn/a file'"),
        "of another tool's\n"
    );
    let kept = "git config --local --get-regexp '^(remote|lfs|submodule|branch)'; cat .git/FETCH_HEAD; \
                git ls-remote --get-url origin; git remote get-url --push origin; \
                git commit -q --allow-empty -m new; git log -1 --format='%an <%ae> %cn <%ce>'";
    assert_eq!(
        sandbox.as_node(kept),
        "remote.origin.url https://host/repo.git\nremote.second.url ssh://git@host/second.git\n\
         remote.third.url https://host/third.git\nlfs.url https://host/lfs\nsubmodule.lib.url https://host/lib.git\n\
         branch.topic.description see https://host/topic\nx\t\tbranch 'main' of https://host/repo\n\
         git://127.0.0.1:55555/repo.git\ngit://127.0.0.1:55555/repo.git\n\
         Ada Lovelace <ada@example.com> Ada Lovelace <ada@example.com>\n"
    );
    let checked = sandbox.run(STEP).args(["--check", "-q"]).plan(&plan).end();
    assert_eq!((checked.status, checked.stderr.as_str()), (0, ""));

    // The script of --dry-run makes the same tree.
    let tree = sandbox.tree();
    sandbox.guest("rm -rf /home/node/workspace /home/node/.gitconfig");
    let script = sandbox.run(STEP).args(["-n"]).plan(&plan).end();
    assert_eq!(script.status, 0, "{}", script.stderr);
    assert!(!script.stdout.contains("s3cret"));
    let ran = sandbox.run("sh").stdin(script.stdout).end();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(sandbox.search("s3cret"), "");
    sandbox.as_node("git commit -q --allow-empty -m new");
    // The commits differ, but modes, owners and names are the same.
    let listed = |tree: String| -> Vec<String> {
        let is_listed = |line: &&str| line.contains(" -> ") && !line.contains("/objects/");
        tree.lines().filter(is_listed).map(str::to_owned).collect()
    };
    assert_eq!(listed(tree), listed(sandbox.tree()));
}

#[test]
fn the_option_keep_config_keeps_everything() {
    let sandbox = Sandbox::with_guest();
    let plan = with_secrets(&sandbox);
    sandbox.write("project/.git/credentials", "s3cret\n");
    sandbox.write("project/.git/index.lock", "");
    let args = ["--only", "repository", "--keep-config"];
    sandbox
        .run(STEP)
        .args(args)
        .plan(&plan)
        .end()
        .is(0, &plan, COPIED);
    let config = fs::read_to_string(sandbox.path("project/.git/config")).unwrap();
    assert_eq!(
        sandbox.as_node("cat .git/config .git/credentials"),
        config + "s3cret\n"
    );
    assert_eq!(sandbox.as_node("ls .git | grep lock || :"), "");
    assert!(
        sandbox
            .search("s3cret")
            .contains("home/node/workspace/.git/config\n")
    );
}

#[test]
fn a_host_without_git_needs_keep_config() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    let plan = sandbox.plan_with_repository();
    let run = || sandbox.run(STEP).env("PATH", sandbox.path("bin"));
    let stderr = "bottle-git: read DIR/project/.git: run git: No such file or directory (os error 2)\n\
                  hint: git takes the secrets out of the configuration; --keep-config copies a .git directory as it is\n";
    run().plan(&plan).end().fails(1, stderr);
    assert!(sandbox.calls().is_empty());
    let tools = sandbox.only(&[]);
    let program = sandbox.path("bin/smolvm");
    // Only smolvm gets the full PATH.
    let wrapper = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin:/usr/sbin:/sbin exec {} \"$@\"\n",
        program.display()
    );
    let wrapper = sandbox.write("wrapper", wrapper);
    fs::set_permissions(
        &wrapper,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let run = sandbox
        .run(STEP)
        .env("PATH", tools)
        .args(["--keep-config", "--smolvm"])
        .args([&wrapper]);
    run.plan(&plan).end().is(0, &plan, COPIED);
    assert_eq!(sandbox.as_node("git log --format=%s"), "README\n");
}

#[test]
fn a_broken_repository_is_copied_without_its_secrets() {
    let sandbox = Sandbox::with_guest();
    sandbox.write(
        "project/.git/config",
        "[http]\n\textraheader = s3cret\n[core]\n\tbare = false\n",
    );
    sandbox.write("project/.git/refs/heads/main", "broken\n");
    let plan = sandbox.plan_with_repository();
    let stderr = format!(
        "bottle-git: warning: DIR/project/.git is no repository that git can read: copied as it is\n\
         bottle-git: warning: left out of DIR/project/.git/config in the guest: http.extraheader; --keep-config keeps \
         it\n{COPIED}"
    );
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    assert_eq!(
        sandbox.guest("cd /home/node/workspace/.git; cat config refs/heads/main"),
        "[core]\n\tbare = false\nbroken\n"
    );

    sandbox.guest("rm -rf /home/node/workspace");
    sandbox.write("project/.git/config", "[http\n\textraheader = s3cret\n");
    let stderr = format!(
        "bottle-git: warning: DIR/project/.git is no repository that git can read: copied as it is\n\
         bottle-git: warning: DIR/project/.git/config is left out: git cannot read it\n{COPIED}"
    );
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    assert_eq!(sandbox.search("s3cret"), "");
}

/// No program that the repository names is run on the host.
#[test]
fn no_program_of_the_repository_is_run_on_the_host() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    let trap = sandbox.write(
        "trap",
        format!("#!/bin/sh\ntouch {}\n", sandbox.path("sprung").display()),
    );
    fs::set_permissions(&trap, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let trap = trap.to_str().unwrap().to_owned();
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.alternateRefsCommand",
        "core.editor",
    ] {
        sandbox.git("project", &["config", "-f", ".git/config", key, &trap]);
    }
    sandbox.git(
        "project",
        &[
            "config",
            "-f",
            ".git/config",
            "core.hooksPath",
            sandbox.path("").to_str().unwrap(),
        ],
    );
    sandbox.repository("other", &[]);
    sandbox.write(
        "project/.git/objects/info/alternates",
        format!("{}\n", sandbox.path("other/.git/objects").display()),
    );
    let plan = sandbox.plan_with_repository();
    // The variables of an outer git have no effect either.
    let run = sandbox
        .run(STEP)
        .env("GIT_DIR", "/nowhere")
        .env("GIT_CONFIG_COUNT", "x")
        .args(["--allow-outside", "other"]);
    let outcome = run
        .env("GIT_OBJECT_DIRECTORY", "/nowhere")
        .plan(&plan)
        .end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(!sandbox.path("sprung").exists());
    // The trap works: git itself runs the program.
    sandbox.git("project", &["status"]);
    assert!(sandbox.path("sprung").exists());
}

#[test]
fn no_further_address_of_a_remote_leads_around_the_gate() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("main", &[]);
    sandbox.git(
        "main",
        &["remote", "add", "origin", "ssh://git@host/repo.git"],
    );
    sandbox.git(
        "main",
        &[
            "remote",
            "add",
            "odd",
            "https://ada:pa's3cret\"<> `x@host/odd.git",
        ],
    );
    sandbox.git("main", &["config", "extensions.worktreeConfig", "true"]);
    sandbox.git("main", &["worktree", "add", "-q", "../project"]);
    sandbox.git(
        "project",
        &[
            "config",
            "--worktree",
            "remote.origin.url",
            "https://elsewhere/repo.git",
        ],
    );
    sandbox.write("main/.git/remotes/old", "URL: https://elsewhere/old.git\n");
    for file in ["CREDENTIALS", "backup/config", "hooks/config.bak", ".env"] {
        sandbox.write(format!("main/.git/{file}"), "s3cret\n");
    }
    let mut plan = sandbox.plan_with_repository();
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] =
        json!({"remotes": {"host": {"Name": "repo", "Upstream": "ssh://git@host/repo.git"}}});
    let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("config.worktree in the guest: remote.origin.url"),
        "{}",
        outcome.stderr
    );
    let ways = "git remote get-url --push --all origin; git remote get-url odd; git remote get-url old 2>&1 || :";
    let gate = "git://127.0.0.1:55555/repo.git\n";
    assert_eq!(
        sandbox.as_node(ways),
        format!("{gate}https://host/odd.git\nerror: No such remote 'old'\n")
    );
    assert_eq!(sandbox.search("s3cret"), "");
    assert_eq!(
        sandbox
            .run(STEP)
            .args(["--check", "-q"])
            .plan(&plan)
            .end()
            .status,
        0
    );
}
