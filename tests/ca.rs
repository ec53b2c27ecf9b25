//! `bottle-ca`, from the outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{Certificate, Sandbox, certificate, converges, cp_for_root, fingerprint};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-ca");
const PATH: &str = "/usr/local/share/ca-certificates/claude-bottle-mitm.crt";
const UPDATE: &str = "run update-ca-certificates";
const KEY: &str = "proxy_plan.ca_cert_host_path";

fn with_routes(sandbox: &Sandbox) -> Value {
    certificate(&Certificate::Ca).write(&sandbox.path("egress.pem"));
    let mut plan = sandbox.plan();
    plan["egress_plan"]["routes"] = json!([{"host": "api.anthropic.com"}]);
    plan["egress_plan"]["mitmproxy_ca_cert_only_host_path"] = json!(sandbox.path("egress.pem"));
    plan
}

#[test]
fn pipelock_path_when_no_routes() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    let fingerprint = fingerprint(&sandbox.path("ca.pem"));
    let stderr = format!("bottle-ca: trusts pipelock CA, sha256 {fingerprint} (_s)\n");
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    assert_eq!(receipts["ca"]["fingerprint"], json!(fingerprint));
    assert_eq!(receipts["ca"]["env"]["NODE_EXTRA_CA_CERTS"], PATH);
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    for name in [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
    ] {
        assert_eq!(receipts["ca"]["env"][name], bundle);
    }

    let calls = sandbox.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0], cp_for_root(&sandbox.path("ca.pem"), PATH));
    assert_eq!(calls[1][7..9], ["sh", "-c"]);
    assert!(
        calls[1][9].contains("chmod 644") && calls[1][9].contains("update-ca-certificates"),
        "{}",
        calls[1][9]
    );
}

#[test]
fn egress_path_when_routes_declared() {
    let sandbox = Sandbox::new();
    let plan = with_routes(&sandbox);
    let fingerprint = fingerprint(&sandbox.path("egress.pem"));
    let stderr = format!("bottle-ca: trusts egress CA, sha256 {fingerprint} (_s)\n");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    assert_eq!(
        sandbox.calls()[0],
        cp_for_root(&sandbox.path("egress.pem"), PATH)
    );
}

#[test]
fn dies_when_selected_cert_missing() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.plan();
    plan["proxy_plan"]["ca_cert_host_path"] = json!(sandbox.path("does-not-exist.pem"));
    let why = "read DIR/does-not-exist.pem: No such file or directory (os error 2)";
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .fails(1, &format!("bottle-ca: {KEY}: {why}\n"));
    for unset in [json!(""), json!("."), Value::Null] {
        plan["proxy_plan"]["ca_cert_host_path"] = unset;
        let why = "unset, so there is no certificate to trust";
        sandbox
            .run(STEP)
            .plan(&plan)
            .end()
            .fails(1, &format!("bottle-ca: {KEY}: {why}\n"));
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn dies_when_no_certificate_was_added() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    let answer = "Updating certificates in /etc/ssl/certs...\n0 added, 0 removed; done.\n";
    let outcome = sandbox
        .run(STEP)
        .plan(&plan)
        .env("STAND_IN_ANSWER", answer)
        .end();
    let said = "Updating certificates in /etc/ssl/certs...; 0 added, 0 removed; done.";
    let why = format!("it added no certificate: {said}");
    outcome.fails(
        1,
        &format!("bottle-ca: run update-ca-certificates: {why}\n"),
    );
    for (answer, status) in [
        ("2 added, 0 removed\nway: plain\n", 0),
        ("10 added.\nway: quick\n", 0),
        ("(100 added)\nway: quick\n", 0),
        ("00 added\nway: quick\n", 1),
        ("added\nway: quick\n", 1),
    ] {
        let outcome = sandbox
            .run(STEP)
            .plan(&plan)
            .env("STAND_IN_ANSWER", answer)
            .end();
        assert_eq!(outcome.status, status, "{answer}");
    }
    let outcome = sandbox.run(STEP).plan(&plan);
    let why = "it does not say which way it took: 1 added, 0 removed; done.; way: other";
    outcome
        .env("STAND_IN_ANSWER", "1 added, 0 removed; done.\nway: other\n")
        .end()
        .fails(1, &format!("bottle-ca: {UPDATE}: {why}\n"));
}

