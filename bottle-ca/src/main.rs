//! Makes the guest trust the proxy's CA certificate: copies it and adds it to the system's bundle.

mod certificate;
#[cfg(test)]
mod fuzz;
mod live;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bottle_common::guest::listing::{Attributes, Difference, Listing};
use bottle_common::guest::paths;
use bottle_common::plan::guest_env::{CERTIFICATES, GuestEnv};
use bottle_common::plan::{Ca, Plan};
use bottle_common::smolvm::call::{Call, Exec, Source};
use bottle_common::step::options::NoOptions;
use bottle_common::step::receipt::{CaEnvironment, Way};
use bottle_common::step::{Check, Prepared, Report, Step, program, receipt};

use crate::certificate::Certificate;

const TRUST: &str = include_str!("trust.sh");
const LOOK: &str = include_str!("look.sh");
const UPDATE: &str = "run update-ca-certificates";

const STEP: Step<NoOptions> = Step {
    name: "bottle-ca",
    about: "Makes the guest trust the proxy's CA certificate",
    notes: "",
    prepare,
    check,
    live: live::live,
};

fn main() -> ExitCode {
    program::main(&STEP)
}

/// Decides which calls to make.
fn prepare(plan: &Plan, _: &NoOptions) -> Result<Prepared> {
    let (file, certificate) = read(&plan.ca)?;
    let path = paths::ca_certificate();
    let Certificate {
        fingerprint,
        sha256,
    } = certificate;
    // smolvm sets this mode when it has copied the file. The script compares and opens it.
    let from = Source::File(file.to_owned());
    let calls = vec![
        Call::copy_for_root("600", from, path.clone()),
        Exec::script(UPDATE, TRUST, &[&path, &sha256]).into(),
    ];
    let line = format!("trusts {} CA, sha256 {fingerprint}", plan.ca.proxy);
    let proxy = plan.ca.proxy;
    let prepared = Prepared::new(calls, move |results| {
        // A copy may print something, too.
        let answer = results.answers.last().map_or("", String::as_str);
        let said = || answer.lines().collect::<Vec<_>>().join("; ");
        if !says_added(answer) {
            bail!("{UPDATE}: it added no certificate: {}", said());
        }
        let Some(way) = way(answer) else {
            bail!("{UPDATE}: it does not say which way it took: {}", said());
        };
        let receipt = receipt::Ca {
            proxy,
            path: path.to_string(),
            fingerprint,
            sha256,
            way,
            env: environment(),
        };
        Ok(Report::done(line, &receipt))
    });
    Ok(prepared.warn(environment_warnings(&plan.guest_env)?))
}

/// Returns the variables that a launcher should set for the agent.
fn environment() -> CaEnvironment {
    CaEnvironment {
        node_extra_ca_certs: paths::ca_certificate().to_string(),
        ssl_cert_file: paths::CA_BUNDLE,
        requests_ca_bundle: paths::CA_BUNDLE,
        curl_ca_bundle: paths::CA_BUNDLE,
        git_ssl_cainfo: paths::CA_BUNDLE,
        pip_cert: paths::CA_BUNDLE,
        aws_ca_bundle: paths::CA_BUNDLE,
        cargo_http_cainfo: paths::CA_BUNDLE,
        deno_cert: paths::CA_BUNDLE,
        codex_ca_certificate: paths::CA_BUNDLE,
    }
}

/// Makes a warning for each variable of the agent that names another file than it should.
fn environment_warnings(env: &GuestEnv) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let environment = serde_json::to_value(environment())?;
    for name in CERTIFICATES {
        let file = environment[name].as_str().unwrap_or_default();
        if env.get(name).is_some_and(|found| file != found) {
            warnings.push(format!("guest_env sets {name} to another file than {file}"));
        }
    }
    Ok(warnings)
}

