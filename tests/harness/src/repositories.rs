//! Repositories on the host, and their state there and in the guest.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{MACHINE, Sandbox, tool};

/// What `bottle-git` says if it copied the project's repository and did nothing else.
pub const COPIED: &str = "bottle-git: DIR/project/.git in /home/node/workspace/.git (_s)\n";
/// Its warning if the guest had a repository already.
pub const KEPT: &str = "bottle-git: warning: /home/node/workspace/.git was there already and is \
                        kept; --replace-repository replaces it\n";
/// Its hint if a repository is not all in one place.
pub const CLONE: &str =
    "hint: a clone has all of it: git clone --no-local OLD NEW, with NEW as spec.user_cwd\n";

/// Prints everything that two copies of a repository must have in common.
const STATE: &str = "git status --porcelain=v2 --branch; git symbolic-ref -q HEAD || git rev-parse HEAD; \
                     git log --all --format='%H %D %an %s'; git for-each-ref; git ls-files --stage; git stash list; \
                     git rev-parse --show-object-format --is-shallow-repository; git fsck --no-progress --no-dangling 2>&1";

impl Sandbox {
    /// Runs git on this host with a fixed identity and time, and returns what it prints.
    #[track_caller]
    pub fn git(&self, directory: &str, args: &[&str]) -> String {
        let who = [
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@b"),
            ("GIT_COMMITTER_NAME", "A"),
        ];
        let when = [
            ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
            ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
        ];
        let mut command = tool("git");
        command
            .args([
                "-c",
                "protocol.file.allow=always",
                "-c",
                "init.defaultBranch=main",
                "-c",
                "maintenance.auto=false",
            ])
            .args(args);
        command
            .current_dir(self.path(directory))
            .envs(who)
            .envs(when);
        let output = command.env("GIT_COMMITTER_EMAIL", "a@b").output().unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a plan that asks only for the project's repository.
    pub fn plan_with_repository(&self) -> Value {
        let mut plan = self.plan();
        plan["spec"]["copy_cwd"] = json!(true);
        plan
    }

    /// Makes a repository with one commit. `init` are options for `git init`.
    #[track_caller]
    pub fn repository(&self, directory: &str, init: &[&str]) {
        self.git("", &[&["init", "-q"], init, &[directory]].concat());
        self.commit(directory, "README", "hello\n");
    }

    /// Commits a file.
    #[track_caller]
    pub fn commit(&self, directory: &str, name: &str, content: &str) {
        self.write(Path::new(directory).join(name), content);
        self.git(directory, &["add", "."]);
        self.git(directory, &["commit", "-q", "-m", name]);
    }

    /// Gives the state of the repository in `directory`, and that of the agent's repository, after
    /// the files of the work tree were copied.
    #[track_caller]
    pub fn states(&self, directory: &str) -> [String; 2] {
        let tree = self.path("tree.tar");
        let mut tar = tool("tar");
        tar.arg("-C")
            .arg(self.path(directory))
            .args(["--exclude=./.git", "-cf"])
            .arg(&tree)
            .arg(".");
        assert!(tar.status().unwrap().success());
        let to = format!("{MACHINE}:/tmp/tree.tar");
        let copied = self
            .run("smolvm")
            .args(["machine", "cp", tree.to_str().unwrap(), &to])
            .end();
        assert_eq!(copied.status, 0, "{}", copied.stderr);
        self.guest("cd /home/node/workspace && tar -xf /tmp/tree.tar --no-same-owner && chown -R node:node . && rm /tmp/tree.tar");
        let host = tool("sh")
            .args(["-c", STATE])
            .current_dir(self.path(directory))
            .output()
            .unwrap();
        [
            String::from_utf8_lossy(&host.stdout).into_owned(),
            self.as_node(STATE),
        ]
    }

    /// Runs a shell script in the agent's workspace, as node.
    #[track_caller]
    pub fn as_node(&self, script: &str) -> String {
        let script = script.replace('\'', "'\\''");
        self.guest(&format!(
            "HOME=/home/node runuser -u node -- sh -c 'cd /home/node/workspace && {{ {script}; }}'"
        ))
    }

    /// Lists the files in the guest whose contents or names contain `word`.
    pub fn search(&self, word: &str) -> String {
        let script = format!(
            "cd / && grep -rlaF {word} home srv tmp root run etc/gitconfig 2>/dev/null; find home tmp -name '*{word}*'"
        );
        self.guest(&format!("{{ {script}; }} || :"))
    }

    /// Makes a directory with links to `programs` only, for a PATH.
    pub fn only(&self, programs: &[&str]) -> String {
        let directory = self.path("only");
        fs::create_dir_all(&directory).unwrap();
        for program in programs {
            let _ = std::os::unix::fs::symlink(
                Path::new("/usr/bin").join(program),
                directory.join(program),
            );
        }
        directory.to_str().unwrap().to_owned()
    }
}
