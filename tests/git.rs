//! `bottle-git`, from the outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::{COPIED, KEPT, MACHINE, Sandbox, converges, cp, cp_for_root, exec_as, tar_of};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");
const NOTHING: &str = "bottle-git: nothing to do: no repository, no remotes, no identity\n";

fn with_remote(sandbox: &Sandbox, upstream: &str) -> Value {
    let mut plan = sandbox.plan();
    plan["agent_git_gate_host"] = json!("127.0.0.1:9418");
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({"remotes": {"host": {"Name": "claude-bottle", "Upstream": upstream, "IdentityFile": "~/.ssh/id_ed25519"}}});
    plan
}

fn with_user(sandbox: &Sandbox, user: Value) -> Value {
    let mut plan = sandbox.plan();
    plan["spec"]["manifest"]["bottles"]["dev"]["git"]["user"] = user;
    plan
}

fn with_repository(sandbox: &Sandbox) -> Value {
    sandbox.repository("project", &[]);
    sandbox.plan_with_repository()
}

/// `git config --global KEY VALUE` as node.
fn set(key: &str, value: &str) -> Vec<String> {
    let call = [
        "machine",
        "exec",
        "--name",
        MACHINE,
        "--user",
        "root",
        "-e",
        "HOME=/home/node",
        "-e",
        "USER=node",
    ];
    let argv = [
        "--", "runuser", "-u", "node", "--", "git", "config", "--global", key, value,
    ];
    call.into_iter().chain(argv).map(str::to_owned).collect()
}

#[test]
fn noop_when_no_cwd_and_no_git_entries() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, NOTHING);
    assert_eq!(receipts["git"]["status"], "nothing to do");
    assert!(sandbox.calls().is_empty());
}

#[test]
fn copies_cwd_git_when_copy_cwd_and_git_present() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("project/.git")).unwrap();
    let mut plan = sandbox.plan();
    plan["spec"]["copy_cwd"] = json!(true);
    let stderr = "bottle-git: warning: DIR/project/.git is no repository that git can read: copied as it is\n\
                  bottle-git: DIR/project/.git in /home/node/workspace/.git (_s)\n";
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, stderr);

    let calls = sandbox.calls();
    assert_eq!(calls.len(), 4);
    assert_eq!(
        calls[0],
        exec_as("node", &["mkdir", "-p", "/home/node/workspace"])
    );
    let source = Path::new(&calls[1][8]);
    assert_eq!(source.parent().unwrap(), sandbox.path("stage"));
    assert_eq!(
        calls[1],
        cp_for_root(source, &tar_of("/home/node/workspace/.git"))
    );
    assert_eq!(calls[2][7..9], ["sh", "-c"]);
    assert_eq!(calls[2][10..13], ["sh", "/home/node/workspace", ".git"]);
    assert_eq!(
        calls[3],
        exec_as(
            "node",
            &["chown", "-R", "node:node", "/home/node/workspace/.git"]
        )
    );
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn a_project_without_a_repository_is_a_warning() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.plan();
    plan["spec"]["copy_cwd"] = json!(true);
    let hint = "hint: it names the project to copy; without spec.copy_cwd, nothing is copied\n";
    let slip = format!("bottle-git: spec.user_cwd: DIR/project is not a directory\n{hint}");
    sandbox.run(STEP).plan(&plan).end().fails(1, &slip);
    fs::create_dir(sandbox.path("project")).unwrap();
    let warning = "bottle-git: warning: spec.copy_cwd is true, but";
    let stderr = format!("{warning} there is no .git in DIR/project\n{NOTHING}");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    plan["spec"]["user_cwd"] = json!("");
    sandbox.run(STEP).plan(&plan).end().is(
        0,
        &plan,
        &format!("{warning} spec.user_cwd is unset\n{NOTHING}"),
    );
    assert!(sandbox.calls().is_empty());
}

#[test]
fn skips_cwd_when_copy_cwd_false() {
    let sandbox = Sandbox::new();
    let mut plan = with_repository(&sandbox);
    plan["spec"]["copy_cwd"] = json!(false);
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, NOTHING);
    assert!(sandbox.calls().is_empty());
}

