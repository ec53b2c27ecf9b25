//! Fuzzing of the certificate: `scripts/check --fuzz` runs the property for a minute.

use std::fs;
use std::process::Command;

use harness::mutations::{config, mutated};
use harness::{Certificate as Kind, certificate};
use proptest::prelude::*;

use crate::certificate::Certificate;

fn seeds() -> Vec<Vec<u8>> {
    let ca = certificate(&Kind::Ca);
    let dos = ca.pem.replace('\n', "\r\n");
    [
        ca.pem.clone(),
        dos,
        ca.pem.clone() + &ca.key,
        ca.key + &ca.pem,
    ]
    .map(String::into_bytes)
    .to_vec()
}

proptest! {
    #![proptest_config(config(60))]

    /// An accepted file has no key, and OpenSSL reads it and what follows it in a bundle. The DER
    /// may be damaged, which the guest finds out before it trusts the file.
    #[test]
    fn certificate_file(text in mutated(seeds(), &[
        "\n", "\r", "\r\n", "\n\n", " ", "\t", "\0", "=", "==", "-", "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\n", "PRIVATE KEY", "\u{feff}", "# x\n", "M",
    ])) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pem");
        fs::write(&file, &text).unwrap();
        if Certificate::read(&file).is_err() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&text);
        prop_assert!(!shown.contains("PRIVATE"), "{shown}");
        prop_assert_eq!(shown.matches("BEGIN").count(), 1);
        let openssl = |args: &[&str]| {
            let mut openssl = Command::new("openssl");
            openssl.args(args).arg(&file).output().unwrap()
        };
        if openssl(&["x509", "-noout", "-hash", "-in"]).status.success() {
            let end: &[u8] = if text.ends_with(b"\n") { b"" } else { b"\n" };
            let other = certificate(&Kind::Ca).pem;
            fs::write(&file, [&text, end, other.as_bytes()].concat()).unwrap();
            let found = openssl(&["storeutl", "-noout", "-certs"]).stdout;
            prop_assert!(found.ends_with(b"Total found: 2\n"), "{shown}");
        }
    }
}
