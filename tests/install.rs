//! `scripts/install`: what it puts in place, that it works there, and that it takes all of it out
//! again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::{STEPS, Sandbox, repository};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");

/// Makes a copy of the repository with built programs, and a cargo that has nothing to build.
fn built() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let source = repository();
    let source = source.display();
    let copied = sandbox.sh(&format!(
        "mkdir -p r/target/release && cp -R '{source}/docs' '{source}/examples' '{source}/scripts' r"
    ));
    assert_eq!(copied.status, 0, "{copied:?}");
    for step in STEPS {
        let name = format!("bottle-{step}");
        fs::copy(
            Path::new(BUILT).with_file_name(&name),
            sandbox.path("r/target/release").join(name),
        )
        .unwrap();
    }
    let cargo = sandbox.write(
        "bin/cargo",
        "#!/bin/sh\necho \"$@\" >>\"$HOME/cargo.log\"\n",
    );
    fs::set_permissions(cargo, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox
}

#[test]
fn the_installed_programs_work() {
    let sandbox = built();
    let done = sandbox.sh("r/scripts/install --prefix 'a b/prefix'");
    let prefix = format!("{}/a b/prefix", sandbox.path("").display());
    let prefix = prefix.replace("//", "/");
    let said = format!(
        "install: bottle-provision, bottle-fetch and the steps are in {prefix}/bin\n\
         install: man pages, completions, schemas and an example are in {prefix}/share\n\
         install: PATH lacks it: export PATH=\"{prefix}/bin:$PATH\"\n\
         install: zsh, before compinit: fpath=(\"{prefix}/share/zsh/site-functions\" $fpath)\n"
    );
    assert_eq!(
        (done.status, done.stdout, done.stderr.as_str()),
        (0, said, "")
    );
    let built = fs::read_to_string(sandbox.path("home/cargo.log")).unwrap();
    assert!(
        built.starts_with("build --release --locked --bin bottle-ca "),
        "{built}"
    );

    let list = |directory: &str| {
        sandbox
            .sh(&format!("cd 'a b/prefix/{directory}' && ls -1"))
            .stdout
    };
    let programs = "bottle-ca\nbottle-fetch\nbottle-git\nbottle-prompt\nbottle-provision\nbottle-skills\nbottle-supervise\n";
    assert_eq!(list("bin"), programs);
    assert_eq!(list("share/man/man1"), programs.replace('\n', ".1\n"));
    assert_eq!(list("share/bash-completion/completions"), programs);
    assert_eq!(
        list("share/zsh/site-functions"),
        programs.replace("bottle", "_bottle")
    );
    assert_eq!(
        list("share/fish/vendor_completions.d"),
        programs.replace('\n', ".fish\n")
    );
    assert_eq!(
        list("share/bottle"),
        "adapters\nchecks.schema.json\nexamples\nplan.md\nplan.schema.json\nreceipts.schema.json\n"
    );
    assert_eq!(
        sandbox.sh("find 'a b/prefix' -type f | wc -l").stdout,
        "46\n"
    );

    // provision finds the steps in its own directory, even if it is started through a link.
    let provision = "rm -r r bin/bottle-* && ln -s '../a b/prefix/bin/bottle-provision' bin/p && p -q < plan.json";
    let outcome = sandbox.sh(provision);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
}

#[test]
fn installing_twice_and_uninstalling() {
    let sandbox = built();
    let script = "mkdir -p p/bin && touch p/bin/other && r/scripts/install --prefix p >said && r/scripts/install --prefix=p >said && \
                  r/scripts/install --uninstall --prefix p >said && r/scripts/install --uninstall --prefix p >said && find p ! -type d";
    let outcome = sandbox.sh(script);
    assert_eq!(
        (
            outcome.status,
            outcome.stdout.as_str(),
            outcome.stderr.as_str()
        ),
        (0, "p/bin/other\n", "")
    );
    for (args, status, stderr) in [
        ("--prefix", 2, "install: --prefix: a value is required\n"),
        ("--prefix ''", 2, "install: --prefix: a value is required\n"),
    ] {
        sandbox
            .sh(&format!("r/scripts/install {args}"))
            .fails(status, stderr);
    }
}

/// For packages: what is installed is not what is used from there.
#[test]
fn a_root_may_be_prepared_for_another_machine() {
    let sandbox = built();
    let outcome = sandbox.sh("DESTDIR=$PWD/root r/scripts/install --prefix /usr && \
                              find root -name 'bottle-ca*' | sort && DESTDIR=root r/scripts/install \
                              --prefix /usr --uninstall >/dev/null && find root ! -type d");
    let files = "root/usr/bin/bottle-ca\n\
                 root/usr/share/bash-completion/completions/bottle-ca\n\
                 root/usr/share/fish/vendor_completions.d/bottle-ca.fish\n\
                 root/usr/share/man/man1/bottle-ca.1\n";
    assert_eq!(
        (
            outcome.status,
            outcome.stdout.as_str(),
            outcome.stderr.as_str()
        ),
        (0, files, "")
    );
}

/// Where the programs are built already, cargo is not needed.
#[test]
fn installing_built_programs_needs_no_cargo() {
    let sandbox = built();
    let path = sandbox.only(&["dirname", "install", "mkdir", "readlink"]);
    let install = |prefix: &str| {
        let run = sandbox
            .run(sandbox.path("r/scripts/install"))
            .args(["--prefix", prefix]);
        run.env("PATH", &path).end()
    };
    let outcome = install("p");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert!(sandbox.path("p/bin/bottle-git").exists());

    fs::remove_file(sandbox.path("r/target/release/bottle-git")).unwrap();
    install("q").fails(
        69,
        "install: target/release/bottle-git is missing, and nothing built it\n",
    );
    assert!(!sandbox.path("q").exists());
}
