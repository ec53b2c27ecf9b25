//! `scripts/fetch`: the agent's commits arrive, nothing else changes, and a guest that lies gets
//! nothing into the host's repository.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use harness::{MACHINE, Outcome, Sandbox, repository, running};
use serde_json::Value;

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
/// All that a fetch must not change in the host's repository.
const REST: &str = "cd project && git for-each-ref refs/heads refs/tags refs/remotes && git --no-optional-locks status --porcelain && \
    find . ! -path './.git/objects*' ! -path './.git/refs/bottle*' ! -path ./.git ! -path ./.git/refs \
        -type f -printf '%p %T@\\n' | sort";
/// The objects of the host, and what was left in TMPDIR.
const LEFT: &str = "find project/.git/objects tmp -type f | sort";

/// A host with a repository, and a guest with a copy of it.
fn copied() -> Sandbox {
    let sandbox = Sandbox::with_guest();
    prepare(&sandbox);
    sandbox
}

/// Puts the programs, the script and a plan on the host.
fn set_up(sandbox: &Sandbox) -> Value {
    let plan = sandbox.set_up(BUILT);
    symlink(
        repository().join("scripts/fetch"),
        sandbox.path("bin/fetch"),
    )
    .unwrap();
    fs::create_dir(sandbox.path("tmp")).unwrap();
    plan
}

fn prepare(sandbox: &Sandbox) {
    set_up(sandbox);
    let outcome = sandbox.sh(
        "cd project && git config user.name Ada && git config user.email a@x && echo 1 >file && \
         git add file && git commit -qm first && git tag first && cd .. && \
         bottle-git -q < plan.json >/dev/null",
    );
    assert_eq!(outcome.status, 0, "{outcome:?}");
}

/// Runs git's commands in the guest, as the agent does.
fn agent(sandbox: &Sandbox, script: &str) {
    let script = script.replace('\'', "'\\''");
    sandbox.guest(&format!(
        "HOME=/home/node runuser -u node -- sh -euc 'cd /home/node/workspace; {script}'"
    ));
}

fn fetch(sandbox: &Sandbox, options: &str) -> Outcome {
    sandbox.sh(&format!("TMPDIR=$PWD/tmp fetch {options} < plan.json"))
}

fn host(sandbox: &Sandbox, script: &str) -> String {
    let outcome = sandbox.sh(script);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    outcome.stdout
}

/// The branches that were fetched, with the subjects of their commits.
fn fetched(sandbox: &Sandbox) -> Vec<String> {
    let format = "--format='%(refname:lstrip=3) %(subject)'";
    let list = host(
        sandbox,
        &format!("git -C project for-each-ref {format} refs/bottle"),
    );
    list.lines().map(str::to_owned).collect()
}

#[test]
fn the_agents_commits_arrive_and_nothing_else_changes() {
    let sandbox = copied();
    // What must not be run.
    let hook = sandbox.write(
        "project/.git/hooks/reference-transaction",
        "#!/bin/sh\n: >/tmp/bottle-hook\nexit 1\n",
    );
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    let rest = host(&sandbox, REST);
    let outcome = fetch(&sandbox, "");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(fetched(&sandbox), ["HEAD first", "master first"]);

    agent(
        &sandbox,
        "git commit -qm more --allow-empty; git tag mine; git checkout -qb a/b; \
         git commit -qm other --allow-empty; git checkout -q --detach; \
         git commit -qm detached --allow-empty",
    );
    let outcome = fetch(&sandbox, "-q");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_eq!(
        fetched(&sandbox),
        ["HEAD detached", "a/b other", "master more"]
    );
    let outcome = fetch(&sandbox, "");
    let nothing = format!("fetch: nothing new from {MACHINE}\n");
    assert_eq!(
        (outcome.status, outcome.stdout.as_str(), outcome.stderr),
        (0, "", nothing)
    );

    // A branch that the agent has rewritten follows; one that it deleted stays.
    agent(&sandbox, "git branch -D a/b -q; git branch -f master first");
    assert_eq!(fetch(&sandbox, "-q").status, 0);
    assert_eq!(
        fetched(&sandbox),
        ["HEAD detached", "a/b other", "master first"]
    );
    // All or none.
    agent(&sandbox, "git branch a; git branch new");
    let outcome = fetch(&sandbox, "");
    assert_eq!(outcome.status, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("refs/bottle"), "{outcome:?}");
    assert_eq!(
        fetched(&sandbox),
        ["HEAD detached", "a/b other", "master first"]
    );
    assert_eq!(host(&sandbox, REST), rest);
    assert_eq!(host(&sandbox, "ls tmp; git -C project tag"), "first\n");
    assert!(!std::path::Path::new("/tmp/bottle-hook").exists());
}

