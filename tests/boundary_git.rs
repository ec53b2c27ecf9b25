//! `bottle-git` with projects that are hostile: none of them names another thing of the host's, and
//! none of them keeps the step from ending.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::symlink;

use harness::{CLONE, COPIED, Run, Sandbox, tool};
use serde_json::json;

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");
const REPAIR: &str = "git worktree repair, or git submodule update, mends what has been moved";
const WHOLE: &str = "while the other one is there, git repack -a -d && rm \
    .git/objects/info/alternates makes it whole, and git clone --dissociate a whole copy";
/// The memory limit of the step and of the programs that it starts. The largest files of these
/// tests are larger.
const MEMORY: &str = "--as=1073741824";

/// Makes a host with a secret and a private repository outside the project.
fn host() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("home/.ssh/id_ed25519", "s3cret\n");
    sandbox.repository("private", &[]);
    sandbox
}

fn link(sandbox: &Sandbox, target: &str, name: &str) {
    let name = sandbox.path(name);
    let _ = fs::remove_file(&name);
    let _ = fs::remove_dir_all(&name);
    fs::create_dir_all(name.parent().unwrap()).unwrap();
    symlink(target, name).unwrap();
}

fn fifo(sandbox: &Sandbox, name: &str) {
    let name = sandbox.path(name);
    let _ = fs::remove_file(&name);
    assert!(tool("mkfifo").arg(name).status().unwrap().success());
}

/// Prepares to run the step with little memory.
fn step(sandbox: &Sandbox) -> Run<'_> {
    sandbox.run("prlimit").args([MEMORY, STEP])
}

/// Asserts that the project is refused before the first call, and removes it.
#[track_caller]
fn refused(sandbox: &Sandbox, args: &[&str], why: &str, hint: &str) {
    let plan = sandbox.plan_with_repository();
    let outcome = step(sandbox).args(args).plan(&plan).end();
    outcome.fails(1, &format!("bottle-git: {why}\n{hint}"));
    assert!(sandbox.calls().is_empty());
    fs::remove_dir_all(sandbox.path("project")).unwrap();
}

/// Provisions a guest and lists what is in its repository, without what every repository has.
#[track_caller]
fn arrived(sandbox: &Sandbox, args: &[&str]) -> (String, Vec<String>) {
    let plan = sandbox.plan_with_repository();
    let outcome = sandbox.run(STEP).args(args).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let listed = sandbox
        .guest("cd /home/node/workspace/.git && find . ! -type d -printf '%P\\n' | LC_ALL=C sort");
    let is_usual = |path: &&str| path.ends_with(".sample") || path.starts_with("objects/");
    let files = listed.lines().filter(|path| !is_usual(path));
    (outcome.stderr, files.map(str::to_owned).collect())
}