#[test]
fn writes_gitconfig_with_ip_port_form_for_smolmachines() {
    let sandbox = Sandbox::new();
    let plan = with_remote(&sandbox, "ssh://git@host/repo.git");
    let stderr = "bottle-git: claude-bottle through the gate at 127.0.0.1:9418 (_s)\n";
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, stderr);

    let calls = sandbox.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        Path::new(&calls[0][2]).parent().unwrap(),
        sandbox.path("stage")
    );
    assert_eq!(
        calls[0],
        cp(Path::new(&calls[0][2]), "/home/node/.gitconfig")
    );
    assert_eq!(calls[1][5], "node");
    assert_eq!(calls[1][7..9], ["sh", "-c"]);
    assert_eq!(calls[1][10..], ["sh", "/home/node/.gitconfig", "node:node"]);
    let sent = fs::read_to_string(sandbox.path("log.copy")).unwrap();
    let mut expected = vec!["[url \"git://127.0.0.1:9418/claude-bottle.git\"]\n".to_owned()];
    for prefix in [
        "ssh://git@host/",
        "ssh://git@host:22/",
        "git+ssh://git@host/",
        "git+ssh://git@host:22/",
        "ssh+git://git@host/",
        "ssh+git://git@host:22/",
        "git@host:",
        "git@host:/",
        "ssh://host/",
        "ssh://host:22/",
        "git+ssh://host/",
        "git+ssh://host:22/",
        "ssh+git://host/",
        "ssh+git://host:22/",
        "host:",
        "host:/",
        "https://host/",
        "https://host:443/",
        "https://git@host/",
        "http://host/",
        "git://host/",
    ] {
        for path in ["repo.git", "repo", "repo.git/", "repo/"] {
            expected.push(format!("\tinsteadOf = {prefix}{path}\n"));
        }
    }
    assert_eq!(sent, expected.concat());
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn noop_when_no_git_user() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    sandbox
        .run(STEP)
        .args(["--only", "identity"])
        .plan(&plan)
        .end()
        .is(0, &plan, NOTHING);
    assert!(sandbox.calls().is_empty());
}

#[test]
fn sets_name_and_email_as_node() {
    let sandbox = Sandbox::new();
    let plan = with_user(
        &sandbox,
        json!({"name": "Eric Bauerfeld", "email": "eric@dideric.is"}),
    );
    let stderr = "bottle-git: commits as Eric Bauerfeld <eric@dideric.is> (_s)\n";
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, stderr);
    assert_eq!(
        sandbox.calls(),
        [
            set("user.name", "Eric Bauerfeld"),
            set("user.email", "eric@dideric.is")
        ]
    );
}

#[test]
fn name_only() {
    let sandbox = Sandbox::new();
    let plan = with_user(&sandbox, json!({"name": "Bot"}));
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, "bottle-git: commits as Bot (_s)\n");
    assert_eq!(sandbox.calls(), [set("user.name", "Bot")]);
}

#[test]
fn email_only() {
    let sandbox = Sandbox::new();
    let plan = with_user(&sandbox, json!({"email": "bot@example.com", "name": null}));
    sandbox.run(STEP).plan(&plan).end().is(
        0,
        &plan,
        "bottle-git: commits as <bot@example.com> (_s)\n",
    );
    assert_eq!(sandbox.calls(), [set("user.email", "bot@example.com")]);
}

#[test]
fn the_exec_user_follows_smolvms_version() {
    let sandbox = Sandbox::new();
    let plan = with_user(&sandbox, json!({"name": "Bot"}));
    let with_user = set("user.name", "Bot");
    let mut without = with_user.clone();
    without.drain(4..6);
    for (version, args, expected) in [
        ("1.32.2", [""; 0].as_slice(), &with_user),
        ("1.14.0", &[], &with_user),
        ("1.13.9", &[], &without),
        ("0.8.0", &[], &without),
        ("unknown", &[], &without),
        ("1.32.2", &["--exec-user", "none"], &without),
        ("0.8.0", &["--exec-user", "root"], &with_user),
    ] {
        let run = sandbox
            .run(STEP)
            .args(args)
            .env("STAND_IN_VERSION", version);
        assert_eq!(run.plan(&plan).end().status, 0);
        assert_eq!(
            sandbox.calls(),
            std::slice::from_ref(expected),
            "{version} {args:?}"
        );
    }
}

