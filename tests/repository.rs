//! `bottle-git`'s repository part with repositories as people have them, compared between host and
//! guest by git.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use harness::{CLONE, COPIED, Sandbox, converges, tar_of};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");

/// Provisions and asserts that git, as node, says of the guest's repository what it says of the
/// host's.
#[track_caller]
fn arrives(sandbox: &Sandbox, stderr: &str) {
    arrives_with(sandbox, &[], stderr);
}

/// Does the same as [`arrives`] with options.
#[track_caller]
fn arrives_with(sandbox: &Sandbox, args: &[&str], stderr: &str) {
    let plan = sandbox.plan_with_repository();
    let run = || sandbox.run(STEP).args(args);
    run().plan(&plan).end().is(0, &plan, stderr);
    let checked = run().args(["--check", "-q"]).plan(&plan).end();
    assert_eq!((checked.status, checked.stderr.as_str()), (0, ""));
    let [host, guest] = sandbox.states("project");
    assert_eq!(host, guest);
    let commit = "git -c user.name=N -c user.email=n@n commit -q --allow-empty -m new && git log -1 --format=%s";
    assert_eq!(sandbox.as_node(commit), "new\n");
    assert_eq!(
        sandbox.guest(
            "ls -A /home/node/workspace/.git | grep -xE 'worktrees|gitdir|commondir|.*lock' || :"
        ),
        ""
    );
}

#[test]
fn a_linked_worktree_is_a_repository_of_its_own() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("main", &[]);
    sandbox.git(
        "main",
        &["worktree", "add", "-q", "-b", "topic", "../project"],
    );
    sandbox.git(
        "main",
        &["worktree", "add", "-q", "-b", "third", "../third"],
    );
    sandbox.commit("project", "topic", "of the worktree\n");
    sandbox.commit("main", "other", "of the main one\n");
    // Each worktree has an index, a stopped merge and refs of its own.
    sandbox.write("project/README", "changed\n");
    sandbox.git("project", &["stash", "-q"]);
    sandbox.write("project/staged", "staged\n");
    sandbox.git("project", &["add", "staged"]);
    sandbox.git("project", &["update-ref", "refs/worktree/mine", "HEAD"]);
    sandbox.git("main", &["merge", "-q", "--no-commit", "--no-ff", "topic"]);
    sandbox.git("main", &["update-ref", "refs/worktree/mains", "HEAD"]);
    sandbox.write("project/untracked", "untracked\n");
    arrives(&sandbox, COPIED);
    assert_eq!(sandbox.as_node("git worktree list | wc -l"), "1\n");
}

#[test]
fn a_worktree_of_a_bare_repository_has_a_work_tree() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("main", &[]);
    sandbox.git("", &["clone", "-q", "--bare", "main", "bare"]);
    sandbox.git("bare", &["worktree", "add", "-q", "../project", "main"]);
    arrives(&sandbox, COPIED);

    sandbox.guest("rm -rf /home/node/workspace");
    sandbox.git("bare", &["config", "extensions.worktreeConfig", "true"]);
    sandbox.git("bare", &["config", "--worktree", "core.bare", "true"]);
    sandbox.git("bare", &["config", "--unset", "core.bare"]);
    sandbox.git(
        "project",
        &["config", "--worktree", "core.autocrlf", "false"],
    );
    arrives(&sandbox, COPIED);
    assert_eq!(sandbox.as_node("git config core.autocrlf"), "false\n");
}

#[test]
fn a_worktree_can_keep_its_configuration() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("main", &[]);
    sandbox.git("main", &["config", "extensions.worktreeConfig", "true"]);
    sandbox.git("main", &["config", "--worktree", "core.bare", "true"]);
    sandbox.git("main", &["config", "http.extraHeader", "shared"]);
    sandbox.git(
        "main",
        &["worktree", "add", "-q", "-b", "topic", "../project"],
    );
    sandbox.git("project", &["config", "--worktree", "http.proxy", "own"]);
    sandbox.git(
        "main",
        &["config", "--worktree", "http.proxy", "the main one's"],
    );
    sandbox.write("main/.git/credentials", "shared\n");
    let plan = sandbox.plan_with_repository();
    sandbox
        .run(STEP)
        .args(["--keep-config"])
        .plan(&plan)
        .end()
        .is(0, &plan, COPIED);
    let [host, guest] = sandbox.states("project");
    assert_eq!(host, guest);
    let seen = "git config http.extraHeader; git config http.proxy; cat .git/credentials; \
                git rev-parse --is-bare-repository; git worktree list | wc -l";
    assert_eq!(sandbox.as_node(seen), "shared\nown\nshared\nfalse\n1\n");
}