#[test]
fn borrowed_objects_are_in_the_project_or_allowed() {
    let sandbox = host();
    let borrow = |from: &str| {
        sandbox.repository("project", &[]);
        sandbox.write("project/.git/objects/info/alternates", format!("{from}\n"));
    };
    let file = "DIR/project/.git/objects/info/alternates";
    let outside = |named: &str, directory: &str| {
        (
            format!("{file}: it borrows objects from {named}, which is outside the project"),
            format!("hint: --allow-outside {directory} lets them in if you know them; {WHOLE}\n"),
        )
    };
    let none = |named: &str| format!("{file}: {named} is not the objects of a repository");
    let hint =
        "hint: git fsck says whether the repository needs it; without the line it stays out\n";

    let ssh = sandbox.path("home/.ssh");
    let ssh = ssh.to_str().unwrap();
    borrow(ssh);
    let (why, way_out) = outside("DIR/home/.ssh", "DIR/home");
    refused(&sandbox, &[], &why, &way_out);
    borrow(ssh);
    refused(
        &sandbox,
        &["--allow-outside", "home"],
        &none("DIR/home/.ssh"),
        hint,
    );

    // The same by another path, by a link, and from a repository that lends only to known ones.
    borrow("../../../home/.ssh");
    let (why, way_out) = outside("DIR/project/.git/objects/../../../home/.ssh", "DIR/home");
    refused(&sandbox, &[], &why, &way_out);
    borrow("../../lent/objects");
    link(&sandbox, "../../home/.ssh", "project/lent/objects");
    let (why, way_out) = outside("DIR/project/.git/objects/../../lent/objects", "DIR/home");
    refused(&sandbox, &[], &why, &way_out);
    borrow(sandbox.path("private/.git/objects").to_str().unwrap());
    let (why, way_out) = outside("DIR/private/.git/objects", "DIR/private/.git");
    refused(&sandbox, &[], &why, &way_out);

    // In the project, but not the objects of a repository.
    borrow("../../src");
    fs::create_dir(sandbox.path("project/src")).unwrap();
    refused(
        &sandbox,
        &[],
        &none("DIR/project/.git/objects/../../src"),
        hint,
    );

    // A lender that is in the project lends from elsewhere.
    borrow("../../lender/.git/objects");
    sandbox.repository("project/lender", &[]);
    sandbox.write(
        "project/lender/.git/objects/info/alternates",
        format!("{ssh}\n"),
    );
    let why = "DIR/project/lender/.git/objects/info/alternates: it borrows objects from DIR/home/.ssh, which is outside \
               the project";
    let way_out =
        format!("hint: --allow-outside DIR/home lets them in if you know them; {WHOLE}\n");
    refused(&sandbox, &[], why, &way_out);

    // The list of lenders is itself a link, or is behind one.
    borrow("");
    sandbox.write("list", format!("{ssh}\n"));
    link(
        &sandbox,
        "../../../../list",
        "project/.git/objects/info/alternates",
    );
    let is_link = format!("{file} is a link, or is behind one");
    refused(&sandbox, &[], &is_link, CLONE);
    borrow("");
    link(&sandbox, "../information", "project/.git/objects/info");
    sandbox.write("project/.git/information/alternates", "");
    refused(&sandbox, &[], &is_link, CLONE);
}

#[test]
fn nothing_but_objects_is_copied_from_a_directory_of_objects() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    sandbox.commit("project", "second", "second\n");
    sandbox.git("project", &["repack", "-adq"]);
    sandbox.git("project", &["commit-graph", "write", "--split"]);
    sandbox.git("project", &["multi-pack-index", "write", "--bitmap"]);
    sandbox.commit("project", "third", "third\n");
    sandbox.repository("project/lender", &[]);
    sandbox.git("project/lender", &["update-server-info"]);
    sandbox.write(
        "project/.git/objects/info/alternates",
        "../../lender/.git/objects\n",
    );
    for objects in ["project/.git/objects", "project/lender/.git/objects"] {
        for name in [
            "credentials",
            "ab/credentials",
            "secrets/ab",
            "pack/id_ed25519",
            "pack/pack-1.txt",
            "info/secret",
            "info/commit-graphs/secret",
            "ab/0123/4567",
        ] {
            sandbox.write(format!("{objects}/{name}"), "s3cret\n");
        }
        let hex = "0123456789abcdef0123456789abcdef012345";
        link(&sandbox, "/etc/hostname", &format!("{objects}/cd/{hex}"));
    }
    sandbox.write("project/.git/objects/pack/other.pack", "s3cret\n");
    let packs = sandbox.guest("true") + &sandbox.git("project", &["count-objects", "-v"]);
    assert!(packs.contains("\npacks: 1\n"), "{packs}");
    let host = "cd project/.git/objects && find . -type f | grep -vE 'credentials|secret|id_|txt|alternates|0123|other' | sort";
    let host = sandbox.sh(host).stdout;
    let (stderr, _) = arrived(&sandbox, &[]);
    assert_eq!(
        stderr,
        format!(
            "bottle-git: warning: repository: DIR/project/.git/objects/pack/other.pack is left out: it has no name that git \
             gives a pack\n{COPIED}"
        )
    );
    assert_eq!(sandbox.search("s3cret"), "");
    let guest = sandbox.guest("cd /home/node/workspace/.git/objects && find . ! -type d | sort");
    for name in host.lines() {
        assert!(guest.contains(name), "{name} is missing of {guest}");
    }
    assert_eq!(
        sandbox.as_node("git fsck && git log --format=%s"),
        "third\nsecond\nREADME\n"
    );
}

