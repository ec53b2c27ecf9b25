//! Asks whether the agent's TLS connections go through the proxy and are verified.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bottle_common::guest::listing::Difference;
use bottle_common::guest::paths;
use bottle_common::plan::Plan;
use bottle_common::plan::guest_env::CERTIFICATES;
use bottle_common::step::Check;
use bottle_common::step::live::{self, Answer, Fields};
use bottle_common::step::options::{NoOptions, Questions};
use bottle_common::text::shorten;

const ASK: &str = include_str!("live.sh");

/// The certificates that are asked about for each host: ours, the bundle, and those of variables.
const FILES: usize = 2 + CERTIFICATES.len();
/// The number of characters that are shown of a file's name.
const MAX_SHOWN: usize = 200;

/// Asks about the host that the options name, or about those of the egress routes.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the type that every step's `live` has"
)]
pub fn live(plan: &Plan, _: &NoOptions, questions: &Questions) -> Result<Check> {
    let given = questions.live_host.iter();
    let mut hosts: Vec<String> = given.map(ToString::to_string).collect();
    if hosts.is_empty() {
        hosts.extend(plan.egress_hosts.iter().map(ToString::to_string));
    }
    if hosts.is_empty() {
        return Ok(Check::nothing(
            "no host to connect to: egress_plan.routes names none, and --live-host does",
        ));
    }
    let (ours, variables) = (paths::ca_certificate(), CERTIFICATES.join(" "));
    let mut parameters = vec![ours.as_str(), paths::CA_BUNDLE, &variables];
    parameters.extend(hosts.iter().map(String::as_str));
    let exec = live::exec(&plan.guest_env, questions, ASK, &parameters);
    let line = format!("TLS to {} goes through the proxy", hosts.join(", "));
    let limit = live::time_limit(questions, hosts.len() * FILES);
    Ok(Check::new(exec, line, move |text| compare(&hosts, text)).within(limit))
}

/// What OpenSSL answered about one file of certificates.
struct Verified<'a> {
    /// The variable that names the file, or `ours` or `bundle`.
    name: &'a str,
    file: &'a str,
    answer: Answer<'a>,
}

/// Compares `text`, the output of [`ASK`], with a guest in which all works.
fn compare(hosts: &[String], text: &str) -> Result<Vec<Difference>> {
    let mut fields = Fields::new(text);
    let mut answers: BTreeMap<&str, Vec<Verified>> = BTreeMap::new();
    loop {
        let host = fields.text()?;
        if host == "end" {
            fields.is_empty()?;
            break;
        }
        let (name, file) = (fields.text()?, fields.text()?);
        let answer = fields.answer()?;
        answers
            .entry(host)
            .or_default()
            .push(Verified { name, file, answer });
    }
    let mut differences = Vec::new();
    for host in hosts {
        let of_host = answers.remove(host.as_str()).unwrap_or_default();
        let is_whole =
            of_host.len() >= 2 && of_host[0].name == "ours" && of_host[1].name == "bundle";
        ensure!(is_whole, "the guest's answer is cut short");
        differences.extend(of_one(host, &of_host)?);
    }
    ensure!(
        answers.is_empty(),
        "the guest's answer has more than was asked for"
    );
    Ok(differences)
}

/// Lists what does not work with `host`. The first answer is that about our certificate alone.
fn of_one(host: &str, answers: &[Verified]) -> Result<Vec<Difference>> {
    let why = |verified: &Verified| verified.answer.why("openssl", words);
    let (ours, others) = (&answers[0], &answers[1..]);
    let mut differences = Vec::new();
    let is_none_good = answers.iter().all(|verified| !verified.answer.is_good());
    let first = why(ours)?;
    if is_none_good && !ours.answer.text.contains(VERIFY_ERROR) {
        // The files do not matter, because there was no certificate to verify.
        let plan = "a connection";
        return Ok(vec![Difference::new("live tls", host, plan, Some(&first))]);
    }
    for verified in others.iter().filter(|verified| !verified.answer.is_good()) {
        let file = shorten(verified.file, MAX_SHOWN);
        let by = match verified.name {
            "bundle" => String::new(),
            name => format!(", which {} names", shorten(name, MAX_SHOWN)),
        };
        let plan = format!("verified with {file}{by}");
        differences.push(Difference::new(
            "live tls",
            host,
            plan,
            Some(&why(verified)?),
        ));
    }
    if !ours.answer.is_good() {
        let plan = "issued by our certificate";
        let guest = format!("{first}: the connection does not go through the proxy");
        differences.push(Difference::new("live proxy", host, plan, Some(&guest)));
    }
    Ok(differences)
}