#[test]
fn a_worktree_converges_wherever_it_was_killed() {
    converges(STEP, |sandbox| {
        sandbox.repository("main", &[]);
        sandbox.git("main", &["worktree", "add", "-q", "../project"]);
        // The index contains inode numbers and times.
        fs::remove_file(sandbox.path("main/.git/worktrees/project/index")).unwrap();
        let logs = sandbox.path("main/.git/worktrees/project/logs");
        fs::remove_dir_all(logs).unwrap();
        sandbox.plan_with_repository()
    });
}

#[test]
fn submodules_are_copied_and_one_can_be_the_project() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("library", &[]);
    sandbox.repository("above", &[]);
    let library = sandbox.path("library");
    sandbox.git(
        "above",
        &[
            "submodule",
            "--quiet",
            "add",
            library.to_str().unwrap(),
            "libs/lib",
        ],
    );
    sandbox.git("above", &["commit", "-q", "-m", "submodule"]);
    sandbox.git(
        "",
        &["clone", "-q", "--recurse-submodules", "above", "project"],
    );
    arrives(&sandbox, COPIED);
    assert_eq!(
        sandbox.as_node("git -C libs/lib status --porcelain && git -C libs/lib log --format=%s"),
        "README\n"
    );

    // The same in a linked worktree, whose submodules are elsewhere on the host.
    sandbox.guest("rm -rf /home/node/workspace");
    fs::rename(sandbox.path("project"), sandbox.path("main")).unwrap();
    sandbox.git("main", &["worktree", "add", "-q", "../project"]);
    sandbox.git("project", &["submodule", "--quiet", "update", "--init"]);
    let plan = sandbox.plan_with_repository();
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, COPIED);
    let own = "git config -f .git/modules/libs/lib/config core.worktree; mkdir -p libs/lib && \
               git --git-dir .git/modules/libs/lib checkout -q -f && cat libs/lib/README";
    assert_eq!(sandbox.as_node(own), "../../../../libs/lib\nhello\n");

    sandbox.guest("rm -rf /home/node/workspace");
    fs::remove_dir_all(sandbox.path("project")).unwrap();
    fs::rename(sandbox.path("above"), sandbox.path("project")).unwrap();
    let mut plan = sandbox.plan_with_repository();
    plan["spec"]["user_cwd"] = json!(sandbox.path("project/libs/lib"));
    let stderr = COPIED.replace("project/.git", "project/libs/lib/.git");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    let [host, guest] = sandbox.states("project/libs/lib");
    assert_eq!(host, guest);
}

#[test]
fn borrowed_objects_are_copied() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("first", &[]);
    sandbox.git("first", &["repack", "-adq"]);
    sandbox.git("first", &["commit-graph", "write"]);
    sandbox.git("", &["clone", "-q", "--shared", "first", "second"]);
    sandbox.commit("second", "more", "more\n");
    sandbox.git("second", &["repack", "-adlq"]);
    sandbox.git("second", &["multi-pack-index", "write"]);
    sandbox.git("", &["clone", "-q", "--shared", "second", "project"]);
    sandbox.commit("project", "own", "own\n");
    let args = ["--allow-outside", "first", "--allow-outside", "second/.git"];
    arrives_with(&sandbox, &args, COPIED);

    // A lender inside the project, by a relative path.
    sandbox.guest("rm -rf /home/node/workspace");
    fs::remove_dir_all(sandbox.path("project")).unwrap();
    sandbox.repository("project", &[]);
    fs::rename(sandbox.path("first"), sandbox.path("project/first")).unwrap();
    sandbox.write(
        "project/.git/objects/info/alternates",
        "# a comment\n\n../../first/.git/objects\n",
    );
    sandbox.git("project/first", &["branch", "-q", "lent"]);
    let commit = sandbox.git("project/first", &["rev-parse", "lent"]);
    sandbox.git(
        "project",
        &["update-ref", "refs/heads/borrowed", commit.trim()],
    );
    arrives(&sandbox, COPIED);
}