/// Whether update-ca-certificates(8) added a certificate. It prints `N added, M removed; done.`
fn says_added(answer: &str) -> bool {
    for (end, _) in answer.match_indices(" added") {
        let before = &answer[..end];
        let digits = &before[before.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        if digits.contains(|digit| digit != '0') {
            return true;
        }
    }
    false
}

/// Reads the last line of [`TRUST`]'s output, which says how it made the guest trust the
/// certificate. It says so once.
fn way(answer: &str) -> Option<Way> {
    let mut said = answer.lines().filter(|line| line.starts_with("way: "));
    let (line, None) = (said.next()?, said.next()) else {
        return None;
    };
    let (way, last) = match line {
        "way: quick" => (Way::Quick, "\nway: quick\n"),
        "way: plain" => (Way::Plain, "\nway: plain\n"),
        _ => return None,
    };
    answer.ends_with(last).then_some(way)
}

/// Decides what to look at in the guest.
fn check(plan: &Plan, _: &NoOptions) -> Result<Check> {
    let (_, certificate) = read(&plan.ca)?;
    let exec = Check::exec(LOOK, &[&paths::ca_certificate(), paths::CA_BUNDLE]);
    let line = format!("{} CA, sha256 {}", plan.ca.proxy, certificate.fingerprint);
    Ok(Check::new(exec, line, move |answer| {
        compare(&certificate, answer)
    }))
}

/// Compares `answer`, the output of [`LOOK`], with a guest that trusts `certificate`.
fn compare(certificate: &Certificate, answer: &str) -> Result<Vec<Difference>> {
    let path = paths::ca_certificate();
    let file = Attributes::file("644", "root:root", &certificate.sha256);
    let bundle = Attributes {
        sha256: None,
        ..file.clone()
    };
    let expected = Listing::default()
        .with(&path, file)
        .with(paths::CA_BUNDLE, bundle);
    let (found, rest) = Listing::parse(answer)?;
    let mut differences = expected.differences(&found);

    let mut fields = rest.splitn(3, '\0');
    let mut next = || fields.next().context("the guest's answer is cut short");
    let (hash_link, linked, bundle) = (next()?, next()?.trim(), next()?);
    if hash_link.is_empty() {
        differences.push(Difference::new("hash link", "/etc/ssl/certs", &*path, None));
    }
    let Ok(fingerprints) = certificate::fingerprints(bundle) else {
        let (plan, guest) = ("certificates in PEM", Some("damaged PEM"));
        differences.push(Difference::new("type", paths::CA_BUNDLE, plan, guest));
        return Ok(differences);
    };
    if !fingerprints.contains(&certificate.fingerprint) {
        let fingerprint = &certificate.fingerprint;
        let (what, path) = ("certificate", paths::CA_BUNDLE);
        differences.push(Difference::new(what, path, fingerprint, None));
    }
    let number = fingerprints.len().to_string();
    let are_there = found.0.contains_key(&*path) && found.0.contains_key(paths::CA_BUNDLE);
    if number != linked && are_there {
        let what = "number of certificates";
        differences.push(Difference::new(
            what,
            paths::CA_BUNDLE,
            linked,
            Some(&number),
        ));
    }
    Ok(differences)
}

/// Reads the certificate that the plan names. Returns its path and the certificate.
fn read(ca: &Ca) -> Result<(&Path, Certificate)> {
    let unset = || format!("{}: unset, so there is no certificate to trust", ca.key);
    let file = ca.path.as_deref().with_context(unset)?;
    Ok((file, Certificate::read(file).context(ca.key)?))
}

#[cfg(test)]
mod tests {
    use bottle_common::guest::paths;
    use bottle_common::step::receipt::Way;
    use harness::Certificate as Kind;
    use harness::{Sandbox, certificate};

    use super::{STEP, compare, says_added, way};
    use crate::certificate::Certificate;

    #[test]
    fn the_documents_match_the_command_line() {
        let files = [
            (
                "/usr/local/share/ca-certificates/claude-bottle-mitm.crt",
                "In the guest: the certificate.",
            ),
            (
                "/etc/ssl/certs/ca-certificates.crt",
                "In the guest: the bundle of all trusted certificates.",
            ),
        ];
        harness::step_documents(&STEP.command(), &files);
    }

    #[test]
    fn an_added_certificate_is_seen_in_the_output() {
        for (answer, is_added) in [
            ("Updating...\n1 added, 0 removed; done.\n", true),
            ("2 added, 0 removed; done.", true),
            ("10 added", true),
            ("100 added", true),
            ("0 added, 1 removed; done.", false),
            ("00 added", false),
            ("added", false),
            (" added", false),
            ("x added", false),
            ("1  added", false),
            ("1added", false),
            ("", false),
            ("0 added\n3 added", true),
        ] {
            assert_eq!(says_added(answer), is_added, "{answer}");
        }
    }

    #[test]
    fn the_way_is_the_last_line_and_said_once() {
        for (answer, expected) in [
            ("1 added\nway: quick\n", Some(Way::Quick)),
            ("1 added\nway: plain\n", Some(Way::Plain)),
            ("1 added\n", None),
            ("", None),
            ("way: quick\n", None),
            ("1 added\nway: quick", None),
            ("1 added\nway: quick\n\n", None),
            ("1 added\nway: quick\r\n", None),
            ("1 added\nway: quick\n1 added\n", None),
            ("1 added\nway: quick \n", None),
            ("1 added\n way: quick\n", None),
            ("1 added\nway: other\n", None),
            ("1 added\nway: quick\nway: plain\n", None),
            ("1 added\nway: plain\nway: plain\n", None),
            ("1 added\nway: other\nway: plain\n", None),
        ] {
            assert_eq!(way(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_guest_is_compared_in_every_part() {
        let (ca, other) = (certificate(&Kind::Ca), certificate(&Kind::Ca));
        let sandbox = Sandbox::new();
        let file = sandbox.path("ca.pem");
        ca.write(&file);
        let certificate = Certificate::read(&file).unwrap();
        let (path, bundle) = (paths::ca_certificate().to_string(), paths::CA_BUNDLE);
        let (sum, print) = (&*certificate.sha256, &*certificate.fingerprint);
        let sums = format!("sha256\0{sum}\0{}\0\0", "0".repeat(64));
        let files = format!("f 644 root:root\0{path}\0\0f 644 root:root\0{bundle}\0\0{sums}");
        let both = format!("{}{}", ca.pem, other.pem);
        let good = format!("{files}ab.0\0 2\n\0{both}");
        let no_file = "nothing in the guest";
        for (answer, differences) in [
            (good.clone(), vec![]),
            (
                good.replacen("644", "600", 1),
                vec![format!(
                    "{path}: mode: `644` in the plan, `600` in the guest"
                )],
            ),
            (
                good.replacen("root:root", "node:node", 1),
                vec![format!(
                    "{path}: owner: `root:root` in the plan, `node:node` in the guest"
                )],
            ),
            (
                good.replace(sum, &"1".repeat(64)),
                vec![format!(
                    "{path}: sha256: `{sum}` in the plan, `{}` in the guest",
                    "1".repeat(64)
                )],
            ),
            (
                good.replace("ab.0", ""),
                vec![format!(
                    "/etc/ssl/certs: hash link: `{path}` in the plan, {no_file}"
                )],
            ),
            (
                format!("{files}ab.0\0 2\n\0{0}{0}", other.pem),
                vec![format!(
                    "{bundle}: certificate: `{print}` in the plan, {no_file}"
                )],
            ),
            (
                good.replace(" 2\n", "3\n"),
                vec![format!(
                    "{bundle}: number of certificates: `3` in the plan, `2` in the guest"
                )],
            ),
            (
                good.replacen("BEGIN CERTIFICATE", "BEGIN", 1),
                vec![format!(
                    "{bundle}: type: `certificates in PEM` in the plan, `damaged PEM` in the guest"
                )],
            ),
            (
                format!("sha256\0\0\0{}\0", 0),
                vec![
                    format!("{bundle}: type: `file` in the plan, {no_file}"),
                    format!("{path}: type: `file` in the plan, {no_file}"),
                    format!("/etc/ssl/certs: hash link: `{path}` in the plan, {no_file}"),
                    format!("{bundle}: certificate: `{print}` in the plan, {no_file}"),
                ],
            ),
            (
                // The number of certificates in a missing bundle is not reported.
                format!("f 644 root:root\0{path}\0\0sha256\0{sum}\0\0ab.0\02\0"),
                vec![
                    format!("{bundle}: type: `file` in the plan, {no_file}"),
                    format!("{bundle}: certificate: `{print}` in the plan, {no_file}"),
                ],
            ),
        ] {
            let found = compare(&certificate, &answer).unwrap();
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, differences, "{answer:?}");
        }
        for answer in [
            &files[..],
            &format!("{files}ab.0"),
            &format!("{files}ab.0\02"),
        ] {
            let error = compare(&certificate, answer).unwrap_err().to_string();
            assert_eq!(error, "the guest's answer is cut short", "{answer:?}");
        }
    }
}
