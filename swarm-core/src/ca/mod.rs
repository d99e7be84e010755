//! Decisions about identity: the form of join tokens, who may call what, when a certificate is renewed. Keys, signatures
//! and hashes are made by the shells.

mod removed;
mod renewal;
mod rotation;

use alloc::{borrow::ToOwned as _, string::String, vec::Vec};
use core::{fmt, str::FromStr};

pub use removed::{Disowned, RemovedNodes, forget_ended, standing};
pub use renewal::{Renewal, Validity};
pub use rotation::{
    RootWish, Signer, SigningRoot, ends_too_soon, is_issued_by, is_waited_for, issuer, root_wish,
    settle_rotation, signer, trust_bundle,
};

use crate::{
    id::Random,
    model::{Role, RootCa},
};

/// Digits of the token part that encodes the root certificate's SHA-256.
const DIGEST_DIGITS: usize = 50;
/// Digits of the token part that is secret (16 bytes).
const SECRET_DIGITS: usize = 25;

/// Why a text is not a join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub struct InvalidToken;

/// A join token: whom to trust, and the proof that one may join.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the root certificate's PEM text.
    pub digest: [u8; 32],
    /// 25 characters of base 36.
    pub secret: String,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("digest", &hex(&self.digest))
            .finish_non_exhaustive()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = to_base36(&self.digest, DIGEST_DIGITS);
        write!(f, "SWMTKN-1-{digest}-{}", self.secret)
    }
}

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let rest = text.trim().strip_prefix("SWMTKN-1-").ok_or(InvalidToken)?;
        let (digest, secret) = rest.split_once('-').ok_or(InvalidToken)?;
        let base36 = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
        if digest.len() != DIGEST_DIGITS
            || secret.len() != SECRET_DIGITS
            || !secret.bytes().all(base36)
        {
            return Err(InvalidToken);
        }
        Ok(Self {
            digest: from_base36(digest).ok_or(InvalidToken)?,
            secret: secret.to_owned(),
        })
    }
}

/// The token with which a node joins in `role`; `None` if the stored digest is not 64 hex digits.
pub fn join_token(root: &RootCa, role: Role) -> Option<JoinToken> {
    let secret = match role {
        Role::Worker => &root.worker_secret,
        Role::Manager => &root.manager_secret,
    };
    Some(JoinToken {
        digest: unhex(&root.cert_digest)?,
        secret: secret.clone(),
    })
}

/// The role a token's secret stands for; every byte is compared so that time tells nothing.
pub fn role_of_secret(root: &RootCa, secret: &str) -> Option<Role> {
    let worker = same(&root.worker_secret, secret);
    let manager = same(&root.manager_secret, secret);
    match (worker, manager) {
        (_, true) => Some(Role::Manager),
        (true, false) => Some(Role::Worker),
        (false, false) => None,
    }
}

fn same(expected: &str, given: &str) -> bool {
    let differing = expected
        .bytes()
        .zip(given.bytes())
        .fold(0u8, |sum, (a, b)| sum | (a ^ b));
    differing == 0 && expected.len() == given.len() && !expected.is_empty()
}

/// A new secret part of a token.
pub fn new_secret(rng: &mut dyn Random) -> String {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    to_base36(&bytes, SECRET_DIGITS)
}

/// Big-endian bytes as base 36, padded with zeros on the left.
fn to_base36(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text: Vec<u8> = Vec::with_capacity(digits);
    for _ in 0..digits {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 36).unwrap_or(u8::MAX);
            remainder = value % 36;
        }
        text.push(digit(remainder));
    }
    text.into_iter().rev().map(char::from).collect()
}

fn digit(value: u32) -> u8 {
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
    digits.get(value as usize).copied().unwrap_or(b'?')
}

/// Base 36 as a 256-bit number; `None` for other characters or a number that is too large.
fn from_base36(text: &str) -> Option<[u8; 32]> {
    let mut number = [0u8; 32];
    for character in text.chars() {
        if character.is_ascii_uppercase() {
            return None;
        }
        let mut carry = character.to_digit(36)?;
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = u8::try_from(value & 0xff).unwrap_or(u8::MAX);
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .map(|value| char::from(digit(u32::from(value))))
        .collect()
}

/// 64 hex digits as bytes.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0u8; 32];
    for (position, byte) in bytes.iter_mut().enumerate() {
        let start = position.checked_mul(2)?;
        *byte = u8::from_str_radix(text.get(start..start.checked_add(2)?)?, 16).ok()?;
    }
    Some(bytes)
}