/// git quotes such a path in `info/alternates`.
#[test]
fn a_lender_may_have_any_name() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    for (name, line) in [
        ("ü", "\"../../ü/.git/objects\""),
        ("a\"b", r#""../../a\"b/.git/objects""#),
        ("ö", r#""../../\303\266/.git/objects""#),
        ("é", "../../é/.git/objects"),
    ] {
        let lender = format!("project/{name}");
        sandbox.repository(&lender, &[]);
        sandbox.commit(&lender, "file", name);
        let head = sandbox.git(&lender, &["rev-parse", "HEAD"]);
        sandbox.write("project/.git/objects/info/alternates", format!("{line}\n"));
        sandbox.git("project", &["update-ref", "refs/heads/other", head.trim()]);
        let plan = sandbox.plan_with_repository();
        let run = sandbox.run(STEP).args(["--replace-repository"]);
        assert_eq!(run.plan(&plan).end().status, 0, "{name}");
        assert_eq!(
            sandbox.as_node("git rev-list --objects other >/dev/null && git rev-parse other"),
            head
        );
    }
}

#[test]
fn every_object_format_and_every_kind_of_clone_is_copied() {
    let sandbox = Sandbox::with_guest();
    for kind in [
        "sha256",
        "shallow",
        "partial",
        "split",
        "separate",
        "linked file",
        "packed",
    ] {
        sandbox.repository(
            "from",
            if kind == "sha256" {
                &["--object-format=sha256"]
            } else {
                &[]
            },
        );
        sandbox.commit("from", "second", "second\n");
        sandbox.git("from", &["config", "uploadpack.allowFilter", "true"]);
        let url = format!("file://{}", sandbox.path("from").display());
        let clone = |options: &[&str]| {
            sandbox.git(
                "",
                &[&["clone", "-q"], options, &[&url, "project"]].concat(),
            )
        };
        let mut stderr = COPIED.to_owned();
        match kind {
            "shallow" => drop(clone(&["--depth=1"])),
            "partial" => {
                clone(&["--filter=blob:none"]);
                let warning = "is a partial clone: git fetches what is missing from its remote when it needs it";
                stderr.insert_str(
                    0,
                    &format!("bottle-git: warning: DIR/project/.git {warning}\n"),
                );
            }
            "separate" => drop(clone(&["--separate-git-dir=elsewhere"])),
            _ => drop(clone(&[])),
        }
        match kind {
            "split" => drop(sandbox.git("project", &["update-index", "--split-index"])),
            "packed" => drop(sandbox.git("project", &["gc", "-q"])),
            "linked file" => {
                fs::rename(sandbox.path("project/.git"), sandbox.path("elsewhere")).unwrap();
                symlink("../elsewhere", sandbox.path("project/.git")).unwrap();
            }
            _ => {}
        }
        let args: &[&str] = match kind {
            "separate" | "linked file" => &["--allow-outside", "elsewhere"],
            _ => &[],
        };
        arrives_with(&sandbox, args, &stderr);
        sandbox.guest("rm -rf /home/node/workspace");
        for directory in ["from", "project", "elsewhere"] {
            let _ = fs::remove_dir_all(sandbox.path(directory));
        }
    }
}

#[test]
fn a_repository_that_cannot_be_whole_is_refused_with_a_hint() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan_with_repository();
    let refused = |why: &str, hint: &str| {
        sandbox
            .run(STEP)
            .plan(&plan)
            .end()
            .fails(1, &format!("bottle-git: {why}\n{hint}"));
        assert!(sandbox.calls().is_empty());
        for directory in ["project", "from"] {
            let _ = fs::remove_dir_all(sandbox.path(directory));
        }
    };
    sandbox.git("", &["init", "-q", "--bare", "project"]);
    let bare = "git --git-dir DIR/project worktree add NEW, or git clone DIR/project NEW, with NEW as spec.user_cwd";
    refused(
        "DIR/project is a bare repository: it has no work tree",
        &format!("hint: {bare}\n"),
    );

    // Only a newer git than Debian 12's can make one.
    sandbox.git("", &["init", "-q", "project"]);
    for (key, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.refStorage", "reftable"),
    ] {
        sandbox.git("", &["config", "-f", "project/.git/config", key, value]);
    }
    refused(
        "DIR/project/.git is a repository with reftable, which Debian's git 2.39 cannot read",
        "hint: git clone --ref-format=files OLD NEW makes one that it can, with NEW as spec.user_cwd\n",
    );

    sandbox.repository("project", &[]);
    sandbox.git("project", &["config", "core.worktree", "../../stage"]);
    refused(
        "DIR/project/.git/config: core.worktree is `../../stage`, not DIR/project",
        "hint: git config -f DIR/project/.git/config --unset core.worktree, or another spec.user_cwd\n",
    );

    sandbox.repository("from", &[]);
    sandbox.git("", &["clone", "-q", "--shared", "from", "project"]);
    fs::remove_dir_all(sandbox.path("from")).unwrap();
    refused(
        "DIR/project/.git/objects/info/alternates: it borrows objects from DIR/from/.git/objects, which is not there",
        "hint: while the other one is there, git repack -a -d && rm .git/objects/info/alternates makes it whole, and git clone \
         --dissociate a whole copy\n",
    );

    sandbox.repository("project", &[]);
    fs::rename(sandbox.path("project/.git/objects"), sandbox.path("from")).unwrap();
    symlink("../../from", sandbox.path("project/.git/objects")).unwrap();
    refused(
        "DIR/project/.git/objects is a link that leads out of the repository",
        CLONE,
    );

    sandbox.write("project/.git", "gitdir: elsewhere\n");
    refused(
        "DIR/project/.git leads to no repository: DIR/project/elsewhere: No such file or directory (os error 2)",
        "hint: git worktree repair, or git submodule update, mends what has been moved\n",
    );
}