/// Makes ten thousand commits on the branch `many`.
const MANY: &str = "for n in $(seq 10000); do \
                    printf \"commit refs/heads/many\\ncommitter A <a@x> $n +0000\\ndata 1\\nx\\n\"; done | \
                    git fast-import --quiet";

#[test]
fn ten_thousand_commits_arrive() {
    let sandbox = copied();
    agent(&sandbox, MANY);
    assert_eq!(fetch(&sandbox, "-q").status, 0);
    let count = format!("git -C project rev-list --count refs/bottle/{MACHINE}/many");
    assert_eq!(host(&sandbox, &count), "10000\n");
}

/// Puts a `git` into the guest that lies to whoever fetches.
fn lie(sandbox: &Sandbox, script: &str) {
    let program =
        format!("#!/bin/sh\n[ \"$1\" = upload-pack ] || exec /usr/bin/git \"$@\"\n{script}\n");
    let path = sandbox.write("guest-bin/git", program);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_guest_that_lies_gets_nothing_in() {
    let sandbox = copied();
    let (rest, left) = (host(&sandbox, REST), host(&sandbox, LEFT));
    let advertised = format!("{} refs/heads/x", "2".repeat(40));
    let refs = format!(
        "{:04x}{advertised}\\0side-band-64k ofs-delta\\n",
        advertised.len() + 31
    );
    for (lie_of, options, why) in [
        ("exec sleep 1000", "--timeout 2s", "not done in 2 seconds"),
        ("exit 0", "", ""),
        ("printf 'a\\tb\\r\\n'", "", "protocol error"),
        ("exec cat /dev/urandom", "--max-size 1", ""),
        (
            "while :; do printf '0009\\2x\\033['; done",
            "--max-size 1",
            "",
        ),
        (
            "printf '0012ERR \\033]0;x\\007\\302\\233'; printf '\\033[2J' >&2",
            "",
            "",
        ),
        // Objects that the host has not asked for, a pack of rubbish, and one without an end.
        (
            &*format!("printf '{refs}0000'; cat >/dev/null & printf '0008NAK\\nPACK'; exec yes"),
            "--max-size 1",
            "",
        ),
        (&*format!("printf '{advertised}'; exit 0"), "", ""),
    ] {
        lie(&sandbox, lie_of);
        let outcome = fetch(&sandbox, options);
        assert_eq!(outcome.status, 1, "{lie_of}: {outcome:?}");
        assert!(
            outcome
                .stderr
                .starts_with(&format!("fetch: fetch from {MACHINE}: ")),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains(why), "{lie_of}: {outcome:?}");
        assert!(outcome.stderr.len() < 10_000, "{}", outcome.stderr.len());
        let is_seen = |c: char| c == '\n' || !c.is_control();
        assert!(outcome.stderr.chars().all(is_seen), "{outcome:?}");
        assert_eq!(host(&sandbox, LEFT), left, "{lie_of}");
    }
    assert_eq!(fetched(&sandbox), [""; 0]);
    assert_eq!(host(&sandbox, REST), rest);
}

#[test]
fn bad_objects_and_odd_names_are_refused() {
    let bad = "commit=$(printf 'tree %s\\nauthor x\\n\\nbad' $(git write-tree) | \
               git hash-object -t commit -w --stdin --literally)";
    for (script, why) in [
        (
            &*format!("{bad}; echo $commit >.git/refs/heads/bad"),
            "missingEmail",
        ),
        (
            "head=$(git rev-parse HEAD); for n in $(seq 1001); do echo \"$head refs/heads/b$n\"; done >>.git/packed-refs",
            "it has 1002 branches, more than 1000",
        ),
        (
            "echo '[ref: refs/heads/x' >.git/HEAD; rm -r .git/refs",
            "with a repository in",
        ),
    ] {
        let sandbox = copied();
        let (rest, left) = (host(&sandbox, REST), host(&sandbox, LEFT));
        agent(&sandbox, script);
        let outcome = fetch(&sandbox, "");
        assert_eq!(outcome.status, 1, "{script}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{script}: {outcome:?}");
        assert_eq!(host(&sandbox, LEFT), left, "{script}");
        assert_eq!(host(&sandbox, REST), rest, "{script}");
        assert_eq!(fetched(&sandbox), [""; 0], "{script}");
    }
}

#[test]
fn branches_with_odd_names_are_left_out() {
    let sandbox = copied();
    let rest = host(&sandbox, REST);
    agent(
        &sandbox,
        "commit=$(git rev-parse HEAD); for n in xxxx1 xxxx2 xxxx3 xxxx4 xxxx5 xxxx6 xxxx7 xxxx8 good -x ä \"a'b\" HEAD HEAX/a; do \
         git update-ref refs/heads/$n $commit; done",
    );
    let odd = [
        "a..bb", "/../x", ".lock", "x.loc", "@{u}x", "a b c", "x\x1b[2J", "../..",
    ];
    let mut edits = "s,refs/heads/HEAX,refs/heads/HEAD,;".to_owned();
    // A filter of lines would wait for the end of the last one.
    let filter = "while (sysread STDIN, $_, 65536) { EDITS syswrite STDOUT, $_ }";
    for (number, odd) in odd.iter().enumerate() {
        edits += &format!("s,refs/heads/xxxx{},refs/heads/{odd},;", number + 1).replace('@', "\\@");
    }
    let filter = filter.replace("EDITS", &edits);
    lie(
        &sandbox,
        &format!("/usr/bin/git \"$@\" | perl -e '{filter}'"),
    );
    let outcome = fetch(&sandbox, "-q");
    let warning = "fetch: warning: 9 branches are left out because of their names\n";
    assert_eq!((outcome.status, &*outcome.stderr), (0, warning));
    let found = fetched(&sandbox);
    let expected = ["-x", "HEAD", "a'b", "good", "master", "x.loc", "ä"];
    let expected = expected.map(|name| format!("{name} first"));
    assert_eq!(found, expected);
    assert_eq!(host(&sandbox, REST), rest);
}

/// The project may be somebody else's, too.
#[test]
fn a_project_cannot_run_anything() {
    let sandbox = copied();
    agent(&sandbox, "git commit -qm more --allow-empty");
    let run = sandbox.write(
        "run",
        "#!/bin/sh\n: >>\"$(dirname \"$0\")/was-run\"\nexit 1\n",
    );
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let run = run.display();
    host(
        &sandbox,
        &format!(
            "cd project; printf '%s\\n' '[core]' 'fsmonitor = {run}' 'hooksPath = ../../hooks' \
             'alternateRefsCommand = {run}' 'sshCommand = {run}' 'gitProxy = {run}' '[fetch]' 'prune = true' \
             'bundleURI = ext::{run}' '[protocol]' 'allow = always' \
             '[url \"ext::{run} \"]' 'insteadOf = /' 'insteadOf = ext' '[pack]' 'packSizeLimit = 1' \
             '[remote \"p\"]' 'url = ext::{run}' 'promisor = true' '[uploadpack]' 'packObjectsHook = {run}' \
             '[extensions]' 'partialClone = p' '[transfer]' 'credentialsInUrl = die' >>.git/config; \
             mkdir ../hooks; for h in reference-transaction post-index-change pre-auto-gc post-update; do \
             cp ../run ../hooks/$h; cp ../run .git/hooks/$h; done; rm -f ../was-run"
        ),
    );
    let outcome = fetch(&sandbox, "-q");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert!(!sandbox.path("was-run").exists() && !sandbox.path("hooks/was-run").exists());
    assert!(!sandbox.path("project/.git/hooks/was-run").exists());
    assert_eq!(fetched(&sandbox), ["HEAD more", "master more"]);
}

#[test]
fn the_environment_does_not_matter() {
    let sandbox = copied();
    agent(&sandbox, "git commit -qm more --allow-empty");
    // The directory above is a repository, too.
    host(
        &sandbox,
        "git init -q .; git -c user.name=A -c user.email=a@x commit -qm above --allow-empty",
    );
    let outcome = sandbox.sh(
        "umask 022; export GIT_DIR=/nowhere GIT_INDEX_FILE=/nowhere GIT_ALLOW_PROTOCOL=https GIT_TRACE=1 \
         GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.bare GIT_CONFIG_VALUE_0=x GIT_DEFAULT_HASH=sha256 \
         GIT_OBJECT_DIRECTORY=/nowhere LC_ALL=C.UTF-8; TMPDIR=tmp bin/fetch -q < plan.json",
    );
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_eq!(fetched(&sandbox), ["HEAD more", "master more"]);
    let modes = "find project/.git/refs/bottle project/.git/objects/pack -type f ! -name '*.pack' -printf '%m\n' | sort -u";
    assert_eq!(host(&sandbox, modes), "444\n644\n");
    assert_eq!(host(&sandbox, "ls tmp"), "");

    host(&sandbox, "rm -rf project/.git");
    let no_repository =
        "fetch: DIR/project is not a git repository\nhint: spec.user_cwd of the plan names it\n";
    fetch(&sandbox, "").fails(1, no_repository);
}

#[test]
fn the_size_is_limited_and_nothing_else_that_the_guest_has_arrives() {
    let sandbox = copied();
    agent(
        &sandbox,
        "git tag before; head -c 3000000 /dev/urandom >junk; git add junk; git commit -qm junk; git tag junk; \
         git update-ref refs/notes/x HEAD; git reset -q --hard before; \
         head -c 3000000 /dev/urandom >large; git add large; git commit -qm large",
    );
    let (rest, left) = (host(&sandbox, REST), host(&sandbox, LEFT));
    let outcome = fetch(&sandbox, "--max-size 2");
    let more = format!(
        "fetch: fetch from {MACHINE}: it sends more than 2097152 bytes\nhint: --max-size allows more objects\n"
    );
    outcome.fails(1, &more);
    assert_eq!(host(&sandbox, LEFT), left);
    let outcome = fetch(&sandbox, "--max-size 3");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(fetched(&sandbox), ["HEAD large", "master large"]);
    assert_eq!(host(&sandbox, REST), rest);
    let size =
        "find project/.git/objects/pack -name '*.pack' -size +5000k; git -C project fsck 2>&1";
    assert_eq!(host(&sandbox, size), "");
}

#[test]
fn links_by_which_git_would_write_elsewhere_are_refused() {
    let sandbox = copied();
    let clone =
        "hint: a clone has none there: git clone --no-local OLD NEW, with NEW as spec.user_cwd\n";
    for (link, target) in [
        ("refs/bottle", "heads"),
        ("refs/bottle/MACHINE", "../heads"),
        ("refs/bottle/MACHINE/master", "../../../heads/master"),
        ("logs/refs/bottle/MACHINE/master", "../../../../../outside"),
        ("logs/refs/bottle", "../../outside"),
        ("objects/pack", "../../outside"),
    ] {
        let link = link.replace("MACHINE", MACHINE);
        host(
            &sandbox,
            &format!(
                "cp -a project kept; cd project/.git; mkdir -p $(dirname {link}); rm -rf {link}; ln -s {target} {link}"
            ),
        );
        let outcome = fetch(&sandbox, "");
        outcome.fails(
            1,
            &format!("fetch: DIR/project/.git/{link} is a link\n{clone}"),
        );
        host(&sandbox, "rm -rf project; mv kept project");
    }
}

#[test]
fn a_project_cannot_make_it_wait() {
    for (make, words) in [
        ("mkfifo shallow", "not done in 2 seconds"),
        ("ln -s /dev/zero shallow", "bad shallow line"),
        ("rm HEAD; mkfifo HEAD", "not done in 2 seconds"),
        ("echo garbage >packed-refs", "packed-refs"),
        (
            "git config include.path $PWD/fifo; mkfifo fifo",
            "not done in 2 seconds",
        ),
    ] {
        let sandbox = copied();
        host(&sandbox, &format!("cd project/.git; {make}"));
        let outcome = fetch(&sandbox, "-q --timeout 2s");
        assert_eq!(
            outcome.status,
            i32::from(!words.is_empty()),
            "{make}: {outcome:?}"
        );
        assert!(outcome.stderr.contains(words), "{make}: {outcome:?}");
        assert!(
            outcome
                .stderr
                .lines()
                .all(|line| line.starts_with("fetch: ") || line.starts_with("hint: ")),
            "{outcome:?}"
        );
        assert_eq!(host(&sandbox, "ls tmp"), "", "{make}");
    }
}

#[test]
fn only_commits_and_whole_histories_are_taken() {
    for (script, words) in [
        (
            "git hash-object -w --stdin </dev/null >.git/refs/heads/blob",
            "not all of its branches are commits",
        ),
        (
            "git rev-parse HEAD^{tree} >.git/refs/heads/tree",
            "not all of its branches are commits",
        ),
        (
            "git tag -m a a; git rev-parse a >.git/refs/heads/tag",
            "not all of its branches are commits",
        ),
        (
            "for n in 1 2 3; do git commit -qm $n --allow-empty; done; git rev-parse HEAD~1 >.git/shallow",
            "the history of a branch is cut off elsewhere than on the host",
        ),
    ] {
        let sandbox = copied();
        let (rest, left) = (host(&sandbox, REST), host(&sandbox, LEFT));
        agent(&sandbox, script);
        let outcome = fetch(&sandbox, "");
        assert_eq!(outcome.status, 1, "{script}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{script}: {outcome:?}");
        assert_eq!(host(&sandbox, LEFT), left, "{script}");
        assert_eq!(host(&sandbox, REST), rest, "{script}");
    }
}

#[test]
fn closed_streams_do_not_matter() {
    let sandbox = copied();
    for streams in ["<&-", "2>&-", ">&-", "<&- >&- 2>&-"] {
        let outcome = sandbox.sh(&format!("TMPDIR=$PWD/tmp fetch -f plan.json {streams}"));
        assert_eq!(outcome.status, 0, "{streams}: {outcome:?}");
    }
    let outcome = sandbox.sh("TMPDIR=/nowhere fetch -f plan.json");
    outcome.fails(
        1,
        "fetch: make a directory in /nowhere\nhint: TMPDIR names another place\n",
    );
}

#[test]
fn a_signal_ends_everything_that_was_started() {
    let sandbox = copied();
    lie(&sandbox, "exec sleep 1234");
    let (rest, left) = (host(&sandbox, REST), host(&sandbox, LEFT));
    let outcome = sandbox.sh(
        "TMPDIR=$PWD/tmp fetch < plan.json & sleep 2; kill -TERM $!; wait $!; echo $?; \
         sleep 1",
    );
    assert_eq!(running("sleep 1234"), [""; 0]);
    assert_eq!(outcome.stdout, "143\n", "{outcome:?}");
    assert_eq!(host(&sandbox, LEFT), left);
    assert_eq!(host(&sandbox, REST), rest);
}

#[test]
fn shallow_and_empty_repositories_work() {
    let sandbox = Sandbox::with_guest();
    set_up(&sandbox);
    let identity = "export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@x";
    host(
        &sandbox,
        &format!(
            "{identity}; rm -rf project; git init -q from; for n in 1 2 3; do git -C from commit -qm $n --allow-empty; done; \
             git clone -q --depth 1 file://$PWD/from project; bottle-git -q <plan.json >/dev/null"
        ),
    );
    agent(&sandbox, "git commit -qm more --allow-empty");
    let outcome = fetch(&sandbox, "-q");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_eq!(fetched(&sandbox), ["HEAD more", "master more"]);
    let count = format!("git -C project rev-list --count refs/bottle/{MACHINE}/master");
    assert_eq!(host(&sandbox, &count), "2\n");

    agent(&sandbox, "rm -rf .git; git init -q --template=");
    let none = format!("fetch: fetch from {MACHINE}: its repository has no commits\n");
    fetch(&sandbox, "").fails(1, &none);
    sandbox.guest("rm -rf /home/node/workspace");
    let outcome = fetch(&sandbox, "");
    assert_eq!(outcome.status, 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains("/home/node/workspace"),
        "{outcome:?}"
    );
    assert_eq!(outcome.stderr.lines().count(), 2, "{outcome:?}");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_asked() {
    let sandbox = Sandbox::new();
    let mut plan = set_up(&sandbox);
    let old = sandbox.write("old", "#!/bin/sh\necho smolvm 1.8.0\n");
    fs::set_permissions(old, fs::Permissions::from_mode(0o755)).unwrap();
    for (options, status, words) in [
        ("--foo", 2, "unexpected argument '--foo'"),
        ("--max-size 0", 2, "not a number of MiB"),
        ("--max-size 1k", 2, "not a number of MiB"),
        ("--max-size", 2, "a value is required for '--max-size'"),
        ("--timeout x", 2, "invalid value 'x'"),
        ("-m ../x", 2, "invalid value '../x'"),
        ("--smolvm /nowhere/smolvm", 69, "/nowhere/smolvm: not found"),
        ("-f /dev/null", 65, "no plan in /dev/null: it is empty"),
        ("--smolvm ./old", 69, "/old is 1.8.0"),
    ] {
        let outcome = fetch(&sandbox, options);
        assert_eq!(outcome.status, status, "{options}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{options}: {outcome:?}");
    }
    fs::remove_dir_all(sandbox.path("project/.git")).unwrap();
    let no_repository =
        "fetch: DIR/project is not a git repository\nhint: spec.user_cwd of the plan names it\n";
    assert_eq!(fetch(&sandbox, "").stderr, no_repository);
    plan["spec"]["user_cwd"] = Value::Null;
    plan["spec"]["copy_cwd"] = Value::Bool(false);
    sandbox.write("plan.json", plan.to_string());
    let unset = "fetch: spec.user_cwd: unset, so there is no repository\n";
    fetch(&sandbox, "").fails(65, unset);
    assert!(sandbox.calls().is_empty());
    assert_eq!(host(&sandbox, "ls tmp"), "");
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn it_works_with_the_real_smolvm() {
    let sandbox = Sandbox::with_real_guest();
    prepare(&sandbox);
    agent(
        &sandbox,
        "git -c user.name=A -c user.email=a@x commit -qm more --allow-empty",
    );
    let outcome = fetch(&sandbox, "-q");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_eq!(fetched(&sandbox), ["HEAD more", "master more"]);
    agent(&sandbox, MANY);
    assert_eq!(fetch(&sandbox, "-q").status, 0);
    assert_eq!(fetched(&sandbox), ["HEAD more", "many x", "master more"]);

    let (rest, left) = (host(&sandbox, REST), host(&sandbox, LEFT));
    let machine = sandbox.machine();
    for (lie, options, why) in [
        ("exec sleep 1000", "--timeout 2s", "not done in 2 seconds"),
        ("exec yes >&2", "--timeout 20s", "sends more than"),
        (
            "printf '\\364\\t2\\307'; exec cat /dev/urandom",
            "",
            "protocol error",
        ),
        (
            "printf '0012ERR \\033]0;x\\007\\302\\233'",
            "",
            "Could not read",
        ),
        ("/usr/bin/git \"$@\" | head -c 1000", "--timeout 5s", ""),
    ] {
        let script = format!(
            "printf '%s\\n' '#!/bin/sh' '[ \"$1\" = upload-pack ] || exec /usr/bin/git \"$@\"' >/usr/local/bin/git && \
             cat >>/usr/local/bin/git <<'END' && chmod 755 /usr/local/bin/git\n{lie}\nEND\n"
        );
        sandbox.guest(&script);
        let outcome = fetch(&sandbox, options);
        sandbox.guest("rm /usr/local/bin/git");
        let start = format!("fetch: fetch from {machine}: ");
        assert_eq!(outcome.status, 1, "{lie}: {outcome:?}");
        assert!(outcome.stderr.starts_with(&start), "{lie}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{lie}: {outcome:?}");
        let is_seen = |c: char| c == '\n' || !c.is_control();
        assert!(outcome.stderr.chars().all(is_seen), "{outcome:?}");
        assert_eq!(host(&sandbox, LEFT), left, "{lie}");
    }
    assert_eq!(host(&sandbox, REST), rest);
}

#[test]
fn every_object_format_and_a_linked_worktree_work() {
    for (make, branch) in [
        ("git init -q --object-format=sha256 project", "master"),
        (
            "git init -q main && git -C main commit -qm 0 --allow-empty && git -C main worktree add -q ../project -b wt",
            "wt",
        ),
    ] {
        let sandbox = Sandbox::with_guest();
        set_up(&sandbox);
        let identity = "export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@x";
        let script = format!(
            "rm -rf project; {identity}; {make} && git -C project commit -qm first --allow-empty && \
             bottle-git -q < plan.json >/dev/null"
        );
        host(&sandbox, &script);
        agent(&sandbox, "git commit -qm more --allow-empty");
        let outcome = fetch(&sandbox, "-q");
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{make}");
        let found = fetched(&sandbox);
        for name in ["HEAD", branch] {
            assert!(found.contains(&format!("{name} more")), "{found:?}");
        }
    }
}
