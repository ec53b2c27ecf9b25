//! Whether a file is what the guest may trust: one CA certificate in date, and nothing that is a
//! secret.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bottle_common::error::hinted;
use bottle_common::host::files;
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The largest file that is read, in bytes. A certificate has a few KiB.
const MAX_SIZE: u64 = 1 << 20;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A CA certificate that was found fit.
#[derive(Debug)]
pub struct Certificate {
    /// SHA-256 of the DER, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

impl Certificate {
    /// Reads and judges `file`.
    pub fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let mut text = Vec::new();
        let content = files::open(file)?.take(MAX_SIZE + 1).read_to_end(&mut text);
        content.with_context(|| format!("read {shown}"))?;
        ensure!(
            text.len() as u64 <= MAX_SIZE,
            "{shown}: too large for a certificate"
        );
        Self::judge(&text).with_context(|| shown.to_string())
    }

    fn judge(text: &[u8]) -> Result<Self> {
        // This is looked for in the bytes, not in what a parser makes of them: a damaged key is a
        // key, too.
        if text.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(hinted(
                "the file holds a private key, which must never reach the guest",
                "take the proxy's file that has the certificate alone",
            ));
        }
        let block = single_block(text)?;
        judge_certificate(&block.contents)?;
        let sha256 = format!("{:x}", Sha256::digest(text));
        Ok(Self {
            fingerprint: fingerprint(&block),
            sha256,
        })
    }
}

/// Gives the one PEM block that `text` is.
fn single_block(text: &[u8]) -> Result<Pem> {
    let blocks: Result<Vec<_>, _> = Pem::iter_from_buffer(text).collect();
    let mut blocks = blocks.context("not valid PEM")?;
    let number = blocks.len();
    let Some(block) = blocks.pop() else {
        let hint = "`openssl x509 -inform der` turns DER into PEM";
        return Err(hinted("no PEM certificate in it", hint));
    };
    if number > 1 {
        bail!("{number} PEM blocks in it, not one certificate alone");
    }
    ensure!(
        block.label == "CERTIFICATE",
        "a `{}` in it, not a certificate",
        block.label
    );
    ensure!(
        is_alone(text),
        "not one PEM certificate and nothing behind it"
    );
    Ok(block)
}

/// Fails unless `der` is a CA certificate that is in date and may sign others.
fn judge_certificate(der: &[u8]) -> Result<()> {
    let (rest, certificate) = X509Certificate::from_der(der).context("not a valid certificate")?;
    ensure!(
        rest.is_empty(),
        "not a valid certificate: bytes left over at its end"
    );
    ensure!(
        certificate.is_ca(),
        "not a CA certificate: the guest would trust nothing that it signed"
    );
    let may_sign = certificate
        .key_usage()?
        .is_none_or(|usage| usage.value.key_cert_sign());
    ensure!(
        may_sign,
        "not a CA certificate: its key usage does not let it sign certificates"
    );
    let validity = certificate.validity();
    let from = validity.not_before.to_datetime().date();
    let to = validity.not_after.to_datetime().date();
    ensure!(
        validity.is_valid(),
        "not in date: valid from {from} to {to}"
    );
    Ok(())
}

fn fingerprint(block: &Pem) -> String {
    let digest = Sha256::digest(&block.contents);
    digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// Gives the fingerprints of all certificates in a guest's bundle.
///
/// # Errors
///
/// Where OpenSSL would stop reading it.
pub fn fingerprints(bundle: &str) -> Result<Vec<String>> {
    for line in bundle.lines().filter(|line| line.starts_with("-----")) {
        ensure!(matches!(line.trim_end(), BEGIN | END), "a damaged marker");
    }
    let mut fingerprints = Vec::new();
    for block in Pem::iter_from_buffer(bundle.as_bytes()) {
        let block = block?;
        ensure!(
            X509Certificate::from_der(&block.contents).is_ok(),
            "not a certificate"
        );
        fingerprints.push(fingerprint(&block));
    }
    Ok(fingerprints)
}

/// Whether the first PEM block is followed by nothing. What a parser passes over would go into the
/// guest's bundle all the same.
fn is_alone(file: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(file) else {
        return false;
    };
    let Some((_, end)) = text.split_once("-----END ") else {
        return false;
    };
    let (marker, after) = end.split_once('\n').unwrap_or((end, ""));
    let is_whole = marker.trim_end() == "CERTIFICATE-----";
    is_whole && after.trim().is_empty() && !text.contains('\0')
}