#[test]
fn a_configured_work_tree_may_be_the_project() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    sandbox.git(
        "project",
        &[
            "config",
            "core.worktree",
            sandbox.path("project").to_str().unwrap(),
        ],
    );
    arrives(&sandbox, COPIED);
}

/// Whichever call fails, the guest keeps what it had before, and has no partial repository.
#[test]
fn a_failed_step_leaves_no_part_of_the_repository() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    let plan = sandbox.plan_with_repository();
    sandbox.write("plan.json", plan.to_string());
    let seen = "cd /home/node; [ ! -d workspace ] || ls -A workspace; [ ! -d workspace/.git ] || \
                git -c safe.directory='*' -C workspace log --format=%s";
    for existing in [false, true] {
        if existing {
            assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
            sandbox.as_node("git -c user.name=N -c user.email=n@n commit -q --allow-empty -m new");
        }
        for call in 1..=3 {
            for is_interrupted in [false, true] {
                let _ = fs::remove_file(sandbox.path("log.count"));
                let run = sandbox.run_interruptible(STEP);
                let run = run.args(["--replace-repository", "-f", "plan.json"]);
                let outcome = if is_interrupted {
                    sandbox.interrupt_at_call(run, call, "TERM")
                } else {
                    run.env("STAND_IN_FAIL", format!("{call} 1 no")).end()
                };
                assert_eq!(
                    outcome.status,
                    if is_interrupted { 143 } else { 1 },
                    "{outcome:?}"
                );
                let expected = if existing { ".git\nnew\nREADME\n" } else { "" };
                assert_eq!(sandbox.guest(seen), expected, "call {call}, {outcome:?}");
                assert_eq!(sandbox.staged(), [""; 0]);
            }
        }
    }
    // The step fails during unpacking, when the old repository was moved aside and the new one is
    // incomplete.
    let tar = tar_of("/home/node/workspace/.git");
    let own = tar
        .replace("/var/lib/bottle/", ".bottle-")
        .replace(".tar", "");
    sandbox.guest(&format!(
        "cd /home/node/workspace && mkdir {own}.new && mv .git {own}.old"
    ));
    let _ = fs::remove_file(sandbox.path("log.count"));
    let run = sandbox
        .run(STEP)
        .args(["--replace-repository"])
        .env("STAND_IN_FAIL", "3 1 no");
    assert_eq!(run.plan(&plan).end().status, 1);
    assert_eq!(sandbox.guest(seen), ".git\nnew\nREADME\n");
}