/// Groups of calls that are allowed or refused together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The root certificate: asked for before anything is trusted.
    CaGetRoot,
    /// A first certificate, against a join token.
    CaIssue,
    /// A new certificate for the caller's own node.
    CaRenew,
    /// The session of an agent.
    DispatcherSession,
    /// Agents publish the log lines that others subscribed to.
    LogsPublish,
    /// Log lines of tasks.
    LogsSubscribe,
    /// Reading and changing the cluster.
    Control,
    /// Raft messages and membership.
    Raft,
}

/// Whether a caller may make such calls: `None` is a caller without a certificate.
pub fn may_call(caller: Option<Role>, method: Method) -> bool {
    match method {
        Method::CaGetRoot | Method::CaIssue => true,
        Method::CaRenew | Method::DispatcherSession | Method::LogsPublish => caller.is_some(),
        Method::LogsSubscribe | Method::Control | Method::Raft => caller == Some(Role::Manager),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString as _};

    use super::*;
    use crate::testing::SeededRandom;

    #[test]
    fn a_token_survives_printing_and_parsing() {
        let mut rng = SeededRandom::new(7);
        for digest in [[0u8; 32], [0xff; 32], [0x5a; 32]] {
            let token = JoinToken {
                digest,
                secret: new_secret(&mut rng),
            };
            let text = token.to_string();
            assert_eq!(text.len(), "SWMTKN-1-".len() + 50 + 1 + 25);
            assert_eq!(text.parse(), Ok(token));
        }
    }

    /// The token of the walkthrough: a real one of Docker's.
    #[test]
    fn a_real_token_is_understood() {
        let text =
            "SWMTKN-1-0j3q6gca3ev3qoza4q20666hilqmdaprpl43rlcdztetp7i4re-b6mjwja3bgw8e4vwjbqwjrl6s";
        let token: JoinToken = text.parse().unwrap();
        assert_eq!(token.to_string(), text);
        assert_eq!(token.secret, "b6mjwja3bgw8e4vwjbqwjrl6s");
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let good = JoinToken {
            digest: [1; 32],
            secret: "0123456789abcdefghijklmno".to_owned(),
        }
        .to_string();
        let too_large = format!("SWMTKN-1-{}-{}", "z".repeat(50), "0".repeat(25));
        for bad in [
            "",
            "SWMTKN-1-",
            &good[..good.len() - 1],
            &good.replace("SWMTKN-1", "SWMTKN-2"),
            &good.to_uppercase(),
            &too_large,
        ] {
            assert_eq!(bad.parse::<JoinToken>(), Err(InvalidToken), "{bad}");
        }
    }

    #[test]
    fn the_secret_decides_the_role() {
        let root = RootCa {
            cert_pem: String::new(),
            key_pem: String::new(),
            cert_digest: "ab".repeat(32),
            issuer: crate::model::CertificateIssuer::default(),
            worker_secret: "w".repeat(25),
            manager_secret: "m".repeat(25),
            rotation: None,
        };
        assert_eq!(role_of_secret(&root, &"w".repeat(25)), Some(Role::Worker));
        assert_eq!(role_of_secret(&root, &"m".repeat(25)), Some(Role::Manager));
        assert_eq!(role_of_secret(&root, ""), None);
        assert_eq!(role_of_secret(&root, &"m".repeat(24)), None);
        let token = join_token(&root, Role::Worker).unwrap();
        assert_eq!((token.digest, token.secret), ([0xab; 32], "w".repeat(25)));
    }

    #[test]
    fn who_may_call_what() {
        use Method as M;
        let all = [
            M::CaGetRoot,
            M::CaIssue,
            M::CaRenew,
            M::DispatcherSession,
            M::LogsPublish,
            M::LogsSubscribe,
            M::Control,
            M::Raft,
        ];
        let allowed = |caller| all.map(|method| may_call(caller, method));
        let (y, n) = (true, false);
        assert_eq!(allowed(None), [y, y, n, n, n, n, n, n]);
        assert_eq!(allowed(Some(Role::Worker)), [y, y, y, y, y, n, n, n]);
        assert_eq!(allowed(Some(Role::Manager)), [y; 8]);
    }
}
