//! `bottle-git`'s repository part with repositories as people have them, compared between host and guest by git.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has to panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use harness::{Sandbox, converges};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");
const DONE: &str = "bottle-git: DIR/project/.git in /home/node/workspace/.git (_s)\n";
const CLONE: &str = "hint: a clone has all of it: git clone --no-local OLD NEW, with NEW as spec.user_cwd\n";

fn with_repository(sandbox: &Sandbox) -> Value {
    let mut plan = sandbox.plan();
    plan["spec"]["copy_cwd"] = json!(true);
    plan
}

/// Provisions and asserts that git, as node, says of the guest's repository what it says of the host's.
#[track_caller]
fn arrives(sandbox: &Sandbox, stderr: &str) {
    let plan = with_repository(sandbox);
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, stderr);
    let checked = sandbox.run(STEP).args(["--check", "-q"]).plan(&plan).end();
    assert_eq!((checked.status, checked.stderr.as_str()), (0, ""));
    let [host, guest] = sandbox.states("project");
    assert_eq!(host, guest);
    let commit = "git -c user.name=N -c user.email=n@n commit -q --allow-empty -m new && git log -1 --format=%s";
    assert_eq!(sandbox.as_node(commit), "new\n");
    assert_eq!(
        sandbox.guest("ls -A /home/node/workspace/.git | grep -xE 'worktrees|gitdir|commondir|.*lock' || :"),
        ""
    );
}

#[test]
fn a_linked_worktree_is_a_repository_of_its_own() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("main", &[]);
    sandbox.git("main", &["worktree", "add", "-q", "-b", "topic", "../project"]);
    sandbox.git("main", &["worktree", "add", "-q", "-b", "third", "../third"]);
    sandbox.commit("project", "topic", "of the worktree\n");
    sandbox.commit("main", "other", "of the main one\n");
    // What each worktree has for itself: an index, a stopped merge, a stash, refs.
    sandbox.write("project/README", "changed\n");
    sandbox.git("project", &["stash", "-q"]);
    sandbox.write("project/staged", "staged\n");
    sandbox.git("project", &["add", "staged"]);
    sandbox.git("project", &["update-ref", "refs/worktree/mine", "HEAD"]);
    sandbox.git("main", &["merge", "-q", "--no-commit", "--no-ff", "topic"]);
    sandbox.git("main", &["update-ref", "refs/worktree/mains", "HEAD"]);
    sandbox.write("project/untracked", "untracked\n");
    arrives(&sandbox, DONE);
    assert_eq!(sandbox.as_node("git worktree list | wc -l"), "1\n");
}

#[test]
fn a_worktree_of_a_bare_repository_has_its_work_tree() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("main", &[]);
    sandbox.git("", &["clone", "-q", "--bare", "main", "bare"]);
    sandbox.git("bare", &["worktree", "add", "-q", "../project", "main"]);
    arrives(&sandbox, DONE);

    sandbox.guest("rm -rf /home/node/workspace");
    sandbox.git("bare", &["config", "extensions.worktreeConfig", "true"]);
    sandbox.git("bare", &["config", "--worktree", "core.bare", "true"]);
    sandbox.git("bare", &["config", "--unset", "core.bare"]);
    sandbox.git("project", &["config", "--worktree", "core.autocrlf", "false"]);
    arrives(&sandbox, DONE);
    assert_eq!(sandbox.as_node("git config core.autocrlf"), "false\n");
}

#[test]
fn a_worktree_converges_wherever_it_was_killed() {
    converges(STEP, |sandbox| {
        sandbox.repository("main", &[]);
        sandbox.git("main", &["worktree", "add", "-q", "../project"]);
        // It holds inode numbers and times.
        fs::remove_file(sandbox.path("main/.git/worktrees/project/index")).unwrap();
        let logs = sandbox.path("main/.git/worktrees/project/logs");
        fs::remove_dir_all(logs).unwrap();
        with_repository(sandbox)
    });
}