#[test]
fn objects_behind_a_link_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    sandbox.git("project", &["gc", "-q"]);
    let moved = sandbox.run("sh").args([
        "-c",
        "mv project/.git/objects/pack there && ln -s ../../../there project/.git/objects/pack",
    ]);
    assert_eq!(moved.end().status, 0);
    let plan = sandbox.plan_with_repository();
    sandbox.run(STEP).plan(&plan).end().fails(
        1,
        "bottle-git: DIR/project/.git/objects/pack is a link that leads out of the repository\n\
         hint: a clone has all of it: git clone --no-local OLD NEW, with NEW as spec.user_cwd\n",
    );
    assert!(sandbox.calls().is_empty());
}

/// What the check finds in a guest's repository after `script` has been run in it as node.
#[track_caller]
fn found(sandbox: &Sandbox, plan: &Value, script: &str) -> Vec<String> {
    sandbox.as_node(script);
    let outcome = sandbox.run(STEP).args(["--check", "-q"]).plan(plan).end();
    let lines: Vec<_> = outcome.stderr.lines().map(str::to_owned).collect();
    let status = if lines.is_empty() { 0 } else { 3 };
    assert_eq!(outcome.status, status, "{outcome:?}");
    let start = "bottle-git: /home/node/workspace/.git";
    lines
        .iter()
        .map(|line| line.strip_prefix(start).unwrap_or(line).to_owned())
        .collect()
}

