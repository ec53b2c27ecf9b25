//! Asks whether git reaches every remote through the gate, and who a commit would be by.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bottle_common::guest::listing::Difference;
use bottle_common::plan::Plan;
use bottle_common::plan::wire::Identity;
use bottle_common::step::Check;
use bottle_common::step::live::{self, Answer, Fields};
use bottle_common::step::options::Questions;
use bottle_common::text::shorten;

use crate::credentials;
use crate::gate;
use crate::parts::{Options, Part};
use crate::repository;

const ASK: &str = include_str!("live.sh");

/// The number of characters that are shown of an address or a name.
const MAX_SHOWN: usize = 200;

/// A remote: its address as the plan has it, and its address at the gate.
struct Asked {
    upstream: String,
    url: String,
}

/// Asks about the gate and the identity, as far as the plan has them and the options want them.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the type that every step's `live` has"
)]
pub fn live(plan: &Plan, options: &Options, questions: &Questions) -> Result<Check> {
    let wants = |part| options.only.is_none_or(|only| only == part);
    let mut asked = Vec::new();
    for gate in plan.gate.iter().filter(|_| wants(Part::Gate)) {
        for remote in &gate.remotes {
            let (upstream, url) = (remote.url.written.clone(), gate::url(gate, &remote.name));
            asked.push(Asked { upstream, url });
        }
    }
    let has_identity = wants(Part::Identity) && plan.identity.is_set();
    if asked.is_empty() && !has_identity {
        return Ok(Check::nothing("no remote and no identity to ask about"));
    }
    let workspace = repository::workspace();
    let mut parameters = vec![workspace.as_str()];
    parameters.extend(asked.iter().map(|remote| remote.upstream.as_str()));
    let exec = live::exec(&plan.guest_env, questions, ASK, &parameters);
    let limit = live::time_limit(questions, 2 * asked.len() + 1);
    let line = match asked.len() {
        0 => "git knows who commits".to_owned(),
        1 => "the remote answers through the gate".to_owned(),
        number => format!("{number} remotes answer through the gate"),
    };
    let identity = has_identity.then(|| plan.identity.clone());
    let compare = move |text: &str| compare(&asked, identity.as_ref(), text);
    Ok(Check::new(exec, line, compare).within(limit))
}

/// Compares `text`, the output of [`ASK`], with a guest in which all works.
fn compare(asked: &[Asked], identity: Option<&Identity>, text: &str) -> Result<Vec<Difference>> {
    let mut fields = Fields::new(text);
    let commits = fields.answer()?;
    let mut differences = Vec::new();
    if let Some(identity) = identity {
        differences.extend(of_identity(identity, commits)?);
    }
    let mut answers = BTreeMap::new();
    loop {
        let upstream = fields.text()?;
        if upstream == "end" {
            fields.is_empty()?;
            break;
        }
        let url = fields.text()?.trim();
        answers.insert(upstream, (url, fields.answer()?));
    }
    for Asked { upstream, url } in asked {
        let answer = answers.remove(upstream.as_str());
        let (found, answer) = answer.context("the guest's answer is cut short")?;
        if found != url {
            let found = credentials::removed_from_address(found.as_bytes());
            let found = String::from_utf8_lossy(&found);
            let found = shorten(&found, MAX_SHOWN);
            differences.push(Difference::new("live url", upstream, url, Some(&found)));
        }
        if !answer.is_good() {
            let (plan, why) = ("answers", answer.why(words)?);
            differences.push(Difference::new("live remote", upstream, plan, Some(&why)));
        }
    }
    ensure!(
        answers.is_empty(),
        "the guest's answer has more than was asked for"
    );
    Ok(differences)
}

