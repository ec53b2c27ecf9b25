//! `spec.copy_worktree`: the project arrives as the person left it, without what is ignored or
//! secret, and what the agent has made is never lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;

use harness::{Outcome, Sandbox, converges, tool};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");

/// Prints what git says of a work tree, and every file outside of its repositories.
const STATE: &str = "git status --porcelain=v2 -uall 2>/dev/null; \
                     { [ ! -e .gitmodules ] || git submodule status --recursive 2>&1 || :; }; \
                     git diff 2>/dev/null; git stash list; git log --all --format=%H; \
                     find . -name .git -prune -o ! -type d ! -name .gitmodules -printf '%p %y %m %l\\n' | LC_ALL=C sort; \
                     find . -name .git -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort";

fn plan(sandbox: &Sandbox) -> Value {
    let mut plan = sandbox.plan_with_repository();
    plan["spec"]["copy_worktree"] = json!(true);
    plan
}

fn provision(sandbox: &Sandbox, plan: &Value, args: &[&str]) -> Outcome {
    let run = sandbox.run(STEP).args(args).plan(plan);
    let run = run.env(
        "GIT_CONFIG_GLOBAL",
        sandbox.path("gitconfig").to_str().unwrap(),
    );
    run.env("HOME", sandbox.path("").to_str().unwrap()).end()
}

/// Asserts that a check found what `stderr` says.
#[track_caller]
fn differs(checked: &Outcome, stderr: &str) {
    assert_eq!((checked.status, &*checked.stderr), (3, stderr));
}