/// A guest with a repository, its submodule, hooks, a remote, a gate and an identity.
fn provisioned() -> (Sandbox, Value) {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    let library = sandbox.path("library");
    sandbox.repository("library", &[]);
    let add = [
        "submodule",
        "--quiet",
        "add",
        library.to_str().unwrap(),
        "lib",
    ];
    sandbox.git("project", &add);
    sandbox.git("project", &["commit", "-q", "-m", "submodule"]);
    for (name, url) in [
        ("origin", "ssh://git@host/repo.git"),
        ("other", "https://host/other.git"),
    ] {
        sandbox.git("project", &["remote", "add", name, url]);
    }
    sandbox.git("project", &["config", "branch.main.remote", "origin"]);
    let hook = sandbox.write("project/.git/hooks/pre-commit", "#!/bin/sh\n");
    fs::set_permissions(hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut plan = sandbox.plan_with_repository();
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({
        "remotes": {"host": {"Name": "repo", "Upstream": "ssh://git@host/repo.git"}},
        "user": {"name": "Ada", "email": "ada@example.com"},
    });
    let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    (sandbox, plan)
}

#[test]
fn the_check_finds_ways_around_the_gate() {
    let (sandbox, plan) = provisioned();
    assert_eq!(
        found(&sandbox, &plan, "git commit -q --allow-empty -m new"),
        [""; 0]
    );
    let ways = [
        ("branch.main.pushremote", "https://elsewhere/r"),
        ("core.fsmonitor", "/tmp/x"),
        ("core.gitproxy", "/tmp/x"),
        ("core.hookspath", "/tmp/x"),
        ("core.sshcommand", "ssh -x"),
        ("http.https://host/.proxy", "http://elsewhere"),
        ("include.path", "/dev/null"),
        ("includeif.gitdir:/.path", "/dev/null"),
        ("remote.new.url", "https://elsewhere/r"),
        ("remote.origin.url", "https://elsewhere/r"),
        ("remote.origin.vcs", "x"),
        ("remote.pushdefault", "https://elsewhere/r"),
        ("remotes.default", "https://elsewhere/r"),
        ("url.https://elsewhere/.insteadof", "https://host/"),
    ];
    for file in ["config", "modules/lib/config"] {
        let (mut set, mut unset, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in ways {
            set.push(format!("git config -f .git/{file} --add '{key}' '{value}'"));
            unset.push(format!(
                "git config -f .git/{file} --unset '{key}' '^{value}$'"
            ));
            lines.push(format!(
                "/{file}: rule: nothing in the plan, `{key} = {value}` in the guest"
            ));
        }
        let mut differences = found(&sandbox, &plan, &set.join("; "));
        differences.sort();
        lines.sort();
        assert_eq!(differences, lines);
        assert_eq!(found(&sandbox, &plan, &unset.join("; ")), [""; 0]);
    }
    for name in ["remotes/old", "branches/a/b"] {
        let add = format!("mkdir -p $(dirname .git/{name}) && echo x >.git/{name}");
        let line = format!("/{name}: rule: nothing in the plan, `there` in the guest");
        assert_eq!(found(&sandbox, &plan, &add), [line]);
        sandbox.as_node(&format!("rm .git/{name}"));
    }
    let emptied = "mv .git/config .git/kept; : >.git/config";
    let missing = [
        "origin.url = ssh://git@host/repo.git",
        "other.url = https://host/other.git",
    ];
    let missing = missing.map(|remote| {
        format!("/config: remote: `remote.{remote}` in the plan, nothing in the guest")
    });
    assert_eq!(found(&sandbox, &plan, emptied), missing);
    sandbox.as_node("mv .git/kept .git/config");
    let set = "git config extensions.worktreeConfig true; \
        git config -f .git/config.worktree core.worktree /home/node/other";
    let work_tree = "/config.worktree: rule: nothing in the plan, `core.worktree = /home/node/other` in the guest";
    assert!(found(&sandbox, &plan, set).contains(&work_tree.to_owned()));
    sandbox.as_node("rm .git/config.worktree");
    let shared = "cp -a .git ../real; echo ../../real >.git/commondir";
    let line = "/commondir: rule: nothing in the plan, `there` in the guest";
    assert!(found(&sandbox, &plan, shared).contains(&line.to_owned()));
    sandbox.as_node("rm -r .git/commondir ../real");
    let emptied = "b=$(git symbolic-ref HEAD); cp .git/$b .git/kept; : >.git/$b";
    let damaged =
        ": git status: `works` in the plan, `fatal: refs/heads/main is damaged` in the guest";
    assert_eq!(found(&sandbox, &plan, emptied), [damaged]);
    sandbox.as_node("mv .git/kept .git/refs/heads/main");
    let damaged =
        "/modules/lib: git status: `works` in the plan, `damaged` in the guest".to_owned();
    for (breaks, mends) in [
        ("cp HEAD kept; : >HEAD", "mv kept HEAD"),
        ("mv HEAD kept", "mv kept HEAD"),
        (
            "mv objects kept; mkdir objects",
            "rmdir objects; mv kept objects",
        ),
    ] {
        let breaks = format!("cd .git/modules/lib; {breaks}");
        assert_eq!(found(&sandbox, &plan, &breaks), [&*damaged], "{breaks}");
        sandbox.as_node(&format!("cd .git/modules/lib; {mends}"));
    }
    sandbox.as_node("git submodule deinit -q --all");
    let without_work_tree = found(&sandbox, &plan, "[ ! -e lib/README ]");
    assert_eq!(without_work_tree, [""; 0]);
    let broken = "echo '[' >>.git/modules/lib/config";
    let unreadable =
        "/modules/lib/config: git config: `works` in the plan, `unreadable` in the guest";
    assert_eq!(found(&sandbox, &plan, broken), [unreadable, &damaged]);
}

#[test]
fn the_check_finds_another_repository_and_other_hooks() {
    let (sandbox, plan) = provisioned();
    let hooks = "echo x >.git/hooks/pre-push; chmod 644 .git/hooks/pre-commit; echo x >>.git/hooks/pre-rebase.sample; \
                 rm .git/hooks/update.sample";
    let found_hooks: Vec<_> = found(&sandbox, &plan, hooks)
        .iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        found_hooks,
        [
            "/hooks/pre-commit mode",
            "/hooks/pre-rebase.sample sha256",
            "/hooks/update.sample type",
            "/hooks/pre-push type",
        ]
    );
    let lib = "echo x >.git/modules/lib/hooks/pre-push; echo ../.. >.git/modules/lib/commondir; \
               rm .git/index .git/modules/lib/index";
    let found_in_lib = found(&sandbox, &plan, lib);
    for line in [
        "/index: index: `there` in the plan, nothing in the guest",
        "/modules/lib/index: index: `there` in the plan, nothing in the guest",
        "/modules/lib/hooks/pre-push: type: nothing in the plan, `file` in the guest",
        "/modules/lib/commondir: rule: nothing in the plan, `there` in the guest",
    ] {
        assert!(
            found_in_lib.iter().any(|found| found == line),
            "{line}: {found_in_lib:?}"
        );
    }
    // The person goes on with the work on the host, and the agent in the guest.
    let outcome = sandbox
        .run(STEP)
        .args(["-q", "--replace-repository"])
        .plan(&plan)
        .end();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    sandbox.commit("project", "more", "more\n");
    sandbox.git("project", &["commit", "-q", "--amend", "-m", "amended"]);
    assert_eq!(
        found(&sandbox, &plan, "git commit -q --allow-empty -m new"),
        [""; 0]
    );

    let line = "/modules/lib: type: `directory` in the plan, nothing in the guest";
    let found_without = found(&sandbox, &plan, "mv .git/modules ../modules");
    assert!(
        found_without.contains(&line.to_owned()),
        "{found_without:?}"
    );
    sandbox.as_node("mv ../modules .git/modules");
    let other = "cp -r .git/hooks /tmp/h; rm -rf .git && git init -q --template= . && git commit -q --allow-empty -m other; \
                 rm -rf .git/hooks; mv /tmp/h .git/hooks";
    let another = ": commits: `DIR/project/.git` in the plan, `others` in the guest";
    assert_eq!(found(&sandbox, &plan, other), [another]);
    assert_eq!(
        found(&sandbox, &plan, "rm -rf .git"),
        [": type: `directory` in the plan, nothing in the guest"]
    );
}

/// Hundreds of remotes need only one call, and a truncated answer is not an answer.
#[test]
fn the_check_makes_one_call_and_refuses_a_truncated_answer() {
    let sandbox = Sandbox::with_guest();
    let mut plan = sandbox.plan();
    let remote = |number| {
        let (name, upstream) = (
            format!("r{number}"),
            format!("ssh://git@host/team/r{number}"),
        );
        (name.clone(), json!({"Name": name, "Upstream": upstream}))
    };
    let remotes: serde_json::Map<_, _> = (0..100).map(remote).collect();
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({"remotes": remotes});
    let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    sandbox.calls();
    let check = || sandbox.run(STEP).args(["--check", "-q"]).plan(&plan);
    let outcome = check().end();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_eq!(
        sandbox.calls().len(),
        2,
        "the list of files, and git's answer"
    );

    // With one remote, the step is quicker.
    plan["spec"]["manifest"]["bottles"]["dev"]["git"]["remotes"] = Value::from_iter([remote(0)]);
    let check = || sandbox.run(STEP).args(["--check", "-q"]).plan(&plan);
    let list = "f 644 node:node\0/home/node/.gitconfig\0\0sha256\0";
    let list = format!("{list}{}\0\0", "0".repeat(64));
    let answer = format!("{list}\0\0\0\0\0bottle-check-0\tx (fetch)\n\0end\0");
    let run = |answer: &str| {
        let answer = sandbox.write("answer", answer);
        check().env("STAND_IN_ANSWER_FILE", answer).end()
    };
    assert_eq!(run(&answer).status, 3);
    // Each field ends with NUL. All other ends are tried beside the code.
    for (end, _) in answer
        .match_indices('\0')
        .filter(|(end, _)| *end >= list.len())
    {
        run(&answer[..end]).fails(1, "bottle-git: the guest's answer is cut short\n");
    }
}

#[test]
fn the_hosts_settings_for_git_are_ignored() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    let plan = sandbox.plan_with_repository();
    sandbox.write("home/.gitconfig", "[rubbish");
    for (name, value) in [
        ("GIT_DIR", "/nowhere"),
        ("GIT_CONFIG_PARAMETERS", "rubbish"),
        ("GIT_CONFIG_COUNT", "rubbish"),
        ("GIT_CEILING_DIRECTORIES", "/"),
    ] {
        let run = sandbox.run(STEP).env(name, value).plan(&plan);
        run.end().is(0, &plan, COPIED);
    }
}

