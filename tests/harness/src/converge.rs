//! Kills a step at each of its calls, and checks that the next run repairs what is left.

use serde_json::Value;

use crate::Sandbox;

/// Runs `step`, kills it before its first call or after one of its calls, and runs it again, each
/// time in a new guest. Asserts that the guest is then as after one clean run, and that a second
/// clean run changes nothing.
///
/// `prepare` sets up each host and returns the plan.
#[track_caller]
pub fn converges(step: &str, prepare: impl Fn(&Sandbox) -> Value) {
    converges_in(
        || Sandbox::with_guest_of(&[]),
        step,
        &["before", "after"],
        prepare,
    );
}

/// Does the same as [`converges`] in the guests that `sandbox` makes, and kills the step at each of
/// `moments` of each call.
#[track_caller]
pub fn converges_in(
    sandbox: impl Fn() -> Sandbox,
    step: &str,
    moments: &[&str],
    prepare: impl Fn(&Sandbox) -> Value,
) {
    let clean = sandbox();
    let plan = prepare(&clean);
    let outcome = clean.run(step).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let calls = clean.calls().len();
    assert!(calls > 0);
    let tree = clean.tree();
    let outcome = clean.run(step).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    clean.calls();
    assert_same(&tree, &clean.tree(), "a second run");
    drop(clean);

    for call in 1..=calls {
        for moment in moments {
            // Before a call, the guest is as it is after the one before.
            if *moment == "before" && call > 1 && moments.contains(&"after") {
                continue;
            }
            let sandbox = sandbox();
            let plan = prepare(&sandbox);
            let killed = sandbox
                .run(step)
                .plan(&plan)
                .env("STAND_IN_KILL", format!("{call} {moment}"))
                .end();
            assert_eq!(
                (killed.status, killed.stdout.as_str()),
                (137, ""),
                "{}",
                killed.stderr
            );
            sandbox.calls();
            let outcome = sandbox.run(step).plan(&plan).end();
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
            assert_same(
                &tree,
                &sandbox.tree(),
                &format!("a run after one killed {moment} call {call}"),
            );
        }
    }
}

#[track_caller]
fn assert_same(expected: &str, found: &str, what: &str) {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let missing: Vec<_> = expected
        .iter()
        .filter(|line| !found.contains(line))
        .collect();
    let extra: Vec<_> = found
        .iter()
        .filter(|line| !expected.contains(line))
        .collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "the guest differs after {what}; missing: {missing:#?}; extra: {extra:#?}"
    );
}
