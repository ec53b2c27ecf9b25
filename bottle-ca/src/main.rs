//! Makes the guest trust the proxy's CA certificate, in the system's bundle.

mod certificate;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bottle_common::call::{Answer, Call, Source};
use bottle_common::check::{Check, Difference, Facts, LIST, Listing};
use bottle_common::guest;
use bottle_common::options::NoOptions;
use bottle_common::plan::{Ca, Plan};
use bottle_common::receipt::{self, CaEnvironment};
use bottle_common::step::{self, Step};
use bottle_common::work::{Outcome, Work};

use crate::certificate::Certificate;

/// One exec, since early ones may be killed. Without the link gone a second run adds nothing and leaves a renewed
/// certificate under its old hash; a killed run leaves `.new`, which the next would append to; two at once double the
/// bundle. The lock is removed by whoever holds it, so it counts only if it is still the file of that name.
const TRUST: &str = "set -eu; umask 077; lock=/run/claude-bottle-ca.lock; \
    while :; do exec 9>>\"$lock\"; flock 9; if [ \"$lock\" -ef /proc/self/fd/9 ]; then break; fi; done; trap 'rm -f \"$lock\"' EXIT; \
    umask 022; chmod 644 \"$1\"; chown root:root \"$1\"; \
    rm -f /etc/ssl/certs/claude-bottle-mitm.pem /etc/ssl/certs/ca-certificates.crt.new; \
    update-ca-certificates; test -e /etc/ssl/certs/claude-bottle-mitm.pem";

/// Prints the certificate's facts, the hash link under which OpenSSL finds it (it counts from 0, up to the first gap), how
/// many certificates were linked to be merged, and the bundle that they were merged into.
const ASK: &str = "list \"0:$1\" \"0:$2\"; cd /etc/ssl/certs; found= number=0; \
    command -v openssl >/dev/null || { echo 'openssl: not found' >&2; exit 127; }; \
    if [ -f \"$1\" ] && hash=$(openssl x509 -noout -hash -in \"$1\"); then \
        while [ -e \"$hash.$number\" ]; do \
            if [ \"$hash.$number\" -ef \"$1\" ]; then found=$hash.$number; fi; number=$((number + 1)); \
        done; \
    fi; \
    printf '%s\\0' \"$found\"; find . -maxdepth 1 -name '*.pem' -type l -exec cat {} + | grep -c 'BEGIN CERTIFICATE' || :; \
    printf '\\0'; if [ -f \"$2\" ]; then cat \"$2\"; fi";

/// `N added, M removed; done.`
const ADDED: Answer = Answer {
    pattern: "[1-9][0-9]* added",
    is_in: |said| {
        let number = |end: usize| said[..end].chars().rev().take_while(char::is_ascii_digit);
        said.match_indices(" added").any(|(end, _)| number(end).any(|digit| digit != '0'))
    },
};

const STEP: Step<NoOptions> =
    Step { name: "bottle-ca", about: "Makes the guest trust the proxy's CA certificate", prepare, check };

fn main() -> ExitCode {
    step::main(&STEP)
}

fn prepare(plan: &Plan, _: &NoOptions) -> Result<Work> {
    let (file, certificate) = read(&plan.ca)?;
    let path = guest::ca_certificate();
    let calls = vec![
        Call::copy(Source::File(file.to_owned()), path.clone()),
        Call::script(TRUST, &[&path]).to("run update-ca-certificates").answering(ADDED),
    ];
    let line = format!("trusts {} CA, sha256 {}", plan.ca.proxy, certificate.fingerprint);
    let receipt = receipt::Ca {
        proxy: plan.ca.proxy,
        path: path.to_string(),
        fingerprint: certificate.fingerprint,
        sha256: certificate.sha256,
        env: CaEnvironment {
            node_extra_ca_certs: path.to_string(),
            ssl_cert_file: guest::CA_BUNDLE,
            requests_ca_bundle: guest::CA_BUNDLE,
            curl_ca_bundle: guest::CA_BUNDLE,
            git_ssl_cainfo: guest::CA_BUNDLE,
        },
    };
    let outcome = Outcome::done(line, &receipt);
    Ok(Work::new(calls, |_| outcome))
}

fn check(plan: &Plan, _: &NoOptions) -> Result<Check> {
    let (_, certificate) = read(&plan.ca)?;
    let path = guest::ca_certificate();
    let call = Call::script(&format!("{LIST}{ASK}"), &[&path, guest::CA_BUNDLE]);
    let file = Facts::file("644", "root:root", &certificate.sha256);
    let bundle = Facts { sha256: None, ..file.clone() };
    let expected = Listing::default().with(&path, file).with(guest::CA_BUNDLE, bundle);
    let line = format!("{} CA, sha256 {}", plan.ca.proxy, certificate.fingerprint);
    Ok(Check::new(call, line, move |answer| {
        let (found, rest) = Listing::parse(answer)?;
        let mut fields = rest.splitn(3, '\0');
        let mut next = || fields.next().context("the guest's answer is cut short");
        let (hash_link, linked, bundle) = (next()?, next()?.trim(), next()?);
        let mut differences = expected.differences(&found);
        if hash_link.is_empty() {
            differences.push(Difference::new("hash link", "/etc/ssl/certs", &*path, None));
        }
        let Ok(fingerprints) = certificate::fingerprints(bundle) else {
            differences.push(Difference::new("type", guest::CA_BUNDLE, "certificates in PEM", Some("damaged PEM")));
            return Ok(differences);
        };
        if !fingerprints.contains(&certificate.fingerprint) {
            differences.push(Difference::new("certificate", guest::CA_BUNDLE, certificate.fingerprint, None));
        }
        let number = fingerprints.len().to_string();
        let are_there = [&*path, guest::CA_BUNDLE].iter().all(|file| found.0.contains_key(*file));
        if number != linked && are_there {
            differences.push(Difference::new("number of certificates", guest::CA_BUNDLE, linked, Some(&number)));
        }
        Ok(differences)
    }))
}

/// The file that the plan names, and the certificate in it.
fn read(ca: &Ca) -> Result<(&Path, Certificate)> {
    let file = ca.path.as_deref().with_context(|| format!("{}: unset, so there is no certificate to trust", ca.key))?;
    Ok((file, Certificate::read(file).context(ca.key)?))
}

#[cfg(test)]
#[test]
fn the_documents_are_those_of_the_command_line() {
    harness::step_documents(&STEP.command());
}