#[test]
fn anything_but_one_ca_certificate_fails_before_the_first_call() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    let ca = certificate(&Certificate::Ca);
    let not_alone = "not one PEM certificate and nothing else, in lines of 64 characters\n\
                     hint: `openssl x509 -in FILE` prints a certificate like that\n";
    let der_hint = "hint: `openssl x509 -inform der` turns DER into PEM\n";
    let key_why = "the file holds a private key, which must never reach the guest\nhint: take the proxy's file that has \
                   the certificate alone\n";
    for (content, why) in [
        (
            format!("{}{}", ca.pem, ca.key).into_bytes(),
            key_why.to_owned(),
        ),
        (
            format!("{}-----BEGIN RSA PRIVATE KEY-----\nrubbish", ca.pem).into_bytes(),
            key_why.to_owned(),
        ),
        (
            format!("{}{}", ca.pem, certificate(&Certificate::Ca).pem).into_bytes(),
            "2 PEM blocks in it, not one certificate alone\n".to_owned(),
        ),
        (
            certificate(&Certificate::Leaf).pem.into_bytes(),
            "not a CA certificate: the guest would trust nothing that it signed\n".to_owned(),
        ),
        (
            certificate(&Certificate::CaThatMayNotSign).pem.into_bytes(),
            "not a CA certificate: its key usage does not let it sign certificates\n".to_owned(),
        ),
        (
            ca.der.clone(),
            format!("no PEM certificate in it\n{der_hint}"),
        ),
        (
            b"rubbish".to_vec(),
            format!("no PEM certificate in it\n{der_hint}"),
        ),
        (Vec::new(), format!("no PEM certificate in it\n{der_hint}")),
        (
            ca.pem
                .replace("CERTIFICATE", "CERTIFICATE REQUEST")
                .into_bytes(),
            "a `CERTIFICATE REQUEST` in it, not a certificate\n".to_owned(),
        ),
        (
            format!("{}{}", ca.pem.trim_end(), certificate(&Certificate::Ca).pem).into_bytes(),
            not_alone.to_owned(),
        ),
        (
            format!("{}{}", ca.pem, ca.key.lines().nth(1).unwrap()).into_bytes(),
            not_alone.to_owned(),
        ),
        (format!("{}\0", ca.pem).into_bytes(), not_alone.to_owned()),
        (
            format!("Subject: CN=a\n{}", ca.pem).into_bytes(),
            not_alone.to_owned(),
        ),
        (
            ca.pem.replacen('\n', "\n\n", 2).into_bytes(),
            not_alone.to_owned(),
        ),
    ] {
        sandbox.write("ca.pem", content);
        sandbox
            .run(STEP)
            .plan(&plan)
            .end()
            .fails(1, &format!("bottle-ca: {KEY}: DIR/ca.pem: {why}"));
    }
    sandbox.write("ca.pem", vec![b'x'; (1 << 20) + 1]);
    sandbox.run(STEP).plan(&plan).end().fails(
        1,
        &format!("bottle-ca: {KEY}: read DIR/ca.pem: it is longer than 1.0 MiB\n"),
    );
    assert!(sandbox.calls().is_empty());
    for text in [ca.pem.replace('\n', "\r\n"), ca.pem.trim_end().to_owned()] {
        sandbox.write("ca.pem", text);
        assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
    }
    sandbox.calls();
    for kind in [Certificate::ExpiredCa, Certificate::FutureCa] {
        certificate(&kind).write(&sandbox.path("ca.pem"));
        let outcome = sandbox.run(STEP).plan(&plan).end();
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
        assert!(outcome.stderr.starts_with(&format!(
            "bottle-ca: {KEY}: DIR/ca.pem: not in date: valid from "
        )));
    }
    fs::remove_file(sandbox.path("ca.pem")).unwrap();
    fs::create_dir(sandbox.path("ca.pem")).unwrap();
    sandbox.run(STEP).plan(&plan).end().fails(
        1,
        &format!("bottle-ca: {KEY}: read DIR/ca.pem: not a regular file\n"),
    );
    assert!(sandbox.calls().is_empty());
}