/// A git that does not run says nothing about a configuration.
#[test]
fn a_git_that_fails_is_no_answer() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    let plan = sandbox.plan_with_repository();
    let missing = "read DIR/project/.git: run git: ";
    let config = "read DIR/project/.git/config: git: ";
    for (script, why) in [
        ("#!/nowhere\n", missing),
        ("#!/bin/sh\nexit 127\n", missing),
        ("#!/bin/sh\nkill -KILL $$\n", config),
        (
            "#!/bin/sh\necho 'fatal: Out of memory, malloc failed' >&2; exit 128\n",
            config,
        ),
    ] {
        let program = sandbox.write("bin/git", script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let outcome = sandbox.run(STEP).plan(&plan).end();
        assert_eq!(outcome.status, 1, "{script}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{script}: {outcome:?}");
        assert_eq!(sandbox.calls().len(), 0, "{script}");
    }
}

#[test]
fn the_hosts_git_reads_only_the_repositorys_configuration() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    let plan = sandbox.plan_with_repository();
    let log = sandbox.path("environment");
    let script = format!(
        "#!/bin/sh\nenv | grep -E '^(GIT_|LC_)' | sort >>'{}'\nexec /usr/bin/git \"$@\"\n",
        log.display()
    );
    let program = sandbox.write("bin/git", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = sandbox.run(STEP).env("GIT_SSH_COMMAND", "x");
    let run = run.env("LC_ALL", "de_DE.UTF-8").plan(&plan);
    run.end().is(0, &plan, COPIED);
    let expected = "GIT_CONFIG_GLOBAL=/dev/null\nGIT_CONFIG_NOSYSTEM=1\nLC_ALL=C\n";
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.replace(expected, ""), "");
    assert!(!log.is_empty());
}