#[test]
fn the_repository_works_for_node_and_the_agents_commits_survive() {
    let sandbox = Sandbox::with_guest();
    let mut plan = with_repository(&sandbox);
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] =
        json!({"user": {"name": "Ada \\ \"q\" L", "email": "ada@example.com"}});
    let line = "commits as Ada \\ \"q\" L <ada@example.com> (_s)\n";
    let stderr = format!("bottle-git: DIR/project/.git in /home/node/workspace/.git; {line}");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    let head = sandbox.git("project", &["rev-parse", "HEAD"]);
    let commit = "runuser -u node -- sh -c 'export HOME=/home/node; cd ~/workspace && git rev-parse HEAD && git checkout -q . && \
                  git commit -q --allow-empty -m second && git log --format=\"%an <%ae> %s\"'";
    assert_eq!(
        sandbox.guest(commit),
        format!("{head}Ada \\ \"q\" L <ada@example.com> second\nA <a@b> README\n")
    );

    let before = sandbox.tree();
    let stderr = format!("{KEPT}bottle-git: /home/node/workspace/.git as it was; {line}");
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    assert_eq!(
        receipts["git"]["repository"],
        json!({"path": "/home/node/workspace/.git", "kept": true})
    );
    assert_eq!(sandbox.tree(), before);

    let args = ["--replace-repository", "--only", "repository"];
    sandbox
        .run(STEP)
        .args(args)
        .plan(&plan)
        .end()
        .is(0, &plan, COPIED);
    assert_eq!(
        sandbox.guest("runuser -u node -- git -C /home/node/workspace log --format=%s"),
        "README\n"
    );
}

