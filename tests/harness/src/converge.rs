//! Runs that are killed, and what has to come of the next.

use serde_json::Value;

use crate::Sandbox;

/// Runs `step` in guests of their own, killed before and after each of its calls and then run
/// again; asserts that the guest ends like after one clean run, and that one more run changes
/// nothing.
///
/// `prepare` sets up each host and gives the plan.
#[track_caller]
pub fn converges(step: &str, prepare: impl Fn(&Sandbox) -> Value) {
    converges_in(
        || Sandbox::with_guest_of(&[]),
        step,
        &["before", "after"],
        prepare,
    );
}

/// The same in the guests that `sandbox` gives, killed at these moments of each call.
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
        "{what} ends otherwise; missing: {missing:#?}; extra: {extra:#?}"
    );
}
