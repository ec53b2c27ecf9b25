//! `--check`: looks into the guest and prints how it differs from the plan.

use clap::Args;

use crate::error::{Code, Error, in_phase};
use crate::guest::listing::Difference;
use crate::guest::paths;
use crate::step::Check;
use crate::step::invocation::Invocation;
use crate::step::output;

/// Makes the calls of `checks`, and prints the differences. Returns whether there are none.
pub(crate) fn check<O: Args>(
    invocation: &Invocation<O>,
    checks: Vec<Check>,
) -> Result<bool, Error> {
    let mut runner = invocation.runner();
    let mut differences = Vec::new();
    let mut lines = Vec::new();
    let has_calls = checks.iter().any(|check| check.exec.is_some());
    for Check {
        exec,
        compare,
        line,
        limit,
    } in checks
    {
        lines.push(line);
        let Some(exec) = exec else { continue };
        let answer = runner.ask_within(limit, &exec);
        let answer = answer.map_err(|failure| failure.error)?;
        let found = in_phase(Code::GuestCommand, compare(&answer))?;
        for difference in &found {
            invocation.say(&difference.to_string());
        }
        differences.extend(found);
    }
    in_phase(Code::HostFile, invocation.print(&differences))?;
    if !invocation.options.common.quiet {
        let replaces = !invocation.plan.copy_worktree;
        for hint in hints(invocation.step.name, replaces, &differences) {
            output::say(&format!("hint: {hint}"));
        }
    }
    if differences.is_empty() && !invocation.options.common.quiet {
        let lines = lines.join("; ");
        if has_calls {
            let seconds = invocation.started.elapsed().as_secs_f64();
            invocation.say(&format!("in place: {lines} ({seconds:.1}s)"));
        } else {
            invocation.say(&format!("nothing to check: {lines}"));
        }
    }
    Ok(differences.is_empty())
}

/// Says what mends `differences`, which the step `name` has found. A workspace without a `.git`
/// gets one if `replaces`, but is kept if the plan asks for its files, too.
fn hints(name: &str, replaces: bool, differences: &[Difference]) -> Vec<String> {
    let mut hints = Vec::new();
    let is_live = |difference: &&Difference| difference.what.starts_with("live ");
    let is_gone = differences.iter().any(|difference| {
        difference.path == paths::WORKSPACE
            && difference.what == "type"
            && difference.guest.is_none()
    });
    // The step keeps a repository that works, because the agent's commits are in it.
    let is_kept = |difference: &&Difference| {
        let below = difference.path.strip_prefix(paths::WORKSPACE);
        below.is_some_and(|below| {
            let is_made = match difference.what {
                "owner" => below.starts_with("/.git"),
                "type" => replaces && matches!(below, "" | "/.git"),
                what => what == "git status" && below == "/.git",
            };
            !is_gone && !is_made
        })
    };
    let is_mended = |difference: &&Difference| !is_live(difference) && !is_kept(difference);
    if differences.iter().any(|difference| is_mended(&difference)) {
        hints.push(format!(
            "{name} without --check mends it, or says what is in the way"
        ));
    }
    if differences.iter().any(|difference| is_kept(&difference)) {
        hints.push(format!(
            "{name} keeps the repository that is in the guest: mend {} there, or replace all of it \
             with --replace-repository",
            paths::WORKSPACE
        ));
    }
    if differences.iter().any(|difference| is_live(&difference)) {
        hints.push("docs/live.md says what a live difference means".to_owned());
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::hints;
    use crate::guest::listing::Difference;

    #[test]
    fn a_hint_says_what_mends_a_difference() {
        let mended = "bottle-git without --check mends it, or says what is in the way";
        let kept = "bottle-git keeps the repository that is in the guest: mend /home/node/workspace \
                    there, or replace all of it with --replace-repository";
        let live = "docs/live.md says what a live difference means";
        for (differences, expected) in [
            (&[][..], &[][..]),
            (&[("rule", "/home/node/.gitconfig")], &[mended]),
            (&[("owner", "/home/node/workspace/.git")], &[mended]),
            (&[("rule", "/home/node/workspace/.git/config")], &[kept]),
            (&[("git status", "/home/node/workspace/.git")], &[mended]),
            (&[("type", "/home/node/workspace/.git/hooks/x")], &[kept]),
            (
                &[("git status", "/home/node/workspace/.git/modules/a")],
                &[kept],
            ),
            (&[("live url", "ssh://forge.example/x")], &[live]),
            (
                &[
                    ("live url", "x"),
                    ("mode", "/x"),
                    ("hook", "/home/node/workspace/.git/hooks/x"),
                ],
                &[mended, kept, live],
            ),
        ] {
            let differences: Vec<_> = differences
                .iter()
                .map(|(what, path)| Difference::new(what, path, "x", None))
                .collect();
            assert_eq!(hints("bottle-git", true, &differences), expected);
        }
        let git = Difference::new("type", "/home/node/workspace/.git", "directory", None);
        let workspace = Difference::new("type", "/home/node/workspace", "directory", None);
        let file = Difference::new(
            "owner",
            "/home/node/workspace/a",
            "node:node",
            Some("root:root"),
        );
        assert_eq!(
            hints("bottle-git", true, std::slice::from_ref(&git)),
            [mended]
        );
        assert_eq!(
            hints("bottle-git", false, std::slice::from_ref(&git)),
            [kept]
        );
        assert_eq!(hints("bottle-git", false, &[git, workspace]), [mended]);
        assert_eq!(hints("bottle-git", false, &[file]), [kept]);
    }
}