#[test]
fn a_git_directory_is_in_the_project_or_names_the_project() {
    let sandbox = host();
    sandbox.git("private", &["worktree", "add", "-q", "../tree"]);
    sandbox.repository("private/library", &[]);
    let unclaimed = |directory: &str, what: &str| {
        (
            format!("DIR/project/.git: {directory} does not name it as its own"),
            format!(
                "hint: if it is the project's own, {REPAIR}, and --allow-outside {what} lets it in\n"
            ),
        )
    };
    let linked = |target: &str| {
        (
            format!("DIR/project/.git is a link to {target}"),
            format!(
                "hint: if that is the project's own repository, --allow-outside {target} lets it in, and a file that says \
                 `gitdir: {target}` is git's own way\n"
            ),
        )
    };
    for (target, found) in [
        ("../home", "DIR/home"),
        ("../private/.git", "DIR/private/.git"),
        (
            "../private/.git/worktrees/tree",
            "DIR/private/.git/worktrees/tree",
        ),
    ] {
        link(&sandbox, target, "project/.git");
        let (why, hint) = linked(found);
        refused(&sandbox, &[], &why, &hint);
    }
    link(&sandbox, "../home", "project/.git");
    let (why, hint) = linked("DIR/home");
    refused(&sandbox, &["--allow-outside", "home"], &why, &hint);

    let private = "DIR/private/.git";
    let (why, hint) = unclaimed(private, private);
    for target in ["../private/.git", "../private/.git/worktrees/tree"] {
        sandbox.write("project/.git", format!("gitdir: {target}\n"));
        refused(&sandbox, &[], &why, &hint);
    }
    // The repository does not know a copy of a worktree's directory.
    sandbox.write("project/.git", "gitdir: own/worktrees/tree\n");
    sandbox.write("project/own/worktrees/tree/HEAD", "ref: refs/heads/main\n");
    sandbox.write(
        "project/own/worktrees/tree/commondir",
        "../../../../private/.git\n",
    );
    let file = sandbox.path("project/.git");
    sandbox.write("project/own/worktrees/tree/gitdir", file.to_str().unwrap());
    refused(&sandbox, &[], &why, &hint);
    // Nor does it know one that is behind a link.
    sandbox.write("project/.git", "gitdir: own/worktrees/tree\n");
    link(&sandbox, "../private/.git", "project/own");
    refused(&sandbox, &[], &why, &hint);
    // A directory that claims to belong to a worktree.
    sandbox.repository("project", &[]);
    sandbox.write("project/.git/commondir", "../../private/.git\n");
    refused(&sandbox, &[], &why, &hint);
    // The entry of a worktree that names another project.
    sandbox.write("project/.git", "gitdir: ../home/.ssh\n");
    let why = "DIR/project/.git leads to no repository: DIR/home/.ssh: it is no repository";
    refused(&sandbox, &[], why, &format!("hint: {REPAIR}\n"));
    sandbox.write("project/.git", "gitdir: ../home/.ssh/id_ed25519\n");
    let why =
        "DIR/project/.git leads to no repository: DIR/home/.ssh/id_ed25519: it is no repository";
    refused(&sandbox, &[], why, &format!("hint: {REPAIR}\n"));
    sandbox.write("project/.git", "s3cret\n");
    refused(
        &sandbox,
        &[],
        "DIR/project/.git names no repository",
        &format!("hint: {REPAIR}\n"),
    );
}

