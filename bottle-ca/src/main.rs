//! Makes the guest trust the proxy's CA certificate, in the system's bundle.

mod certificate;

use std::process::ExitCode;

use anyhow::{Context, Result};
use bottle_common::call::Call;
use bottle_common::guest;
use bottle_common::options::NoOptions;
use bottle_common::plan::Plan;
use bottle_common::step::{self, Outcome, Step, Work};
use serde_json::json;

use crate::certificate::Certificate;

/// One exec, since early ones may be killed. Without the link gone a second run adds nothing and leaves a renewed
/// certificate under its old hash; a killed run leaves `.new`, which the next would append to; two at once double the
/// bundle. The lock is removed by whoever holds it, so it counts only if it is still the file of that name.
const TRUST: &str = "set -eu; umask 077; lock=/run/claude-bottle-ca.lock; \
    while :; do exec 9>>\"$lock\"; flock 9; if [ \"$lock\" -ef /proc/self/fd/9 ]; then break; fi; done; trap 'rm -f \"$lock\"' EXIT; \
    umask 022; chmod 644 \"$1\"; chown root:root \"$1\"; \
    rm -f /etc/ssl/certs/claude-bottle-mitm.pem /etc/ssl/certs/ca-certificates.crt.new; \
    update-ca-certificates; test -e /etc/ssl/certs/claude-bottle-mitm.pem";

fn main() -> ExitCode {
    step::main(&Step { name: "bottle-ca", about: "Makes the guest trust the proxy's CA certificate", prepare })
}

fn prepare(plan: &Plan, _: &NoOptions) -> Result<Work> {
    let ca = &plan.ca;
    let file = ca.path.as_deref().with_context(|| format!("{}: unset, so there is no certificate to trust", ca.key))?;
    let certificate = Certificate::read(file).context(ca.key)?;

    let path = guest::ca_certificate();
    let calls = vec![
        Call::copy(file, path.clone()),
        Call::script(TRUST, &[&path]).to("run update-ca-certificates").answering("[1-9][0-9]* added"),
    ];
    let details = json!({
        "proxy": ca.proxy,
        "path": *path,
        "fingerprint": certificate.fingerprint,
        "sha256": certificate.sha256,
        // The merged bundle: our certificate alone there would drop all public roots.
        "env": {
            "NODE_EXTRA_CA_CERTS": *path,
            "SSL_CERT_FILE": guest::CA_BUNDLE,
            "REQUESTS_CA_BUNDLE": guest::CA_BUNDLE,
            "CURL_CA_BUNDLE": guest::CA_BUNDLE,
            "GIT_SSL_CAINFO": guest::CA_BUNDLE,
        },
    });
    let line = format!("trusts {} CA, sha256 {}", ca.proxy, certificate.fingerprint);
    let outcome = Outcome::done(line, details);
    Ok(Work::new(calls, outcome))
}