/// What OpenSSL prints before the reason why it does not accept a certificate.
const VERIFY_ERROR: &str = "verify error:num=";

/// Finds the reason in a line that OpenSSL printed: `verify error:num=20:REASON`, what a proxy
/// said, or `ID:error:NUMBER:LIBRARY:FUNCTION:REASON:FILE:LINE:`, where another library's reason
/// comes last.
fn words(line: &str) -> Option<&str> {
    if let Some((_, reason)) = line.split_once(VERIFY_ERROR) {
        return reason.split_once(':').map(|(_, words)| words);
    }
    if let Some((_, words)) = line.split_once("HTTP CONNECT failed, ") {
        return Some(words);
    }
    let fields: Vec<_> = line.split(':').collect();
    match fields[..] {
        [_, "error", _, _, _, reason, ..] if reason != "system lib" => Some(reason),
        [_, "error", _, _, _, _, .., reason] => Some(reason),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{compare, words};

    const HOST: &str = "h:443";

    /// The differences for the answers about our certificate, the bundle and a variable's file.
    fn found(answers: [(&str, &str); 3]) -> Vec<String> {
        let names = [("ours", "/o"), ("bundle", "/b"), ("PIP_CERT", "/p")];
        let mut text = String::new();
        for ((name, file), (status, said)) in names.into_iter().zip(answers) {
            text += &[HOST, name, file, status, said]
                .map(|field| format!("{field}\0"))
                .concat();
        }
        text += "end\0";
        let hosts = [HOST.to_owned()];
        for end in 0..text.len() {
            assert!(compare(&hosts, &text[..end]).is_err(), "{end}");
        }
        assert!(compare(&hosts, &format!("{text}more\0")).is_err());
        assert!(compare(&[], &text).is_err());
        let found = compare(&hosts, &text).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_file_has_to_do_and_ours_alone() {
        let (good, refused) = (("0", ""), ("1", "verify error:num=20:no issuer\nx"));
        let differs = |what: &str, plan: &str, guest: &str| {
            format!("{HOST}: {what}: `{plan}` in the plan, `{guest}` in the guest")
        };
        let bundle = differs("live tls", "verified with /b", "no issuer");
        let variable = differs(
            "live tls",
            "verified with /p, which PIP_CERT names",
            "no issuer",
        );
        let proxy = differs(
            "live proxy",
            "issued by our certificate",
            "no issuer: the connection does not go through the proxy",
        );
        let down = ("1", "1:error:2:lib:f:Connection refused:f.c:1:\n");
        for (answers, differences) in [
            ([good, good, good], vec![]),
            ([good, refused, good], vec![bundle.clone()]),
            ([good, good, refused], vec![variable.clone()]),
            ([refused, good, good], vec![proxy.clone()]),
            ([refused, refused, refused], vec![bundle, variable, proxy]),
            (
                [down, down, down],
                vec![differs("live tls", "a connection", "Connection refused")],
            ),
        ] {
            assert_eq!(found(answers), differences);
        }
        let hosts = [HOST.to_owned()];
        let missing = "h:443\0ours\0/o\x00127\0\0h:443\0bundle\0/b\x00127\0\0end\0";
        let error = compare(&hosts, missing).unwrap_err().to_string();
        assert!(error.contains("no openssl"), "{error}");
        let order = "h:443\0bundle\0/b\x000\0\0h:443\0ours\0/o\x000\0\0end\0";
        assert!(compare(&hosts, order).is_err());
    }

    #[test]
    fn the_reason_is_found_in_openssls_lines() {
        for (line, reason) in [
            (
                "verify error:num=62:hostname mismatch",
                Some("hostname mismatch"),
            ),
            (
                "1:error:8000006F:system library:BIO_connect:Connection refused:f.c:117:x",
                Some("Connection refused"),
            ),
            (
                "1:error:2:BIO routines:f:system lib:f.c:1:Name not known",
                Some("Name not known"),
            ),
            (
                "s_client: HTTP CONNECT failed, reason= 403 No",
                Some("reason= 403 No"),
            ),
            ("connect:errno=111", None),
            ("", None),
        ] {
            assert_eq!(words(line), reason, "{line}");
        }
    }
}
