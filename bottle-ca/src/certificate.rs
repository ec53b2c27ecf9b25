//! Decides whether the guest may trust a certificate file. It must contain a single CA certificate
//! that is in date, and nothing that is secret.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bottle_common::error::hinted;
use bottle_common::host::files;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The maximum length of the file, in bytes. A certificate has a few KiB.
const MAX_SIZE: u64 = 1 << 20;

/// The number of characters in a line of base64.
const LINE: usize = 64;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A CA certificate that the guest may trust.
#[derive(Debug)]
pub struct Certificate {
    /// SHA-256 of the DER, in the form that `openssl x509 -fingerprint -sha256` prints.
    pub fingerprint: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

impl Certificate {
    /// Reads and checks `file`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or if the guest may not trust it.
    pub fn read(file: &Path) -> Result<Self> {
        let text = files::read(file, MAX_SIZE)?;
        Self::judge(&text).with_context(|| file.display().to_string())
    }

    fn judge(text: &[u8]) -> Result<Self> {
        // The bytes are searched before they are parsed, because a damaged key is also a secret.
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

/// Returns the certificate's PEM block. Fails if `text` contains anything else.
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
    if !is_plain(text, &block.contents) {
        return Err(hinted(
            "not one PEM certificate and nothing else, in lines of 64 characters",
            "`openssl x509 -in FILE` prints a certificate like that",
        ));
    }
    Ok(block)
}

/// Checks that `der` is a CA certificate that is in date and may sign other certificates.
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

/// Computes the fingerprint of the certificate in `block`.
fn fingerprint(block: &Pem) -> String {
    let digest = Sha256::digest(&block.contents);
    digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// Lists the fingerprints of all certificates in the guest's bundle.
///
/// # Errors
///
/// If OpenSSL would not read the bundle to its end.
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

/// Whether `text` is the certificate `der` in the strict PEM format of RFC 7468, with either kind
/// of line ending. Anything else in the file would be copied into the guest's bundle, too. OpenSSL
/// reads nothing of a bundle in which it finds one invalid line.
fn is_plain(text: &[u8], der: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else {
        return false;
    };
    let mut plain = format!("{BEGIN}\n");
    for line in BASE64.encode(der).as_bytes().chunks(LINE) {
        plain.extend(line.iter().map(|&byte| char::from(byte)));
        plain.push('\n');
    }
    plain.push_str(END);
    let text = text.replace("\r\n", "\n");
    text.strip_suffix('\n').unwrap_or(&text) == plain
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    use data_encoding::BASE64;
    use harness::{Certificate as Kind, Sandbox, certificate};

    use super::{
        BEGIN, Certificate, END, LINE, MAX_SIZE, fingerprint, fingerprints, judge_certificate,
        single_block,
    };

    /// Damages `text` at every place, in every way in which an editor, a mailer or a bad disk may
    /// damage it.
    fn mutants(text: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut mutants = BTreeSet::new();
        for place in 0..=text.len() {
            let (before, after) = text.split_at(place);
            for piece in [
                "\n", "\r", "\r\n", "\n\n", " ", "\t", "\0", "=", "-", "\u{feff}", "# x\n",
            ] {
                mutants.insert([before, piece.as_bytes(), after].concat());
                if let Some((_, after)) = after.split_first() {
                    mutants.insert([before, piece.as_bytes(), after].concat());
                }
            }
            for length in [1, 2, 4, 64, 65] {
                mutants.insert([before, after.get(length..).unwrap_or_default()].concat());
            }
            // Changes one in twelve bytes of DER.
            if place % 16 == 0 && place < text.len() {
                mutants.insert([before, b"M", &after[1..]].concat());
            }
            mutants.insert(before.to_vec());
            mutants.insert(after.to_vec());
        }
        let lines: Vec<_> = text.split_inclusive(|&byte| byte == b'\n').collect();
        for line in 0..lines.len() {
            for other in 0..lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(line, other);
                mutants.insert(swapped.concat());
                let mut doubled = lines.clone();
                doubled.insert(other, lines[line]);
                mutants.insert(doubled.concat());
            }
        }
        mutants.remove(text);
        mutants
    }

    fn openssl(args: &[&str], path: &Path) -> Output {
        let mut command = Command::new("openssl");
        command.args(args).arg(path).output().unwrap()
    }

    /// Whether OpenSSL reads `text`; trust.sh asks the guest's OpenSSL the same.
    fn is_read_alone(text: &[u8], directory: &Path) -> bool {
        let path = directory.join("certificate");
        fs::write(&path, text).unwrap();
        let args = ["x509", "-noout", "-hash", "-in"];
        openssl(&args, &path).status.success()
    }

    /// Whether OpenSSL reads all certificates of a bundle in which each of `texts` is between two
    /// others. update-ca-certificates(8) makes such a bundle.
    fn are_read_in_bundle(texts: &[Vec<u8>], other: &str, directory: &Path) -> bool {
        let mut bundle = other.as_bytes().to_vec();
        for text in texts {
            let end: &[u8] = if text.ends_with(b"\n") { b"" } else { b"\n" };
            bundle.extend([text, end, other.as_bytes()].concat());
        }
        let path = directory.join("bundle");
        fs::write(&path, bundle).unwrap();
        let output = openssl(&["storeutl", "-noout", "-certs"], &path);
        let total = format!("Total found: {}\n", 1 + 2 * texts.len());
        output.status.success() && output.stdout.ends_with(total.as_bytes())
    }

    #[test]
    fn openssl_reads_whatever_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let other = certificate(&Kind::Ca).pem;
        let pem = certificate(&Kind::Ca).pem;
        let fingerprint = Certificate::judge(pem.as_bytes()).unwrap().fingerprint;
        let mut written_otherwise = BTreeSet::new();
        let mut accepted = Vec::new();
        for text in mutants(pem.as_bytes()) {
            let Ok(certificate) = Certificate::judge(&text) else {
                continue;
            };
            let shown = String::from_utf8_lossy(&text);
            if certificate.fingerprint == fingerprint {
                written_otherwise.insert(shown.replace("\r\n", "\n"));
            } else if !is_read_alone(&text, directory.path()) {
                // The DER itself is damaged. The guest finds that out before it trusts it.
                continue;
            }
            accepted.push(text);
        }
        assert!(accepted.len() > 30, "{}", accepted.len());
        if !are_read_in_bundle(&accepted, &other, directory.path()) {
            for text in accepted {
                let shown = String::from_utf8_lossy(&text).into_owned();
                assert!(
                    are_read_in_bundle(&[text], &other, directory.path()),
                    "{shown}"
                );
            }
            panic!("each is read alone, but not all together");
        }
        // One lacks the end of its last line; the others end a line with CR LF.
        let expected = [pem.trim_end().to_owned(), pem.clone()];
        assert_eq!(written_otherwise, BTreeSet::from(expected));
    }

