//! Makes certificates that a step accepts or refuses.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use crate::tool;

/// A kind of certificate.
pub enum Certificate {
    /// A valid CA.
    Ca,
    /// A CA that has expired.
    ExpiredCa,
    /// A CA that is not valid yet.
    FutureCa,
    /// A CA by its basic constraints, whose key usage does not allow it to sign certificates.
    CaThatMayNotSign,
    /// A CA that says nothing of what its key may do.
    CaWithoutKeyUsage,
    /// A server certificate.
    Leaf,
}

/// A certificate with its key.
pub struct Pair {
    /// The certificate in PEM.
    pub pem: String,
    /// Its key in PEM.
    pub key: String,
    /// The certificate in DER.
    pub der: Vec<u8>,
}

/// Makes a self-signed certificate of this kind.
pub fn certificate(kind: &Certificate) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["bottle.test".to_owned()]).unwrap();
    params.is_ca = match kind {
        Certificate::Leaf => IsCa::ExplicitNoCa,
        _ => IsCa::Ca(BasicConstraints::Unconstrained),
    };
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = match kind {
        Certificate::ExpiredCa => (now - Duration::days(2), now - Duration::days(1)),
        Certificate::FutureCa => (now + Duration::days(1), now + Duration::days(2)),
        _ => (now - Duration::days(1), now + Duration::days(1)),
    };
    params.key_usages = match kind {
        Certificate::CaThatMayNotSign => vec![KeyUsagePurpose::DigitalSignature],
        Certificate::CaWithoutKeyUsage => Vec::new(),
        _ => vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
    };
    let certificate = params.self_signed(&key).unwrap();
    Pair {
        pem: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}

impl Pair {
    /// Writes the certificate to `path`.
    pub fn write(&self, path: &Path) {
        fs::write(path, &self.pem).unwrap();
    }
}

/// Gives the fingerprint of the certificate at `path`, as OpenSSL prints it.
pub fn fingerprint(path: &Path) -> String {
    let mut openssl = tool("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]);
    let output = openssl.arg(path).output().expect("openssl");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().split_once('=').unwrap().1.to_owned()
}