/// Runs a shell script in the project.
#[track_caller]
fn host(sandbox: &Sandbox, script: &str) -> String {
    let script = format!("set -eu; {script}");
    let output = tool("sh")
        .args(["-c", &script])
        .current_dir(sandbox.path("project"))
        .env("GIT_CONFIG_GLOBAL", sandbox.path("gitconfig"))
        .env("GIT_ALLOW_PROTOCOL", "file")
        .env("HOME", sandbox.path(""))
        .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
        .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a host whose project is a repository, in which `script` was run.
fn prepared(sandbox: &Sandbox, script: &str) {
    sandbox.write(
        "gitconfig",
        "[user]\n\tname = A\n\temail = a@b\n[advice]\n\taddEmbeddedRepo = false\n[maintenance]\n\tauto = false\n",
    );
    fs::create_dir_all(sandbox.path("project")).unwrap();
    host(
        sandbox,
        "git init -q -b main . && mkdir -p src/deep && echo one >README && echo two >src/deep/two && \
         printf '#!/bin/sh\\n' >run && chmod 755 run && ln -s README link && git add . && git commit -qm first",
    );
    host(sandbox, script);
}

/// Provisions, and asserts that git says the same of the work tree in the guest.
#[track_caller]
fn arrives(sandbox: &Sandbox, what: &str) -> Outcome {
    let plan = plan(sandbox);
    let outcome = provision(sandbox, &plan, &[]);
    assert_eq!(outcome.status, 0, "{what}: {outcome:?}");
    assert_eq!(sandbox.as_node(STATE), host(sandbox, STATE), "{what}");
    let checked = provision(sandbox, &plan, &["--check", "-q"]);
    assert_eq!((checked.status, &*checked.stderr), (0, ""), "{what}");
    outcome
}

#[test]
fn a_work_tree_in_every_state_arrives() {
    let odd = "for n in 'a b' 'tab\tbed' 'new\nline' -x '\"q\"' \"it's\" ä '$(x)' '*'; do echo 1 >\"./$n\"; \
               mkdir -p \"dir $n\"; echo 1 >\"dir $n/file\"; done";
    for (what, script) in [
        ("clean", String::new()),
        ("modified", "echo more >>README; chmod 644 run; ln -sf src link".into()),
        ("staged", "echo more >>README; git add README; echo again >>README; echo new >new; git add new".into()),
        ("deleted", "rm README; git rm -q --cached run; rm -r src".into()),
        ("renamed", "git mv README READ; mv link other".into()),
        ("of another type", "rm README && mkdir README && echo 1 >README/in; rm -r src && ln -s /etc src".into()),
        ("untracked", "echo 1 >new; mkdir -p a/b; echo 1 >a/b/c; ln -s nowhere dangling; mkfifo fifo; mkdir empty".into()),
        ("odd", format!("{odd}; git add -A; git commit -qm odd; {}", odd.replace("echo 1", "echo 2"))),
        ("intended", "echo 1 >new; git add -N new".into()),
        (
            "in conflict",
            "git checkout -qb other; echo theirs >README; git commit -qam theirs; git checkout -q main; \
             echo ours >README; git commit -qam ours; git merge -q other >/dev/null 2>&1 || true".into(),
        ),
        ("sparse", "git sparse-checkout set --no-cone /README /src; git sparse-checkout list >/dev/null".into()),
        ("with a sparse index", "mkdir -p out/a; echo 1 >out/a/b; git add .; git commit -qm out; git sparse-checkout set --cone --sparse-index src".into()),
        ("with a split index", "git update-index --split-index; echo 1 >new; git add new".into()),
        ("with a cache", "git update-index --untracked-cache; git update-index --assume-unchanged README; echo 1 >>README".into()),
        ("unborn", "rm -rf .git; git init -q -b main .; git add README".into()),
        ("without an index", "rm .git/index".into()),
        ("detached", "git checkout -q --detach; echo 1 >>README; git stash -q".into()),
        ("with other line ends", "printf '* text=auto eol=crlf\\n' >.gitattributes; git add .; git commit -qm crlf; rm README; git checkout -q README; echo 1 >>README".into()),
        ("of sha256", "rm -rf .git; git init -q -b main --object-format=sha256 .; git add README; git commit -qm 1; echo 1 >>README".into()),
        (
            "with odd links",
            format!(
                "n=0; for t in a//b a/./b ..//. //x / /etc/ d/ ./ . {} {}; do n=$((n + 1)); ln -s $t link$n; done; \
                 git add .; git commit -qm links; ln -s x//y new",
                "a//".repeat(60),
                "b".repeat(100)
            ),
        ),
        ("with a name that no file has", format!("git update-index --add --cacheinfo 100644,$(git hash-object -w README),{}", "x".repeat(300))),
        ("with no patterns of the user's", "git config core.excludesFile /dev/null; echo 1 >xdg-ignored".into()),
        ("with an empty path of patterns", "git config core.excludesFile ''; echo 1 >xdg-ignored".into()),
        ("with the user's own patterns", "git config core.excludesFile ~/.config/git/ignore".into()),
        ("with patterns of its own", "git config core.excludesFile .mine; echo mine >.mine; echo 1 >xdg-ignored; git config core.ignoreCase true".into()),
        ("with read-only directories", "chmod 555 src/deep src".into()),
    ] {
        let sandbox = Sandbox::with_guest();
        prepared(&sandbox, &script);
        sandbox.write(".config/git/ignore", "xdg-ignored\n");
        if what == "untracked" {
            // Of these, git says nothing.
            assert_eq!(provision(&sandbox, &plan(&sandbox), &[]).status, 0);
            host(&sandbox, "rm fifo; rmdir empty");
            assert_eq!(sandbox.as_node(STATE), host(&sandbox, STATE));
        } else {
            arrives(&sandbox, what);
        }
        host(&sandbox, "chmod -R u+w .");
    }
}

#[test]
fn what_is_ignored_or_secret_stays_unless_the_plan_names_it() {
    let sandbox = Sandbox::with_guest();
    prepared(
        &sandbox,
        "printf 'ignored*\\n.env\\nout/\\n' >.gitignore; echo users-ignored >../ignore; \
         git config --global core.excludesFile '~/ignore'; echo local-ignored >>.git/info/exclude; \
         echo 'secret-t0ken' >tracked.token; git add .; git commit -qm secrets; \
         for n in ignored1 src/ignored2 .env src/.env out/a users-ignored local-ignored api_key .env.local \
             id_ed25519 .aws/credentials server.pem .npmrc plain.pem new.rs src/token.rs my.npmrc; do \
             mkdir -p $(dirname $n); echo canary >$n; done; \
         printf -- '-----BEGIN PRIVATE KEY-----\\n' >>server.pem; echo //r/:_authToken=x >.npmrc; \
         git init -q nested; echo 1 >nested/a; git clone -q --bare . bare.git; \
         git -C bare.git config remote.o.url https://u:canary@h/x; mkdir -p in/store; \
         git init -q --separate-git-dir=in/store/dir other; git -C other config remote.o.url https://u:canary@h/x",
    );
    let mut plan = plan(&sandbox);
    let outcome = provision(&sandbox, &plan, &[]);
    assert_eq!(
        outcome.stderr,
        "bottle-git: warning: left out of DIR/project in the guest: .aws/credentials, .env.local, api_key, \
         id_ed25519, my.npmrc: their names are those of secrets; spec.worktree_include lets them in\n\
         bottle-git: warning: left out of DIR/project in the guest: bare.git, in/store/dir, nested/, other/: they are repositories of their own\n\
         bottle-git: warning: project: DIR/project/.npmrc is left out: it contains a token or a password\n\
         bottle-git: warning: project: DIR/project/server.pem is left out: it contains a private key\n\
         bottle-git: DIR/project in /home/node/workspace with 8 files, 71 B (_s)\n"
    );
    let list = "find . -name .git -prune -o ! -type d -print | LC_ALL=C sort";
    let without = "./.gitignore\n./README\n./link\n./new.rs\n./plain.pem\n./run\n./src/deep/two\n./src/token.rs\n./tracked.token\n";
    assert_eq!(sandbox.as_node(list), without);

    plan["spec"]["worktree_include"] = json!([
        "/.env",
        "out/",
        "*.npmrc",
        "!my.npmrc",
        "server.pem",
        "no-such"
    ]);
    let outcome = provision(&sandbox, &plan, &["--replace-repository"]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let with = "./.env\n./.gitignore\n./.npmrc\n./README\n./link\n./new.rs\n./out/a\n./plain.pem\n./run\n./server.pem\n./src/deep/two\n./src/token.rs\n./tracked.token\n";
    assert_eq!(sandbox.as_node(list), with);
    // What the agent does with the files is its own business, but for those that the plan names.
    sandbox.as_node(
        "rm README .env; echo 1 >>new.rs; git -c user.name=N -c user.email=n@n commit -qam mine",
    );
    let checked = provision(&sandbox, &plan, &["--check", "-q"]);
    differs(
        &checked,
        "bottle-git: /home/node/workspace/.env: worktree_include: `there` in the plan, nothing in the guest\n",
    );
}

#[test]
fn submodules_arrive_with_their_files() {
    let sandbox = Sandbox::with_guest();
    prepared(
        &sandbox,
        "git init -q -b main ../inner; (cd ../inner; echo 1 >in; git add .; git commit -qm in); \
         git init -q -b main ../library; (cd ../library; echo 1 >lib; git add .; git commit -qm lib; \
         git submodule --quiet add ../inner deps/inner; git commit -qm inner); \
         git submodule --quiet add ../library libs/lib; git submodule --quiet add ../library libs/not-there; \
         git submodule --quiet update --init --recursive; git submodule --quiet deinit -f libs/not-there; \
         git clone -q ../inner embedded; git clone -q ../inner embedded/more; git -C embedded add more; \
         git -C embedded commit -qm more; git add embedded; git commit -qm modules; \
         echo 2 >>libs/lib/lib; echo 3 >libs/lib/new; echo 4 >libs/lib/deps/inner/new; \
         (cd libs/lib/deps/inner; echo 5 >>in; git commit -qam more); echo ignored >libs/lib/ign; \
         echo ign >>.git/modules/libs/lib/info/exclude; echo 6 >>embedded/in; echo 7 >>embedded/more/in; rm -r ../inner",
    );
    let plan = plan(&sandbox);
    let outcome = provision(&sandbox, &plan, &[]);
    outcome.is(
        0,
        &plan,
        "bottle-git: DIR/project in /home/node/workspace with 11 files, 226 B (_s)\n",
    );
    host(&sandbox, "rm libs/lib/ign");
    assert_eq!(sandbox.as_node(STATE), host(&sandbox, STATE));
    let inside = "git -C embedded status --porcelain=v2; git -C libs/lib status --porcelain=v2; \
                  git -C libs/lib/deps/inner log --format=%s";
    assert_eq!(sandbox.as_node(inside), host(&sandbox, inside));

    // As the project of a linked worktree, whose submodules are elsewhere on the host.
    host(
        &sandbox,
        "git worktree add -q ../linked; mv ../linked ../there; cd ..; mv project main; mv there project; \
                    cd main; git worktree repair -q ../project 2>/dev/null || git worktree repair ../project >/dev/null; \
                    cd ../project; git submodule --quiet update --init libs/lib; echo 7 >>libs/lib/lib",
    );
    assert_eq!(
        provision(&sandbox, &plan, &["--replace-repository"]).status,
        0
    );
    assert_eq!(sandbox.as_node(STATE), host(&sandbox, STATE));
}

#[test]
fn a_workspace_with_anything_in_it_is_kept_as_a_whole() {
    let sandbox = Sandbox::with_guest();
    prepared(&sandbox, "echo 1 >new");
    let plan = plan(&sandbox);
    let copied = "bottle-git: DIR/project in /home/node/workspace with 4 files, 20 B (_s)\n";
    let kept = "bottle-git: warning: /home/node/workspace was there already and is kept; --replace-repository \
                replaces it\nbottle-git: /home/node/workspace as it was (_s)\n";
    // An image may bring an empty directory.
    sandbox.guest("mkdir /home/node/workspace");
    let outcome = provision(&sandbox, &plan, &[]);
    outcome.is(0, &plan, copied);
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let receipt = &printed["receipts"]["git"];
    assert_eq!(receipt["repository"]["path"], "/home/node/workspace");
    assert_eq!(
        receipt["repository"]["worktree"],
        json!({"files": 4, "bytes": 20})
    );
    assert_eq!(sandbox.guest("find /home/node -not -user node"), "");

    sandbox.as_node("echo work >mine; git add mine; git -c user.name=N -c user.email=n@n commit -qm mine; echo more >README");
    let state = sandbox.as_node(STATE);
    provision(&sandbox, &plan, &[]).is(0, &plan, kept);
    assert_eq!(sandbox.as_node(STATE), state);

    // One that git cannot read is moved aside, with all that is in it.
    sandbox.as_node("for f in .git/HEAD .git/refs/heads/*; do : >$f; done");
    let outcome = provision(&sandbox, &plan, &[]);
    let broken = "bottle-git: warning: git in the guest could not read /home/node/workspace, which is \
                  /home/node/workspace.broken-1 now\n";
    outcome.is(0, &plan, &format!("{broken}{copied}"));
    assert_eq!(sandbox.as_node("cat ../workspace.broken-1/mine"), "work\n");
    assert_eq!(sandbox.as_node(STATE), host(&sandbox, STATE));

    // Files without a repository may be somebody's, too.
    sandbox.guest("cd /home/node/workspace && rm -rf .git");
    provision(&sandbox, &plan, &[]).is(0, &plan, kept);
    let checked = provision(&sandbox, &plan, &["--check", "-q"]);
    differs(
        &checked,
        "bottle-git: /home/node/workspace/.git: type: `directory` in the plan, nothing in the guest\n",
    );
    provision(&sandbox, &plan, &["--replace-repository"]).is(0, &plan, copied);
    assert_eq!(sandbox.as_node(STATE), host(&sandbox, STATE));

    // So may a repository whose files are missing. The check says so.
    sandbox.as_node("rm -r README link run src new");
    provision(&sandbox, &plan, &[]).is(0, &plan, kept);
    let checked = provision(&sandbox, &plan, &["--check", "-q"]);
    differs(
        &checked,
        "bottle-git: /home/node/workspace: files: `DIR/project` in the plan, nothing in the guest\n",
    );
    sandbox.guest("cd /home/node/workspace && touch roots");
    let checked = provision(&sandbox, &plan, &["--check", "-q"]);
    differs(
        &checked,
        "bottle-git: /home/node/workspace/roots: owner: `node:node` in the plan, `root:root` in the guest\n",
    );
}

#[test]
fn a_plan_that_cannot_be_followed_is_refused_before_the_first_call() {
    let sandbox = Sandbox::with_guest();
    fs::create_dir_all(sandbox.path("project")).unwrap();
    let mut plan = plan(&sandbox);
    let hint = "hint: without spec.copy_worktree, bottle-git copies no files; git init makes a repository of a directory\n";
    let none = "bottle-git: spec.copy_worktree is true, but there is no .git in DIR/project\n";
    provision(&sandbox, &plan, &[]).fails(1, &format!("{none}{hint}"));
    fs::create_dir(sandbox.path("project/.git")).unwrap();
    provision(&sandbox, &plan, &[]).fails(
        1,
        "bottle-git: DIR/project: git cannot read its .git, so it cannot list the files\n\
         hint: git -C DIR/project status says why; without spec.copy_worktree, only .git is copied\n",
    );
    plan["spec"]["user_cwd"] = Value::Null;
    let unset = "bottle-git: spec.copy_worktree is true, but spec.user_cwd is unset\n";
    provision(&sandbox, &plan, &[]).fails(1, &format!("{unset}{hint}"));
    plan["spec"]["copy_cwd"] = json!(false);
    let outcome = provision(&sandbox, &plan, &[]);
    outcome.is(0, &plan, "bottle-git: warning: spec.copy_worktree is true, but spec.copy_cwd is not: nothing is copied\nbottle-git: nothing to do: no repository, no remotes, no identity\n");
    plan["spec"]["worktree_include"] = json!(["a", "# b"]);
    let outcome = provision(&sandbox, &plan, &[]);
    assert_eq!(outcome.status, 65, "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("spec.worktree_include[1]: a pattern as in .gitignore"),
        "{outcome:?}"
    );
    assert!(sandbox.calls().is_empty());
}

#[test]
fn it_converges_wherever_it_was_killed() {
    converges(STEP, |sandbox| {
        prepared(sandbox, "echo 1 >new");
        // The index contains inode numbers and times.
        host(sandbox, "rm -r .git/index .git/logs");
        plan(sandbox)
    });
}

/// A project from somebody else cannot name other files of the host.
#[test]
fn a_hostile_project_gets_nothing_but_its_own_files() {
    let stages = |path: &str| {
        format!(
            "printf '100644 %s 0\\t{path}\\n' $(git hash-object -w --stdin </dev/null) | git update-index --index-info"
        )
    };
    for (what, script, refused) in [
        ("a link in place of a directory", "rm -r src/deep; ln -s ../../outside src/deep; echo 1 >src/key".to_owned(), None),
        ("a tracked file behind a link", "mkdir behind; echo 1 >behind/key; git add behind; rm -r behind; ln -s ../outside behind".to_owned(), None),
        ("a submodule behind a link", "git init -q sub; git -C sub commit -qm 1 --allow-empty; git add sub; rm -rf sub; ln -s ../outside sub".to_owned(), None),
        ("a submodule of another repository", "git init -q sub; git -C sub commit -qm 1 --allow-empty; git add sub; rm -rf sub/.git; printf 'gitdir: ../../outside/.git\n' >sub/.git; echo canary-in >sub/x".to_owned(), None),
        ("a submodule with the common directory of another", "git init -q sub; git -C sub commit -qm 1 --allow-empty; git add sub; echo ../../../outside/.git >sub/.git/commondir".to_owned(), None),
        ("a nested repository", "git init -q sub; printf '[core]\n\tworktree = ../../../outside\n' >>sub/.git/config".to_owned(), None),
        ("patterns of the host", "git config core.excludesFile ../outside/key".to_owned(), Some("is outside the project")),
        ("the shared index of another", "git update-index --split-index; f=$(ls .git/sharedindex.*); rm $f; ln -s ../../outside/key $f".to_owned(), Some("is a link")),
        ("an index that is a link", "ln -sf ../../outside/index .git/index".to_owned(), Some("is a link")),
        ("a monitor", "git config core.fsmonitor 'touch ../outside/run'; git config core.hooksPath ../outside; printf '#!/bin/sh\ntouch ../outside/run\n' >../hook".to_owned(), None),
        ("a path in .git", "true".to_owned(), Some("which git never writes there")),
    ] {
        let sandbox = Sandbox::with_guest();
        sandbox.write("outside/key", "canary\n");
        host_in(&sandbox, "outside", "git init -q -b main . && echo canary >other && git add . && git commit -qm canary");
        prepared(&sandbox, &format!("{{ {script}; }} 2>/dev/null"));
        if what == "a path in .git" {
            // git itself refuses it, so the name is changed afterwards.
            host(&sandbox, &format!("{}; sed -i 's,Xgit/hooks,.git/hooks,' .git/index", stages("Xgit/hooks/pre-commit")));
        }
        let outcome = provision(&sandbox, &plan(&sandbox), &[]);
        match refused {
            Some(why) => {
                assert_eq!(outcome.status, 1, "{what}: {outcome:?}");
                assert!(outcome.stderr.contains(why), "{what}: {outcome:?}");
            }
            None => assert_eq!(outcome.status, 0, "{what}: {outcome:?}"),
        }
        assert_eq!(sandbox.search("canary"), "", "{what}");
        assert!(!sandbox.path("outside/run").exists(), "{what}");
    }
}

/// git reads patterns from files of the project, which may be of any kind and length.
#[test]
fn patterns_can_neither_make_it_wait_nor_take_memory() {
    let sparse = "head -c 300000000 /dev/zero >.gitignore; git add -f .gitignore; \
                  git update-index --skip-worktree .gitignore; rm .gitignore";
    let object = "echo a >.gitignore; git add .gitignore; git update-index --skip-worktree .gitignore; rm .gitignore; \
                  f=.git/objects/$(git rev-parse :.gitignore | sed 's,^..,&/,'); rm -f $f; mkfifo $f";
    let fifo = |path: &str| {
        format!(
            "bottle-git: list the files of DIR/project: DIR/project/{path} is not a regular file, and git waits for it\n\
             hint: remove it: git itself makes only regular files there\n"
        )
    };
    let memory = "git: fatal: Out of memory, malloc failed";
    let line = "a .gitignore with fewer lines, or an index with fewer files, takes less";
    for (script, why) in [
        ("mkfifo .gitignore".to_owned(), fifo(".gitignore")),
        (
            "mkdir -p a/b; mkfifo a/b/.gitignore".to_owned(),
            fifo("a/b/.gitignore"),
        ),
        (
            object.to_owned(),
            "is not a regular file, and git waits for it".to_owned(),
        ),
        ("truncate -s 300M .gitignore".to_owned(), memory.to_owned()),
        (
            "yes 'a*b' | head -n 3000000 >src/.gitignore".to_owned(),
            line.to_owned(),
        ),
        (sparse.to_owned(), memory.to_owned()),
    ] {
        let sandbox = Sandbox::new();
        prepared(&sandbox, &script);
        let outcome = provision(&sandbox, &plan(&sandbox), &[]);
        assert!(outcome.stderr.contains(&why), "{script}: {outcome:?}");
        assert_eq!(outcome.status, 1, "{script}");
        assert_eq!(sandbox.calls().len(), 0, "{script}");
    }
}

/// Runs a shell script in `directory`.
#[track_caller]
fn host_in(sandbox: &Sandbox, directory: &str, script: &str) {
    sandbox.write("gitconfig", "[user]\n\tname = A\n\temail = a@b\n");
    fs::create_dir_all(sandbox.path("project")).unwrap();
    host(sandbox, &format!("cd ../{directory}; {script}"));
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn it_works_with_the_real_smolvm() {
    let sandbox = Sandbox::with_real_guest();
    sandbox.guest("rm -rf /home/node/workspace*");
    prepared(
        &sandbox,
        "echo 2 >>README; git rm -q --cached run; ln -s a//b odd; mkdir new; echo 1 >'new/a b'; echo ignored >.gitignore; \
         echo 1 >ignored; git clone -q . sub; git add sub; echo 1 >sub/new",
    );
    let plan = plan(&sandbox);
    assert_eq!(provision(&sandbox, &plan, &[]).status, 0);
    host(&sandbox, "rm ignored");
    assert_eq!(sandbox.as_node(STATE), host(&sandbox, STATE));
    let checked = provision(&sandbox, &plan, &["--check", "-q"]);
    assert_eq!((checked.status, &*checked.stderr), (0, ""));
    let kept = provision(&sandbox, &plan, &["-q"]);
    assert!(kept.stderr.contains("is kept"), "{kept:?}");
}