/// Every spelling of an upstream, and the gate's URL that real git makes of it in the guest.
#[test]
#[allow(clippy::too_many_lines, reason = "a test that tells one story")]
fn git_sends_every_spelling_to_its_own_gate() {
    let sandbox = Sandbox::with_guest();
    let mut plan = with_remote(&sandbox, "ssh://git@host/repo.git");
    let upstreams = [
        ("claude-bottle", "ssh://git@host/repo.git"),
        ("longer", "ssh://git@host/repo-longer"),
        ("ported", "ssh://git@forge:2222/team/ported.git"),
        ("scp", "deploy@forge:team/scp"),
        ("https", "https://forge.example/a b;c%d/\"q\\uoted\".git"),
        ("bare", "forge:no/user.git"),
    ];
    let remotes: serde_json::Map<_, _> = upstreams
        .iter()
        .map(|(name, upstream)| {
            (
                (*name).to_owned(),
                json!({"Name": name, "Upstream": upstream}),
            )
        })
        .collect();
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({"remotes": remotes});
    let outcome = sandbox.run(STEP).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);

    let gate = |name: &str| format!("git://127.0.0.1:9418/{name}.git");
    let quoted = "a b;c%d/\"q\\uoted\"";
    let spelled = |origins: &[&str], path: &str| -> Vec<String> {
        let with = |suffix: &str| {
            origins
                .iter()
                .map(|origin| format!("{origin}{path}{suffix}"))
                .collect::<Vec<_>>()
        };
        [with(""), with(".git")].concat()
    };
    let mut expected = Vec::new();
    for (name, spellings) in [
        (
            "claude-bottle",
            spelled(
                &[
                    "ssh://git@host/",
                    "ssh://git@host:22/",
                    "git@host:",
                    "git@host:/",
                    "https://host/",
                ],
                "repo",
            ),
        ),
        (
            "longer",
            spelled(
                &["ssh://git@host/", "git@host:", "https://host/"],
                "repo-longer",
            ),
        ),
        (
            "ported",
            spelled(
                &[
                    "ssh://git@forge/",
                    "ssh://git@forge:2222/",
                    "https://forge/",
                ],
                "team/ported",
            ),
        ),
        (
            "scp",
            spelled(
                &[
                    "ssh://deploy@forge/",
                    "ssh://deploy@forge:22/",
                    "deploy@forge:",
                    "deploy@forge:/",
                    "https://forge/",
                ],
                "team/scp",
            ),
        ),
        (
            "https",
            spelled(
                &[
                    "https://forge.example/",
                    "ssh://git@forge.example/",
                    "git@forge.example:",
                ],
                quoted,
            ),
        ),
        (
            "bare",
            spelled(
                &[
                    "forge:",
                    "forge:/",
                    "ssh://forge/",
                    "git@forge:",
                    "https://forge/",
                ],
                "no/user",
            ),
        ),
    ] {
        expected.extend(spellings.into_iter().map(|spelling| (spelling, gate(name))));
    }
    // Other addresses do not go to the gate. One that only starts like a declared address becomes a
    // URL at the gate that does not exist.
    for other in [
        "ssh://git@other/repo.git",
        "https://host/sepo.git",
        "git@forge:2222/team/ported.git",
        "ssh://eve@host/repo.git",
    ] {
        expected.push((other.to_owned(), other.to_owned()));
    }
    expected.push((
        "ssh://git@host/repo.git-other".to_owned(),
        format!("{}-other", gate("claude-bottle")),
    ));

    let urls: Vec<_> = expected.iter().map(|(url, _)| url.as_str()).collect();
    let list = sandbox.write("urls", urls.join("\n") + "\n");
    let script = "while IFS= read -r url; do git ls-remote --get-url \"$url\"; done";
    let guest = format!(
        "HOME=/home/node runuser -u node -- sh -c '{script}' <<'END'\n{}END\n",
        fs::read_to_string(list).unwrap()
    );
    let answers = sandbox.guest(&guest);
    for ((url, gate), answer) in expected.iter().zip(answers.lines()) {
        assert_eq!(answer, gate, "{url}");
    }
    assert_eq!(answers.lines().count(), expected.len());
}

/// A name of any characters arrives unchanged, and commits have it.
#[test]
fn every_identity_arrives_as_it_is() {
    let sandbox = Sandbox::with_guest();
    let long = "ä\\\"'$(x)`;# ".repeat(1000).trim_end().to_owned();
    assert!(long.chars().count() >= 10_000);
    for name in [
        &long,
        "Ádám \u{1f37e} 王",
        "\"quoted\" 'twice'",
        "back\\slash\\",
        "a=b",
        "$HOME",
        "x # y",
        "tab-less  two",
    ] {
        let plan = with_user(&sandbox, json!({"name": name, "email": "ada@exämple.com"}));
        let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        let checked = sandbox.run(STEP).args(["--check", "-q"]).plan(&plan).end();
        assert_eq!((checked.status, checked.stderr.as_str()), (0, ""));
        let commit = "HOME=/home/node runuser -u node -- sh -c 'cd; rm -rf r; git init -q --template= r; cd r; git config user.name; \
                      git commit -q --allow-empty -m x; git log -1 --format=\"%an%n%ce\"'";
        let lines = sandbox.guest(commit);
        let lines: Vec<_> = lines.lines().collect();
        // git removes some characters from the ends of a name when it commits.
        let in_commit = name.trim_matches(['.', ',', ':', ';', '<', '>', '"', '\\', '\'', ' ']);
        assert_eq!(lines, [name, in_commit, "ada@exämple.com"]);
    }
}

#[test]
fn a_stale_lock_does_not_stop_the_step() {
    let sandbox = Sandbox::with_guest();
    let plan = with_user(&sandbox, json!({"name": "Bot"}));
    sandbox.guest("touch /home/node/.gitconfig.lock");
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, "bottle-git: commits as Bot (_s)\n");
    assert_eq!(
        sandbox.guest("cd /home/node; ls -A; cat .gitconfig"),
        ".gitconfig\n[user]\n\tname = Bot\n"
    );
}