#[test]
fn submodules_come_along_and_one_can_be_the_project() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("library", &[]);
    sandbox.repository("above", &[]);
    let library = sandbox.path("library");
    sandbox.git("above", &["submodule", "--quiet", "add", library.to_str().unwrap(), "libs/lib"]);
    sandbox.git("above", &["commit", "-q", "-m", "submodule"]);
    sandbox.git("", &["clone", "-q", "--recurse-submodules", "above", "project"]);
    arrives(&sandbox, DONE);
    assert_eq!(sandbox.as_node("git -C libs/lib status --porcelain && git -C libs/lib log --format=%s"), "README\n");

    // The same in a linked worktree, whose submodules are elsewhere on the host.
    sandbox.guest("rm -rf /home/node/workspace");
    fs::rename(sandbox.path("project"), sandbox.path("main")).unwrap();
    sandbox.git("main", &["worktree", "add", "-q", "../project"]);
    sandbox.git("project", &["submodule", "--quiet", "update", "--init"]);
    let plan = with_repository(&sandbox);
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, DONE);
    let own = "git config -f .git/modules/libs/lib/config core.worktree; mkdir -p libs/lib && \
               git --git-dir .git/modules/libs/lib checkout -q -f && cat libs/lib/README";
    assert_eq!(sandbox.as_node(own), "../../../../libs/lib\nhello\n");

    sandbox.guest("rm -rf /home/node/workspace");
    fs::remove_dir_all(sandbox.path("project")).unwrap();
    fs::rename(sandbox.path("above"), sandbox.path("project")).unwrap();
    let mut plan = with_repository(&sandbox);
    plan["spec"]["user_cwd"] = json!(sandbox.path("project/libs/lib"));
    let stderr = DONE.replace("project/.git", "project/libs/lib/.git");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    let [host, guest] = sandbox.states("project/libs/lib");
    assert_eq!(host, guest);
}

#[test]
fn borrowed_objects_come_along() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("first", &[]);
    sandbox.git("first", &["repack", "-adq"]);
    sandbox.git("first", &["commit-graph", "write"]);
    sandbox.git("", &["clone", "-q", "--shared", "first", "second"]);
    sandbox.commit("second", "more", "more\n");
    sandbox.git("second", &["repack", "-adlq"]);
    sandbox.git("second", &["multi-pack-index", "write"]);
    sandbox.git("", &["clone", "-q", "--shared", "second", "project"]);
    sandbox.commit("project", "own", "own\n");
    arrives(&sandbox, DONE);
}

#[test]
fn every_object_format_and_every_kind_of_clone() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    for kind in ["sha256", "shallow", "partial", "split", "separate", "linked file", "packed"] {
        sandbox.repository("from", if kind == "sha256" { &["--object-format=sha256"] } else { &[] });
        sandbox.commit("from", "second", "second\n");
        sandbox.git("from", &["config", "uploadpack.allowFilter", "true"]);
        let url = format!("file://{}", sandbox.path("from").display());
        let clone = |options: &[&str]| sandbox.git("", &[&["clone", "-q"], options, &[&url, "project"]].concat());
        let mut stderr = DONE.to_owned();
        match kind {
            "shallow" => drop(clone(&["--depth=1"])),
            "partial" => {
                clone(&["--filter=blob:none"]);
                let warning = "is a partial clone: git fetches what is missing from its remote when it needs it";
                stderr.insert_str(0, &format!("bottle-git: warning: DIR/project/.git {warning}\n"));
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
        arrives(&sandbox, &stderr);
        sandbox.guest("rm -rf /home/node/workspace");
        for directory in ["from", "project", "elsewhere"] {
            let _ = fs::remove_dir_all(sandbox.path(directory));
        }
    }
}

#[test]
fn what_cannot_be_whole_is_refused_with_the_way_out() {
    let sandbox = Sandbox::new();
    let plan = with_repository(&sandbox);
    let refused = |why: &str, hint: &str| {
        sandbox.run(STEP).plan(&plan).end().fails(1, &format!("bottle-git: {why}\n{hint}"));
        assert!(sandbox.calls().is_empty());
        for directory in ["project", "from"] {
            let _ = fs::remove_dir_all(sandbox.path(directory));
        }
    };
    sandbox.git("", &["init", "-q", "--bare", "project"]);
    let bare = "git --git-dir DIR/project worktree add NEW, or git clone DIR/project NEW, with NEW as spec.user_cwd";
    refused("DIR/project is a bare repository: it has no work tree", &format!("hint: {bare}\n"));

    sandbox.git("", &["init", "-q", "--ref-format=reftable", "project"]);
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
        "DIR/project/.git: it borrows objects from another repository: error: unable to normalize alternate object path: \
         DIR/from/.git/objects",
        "hint: while the other one is there, git repack -a -d && rm .git/objects/info/alternates makes it whole, and git clone \
         --dissociate a whole copy\n",
    );

    sandbox.repository("project", &[]);
    fs::rename(sandbox.path("project/.git/objects"), sandbox.path("from")).unwrap();
    symlink("../../from", sandbox.path("project/.git/objects")).unwrap();
    refused("DIR/project/.git/objects is a link that leads out of the repository", CLONE);

    sandbox.write("project/.git", "gitdir: elsewhere\n");
    refused(
        "DIR/project/.git leads to no repository: fatal: not a git repository: DIR/project/elsewhere",
        "hint: git worktree repair, or git submodule update, mends what has been moved\n",
    );
}

