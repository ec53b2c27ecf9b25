//! The command lines of older smolvms, from a directory that `CLAUDE_BOTTLE_TEST_SMOLVMS` names:
//! `VERSION/smol/smolvm`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::path::PathBuf;

use harness::{Sandbox, repository};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const ARGV: &str = "runuser -u node -- env HOME=/home/node claude mcp add --scope user --transport http supervise \
                    http://127.0.0.1:55556/";

/// Gives the version and the program of each smolvm that is there.
fn smolvms() -> Vec<(semver::Version, PathBuf)> {
    let directory = std::env::var_os("CLAUDE_BOTTLE_TEST_SMOLVMS");
    let directory = directory.expect("CLAUDE_BOTTLE_TEST_SMOLVMS has to name a directory");
    let directory = repository().join(directory);
    let entries = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut versions: Vec<semver::Version> = entries.map(|name| name.parse().unwrap()).collect();
    versions.sort();
    assert!(!versions.is_empty(), "nothing in {}", directory.display());
    versions
        .into_iter()
        .map(|version| {
            (
                version.clone(),
                directory.join(version.to_string()).join("smol/smolvm"),
            )
        })
        .collect()
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_SMOLVMS, a directory of older smolvms"]
fn each_version_accepts_the_calls_that_are_made() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.plan();
    plan["supervise_plan"] = serde_json::json!({});
    for (version, program) in smolvms() {
        let smolvm = |args: &[&str]| sandbox.run(&program).args(args).end();
        assert_eq!(smolvm(&["--version"]).stdout, format!("smolvm {version}\n"));
        // smolvm parses the command line before it looks for the machine, so it would report a
        // wrong command line instead.
        let not_found = (1, "Error: vm not found: no-such-machine\n".to_owned());
        for args in [
            &["cp", "prompt.txt", "no-such-machine:/x"][..],
            &[
                "exec",
                "--name",
                "no-such-machine",
                "-e",
                "A=b",
                "-e",
                "C=d",
                "--",
                "sh",
                "-c",
                "--name",
            ],
        ] {
            let outcome = smolvm(&[&["machine"], args].concat());
            assert_eq!(
                (outcome.status, outcome.stderr),
                not_found,
                "{version} {args:?}"
            );
        }
        let as_root = smolvm(&[
            "machine",
            "exec",
            "--name",
            "no-such-machine",
            "--user",
            "root",
            "--",
            "true",
        ]);
        let takes_user = version >= semver::Version::new(1, 14, 0);
        assert_eq!(
            as_root.status,
            if takes_user { 1 } else { 2 },
            "{version}: {}",
            as_root.stderr
        );

        // bottle uses --user only if smolvm accepts it. If the option is forced, the error has a
        // hint.
        let run = |user: &str| {
            let args = [
                "-v",
                "-m",
                "no-such-machine",
                "--exec-user",
                user,
                "--smolvm",
                program.to_str().unwrap(),
            ];
            sandbox.run(STEP).args(args).plan(&plan).end()
        };
        let auto = run("auto").stderr;
        let call = auto
            .lines()
            .filter(|line| !line.starts_with("    "))
            .nth(1)
            .unwrap();
        assert_eq!(call.contains(" --user root "), takes_user, "{call}");
        let failed = format!(
            "bottle-supervise: warning: {ARGV}: smolvm machine exec: exit status 1: Error: vm not found: "
        );
        assert!(auto.contains(&failed), "{version}: {auto}");
        let insisting = run("root").stderr;
        let hint = "hint: `machine exec --user` came with smolvm 1.14.0; with --exec-user none, commands run as the \
                    machine's default user\n";
        assert_eq!(
            insisting.ends_with(hint),
            !takes_user,
            "{version}: {insisting}"
        );
    }
}