#[test]
fn a_killed_replacement_leaves_a_whole_repository_or_none() {
    let sandbox = Sandbox::with_guest();
    let plan = with_repository(&sandbox);
    assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
    let tar = tar_of("/home/node/workspace/.git");
    let own = &tar["/var/lib/bottle/".len()..tar.len() - ".tar".len()];
    // The state after a run was killed when it had moved the old repository aside, or had moved the
    // new one into place.
    for state in [
        "mv .git \"$own.old\" && mkdir \"$own.new\"",
        "mkdir \"$own.old\" \"$own.new\"",
    ] {
        sandbox.guest(&format!(
            "cd /home/node/workspace && touch {tar} && own=.bottle-{own} && {state} && chown node:node \"$own\"*"
        ));
        let outcome = sandbox.run(STEP).plan(&plan).end();
        let stderr = outcome.stderr;
        assert!(stderr.contains(" is kept; "), "{state}: {stderr}");
        let seen = "cd /home/node/workspace; ls -A . /var/lib/bottle; runuser -u node -- git log --format=%s";
        assert_eq!(
            sandbox.guest(seen),
            ".:\n.git\n\n/var/lib/bottle:\nREADME\n",
            "{state}"
        );
    }
}

#[test]
fn converges_wherever_it_was_killed() {
    converges(STEP, |sandbox| {
        let mut plan = with_repository(sandbox);
        // The mode has to arrive.
        fs::set_permissions(
            sandbox.path("project/.git/description"),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({
            "remotes": {"host": {"Name": "claude-bottle", "Upstream": "ssh://git@host/repo.git"}},
            "user": {"name": "Ada Lovelace", "email": "ada@example.com"},
        });
        // The index holds inode numbers and times of the work tree, which is another in each
        // sandbox.
        fs::remove_file(sandbox.path("project/.git/index")).unwrap();
        plan
    });
}

#[test]
fn the_gate_alone_removes_the_identity_with_a_warning() {
    let sandbox = Sandbox::new();
    let mut plan = with_remote(&sandbox, "ssh://git@host/repo.git");
    let done = "bottle-git: claude-bottle through the gate at 127.0.0.1:9418";
    let run = sandbox.run(STEP).args(["--only", "gate"]);
    let alone = format!("{done} (_s)\n");
    run.plan(&plan).end().is(0, &plan, &alone);

    plan["spec"]["manifest"]["bottles"]["dev"]["git"]["user"] = json!({"name": "Ada"});
    let run = sandbox.run(STEP).args(["--only", "gate"]);
    let warning = "bottle-git: warning: ~/.gitconfig is replaced without an identity: --only identity sets it again\n";
    let warned = format!("{warning}{alone}");
    run.plan(&plan).end().is(0, &plan, &warned);

    let both = format!("{done}; commits as Ada (_s)\n");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &both);
}

#[test]
fn the_gate_removes_a_stale_lock() {
    let sandbox = Sandbox::with_guest();
    let plan = with_remote(&sandbox, "ssh://git@host/repo.git");
    sandbox.guest("touch /home/node/.gitconfig.lock");
    assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
    let files = sandbox.guest("cd /home/node && stat -c '%U:%G %n' .gitconfig*");
    assert_eq!(files, "node:node .gitconfig\n");
}

#[test]
fn a_file_of_another_group_is_a_difference() {
    let sandbox = Sandbox::with_guest();
    let plan = with_repository(&sandbox);
    assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
    for owner in ["node:root", "root:node"] {
        let file = "/home/node/workspace/.git/HEAD";
        sandbox.guest(&format!("chown {owner} {file}"));
        let outcome = sandbox.run(STEP).args(["--check"]).plan(&plan).end();
        let said = format!(
            "bottle-git: {file}: owner: `node:node` in the plan, `{owner}` in the guest\n\
             hint: bottle-git without --check mends it, or says what is in the way\n"
        );
        assert_eq!((outcome.status, outcome.stderr), (3, said));
    }
}
