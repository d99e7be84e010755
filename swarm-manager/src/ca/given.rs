//! A root that an operator gives (`swarm ca --rotate --ca-cert --ca-key`): checked before anything is changed.

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use swarm_core::{
    ca::{SigningRoot, ends_too_soon},
    time::Timestamp,
};
use x509_parser::pem::parse_x509_pem;

use super::pkcs8;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A given root cannot be used. No text quotes the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GivenError {
    /// Not exactly one certificate.
    #[error("the CA certificate must be exactly one certificate in PEM form")]
    OneCertificate,
    /// It cannot be read.
    #[error("the CA certificate cannot be read: {0}")]
    Unreadable(String),
    /// It may not sign others.
    #[error("the certificate is not that of a certificate authority (basic constraint CA)")]
    NotCa,
    /// It does not hold now.
    #[error("the CA certificate does not hold at this time: it is valid from {from} to {to}")]
    Validity { from: String, to: String },
    /// It would have to be rotated again before long (SwarmKit's text).
    #[error("CA certificate expires too soon")]
    TooSoon,
    /// The key is missing.
    #[error(
        "a CA certificate without its key would mean an external CA, which is not supported: give the key with --ca-key"
    )]
    NoKey,
    /// A key without a certificate (SwarmKit's text).
    #[error("if a signing CA key is provided, the signing CA cert must also be provided")]
    NoCertificate,
    /// The key is of no form we know.
    #[error(
        "the CA key cannot be used: it must be an unencrypted ECDSA (P-256, P-384) or RSA key in PEM form"
    )]
    Key,
    /// The key is another one's (SwarmKit's text).
    #[error("certificate key mismatch")]
    Mismatch,
}

/// The root of these texts, in the one form we keep; `None` if neither is given.
pub(crate) fn given_root(
    cert: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<SigningRoot>, GivenError> {
    match (cert.trim().is_empty(), key.trim().is_empty()) {
        (true, true) => return Ok(None),
        (true, false) => return Err(GivenError::NoCertificate),
        (false, true) => return Err(GivenError::NoKey),
        (false, false) => {}
    }
    let cert_pem = one_certificate(cert)?;
    let key = parse_key(key).ok_or(GivenError::Key)?;
    check(&cert_pem, &key, now)?;
    Ok(Some(SigningRoot {
        cert_pem,
        key_pem: key.serialize_pem(),
    }))
}

/// The text of the only certificate without what is around it, so that the same certificate has the same digest.
fn one_certificate(text: &str) -> Result<String, GivenError> {
    let (_, rest) = text.split_once(BEGIN).ok_or(GivenError::OneCertificate)?;
    let (body, after) = rest.split_once(END).ok_or(GivenError::OneCertificate)?;
    if after.contains(BEGIN) {
        return Err(GivenError::OneCertificate);
    }
    let lines: Vec<&str> = body
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    Ok(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n")))
}

fn parse_key(text: &str) -> Option<KeyPair> {
    let der = match PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()? {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        PrivateKeyDer::Sec1(key) => pkcs8::from_sec1(key.secret_sec1_der())?,
        PrivateKeyDer::Pkcs1(key) => pkcs8::from_pkcs1(key.secret_pkcs1_der()),
        _ => return None,
    };
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).ok()
}

fn check(cert_pem: &str, key: &KeyPair, now: Timestamp) -> Result<(), GivenError> {
    let (_, pem) = parse_x509_pem(cert_pem.as_bytes())
        .map_err(|error| GivenError::Unreadable(error.to_string()))?;
    let cert = pem
        .parse_x509()
        .map_err(|error| GivenError::Unreadable(error.to_string()))?;
    if !cert.is_ca() {
        return Err(GivenError::NotCa);
    }
    if !cert.validity().is_valid() {
        return Err(GivenError::Validity {
            from: cert.validity().not_before.to_string(),
            to: cert.validity().not_after.to_string(),
        });
    }
    if cert.public_key().raw != key.subject_public_key_info() {
        return Err(GivenError::Mismatch);
    }
    let end = cert.validity().not_after.timestamp();
    let end = u64::try_from(end).unwrap_or_default(); // whoever ended before 1970 was refused above
    if ends_too_soon(Timestamp(end.saturating_mul(NANOS_PER_SEC)), now) {
        return Err(GivenError::TooSoon);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::new_root, *};
    use crate::clock::now;

    /// A root of its own that holds for this long.
    fn root_for(life: Duration) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = time::OffsetDateTime::now_utc() + life;
        let cert = params.self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    #[test]
    fn a_given_root_is_kept_in_one_form() {
        let root = new_root().unwrap();
        let around = format!("comment\n{}\r\n\n", root.cert_pem.replace('\n', "\r\n"));
        let given = given_root(&around, &root.key_pem, now()).unwrap().unwrap();
        assert_eq!(
            given.cert_pem.lines().collect::<Vec<_>>(),
            root.cert_pem.lines().collect::<Vec<_>>()
        );
        assert_eq!(given_root("", " ", now()).unwrap().map(drop), None);
    }

    #[test]
    fn roots_that_cannot_be_used_are_refused_and_keys_are_not_quoted() {
        let (root, other) = (new_root().unwrap(), new_root().unwrap());
        let leaf = {
            let key = KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::default();
            let cert = params.self_signed(&key).unwrap();
            (cert.pem(), key.serialize_pem())
        };
        let ending = root_for(Duration::from_hours(364 * 24));
        let two = format!("{}{}", root.cert_pem, other.cert_pem);
        for (cert, key, error) in [
            (&*root.cert_pem, "", GivenError::NoKey),
            ("", &*root.key_pem, GivenError::NoCertificate),
            (&two, &root.key_pem, GivenError::OneCertificate),
            ("x", &root.key_pem, GivenError::OneCertificate),
            (&root.cert_pem, &other.key_pem, GivenError::Mismatch),
            (&root.cert_pem, "not a key", GivenError::Key),
            (&leaf.0, &leaf.1, GivenError::NotCa),
            (&ending.0, &ending.1, GivenError::TooSoon),
            (&ending.0, &other.key_pem, GivenError::Mismatch),
        ] {
            let found = given_root(cert, key, now()).map(drop);
            assert_eq!(found, Err(error));
        }
    }

    /// `openssl ecparam -genkey` and `openssl genrsa -traditional` write these forms.
    #[test]
    fn keys_in_openssls_older_forms_are_understood() {
        use std::process::Command;
        for make in [
            "openssl ecparam -name prime256v1 -genkey -noout",
            "openssl ecparam -name secp384r1 -genkey -noout",
            "openssl genrsa -traditional 2048 2>/dev/null",
        ] {
            let script = format!(
                "set -e; d=$(mktemp -d); {make} > $d/k; openssl req -x509 -new -key $d/k -subj /CN=mine -days 400 > $d/c; cat $d/k $d/c; rm -r $d"
            );
            let out = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            let text = String::from_utf8(out.stdout).unwrap();
            let given = given_root(&text, &text, now()).unwrap().unwrap();
            let present = new_root().unwrap();
            let present = swarm_core::model::RootCa {
                cert_pem: present.cert_pem,
                key_pem: present.key_pem,
                cert_digest: String::new(),
                issuer: swarm_core::model::CertificateIssuer::default(),
                worker_secret: String::new(),
                manager_secret: String::new(),
                rotation: None,
            };
            let rotation = super::super::cross::rotation_to(given, &present).unwrap();
            assert!(!rotation.issuer.subject.is_empty(), "{make}");
        }
    }
}