/// The number of certificates in the guest's bundle.
fn number_trusted(sandbox: &Sandbox) -> u32 {
    let number = sandbox.guest("grep -c BEGIN /etc/ssl/certs/ca-certificates.crt");
    number.trim().parse().unwrap()
}

const TRUSTED: &str = "cd /etc/ssl/certs && readlink claude-bottle-mitm.pem && \
    openssl verify -CApath /etc/ssl/certs claude-bottle-mitm.pem && \
    openssl verify -no-CApath -CAfile ca-certificates.crt claude-bottle-mitm.pem && \
    grep -c BEGIN ca-certificates.crt; ls | grep -c -x 'ca-certificates.crt.new'";

#[test]
fn the_guest_trusts_the_certificate_and_all_others() {
    let sandbox = Sandbox::with_guest();
    let before = number_trusted(&sandbox);
    let plan = sandbox.plan();
    let outcome = sandbox.run(STEP).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let seen = sandbox.guest(&format!("{TRUSTED} || :"));
    let verified = "claude-bottle-mitm.pem: OK\n";
    assert_eq!(
        seen,
        format!("{PATH}\n{verified}{verified}{}\n0\n", before + 1)
    );
}

#[test]
fn another_certificate_replaces_the_first_even_after_a_killed_run() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.plan();
    assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
    let before = number_trusted(&sandbox);
    // A killed update-ca-certificates leaves this file, and the next one appends to it.
    sandbox.guest("echo rubbish > /etc/ssl/certs/ca-certificates.crt.new");
    certificate(&Certificate::Ca).write(&sandbox.path("ca.pem"));
    let outcome = sandbox.run(STEP).plan(&plan).end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let seen = sandbox.guest(&format!("{TRUSTED} || :"));
    let verified = "claude-bottle-mitm.pem: OK\n";
    assert_eq!(seen, format!("{PATH}\n{verified}{verified}{before}\n0\n"));
    let links = "find /etc/ssl/certs -lname claude-bottle-mitm.pem | wc -l; grep -c rubbish /etc/ssl/certs/*.crt || :";
    assert_eq!(sandbox.guest(links), "1\n0\n");
}

#[test]
fn four_runs_at_once_wait_for_each_other() {
    let sandbox = Sandbox::with_guest();
    let before = number_trusted(&sandbox);
    sandbox.write("plan.json", sandbox.plan().to_string());
    let runs = [(); 4].map(|()| sandbox.run(STEP).args(["-f", "plan.json"]).start());
    for run in runs {
        let outcome = sandbox.outcome(run);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    }
    assert_eq!(number_trusted(&sandbox), before + 1);
    assert_eq!(sandbox.guest("ls /run"), "lock\n");
}

#[test]
fn converges_wherever_it_was_killed() {
    let ca = certificate(&Certificate::Ca);
    converges(STEP, |sandbox| {
        ca.write(&sandbox.path("ca.pem"));
        sandbox.plan()
    });
}

/// Has smolvm replace ca.pem by `content` when it copies it.
fn exchange_at_copy(sandbox: &Sandbox, content: &[u8]) -> std::path::PathBuf {
    sandbox.write("other.pem", content);
    let script = "#!/bin/sh\n[ \"$2\" != cp ] || cp other.pem ca.pem\nexec bin/smolvm \"$@\"\n";
    let smolvm = sandbox.write("exchanging-smolvm", script);
    fs::set_permissions(&smolvm, fs::Permissions::from_mode(0o755)).unwrap();
    smolvm
}

#[test]
fn a_file_that_is_replaced_after_the_check_is_not_trusted_and_is_removed() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.plan();
    let bundle = "cd /etc/ssl/certs; sha256sum ca-certificates.crt; ls | sha256sum";
    let before = sandbox.guest(bundle);
    let ca = certificate(&Certificate::Ca);
    let smolvm = exchange_at_copy(&sandbox, format!("{}{}", ca.pem, ca.key).as_bytes());
    let outcome = sandbox
        .run(STEP)
        .plan(&plan)
        .args(["--smolvm".as_ref(), smolvm.as_os_str()]);
    let why =
        format!("{PATH} is not the file that was judged, which changed on the host: it is removed");
    outcome.end().fails(
        1,
        &format!("bottle-ca: {UPDATE}: smolvm machine exec: exit status 1: {why}\n"),
    );
    assert_eq!(sandbox.guest(bundle), before);
    assert_eq!(
        sandbox.guest(&format!("ls {PATH} 2>&1 || :; ls /run")),
        format!("ls: cannot access '{PATH}': No such file or directory\nlock\n")
    );
}