#[test]
fn links_in_a_repository_are_never_followed() {
    let sandbox = host();
    sandbox.write("list", "[http]\n\textraheader = s3cret\n");
    for part in [
        "HEAD",
        "config",
        "config.worktree",
        "index",
        "info",
        "logs",
        "objects",
        "objects/pack",
        "objects/ab",
        "objects/pack/pack-1.pack",
        "packed-refs",
        "refs",
        "refs/heads",
        "shallow",
    ] {
        for place in ["project/.git", "project/.git/modules/lib"] {
            sandbox.repository("project", &[]);
            if place.ends_with("lib") {
                let args = [
                    "init",
                    "-q",
                    "--separate-git-dir=project/.git/modules/lib",
                    "project/lib",
                ];
                fs::create_dir_all(sandbox.path("project/.git/modules")).unwrap();
                sandbox.git("", &args);
            }
            let target = sandbox.path(if part.contains('.') || part == "HEAD" {
                "list"
            } else {
                "home"
            });
            link(
                &sandbox,
                target.to_str().unwrap(),
                &format!("{place}/{part}"),
            );
            let why = format!("DIR/{place}/{part} is a link that leads out of the repository");
            refused(&sandbox, &[], &why, CLONE);
        }
    }
    for (target, name) in [
        ("../..", "modules"),
        ("../../home", "modules"),
        ("../../../private/.git", "modules/x"),
        ("../../../../private/.git", "modules/x/y"),
        ("nowhere", "modules"),
    ] {
        sandbox.repository("project", &[]);
        link(&sandbox, target, &format!("project/.git/{name}"));
        let why = format!("DIR/project/.git/{name} is a link, and git makes none there");
        refused(&sandbox, &[], &why, CLONE);
    }
    // Not even a link to a file in the repository is followed.
    sandbox.repository("project", &[]);
    fs::rename(
        sandbox.path("project/.git/config"),
        sandbox.path("project/.git/other"),
    )
    .unwrap();
    link(&sandbox, "other", "project/.git/config");
    let why = "DIR/project/.git/config is a link, or is behind one";
    refused(&sandbox, &[], why, CLONE);
}

#[test]
fn the_configuration_of_a_worktree_is_always_filtered() {
    let sandbox = Sandbox::with_guest();
    for value in [
        None,
        Some("false"),
        Some("2"),
        Some("1k"),
        Some("-1"),
        Some("0x1"),
        Some("true"),
    ] {
        sandbox.repository("project", &[]);
        fs::create_dir(sandbox.path("project/.git/modules")).unwrap();
        let args = [
            "init",
            "-q",
            "--separate-git-dir=project/.git/modules/lib",
            "project/lib",
        ];
        sandbox.git("", &args);
        for directory in ["project/.git", "project/.git/modules/lib"] {
            if let Some(value) = value {
                sandbox.git(
                    directory,
                    &["config", "-f", "config", "extensions.worktreeConfig", value],
                );
            }
            let text = "[http]\n\textraheader = s3cret\n[core]\n\tautocrlf = input\n";
            sandbox.write(format!("{directory}/config.worktree"), text);
        }
        let (stderr, _) = arrived(&sandbox, &[]);
        let left_out = |file: &str| {
            format!(
                "bottle-git: warning: left out of DIR/project/.git/{file}config.worktree in the guest: http.extraheader; \
                 --keep-config keeps it\n"
            )
        };
        assert_eq!(
            stderr,
            format!("{}{}{COPIED}", left_out(""), left_out("modules/lib/")),
            "{value:?}"
        );
        assert_eq!(sandbox.search("s3cret"), "");
        assert_eq!(
            sandbox.as_node("cat .git/config.worktree .git/modules/lib/config.worktree"),
            "[core]\n\tautocrlf = input\n".repeat(2)
        );
        sandbox.guest("rm -r /home/node/workspace");
        fs::remove_dir_all(sandbox.path("project")).unwrap();
    }
}

/// This holds also if each worktree has a setting of its own.
#[test]
fn git_decides_whether_a_repository_is_bare() {
    let sandbox = Sandbox::new();
    let hint = "hint: git --git-dir DIR/project/.git worktree add NEW, or git clone DIR/project/.git NEW, with NEW as \
                spec.user_cwd\n";
    let why = "DIR/project/.git is a bare repository: it has no work tree";
    for value in ["true", "1k", "-1", "on", "YES"] {
        sandbox.repository("project", &[]);
        sandbox.git("project", &["config", "core.bare", value]);
        refused(&sandbox, &[], why, hint);
        sandbox.repository("project", &[]);
        sandbox.git("project", &["config", "extensions.worktreeConfig", value]);
        sandbox.write(
            "project/.git/config.worktree",
            format!("[core]\nbare = {value}\n"),
        );
        refused(&sandbox, &[], why, hint);
    }
    let plan = sandbox.plan_with_repository();
    for (lines, is_bare) in [
        ("bare", true),
        ("bare = false\n\tbare = true", true),
        ("bare = true\n\tbare = false", false),
        ("bare = off", false),
        ("bare = 0", false),
    ] {
        sandbox.repository("project", &[]);
        let config = format!("[core]\n\trepositoryformatversion = 0\n\t{lines}\n");
        sandbox.write("project/.git/config", config);
        if is_bare {
            refused(&sandbox, &[], why, hint);
        } else {
            let outcome = step(&sandbox).plan(&plan).end();
            assert_eq!(outcome.status, 0, "{lines}: {outcome:?}");
            sandbox.calls();
            fs::remove_dir_all(sandbox.path("project")).unwrap();
        }
    }
}