#[test]
fn a_git_directory_that_is_bare_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    sandbox.git("project", &["config", "core.bare", "true"]);
    let plan = sandbox.plan_with_repository();
    let path = "DIR/project/.git";
    sandbox.run(STEP).plan(&plan).end().fails(
        1,
        &format!(
            "bottle-git: {path} is a bare repository: it has no work tree\n\
             hint: git --git-dir {path} worktree add NEW, or git clone {path} NEW, with NEW as spec.user_cwd\n"
        ),
    );
    assert!(sandbox.calls().is_empty());
}

#[test]
fn a_linked_worktree_ignores_the_work_tree_of_the_main_repository() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("main", &[]);
    sandbox.git("main", &["worktree", "add", "-q", "../project"]);
    sandbox.git("main", &["config", "core.worktree", "../../stage"]);
    arrives(&sandbox, COPIED);
}

#[test]
fn objects_that_a_submodule_borrows_are_copied() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("library", &[]);
    sandbox.git("library", &["repack", "-adq"]);
    sandbox.repository("project", &[]);
    let library = sandbox.path("library");
    let library = library.to_str().unwrap();
    sandbox.git(
        "project",
        &[
            "submodule",
            "--quiet",
            "add",
            "--reference",
            library,
            library,
            "lib",
        ],
    );
    sandbox.git("project", &["commit", "-q", "-m", "submodule"]);
    // The guest's repository borrows nothing.
    sandbox.git("project/lib", &["repack", "-adlq"]);
    let objects = sandbox.git("project/lib", &["count-objects", "-v"]);
    assert!(objects.starts_with("count: 0\n") && objects.contains("\nin-pack: 0\n"));
    assert!(objects.contains("\nalternate: "), "{objects}");
    let allowed = ["--allow-outside", "library/.git"];
    arrives_with(&sandbox, &allowed, COPIED);
    assert_eq!(
        sandbox.as_node("git -C lib fsck --connectivity-only && git -C lib log --format=%s"),
        "README\n"
    );
}