/// The parser of this program accepts damaged DER that OpenSSL does not accept. OpenSSL would then
/// read nothing that follows in the bundle.
#[test]
fn a_certificate_that_openssl_cannot_read_is_not_trusted_and_is_removed() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.plan();
    let before = sandbox.guest("sha256sum /etc/ssl/certs/ca-certificates.crt");
    let mut der = certificate(&Certificate::Ca).der;
    let name = der
        .windows(5)
        .position(|window| window == b"rcgen")
        .unwrap();
    der[name] = 0xff;
    sandbox.write("der", der);
    let convert = "{ echo '-----BEGIN CERTIFICATE-----'; base64 -w 64 der; echo '-----END CERTIFICATE-----'; } > ca.pem";
    assert_eq!(sandbox.run("sh").args(["-c", convert]).end().status, 0);
    let outcome = sandbox.run(STEP).plan(&plan).end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    let why = format!("{PATH} is not a certificate that OpenSSL can read: it is removed\n");
    assert!(outcome.stderr.ends_with(&why), "{}", outcome.stderr);
    let after = sandbox.guest(&format!(
        "sha256sum /etc/ssl/certs/ca-certificates.crt; ls {PATH} 2>/dev/null || :"
    ));
    assert_eq!(after, before);
}

#[test]
fn a_certificate_without_its_hash_link_is_an_error() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.plan();
    let update = sandbox.write(
        "guest-bin/update-ca-certificates",
        "#!/bin/sh\n/usr/sbin/update-ca-certificates \"$@\"\n\
         find /etc/ssl/certs -lname claude-bottle-mitm.pem -delete\n",
    );
    fs::set_permissions(update, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = sandbox.run(STEP).plan(&plan).end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    let why = format!("there is no link to {PATH} under its hash, ");
    assert!(outcome.stderr.contains(&why), "{}", outcome.stderr);
}

#[test]
fn the_output_of_update_ca_certificates_is_not_trusted_alone() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.plan();
    let added = "1 added, 0 removed; done.";
    let link = ": >/etc/ssl/certs/claude-bottle-mitm.pem";
    for (script, why) in [
        (
            format!("{link}; echo '{added}'; exit 5"),
            format!("exit status 5: {added}"),
        ),
        (
            format!("{link}; echo '0 added, 0 removed; done.'"),
            "exit status 1: 0 added, 0 removed; done.".to_owned(),
        ),
        // It has made no link to the certificate.
        (format!("echo '{added}'"), format!("exit status 1: {added}")),
    ] {
        let program = "guest-bin/update-ca-certificates";
        let program = sandbox.write(program, format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        sandbox.run(STEP).plan(&plan).end().fails(
            1,
            &format!("bottle-ca: run update-ca-certificates: smolvm machine exec: {why}\n"),
        );
        assert_eq!(sandbox.guest("ls /run"), "lock\n");
    }
}

#[test]
fn a_hash_link_to_another_certificate_does_not_count() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.plan();
    assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
    let check = || sandbox.run(STEP).args(["--check", "-q"]).plan(&plan).end();
    assert_eq!(check().status, 0);
    let hash = format!("cd /etc/ssl/certs && hash=$(openssl x509 -noout -hash -in {PATH})");
    // Another certificate with the same subject has the first hash link.
    sandbox.guest(&format!(
        "{hash} && mv $hash.0 $hash.1 && cp {PATH} $hash.0"
    ));
    assert_eq!(check().status, 0);
    sandbox.guest(&format!("{hash} && rm $hash.1"));
    let said = format!(
        "bottle-ca: /etc/ssl/certs: hash link: `{PATH}` in the plan, nothing in the guest\n"
    );
    let outcome = check();
    assert_eq!((outcome.status, outcome.stderr), (3, said));
}