#[test]
fn only_files_that_git_knows_are_copied() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    let oid = "0123456789abcdef".repeat(4);
    let unknown = [
        ".aws",
        ".env.local",
        "KEY",
        "api_key",
        "git-crypt",
        "gpg.asc",
        "hooks/helper",
        "hooks/pre-commit.old",
        "info/secret",
        "lfs/credentials",
        "private_key",
        "server.pfx",
    ];
    for name in [".aws/credentials", "git-crypt/keys/default"] {
        sandbox.write(format!("project/.git/{name}"), "s3cret\n");
    }
    for name in unknown {
        if !sandbox.path(format!("project/.git/{name}")).is_dir() {
            sandbox.write(format!("project/.git/{name}"), "s3cret\n");
        }
    }
    let tools = ["svn/authors", "svn/id_rsa"];
    for name in tools {
        sandbox.write(format!("project/.git/{name}"), "s3cret\n");
    }
    let known = [
        "BISECT_LOG".to_owned(),
        "BISECT_START".to_owned(),
        "CHERRY_PICK_HEAD".to_owned(),
        "MERGE_RR".to_owned(),
        "hooks/pre-commit".to_owned(),
        "hooks/pre-push.legacy".to_owned(),
        "info/attributes".to_owned(),
        "info/sparse-checkout".to_owned(),
        format!("lfs/objects/01/23/{oid}"),
        "rebase-merge/git-rebase-todo".to_owned(),
        "refs/bisect/bad".to_owned(),
        "refs/heads/api_key".to_owned(),
        "rr-cache/0123456789abcdef0123456789abcdef01234567/preimage".to_owned(),
        "sequencer/todo".to_owned(),
        "svn/a file".to_owned(),
    ];
    let head = sandbox.git("project", &["rev-parse", "HEAD"]);
    for name in &known {
        sandbox.write(format!("project/.git/{name}"), &head);
    }
    let (stderr, files) = arrived(&sandbox, &[]);
    let mut names = [&unknown[..], &tools[..]].concat();
    names.sort_unstable();
    let warning = |name: &&str| {
        let why = "is left out: it may hold secrets; --keep-config keeps it";
        format!("bottle-git: warning: repository: DIR/project/.git/{name} {why}\n")
    };
    let warnings: String = names.iter().map(warning).collect();
    assert_eq!(stderr, format!("{warnings}{COPIED}"));
    assert_eq!(sandbox.search("s3cret"), "");
    let usual = [
        "COMMIT_EDITMSG",
        "HEAD",
        "config",
        "description",
        "index",
        "info/exclude",
        "logs/HEAD",
        "logs/refs/heads/main",
        "refs/heads/main",
    ];
    let mut expected: Vec<_> = usual.iter().map(ToString::to_string).chain(known).collect();
    expected.sort();
    assert_eq!(files, expected);

    sandbox.guest("rm -r /home/node/workspace");
    let (stderr, files) = arrived(&sandbox, &["--keep-config"]);
    assert_eq!(stderr, COPIED);
    assert!(
        files.contains(&"git-crypt/keys/default".to_owned()),
        "{files:?}"
    );
}

#[test]
fn no_address_in_any_file_contains_a_secret() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("project", &[]);
    let url = "https://host/repo.git?private_token=s3cret";
    let log = format!(
        "{0} {0} A <a@b> 0 +0000\tpull {url}: Fast-forward\n",
        "0".repeat(40)
    );
    sandbox.write("project/.git/logs/refs/heads/old", log);
    for name in ["FETCH_HEAD", "MERGE_MSG", "SQUASH_MSG", "TAG_EDITMSG"] {
        sandbox.write(
            format!("project/.git/{name}"),
            format!("branch 'main' of {url}#s3cret here\n"),
        );
    }
    sandbox.git(
        "project",
        &["config", "push.pushOption", "ci.variable=s3cret"],
    );
    sandbox.git(
        "project",
        &[
            "config",
            "branch.main.description",
            "https://host/a https://ada:s3cret@host/b",
        ],
    );
    sandbox.git(
        "project",
        &[
            "config",
            "remote.origin.url",
            "https://host/a,https://ada:s3cret@host/b",
        ],
    );
    let (stderr, _) = arrived(&sandbox, &[]);
    assert!(!stderr.contains("s3cret"), "{stderr}");
    assert_eq!(sandbox.search("s3cret"), "");
    assert_eq!(
        sandbox.as_node(
            "cat .git/MERGE_MSG; git config branch.main.description; git config remote.origin.url"
        ),
        "branch 'main' of https://host/repo.git here\nhttps://host/a https://host/b\nhttps://host/a,https://host/b\n"
    );
}