#[test]
fn a_work_tree_that_is_named_is_no_obstacle_where_it_is_the_project() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("project", &[]);
    sandbox.git("project", &["config", "core.worktree", sandbox.path("project").to_str().unwrap()]);
    arrives(&sandbox, DONE);
}

/// The repository's secrets: each holds the word `s3cret`.
const SECRETS: &[(&str, &str)] = &[
    ("remote.origin.url", "https://ada:s3cret@host/repo.git"),
    ("remote.origin.pushurl", "https://s3cret@elsewhere/repo.git"),
    ("remote.origin.proxy", "http://ada:s3cret@proxy"),
    ("remote.second.url", "ssh://git:s3cret@host/second.git"),
    ("remote.third.url", "https://host/third.git?private_token=s3cret"),
    ("http.extraheader", "Authorization: Basic s3cret"),
    ("http.https://host/.extraheader", "Authorization: Basic s3cret"),
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
    ("branch.topic.description", "see https://ada:s3cret@host/topic"),
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
        sandbox.git("project", &["config", "-f", ".git/config", "--add", key, value]);
    }
    for (key, value) in [("user.name", "Somebody Else"), ("user.email", "e@e"), ("commit.gpgsign", "true")] {
        sandbox.git("project", &["config", "-f", ".git/config", key, value]);
    }
    let config = fs::read_to_string(sandbox.path("project/.git/config")).unwrap();
    sandbox.write("project/.git/config", config + "# the old one: s3cret\n");
    let mut plan = with_repository(sandbox);
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({
        "remotes": {"host": {"Name": "repo", "Upstream": "ssh://git@host/repo.git"}},
        "user": {"name": "Ada Lovelace", "email": "ada@example.com"},
    });
    plan
}

#[test]
fn no_secret_of_the_host_reaches_the_guest() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    let plan = with_secrets(&sandbox);
    fs::create_dir(sandbox.path("project/.git/modules")).unwrap();
    sandbox.git("", &["init", "-q", "--separate-git-dir", "project/.git/modules/lib", "lib"]);
    sandbox.git("lib", &["config", "http.extraheader", "s3cret"]);
    sandbox.git("project", &["config", "-f", ".git/config", "extensions.worktreeConfig", "true"]);
    sandbox.write("project/.git/config.worktree", "[credential]\n\thelper = s3cret\n");
    for file in ["credentials", "config.bak", "cookies/s3cret"] {
        sandbox.write(format!("project/.git/{file}"), "s3cret\n");
    }
    for file in ["index.lock", "config.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_1", "lfs/logs/1"] {
        sandbox.write(format!("project/.git/{file}"), "s3cret\n");
    }
    let log = "0000000000000000000000000000000000000000 0000000000000000000000000000000000000000 A <a@b> 0 +0000\t\
               pull https://ada:s3cret@host/repo.git: Fast-forward\n";
    sandbox.write("project/.git/logs/refs/heads/old", log);
    sandbox.write("project/.git/FETCH_HEAD", "x\t\tbranch 'main' of https://s3cret@host/repo\n");
    let pipe = sandbox.path("project/.git/s3cret.fifo");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());

    sandbox.write("project/.git/svn/a file", "of another tool's\n");
    let why = "is left out: it may hold secrets; --keep-config keeps it";
    let unknown = |name: &str| format!("bottle-git: warning: repository: DIR/project/.git/{name} {why}\n");
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
    assert!(!outcome.stderr.contains("s3cret"), "{}", outcome.stderr);
    sandbox.guest("rm -rf /home/node/workspace");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);

    assert_eq!(sandbox.search("s3cret"), "");
    assert_eq!(sandbox.guest("cat '/home/node/workspace/.git/svn/a file'"), "of another tool's\n");
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
    assert!(!script.stdout.contains("s3cret"));
    let ran = sandbox.run("sh").stdin(script.stdout).end();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(sandbox.search("s3cret"), "");
    sandbox.as_node("git commit -q --allow-empty -m new");
    let heads = |tree: &str| tree.lines().filter(|line| !line.contains("/objects/")).count();
    assert_eq!(heads(&tree), heads(&sandbox.tree()));
}

