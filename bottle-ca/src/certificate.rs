//! Whether a file is what the guest may trust: one CA certificate in date, and nothing that is a secret.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bottle_common::failure::hinted;
use bottle_common::stage;
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates have a few KiB; what is larger is something else.
const MAX_SIZE: u64 = 1 << 20;

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
        let mut text = Vec::new();
        stage::open(file)?
            .take(MAX_SIZE + 1)
            .read_to_end(&mut text)
            .with_context(|| format!("read {}", file.display()))?;
        ensure!(text.len() as u64 <= MAX_SIZE, "{}: too large for a certificate", file.display());
        Self::judge(&text).with_context(|| file.display().to_string())
    }

    fn judge(text: &[u8]) -> Result<Self> {
        // In the bytes, not in what a parser makes of them: also a damaged key is a key.
        if text.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(hinted(
                "the file holds a private key, which must never reach the guest",
                "take the proxy's file that has the certificate alone",
            ));
        }
        let blocks = Pem::iter_from_buffer(text).collect::<Result<Vec<_>, _>>().context("not valid PEM")?;
        let block = match &blocks[..] {
            [] => return Err(hinted("no PEM certificate in it", "`openssl x509 -inform der` turns DER into PEM")),
            [block] => block,
            _ => bail!("{} PEM blocks in it, not one certificate alone", blocks.len()),
        };
        ensure!(block.label == "CERTIFICATE", "a `{}` in it, not a certificate", block.label);
        ensure!(stands_alone(text), "not one PEM certificate and nothing behind it");
        let (rest, certificate) = X509Certificate::from_der(&block.contents).context("not a valid certificate")?;
        ensure!(rest.is_empty(), "not a valid certificate: bytes left over at its end");
        ensure!(certificate.is_ca(), "not a CA certificate: the guest would trust nothing that it signed");
        let may_sign = certificate.key_usage()?.is_none_or(|usage| usage.value.key_cert_sign());
        ensure!(may_sign, "not a CA certificate: its key usage does not let it sign certificates");
        let validity = certificate.validity();
        let (from, to) = (validity.not_before.to_datetime().date(), validity.not_after.to_datetime().date());
        ensure!(validity.is_valid(), "not in date: valid from {from} to {to}");

        Ok(Self { fingerprint: fingerprint(block), sha256: format!("{:x}", Sha256::digest(text)) })
    }
}

fn fingerprint(block: &Pem) -> String {
    let digest = Sha256::digest(&block.contents);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// The fingerprints of all certificates in a guest's bundle.
///
/// # Errors
///
/// Where OpenSSL would stop reading it.
pub fn fingerprints(bundle: &str) -> Result<Vec<String>> {
    let markers = ["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"];
    let mut dashed = bundle.lines().filter(|line| line.starts_with("-----"));
    ensure!(dashed.all(|line| markers.contains(&line.trim_end())), "a damaged marker");
    let blocks = Pem::iter_from_buffer(bundle.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    ensure!(blocks.iter().all(|block| X509Certificate::from_der(&block.contents).is_ok()), "not a certificate");
    Ok(blocks.iter().map(fingerprint).collect())
}

/// Whether the first PEM block is followed by nothing. What a parser passes over goes into the guest's bundle all the same.
fn stands_alone(file: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(file) else { return false };
    let Some((_, end)) = text.split_once("-----END ") else { return false };
    let (marker, after) = end.split_once('\n').unwrap_or((end, ""));
    marker.trim_end() == "CERTIFICATE-----" && after.trim().is_empty() && !text.contains('\0')
}