/// Endless paths, endless directories, FIFOs and files of any size: the step ends, and needs little
/// memory.
#[test]
fn nothing_in_a_repository_keeps_the_step_from_ending() {
    let sandbox = host();
    sandbox.repository("project", &[]);
    for name in ["a", "b"] {
        link(&sandbox, ".", &format!("project/.git/modules/{name}"));
    }
    let plan = sandbox.plan_with_repository();
    let outcome = step(&sandbox).plan(&plan).end();
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    fs::remove_dir_all(sandbox.path("project")).unwrap();

    sandbox.repository("project", &[]);
    fs::create_dir_all(sandbox.path("project/.git/modules").join("a/".repeat(60))).unwrap();
    let deep = format!(
        "DIR/project/.git/modules{}: too many directories for submodules",
        "/a".repeat(40)
    );
    refused(&sandbox, &[], &deep, CLONE);

    let alternates = "objects/info/alternates";
    for name in [
        "config",
        "config.worktree",
        "commondir",
        alternates,
        "modules/lib/config",
    ] {
        sandbox.repository("project", &[]);
        let lib = "project/.git/modules/lib";
        fs::create_dir_all(sandbox.path("project/.git/modules")).unwrap();
        sandbox.git(
            "",
            &[
                "init",
                "-q",
                &format!("--separate-git-dir={lib}"),
                "project/lib",
            ],
        );
        fifo(&sandbox, &format!("project/.git/{name}"));
        let why = format!("read DIR/project/.git/{name}: not a regular file");
        refused(&sandbox, &[], &why, "");
    }
    fs::create_dir(sandbox.path("project")).unwrap();
    fifo(&sandbox, "project/.git");
    let why = "read DIR/project/.git: neither a directory nor a file";
    refused(&sandbox, &[], why, "");
    // The step does not need these files. git hangs on them, on the host and in a guest.
    for name in [
        "HEAD",
        "packed-refs",
        "refs/heads/main",
        "logs/HEAD",
        "index",
    ] {
        sandbox.repository("project", &[]);
        fifo(&sandbox, &format!("project/.git/{name}"));
        let outcome = step(&sandbox).plan(&plan).end();
        assert_eq!(outcome.status, 0, "{name}: {}", outcome.stderr);
        sandbox.calls();
        fs::remove_dir_all(sandbox.path("project")).unwrap();
    }

    for (name, length, limit) in [
        ("config", 170 << 20, 1 << 20),
        ("config.worktree", 4 << 30, 1 << 20),
        ("commondir", 4 << 30, 1 << 14),
        (alternates, 4 << 30, 1 << 16),
    ] {
        sandbox.repository("project", &[]);
        sandbox.write(format!("project/.git/{name}"), "");
        let file = fs::File::options()
            .append(true)
            .open(sandbox.path(format!("project/.git/{name}")));
        file.unwrap().set_len(length).unwrap();
        let path = format!("DIR/project/.git/{name}");
        let why = format!("{path} is longer than {limit} bytes");
        let hint =
            format!("hint: git itself writes no such file; see what is in it: less {path}\n");
        refused(&sandbox, &[], &why, &hint);
    }
    sandbox.repository("project", &[]);
    let text = format!("[{}]\n{}", "a".repeat(10_000), "b\n".repeat(100_000));
    sandbox.write("project/.git/config", text);
    refused(
        &sandbox,
        &[],
        "DIR/project/.git/config has too many entries",
        "hint: see what is in it: less DIR/project/.git/config\n",
    );
}