    #[test]
    fn the_output_of_openssl_is_accepted() {
        let pem = certificate(&Kind::Ca).pem;
        for text in [
            pem.replace('\n', "\r\n"),
            pem.trim_end().to_owned(),
            pem.replace('\n', "\r\n").trim_end().to_owned(),
        ] {
            assert!(Certificate::judge(text.as_bytes()).is_ok(), "{text}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pem");
        fs::write(&path, &pem).unwrap();
        let written = openssl(&["x509", "-in"], &path).stdout;
        assert!(Certificate::judge(&written).is_ok());
    }

    fn judged(text: &[u8]) -> String {
        match Certificate::judge(text) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    /// Writes `der` as PEM, in lines of `length` characters.
    fn pem_of(der: &[u8], length: usize) -> String {
        let base64 = BASE64.encode(der);
        let lines: Vec<_> = base64.as_bytes().chunks(length).collect();
        let body = String::from_utf8(lines.join(&b'\n')).unwrap();
        format!("{BEGIN}\n{body}\n{END}\n")
    }

    #[test]
    fn only_one_ca_certificate_alone_is_accepted() {
        let ca = certificate(&Kind::Ca);
        let pem = &*ca.pem;
        let other = certificate(&Kind::Ca).pem;
        let bare: Vec<_> = ca
            .key
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let bare = bare.join("\n") + "\n";
        let alone = "not one PEM certificate and nothing else, in lines of 64 characters";
        let key = "the file holds a private key, which must never reach the guest";
        let two = "2 PEM blocks in it, not one certificate alone";
        let none = "no PEM certificate in it";
        let left_over = "not a valid certificate: bytes left over at its end";
        let longer = [&ca.der[..], b"x"].concat();
        for (text, result) in [
            (pem.to_owned(), "accepted"),
            (pem.trim_end().to_owned(), "accepted"),
            (pem.replace('\n', "\r\n"), "accepted"),
            (pem_of(&ca.der, LINE), "accepted"),
            (certificate(&Kind::CaWithoutKeyUsage).pem, "accepted"),
            // A private key, with its markers.
            (format!("{pem}{}", ca.key), key),
            (format!("{}{pem}", ca.key), key),
            (ca.key.clone(), key),
            (format!("{pem}# no PRIVATE KEY here\n"), key),
            (pem.replace(END, "PRIVATE KEY"), key),
            // The same without its markers.
            (format!("{pem}{bare}"), alone),
            (format!("{bare}{pem}"), alone),
            (format!("{}\n{pem}", bare.replace('\n', "")), alone),
            (bare.clone(), none),
            // Not a certificate, or more than one.
            (format!("{pem}{other}"), two),
            (format!("{pem}\n{pem}"), two),
            (
                format!("{pem}{pem}{other}"),
                "3 PEM blocks in it, not one certificate alone",
            ),
            (
                pem.replace("CERTIFICATE", "X509 CRL"),
                "a `X509 CRL` in it, not a certificate",
            ),
            (String::new(), none),
            ("rubbish".to_owned(), none),
            // Anything that is not the certificate itself.
            (format!("Subject: CN=a\n{pem}"), alone),
            (format!("\n{pem}"), alone),
            (format!(" {pem}"), none),
            (format!("{pem}\n"), alone),
            (format!("{pem} "), alone),
            (format!("{pem}x"), alone),
            (format!("{pem}\0"), alone),
            (format!("\0\n{pem}"), alone),
            (format!("{} x\n", pem.trim_end()), alone),
            (format!("{} \n", pem.trim_end()), alone),
            (format!("{}{other}", pem.trim_end()), alone),
            (pem.replacen('\n', " \n", 2), alone),
            (pem.replacen('\n', "\n\n", 1), alone),
            (pem.replace(END, &format!("\n{END}")), alone),
            (pem_of(&ca.der, LINE - 1), alone),
            (pem_of(&ca.der, LINE + 1), alone),
            // Fit as PEM, but not as a certificate of a CA.
            (pem_of(&longer, LINE), left_over),
            (
                certificate(&Kind::Leaf).pem,
                "not a CA certificate: the guest would trust nothing that it signed",
            ),
            (
                certificate(&Kind::CaThatMayNotSign).pem,
                "not a CA certificate: its key usage does not let it sign certificates",
            ),
        ] {
            assert_eq!(judged(text.as_bytes()), result, "{text}");
        }
        assert_eq!(judged(&[pem.as_bytes(), b"\xff"].concat()), alone);
        // What this makes of the base64 depends on the length of the certificate.
        let within = pem.replace(END, &format!("{bare}{END}"));
        assert!(Certificate::judge(within.as_bytes()).is_err());
        for kind in [Kind::ExpiredCa, Kind::FutureCa] {
            let result = judged(certificate(&kind).pem.as_bytes());
            assert!(result.starts_with("not in date: valid from "), "{result}");
        }
        let error = judge_certificate(&longer).unwrap_err();
        assert_eq!(error.to_string(), left_over);
    }

    #[test]
    fn a_file_that_is_too_long_for_a_certificate_is_not_parsed() {
        let sandbox = Sandbox::new();
        let limit = usize::try_from(MAX_SIZE).unwrap();
        let read = |length: usize| {
            let file = sandbox.write("ca.pem", vec![b'x'; length]);
            let message = format!("{:#}", Certificate::read(&file).unwrap_err());
            message.replace(file.to_str().unwrap(), "FILE")
        };
        assert_eq!(read(limit), "FILE: no PEM certificate in it");
        assert_eq!(read(limit + 1), "read FILE: it is longer than 1.0 MiB");
    }

    #[test]
    fn a_bundle_is_read_as_openssl_reads_it() {
        let pairs = [certificate(&Kind::Ca), certificate(&Kind::Leaf)];
        let prints = pairs
            .each_ref()
            .map(|pair| fingerprint(&single_block(pair.pem.as_bytes()).unwrap()));
        let (first, second) = (&*pairs[0].pem, &*pairs[1].pem);
        assert!(prints[0] != prints[1]);
        for print in &prints {
            // 32 bytes in hex, with colons between them.
            let lengths = (print.len(), print.matches(':').count());
            assert_eq!(lengths, (95, 31), "{print}");
        }
        for (bundle, expected) in [
            (String::new(), &prints[..0]),
            (first.to_owned(), &prints[..1]),
            (format!("# a comment\n{first}\n{second}"), &prints[..]),
            (
                format!("{first}{second}").replace('\n', "\r\n"),
                &prints[..],
            ),
        ] {
            assert_eq!(fingerprints(&bundle).unwrap(), expected, "{bundle}");
        }
        for (bundle, error) in [
            (
                first.replace("CERTIFICATE", "CERTIFICAT"),
                "a damaged marker",
            ),
            (first.replace(END, "-----END X-----"), "a damaged marker"),
            (format!("{}{second}", first.trim_end()), "a damaged marker"),
            (
                format!("{first}{BEGIN}\nAAAA\n{END}\n"),
                "not a certificate",
            ),
        ] {
            assert_eq!(
                fingerprints(&bundle).unwrap_err().to_string(),
                error,
                "{bundle}"
            );
        }
    }
}