#[test]
fn who_wants_it_all_gets_it() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    let plan = with_secrets(&sandbox);
    sandbox.write("project/.git/credentials", "s3cret\n");
    sandbox.write("project/.git/index.lock", "");
    let args = ["--only", "repository", "--keep-config"];
    sandbox.run(STEP).args(args).plan(&plan).end().is(0, &plan, DONE);
    let config = fs::read_to_string(sandbox.path("project/.git/config")).unwrap();
    assert_eq!(sandbox.as_node("cat .git/config .git/credentials"), config + "s3cret\n");
    assert_eq!(sandbox.as_node("ls .git | grep lock || :"), "");
}

#[test]
fn without_git_on_the_host_nothing_is_copied_unless_as_it_is() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("project", &[]);
    let plan = with_repository(&sandbox);
    let run = || sandbox.run(STEP).env("PATH", sandbox.path("bin"));
    let stderr = "bottle-git: read DIR/project/.git: run git: No such file or directory (os error 2)\n\
                  hint: git takes the secrets out of the configuration; --keep-config copies a .git directory as it is\n";
    run().plan(&plan).end().fails(1, stderr);
    assert!(sandbox.calls().is_empty());
    let tools = sandbox.only(&[]);
    let program = sandbox.path("bin/smolvm");
    // smolvm's own PATH is whole.
    let wrapper = format!("#!/bin/sh\nPATH=/usr/bin:/bin:/usr/sbin:/sbin exec {} \"$@\"\n", program.display());
    let wrapper = sandbox.write("wrapper", wrapper);
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = sandbox.run(STEP).env("PATH", tools).args(["--keep-config", "--smolvm"]).args([&wrapper]);
    run.plan(&plan).end().is(0, &plan, DONE);
    assert_eq!(sandbox.as_node("git log --format=%s"), "README\n");
}

#[test]
fn what_is_broken_is_copied_without_its_secrets() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.write("project/.git/config", "[http]\n\textraheader = s3cret\n[core]\n\tbare = false\n");
    sandbox.write("project/.git/refs/heads/main", "broken\n");
    let plan = with_repository(&sandbox);
    let stderr = format!(
        "bottle-git: warning: DIR/project/.git is no repository that git can read: copied as it is\n\
         bottle-git: warning: left out of DIR/project/.git/config in the guest: http.extraheader; --keep-config keeps \
         it\n{DONE}"
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
         bottle-git: warning: DIR/project/.git/config is left out: git cannot read it\n{DONE}"
    );
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    assert_eq!(sandbox.search("s3cret"), "");
}

/// No program that the repository names is run on the host.
#[test]
fn nothing_of_the_repository_is_run_on_the_host() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    let trap = sandbox.write("trap", format!("#!/bin/sh\ntouch {}\n", sandbox.path("sprung").display()));
    fs::set_permissions(&trap, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let trap = trap.to_str().unwrap().to_owned();
    for key in ["core.fsmonitor", "core.sshCommand", "core.pager", "core.alternateRefsCommand", "core.editor"] {
        sandbox.git("project", &["config", "-f", ".git/config", key, &trap]);
    }
    sandbox.git("project", &["config", "-f", ".git/config", "core.hooksPath", sandbox.path("").to_str().unwrap()]);
    sandbox.repository("other", &[]);
    sandbox
        .write("project/.git/objects/info/alternates", format!("{}\n", sandbox.path("other/.git/objects").display()));
    let plan = with_repository(&sandbox);
    // The variables of a git around us are none of the repository's business either.
    let run = sandbox.run(STEP).env("GIT_DIR", "/nowhere").env("GIT_CONFIG_COUNT", "x");
    let outcome = run.env("GIT_OBJECT_DIRECTORY", "/nowhere").plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(!sandbox.path("sprung").exists());
}