/// The settings of all submodules together take little memory, however many there are.
#[test]
fn the_settings_of_all_submodules_are_limited() {
    let sandbox = host();
    sandbox.repository("project", &[]);
    let text = format!("[a]\n{}", "b=c\n".repeat(20_000));
    for number in 10..30 {
        let module = format!("project/.git/modules/{number}");
        fs::create_dir_all(sandbox.path(format!("{module}/objects"))).unwrap();
        sandbox.write(format!("{module}/HEAD"), "ref: refs/heads/main\n");
        sandbox.write(format!("{module}/config"), &text);
    }
    refused(
        &sandbox,
        &[],
        "DIR/project/.git/modules/14/config has too many entries",
        "hint: see what is in it: less DIR/project/.git/modules/14/config\n",
    );
}

/// A warning is short enough to be read.
#[test]
fn the_length_of_a_warning_is_limited() {
    let sandbox = Sandbox::new();
    sandbox.repository("project", &[]);
    let entries: Vec<_> = (0..50_000).map(|number| format!("b{number}\n")).collect();
    let config = sandbox.path("project/.git/config");
    let text = fs::read_to_string(&config).unwrap() + "[a]\n" + &entries.concat();
    fs::write(config, text).unwrap();
    let names: Vec<_> = (0..50).map(|number| format!("a.b{number}")).collect();
    let stderr = format!(
        "bottle-git: warning: left out of DIR/project/.git/config in the guest: {} and 49950 more; --keep-config keeps \
         it\n{COPIED}",
        names.join(", ")
    );
    let plan = sandbox.plan_with_repository();
    step(&sandbox).plan(&plan).end().is(0, &plan, &stderr);
}

/// On the host, git runs for one file at a time and in no repository, not even in the one of the
/// working directory.
#[test]
fn git_is_run_in_no_repository() {
    let sandbox = host();
    sandbox.repository("project", &[]);
    sandbox.write("trap", "[core]\n\tbare = true\n");
    sandbox.git(
        "project",
        &[
            "config",
            "include.path",
            sandbox.path("trap").to_str().unwrap(),
        ],
    );
    let log = "bin/git";
    let program = format!(
        "#!/bin/sh\necho \"$PWD $*\" | sed 's|/dev/fd/[0-9]*|FD|' >>{}\nPATH=/usr/bin:/bin exec git \"$@\"\n",
        sandbox.path("git.log").display()
    );
    sandbox.write(log, program);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(sandbox.path(log), mode).unwrap();
    fifo(&sandbox, ".git");
    let plan = sandbox.plan_with_repository();
    let stderr = "bottle-git: warning: left out of DIR/project/.git/config in the guest: include.path; --keep-config \
                  keeps it\n";
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &format!("{stderr}{COPIED}"));
    let ran = fs::read_to_string(sandbox.path("git.log")).unwrap();
    let mut commands: Vec<_> = ran
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    commands.sort_unstable();
    assert_eq!(commands, ["-C / config -f FD --no-includes -z --list"]);
}

/// git's own files prove it, so normal worktrees and submodules need no option.
#[test]
fn links_that_git_made_itself_belong_to_the_project() {
    let sandbox = Sandbox::with_guest();
    sandbox.repository("main", &[]);
    sandbox.repository("library", &[]);
    let library = sandbox.path("library");
    sandbox.git(
        "main",
        &[
            "submodule",
            "--quiet",
            "add",
            library.to_str().unwrap(),
            "lib",
        ],
    );
    sandbox.git("main", &["commit", "-q", "-m", "submodule"]);
    // A worktree of a submodule, a nested submodule, and relative paths.
    sandbox.git("main/lib", &["worktree", "add", "-q", "../../project"]);
    let (stderr, _) = arrived(&sandbox, &[]);
    assert_eq!(stderr, COPIED);
    sandbox.guest("rm -r /home/node/workspace");
    sandbox.git("main/lib", &["worktree", "remove", "../../project"]);
    sandbox.git(
        "main",
        &[
            "-c",
            "worktree.useRelativePaths=true",
            "worktree",
            "add",
            "-q",
            "../project",
        ],
    );
    let gitdir = sandbox.path("main/.git/worktrees/project/gitdir");
    fs::write(gitdir, "../../../../project/.git\n").unwrap();
    assert_eq!(arrived(&sandbox, &[]).0, COPIED);

    let mut plan = sandbox.plan_with_repository();
    plan["spec"]["user_cwd"] = json!(sandbox.path("main/lib"));
    sandbox.guest("rm -r /home/node/workspace");
    let stderr = COPIED.replace("project/.git", "main/lib/.git");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    // A submodule with a configuration for each of its worktrees.
    sandbox.git("main/lib", &["config", "extensions.worktreeConfig", "true"]);
    sandbox.git(
        "main/lib",
        &["config", "--worktree", "core.worktree", "../../../lib"],
    );
    sandbox.git(
        "main/lib",
        &[
            "config",
            "-f",
            "../.git/modules/lib/config",
            "--unset",
            "core.worktree",
        ],
    );
    sandbox.guest("rm -r /home/node/workspace");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    // A repository inside the project that is not called .git.
    fs::remove_dir_all(sandbox.path("project")).unwrap();
    sandbox.git("", &["clone", "-q", "library", "project"]);
    fs::rename(sandbox.path("project/.git"), sandbox.path("project/.own")).unwrap();
    sandbox.write("project/.git", "gitdir: ./.own\n");
    sandbox.guest("rm -r /home/node/workspace");
    assert_eq!(arrived(&sandbox, &[]).0, COPIED);
}

