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

impl Verified<'_> {
    /// Says which file it is. A variable's value may be something else than a path, and a secret.
    fn what(&self) -> String {
        let file = shorten(self.file, MAX_SHOWN);
        match self.name {
            "ours" => "our certificate alone".to_owned(),
            "bundle" => file.into_owned(),
            name if file.starts_with('/') => format!("{file}, which {name} names"),
            name => format!("what {name} names"),
        }
    }
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
        let is_known = matches!(name, "ours" | "bundle") || CERTIFICATES.contains(&name);
        ensure!(is_known, "the guest's answer has more than was asked for");
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
    let mut reasons = Vec::new();
    for verified in answers {
        let is_good = verified.answer.is_good();
        let why = (!is_good).then(|| verified.answer.why(live::openssl_reason));
        reasons.push(why.transpose()?);
    }
    let (ours, others) = (&reasons[0], &reasons[1..]);
    if let Some(why) = ours
        && others.iter().all(|other| other == ours)
    {
        let plan = "a connection that is verified";
        let guest = if is_of_another(why) {
            format!("{why}: it is not issued by our certificate")
        } else {
            why.clone()
        };
        return Ok(vec![Difference::new("live tls", host, plan, Some(&guest))]);
    }
    let mut differences = Vec::new();
    for (verified, why) in answers.iter().zip(&reasons) {
        let Some(why) = why else { continue };
        let plan = format!("verified with {}", verified.what());
        if verified.name == "ours" && is_of_another(why) {
            let guest = format!("{why}: the connection does not go through the proxy");
            differences.push(Difference::new("live proxy", host, plan, Some(&guest)));
        } else {
            differences.push(Difference::new("live tls", host, plan, Some(why)));
        }
    }
    Ok(differences)
}

/// Whether OpenSSL's reason means that another CA issued the certificate.
fn is_of_another(why: &str) -> bool {
    // Up to OpenSSL 1.1.1 it was spelt "self signed".
    let why = why.replace("self signed", "self-signed");
    matches!(
        &*why,
        "unable to get local issuer certificate"
            | "self-signed certificate"
            | "self-signed certificate in certificate chain"
    )
}

#[cfg(test)]
mod tests {
    use super::compare;

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
        const OTHER: &str = "unable to get local issuer certificate";
        let (good, refused) = (("0", ""), ("1", "verify error:num=20:x\ny"));
        let other = format!("verify error:num=20:{OTHER}\n");
        let other = ("1", other.as_str());
        let differs = |what: &str, plan: &str, guest: &str| {
            format!("{HOST}: {what}: `{plan}` in the plan, `{guest}` in the guest")
        };
        let with = |what: &str, guest| differs("live tls", &format!("verified with {what}"), guest);
        let not_ours = format!("{OTHER}: the connection does not go through the proxy");
        let proxy = differs(
            "live proxy",
            "verified with our certificate alone",
            &not_ours,
        );
        let all = |guest| differs("live tls", "a connection that is verified", guest);
        let down = ("1", "1:error:2:lib:f:Connection refused:f.c:1:\n");
        for (answers, differences) in [
            ([good, good, good], vec![]),
            ([good, refused, good], vec![with("/b", "x")]),
            (
                [good, good, refused],
                vec![with("/p, which PIP_CERT names", "x")],
            ),
            (
                [refused, good, good],
                vec![with("our certificate alone", "x")],
            ),
            ([other, good, good], vec![proxy.clone()]),
            (
                [other, good, refused],
                vec![proxy, with("/p, which PIP_CERT names", "x")],
            ),
            (
                [other, other, other],
                vec![all(&format!(
                    "{OTHER}: it is not issued by our certificate"
                ))],
            ),
            ([refused, refused, refused], vec![all("x")]),
            ([down, down, down], vec![all("Connection refused")]),
        ] {
            assert_eq!(found(answers), differences);
        }
        let hosts = [HOST.to_owned()];
        let both = |status: &str, name: &str| {
            format!("h:443\0ours\0/o\0{status}\0x\0h:443\0{name}\0/b\0{status}\0x\0end\0")
        };
        assert!(compare(&hosts, &both("0", "bundle")).unwrap().is_empty());
        assert!(compare(&hosts, &both("125", "bundle")).is_err());
        assert!(compare(&hosts, &both("0", "PIP_CERT")).is_err());
        assert!(compare(&hosts, &both("0", "other")).is_err());
        let secret = "h:443\0ours\0/o\x000\0\0h:443\0bundle\0/b\x000\0\0\
                      h:443\0PIP_CERT\0s3cret\x001\0\0end\0";
        let shown = compare(&hosts, secret).unwrap()[0].to_string();
        assert!(
            shown.contains("`verified with what PIP_CERT names`"),
            "{shown}"
        );
        let order = "h:443\0bundle\0/b\x000\0\0h:443\0ours\0/o\x000\0\0end\0";
        assert!(compare(&hosts, order).is_err());
    }
}
