//! What a step says where there is no room for what it makes or copies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;

use harness::{MACHINE, Outcome, Sandbox};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
/// A file of the skill that the plan names.
const LARGE: &str = "home/.claude/skills/verify/large";

/// Runs `step` with a `stage_dir` of 64 KiB, after the shell command `before`.
fn with_small_stage(sandbox: &Sandbox, before: &str, step: &str) -> Outcome {
    let mount = "mount -t tmpfs -o size=64k,mode=700 tmpfs stage";
    let script = format!("{mount} && {before} && exec {step} -f plan.json");
    sandbox
        .run("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .end()
}

/// Mounts an empty file system of 64 KiB on /srv in the guest, anew for each call.
fn make_srv_small(sandbox: &Sandbox) {
    sandbox.guest("mkdir /srv");
    let fstab = sandbox.path("machines").join(MACHINE).join("fstab");
    fs::write(fstab, "tmpfs root/srv tmpfs size=64k\n").unwrap();
}

#[test]
fn a_stage_dir_without_room_for_a_directory_fails_before_the_first_call() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    sandbox.write(LARGE, vec![b'x'; 100_000]);
    with_small_stage(&sandbox, "true", "bottle-skills").fails(
        1,
        "bottle-skills: no room in stage_dir DIR/stage: 101.0 KiB needed, 64.0 KiB free\n\
         hint: stage_dir in the plan names another directory\n",
    );
    assert!(sandbox.calls().is_empty());
}

/// The room may be gone between the check and the writing.
#[test]
fn a_stage_dir_that_is_full_fails_before_the_first_call() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let fill = "head -c 65536 /dev/zero > stage/filler";
    let outcome = with_small_stage(&sandbox, fill, "bottle-git --only gate");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    let said = outcome.stderr.lines().last().unwrap();
    assert!(
        said.starts_with("bottle-git: write DIR/stage/bottle-"),
        "{said}"
    );
    assert!(
        said.contains(": No space left on device (os error 28)"),
        "{said}"
    );
    assert!(sandbox.calls().is_empty());
}

/// If a tar has 256 MiB or more, the step asks the guest for room before it starts the copy.
#[test]
fn a_guest_without_room_for_a_large_directory_fails_before_the_copy() {
    let sandbox = Sandbox::with_guest();
    sandbox.set_up(BUILT);
    make_srv_small(&sandbox);
    fs::File::create(sandbox.path(LARGE))
        .unwrap()
        .set_len(256 << 20)
        .unwrap();
    let outcome = sandbox.sh("bottle-skills --guest-skills-dir /srv < plan.json");
    outcome.fails(
        1,
        "bottle-skills: make room for /srv/verify: smolvm machine exec: exit status 1: no room in \
         /srv: 262147 KiB needed, 64 KiB free\n",
    );
    assert!(sandbox.calls().iter().all(|call| call[1] == "exec"));
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn a_guest_whose_disk_becomes_full_fails_with_a_hint() {
    let sandbox = Sandbox::with_guest();
    sandbox.set_up(BUILT);
    make_srv_small(&sandbox);
    sandbox.write(LARGE, vec![b'x'; 100_000]);
    let outcome = sandbox.sh("bottle-skills --guest-skills-dir /srv < plan.json");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    let doing = "bottle-skills: unpack /srv/verify: smolvm machine exec: exit status 2: ";
    assert!(outcome.stderr.starts_with(doing), "{}", outcome.stderr);
    let hint = "\nhint: the machine's disk is full\n";
    assert!(outcome.stderr.ends_with(hint), "{}", outcome.stderr);
    assert_eq!(sandbox.guest("ls -A /var/lib/bottle"), "");
    assert_eq!(sandbox.staged(), [""; 0]);
}

/// scripts/provision keeps the plan, and what the steps say, in TMPDIR.
#[test]
fn a_tmpdir_without_room_fails_before_the_first_call() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for room in [0, 4, 8, 12, 16, 20] {
        let fill = format!(
            "head -c $((65536 - {room} * 1024)) /dev/zero > stage/filler && export TMPDIR=$PWD/stage"
        );
        let outcome = with_small_stage(&sandbox, &fill, "provision -q");
        assert_eq!(
            (outcome.status, outcome.stdout.as_str()),
            (1, ""),
            "{room}: {outcome:?}"
        );
        let hint = "hint: TMPDIR names another place\n";
        assert!(outcome.stderr.ends_with(hint), "{room}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 2, "{room}: {outcome:?}");
    }
    assert!(sandbox.calls().is_empty());
}