/// The directories of a linked worktree belong to the project's repository, which is elsewhere. A
/// project cannot say so of itself, whatever it is called.
#[test]
fn a_project_called_worktrees_is_no_worktree() {
    let sandbox = host();
    for name in ["objects", "refs"] {
        fs::create_dir_all(sandbox.path(format!("private/.git/{name}"))).unwrap();
    }
    sandbox.write("private/.git/HEAD", "ref: refs/heads/main\n");
    sandbox.write("private/.git/logs/app.log", "CANARY");
    for (name, files) in [
        (
            "worktrees",
            &[
                (".git/commondir", "../../private/.git"),
                (".git/gitdir", "../.git"),
            ][..],
        ),
        (
            "worktrees",
            &[(".git/commondir", "../.."), (".git/gitdir", "../.git")],
        ),
        (
            "worktrees/x",
            &[
                (".git", "gitdir: ."),
                ("HEAD", "ref: refs/heads/main"),
                ("commondir", "../.."),
                ("gitdir", ".git"),
            ],
        ),
    ] {
        for name in ["objects", "refs"] {
            fs::create_dir_all(sandbox.path(name)).unwrap();
        }
        for (file, text) in files {
            sandbox.write(format!("{name}/{file}"), format!("{text}\n"));
        }
        let mut plan = sandbox.plan_with_repository();
        plan["spec"]["user_cwd"] = sandbox.path(name).to_str().unwrap().into();
        let outcome = step(&sandbox).plan(&plan).end();
        assert_eq!(outcome.status, 1, "{name}: {outcome:?}");
        assert!(
            outcome.stderr.contains("does not name it as its own"),
            "{outcome:?}"
        );
        assert!(sandbox.calls().is_empty());
        fs::remove_dir_all(sandbox.path("worktrees")).unwrap();
    }
}

/// Objects that many submodules borrow from many repositories are limited in all.
#[test]
fn the_number_of_lenders_is_limited() {
    let sandbox = host();
    sandbox.repository("project", &[]);
    let list = (0..60).map(|number| format!("../../../../L/{number}/objects\n"));
    let list: Vec<_> = list.collect();
    let list = list.concat();
    for number in 0..60 {
        let lender = format!("project/L/{number}");
        for name in ["objects", "refs"] {
            fs::create_dir_all(sandbox.path(format!("{lender}/{name}"))).unwrap();
        }
        sandbox.write(format!("{lender}/HEAD"), "ref: refs/heads/main\n");
    }
    for number in 10..20 {
        let module = format!("project/.git/modules/{number}");
        fs::create_dir_all(sandbox.path(format!("{module}/refs"))).unwrap();
        sandbox.write(format!("{module}/HEAD"), "ref: refs/heads/main\n");
        sandbox.write(format!("{module}/objects/info/alternates"), &list);
    }
    let why = "DIR/project/.git/modules/18: too many repositories lend objects";
    let plan = sandbox.plan_with_repository();
    let outcome = step(&sandbox).plan(&plan).end();
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains(why), "{outcome:?}");
    assert!(sandbox.calls().is_empty());
}