/// Compares who a commit would be by, `NAME <EMAIL> TIME ZONE`, with `identity`.
fn of_identity(identity: &Identity, answer: Answer) -> Result<Vec<Difference>> {
    if !answer.is_good() {
        let why = answer.why(words)?;
        let plan = "git can commit";
        return Ok(vec![Difference::new(
            "live identity",
            "git",
            plan,
            Some(&why),
        )]);
    }
    let (name, rest) = answer.text.rsplit_once(" <").unwrap_or_default();
    let (email, _) = rest.split_once('>').unwrap_or_default();
    let mut differences = Vec::new();
    for (what, plan, found) in [
        ("live user.name", &identity.name, name),
        ("live user.email", &identity.email, email),
    ] {
        let Some(plan) = plan else { continue };
        if !plan.is_in_commit(found) {
            let found = shorten(found, MAX_SHOWN);
            differences.push(Difference::new(what, "git", &**plan, Some(&found)));
        }
    }
    Ok(differences)
}

/// Finds the reason in a line that git printed. A line that ends with a colon has it in the next
/// one, as in `ADDRESS[0: ADDRESS]: errno=REASON`.
fn words(line: &str) -> Option<&str> {
    if let Some((_, reason)) = line.split_once("errno=") {
        return Some(reason);
    }
    let fatal = line
        .strip_prefix("fatal: ")
        .or_else(|| line.strip_prefix("error: "));
    fatal.filter(|reason| !reason.ends_with(':'))
}

#[cfg(test)]
mod tests {
    use bottle_common::plan::wire::Identity;

    use super::{Asked, compare, words};

    #[test]
    fn each_remote_answers_and_its_address_is_the_gates() {
        let asked = |upstream: &str, url: &str| Asked {
            upstream: upstream.to_owned(),
            url: url.to_owned(),
        };
        let asked = [asked("a:b", "git://g/a"), asked("c:d", "git://g/c")];
        let found = |first: &str, second: &str| {
            let text = format!("0\0Ada <a@x> 1 +0000\n\0{second}{first}end\0");
            for end in 0..text.len() {
                assert!(compare(&asked, None, &text[..end]).is_err(), "{end}");
            }
            assert!(compare(&asked[..1], None, &text).is_err());
            let found = compare(&asked, None, &text).unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (first, second) = ("a:b\0git://g/a\n\x000\0\0", "c:d\0git://g/c\n\x000\0\0");
        assert_eq!(found(first, second), [""; 0]);
        let around = "a:b\0https://u:p@h/a\n\x00128\0fatal: no route\n\0";
        assert_eq!(
            found(around, second),
            [
                "a:b: live url: `git://g/a` in the plan, `https://h/a` in the guest",
                "a:b: live remote: `answers` in the plan, `no route` in the guest",
            ]
        );
    }

    #[test]
    fn a_commit_is_by_the_plans_identity() {
        let text = |text: &str| text.to_owned().try_into().ok();
        let identity = Identity {
            name: text("O'Neil, Jr."),
            email: text("a@x"),
        };
        let found = |status: &str, said: &str| {
            let found = compare(&[], Some(&identity), &format!("{status}\0{said}\0end\0"));
            found
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(found("0", "O'Neil, Jr <a@x> 1 +0000\n"), [""; 0]);
        assert_eq!(
            found("0", "Eve <e@x> 1 +0000\n"),
            [
                "git: live user.name: `O'Neil, Jr.` in the plan, `Eve` in the guest",
                "git: live user.email: `a@x` in the plan, `e@x` in the guest",
            ]
        );
        assert_eq!(
            found("128", "hint: x\nfatal: who\n"),
            ["git: live identity: `git can commit` in the plan, `who` in the guest"]
        );
        assert_eq!(found("0", "rubbish").len(), 2);
    }

    #[test]
    fn the_reason_is_found_in_gits_lines() {
        for (line, reason) in [
            ("fatal: unable to connect to h:", None),
            (
                "h[0: 127.0.0.1]: errno=Connection refused",
                Some("Connection refused"),
            ),
            ("fatal: a", Some("a")),
            ("error: b", Some("b")),
            ("remote: c", None),
        ] {
            assert_eq!(words(line), reason, "{line}");
        }
    }
}