/// Whichever call fails, the guest has no half of anything, and what was there before is there.
#[test]
fn a_failure_leaves_nothing_half_done() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("project", &[]);
    let plan = with_repository(&sandbox);
    let seen = "cd /home/node; [ ! -d workspace ] || ls -A workspace; [ ! -d workspace/.git ] || \
                git -c safe.directory='*' -C workspace log --format=%s";
    for existing in [false, true] {
        if existing {
            assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
            sandbox.as_node("git -c user.name=N -c user.email=n@n commit -q --allow-empty -m new");
        }
        for call in 1..=3 {
            for fault in ["SMOLVM_FAKE_FAIL", "SMOLVM_FAKE_HANG"] {
                let value = if fault == "SMOLVM_FAKE_FAIL" { format!("{call} 1 no") } else { call.to_string() };
                let _ = fs::remove_file(sandbox.path("log.count"));
                let run = sandbox.run(STEP).args(["--replace-repository", "--timeout", "1s"]).env(fault, value);
                assert_eq!(run.plan(&plan).end().status, 1);
                let expected = if existing { ".git\nnew\nREADME\n" } else { "" };
                assert_eq!(sandbox.guest(seen), expected, "{fault} at call {call}");
                assert_eq!(sandbox.staged(), [""; 0]);
            }
        }
    }
    // In the middle of unpacking: the old one is put aside, and what took its place is not whole.
    sandbox.guest("cd /home/node/workspace && mkdir -p ..git.bottle/root && mv .git ..git.bottle/old");
    let _ = fs::remove_file(sandbox.path("log.count"));
    let run = sandbox.run(STEP).args(["--replace-repository"]).env("SMOLVM_FAKE_FAIL", "3 1 no");
    assert_eq!(run.plan(&plan).end().status, 1);
    assert_eq!(sandbox.guest(seen), ".git\nnew\nREADME\n");
}

#[test]
fn no_further_address_of_a_remote_leads_around_the_gate() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    sandbox.repository("main", &[]);
    sandbox.git("main", &["remote", "add", "origin", "ssh://git@host/repo.git"]);
    sandbox.git("main", &["remote", "add", "odd", "https://ada:pa's3cret\"<> `x@host/odd.git"]);
    sandbox.git("main", &["config", "extensions.worktreeConfig", "true"]);
    sandbox.git("main", &["worktree", "add", "-q", "../project"]);
    sandbox.git("project", &["config", "--worktree", "remote.origin.url", "https://elsewhere/repo.git"]);
    sandbox.write("main/.git/remotes/old", "URL: https://elsewhere/old.git\n");
    for file in ["CREDENTIALS", "backup/config", "hooks/config.bak", ".env"] {
        sandbox.write(format!("main/.git/{file}"), "s3cret\n");
    }
    let mut plan = with_repository(&sandbox);
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] =
        json!({"remotes": {"host": {"Name": "repo", "Upstream": "ssh://git@host/repo.git"}}});
    let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("config.worktree in the guest: remote.origin.url"), "{}", outcome.stderr);
    let ways = "git remote get-url --push --all origin; git remote get-url odd; git remote get-url old 2>&1 || :";
    let gate = "git://127.0.0.1:55555/repo.git\n";
    assert_eq!(sandbox.as_node(ways), format!("{gate}https://host/odd.git\nerror: No such remote 'old'\n"));
    assert_eq!(sandbox.search("s3cret"), "");
    assert_eq!(sandbox.run(STEP).args(["--check", "-q"]).plan(&plan).end().status, 0);
}

#[test]
fn objects_that_are_elsewhere_by_a_link_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    sandbox.git("project", &["gc", "-q"]);
    let moved = sandbox
        .run("sh")
        .args(["-c", "mv project/.git/objects/pack there && ln -s ../../../there project/.git/objects/pack"]);
    assert_eq!(moved.end().status, 0);
    let plan = with_repository(&sandbox);
    sandbox.run(STEP).plan(&plan).end().fails(
        1,
        "bottle-git: DIR/project/.git/objects/pack is a link that leads out of the repository\n\
         hint: a clone has all of it: git clone --no-local OLD NEW, with NEW as spec.user_cwd\n",
    );
    assert!(sandbox.calls().is_empty());
}
