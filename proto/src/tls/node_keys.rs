//! The private key of a locked manager's node on disk: sealed with a key that only the unlocked manager knows.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, Payload},
};
use swarm_core::lock::{KeyId, NamedKey, SecretKey};
use zeroize::Zeroizing;

use crate::{ConvertError, Wire, wire};

const BEGIN: &str = "-----BEGIN SEALED PRIVATE KEY-----\nKey: ";
/// Stands behind the name of the key when the private key lay in plain before. Authenticated with the rest.
const EXPOSED: &str = "\nExposed: yes";
const END: &str = "\n-----END SEALED PRIVATE KEY-----\n";
const NONCE_BYTES: usize = 24;
/// What a sealed text is bound to, so that it cannot stand in for another kind of value.
const PLACE: &[u8] = b"node.key";

/// Why a sealed private key cannot be opened or made. Quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedKeyError {
    /// The manager has not told the key.
    #[error("the private key is sealed, and the manager that knows with what is locked")]
    Locked,
    /// The manager does not have the key.
    #[error(
        "the private key is sealed with a key that the manager does not have; leave the swarm with --force and join again"
    )]
    UnknownKey,
    /// Cut off or changed.
    #[error("the sealed private key is damaged; leave the swarm with --force and join again")]
    Damaged,
}

/// What seals the node's private key: the keys it may be sealed with, and the one to seal with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeKeys {
    /// Keys that open.
    pub keys: Vec<NamedKey>,
    /// The one that seals; `None` leaves the private key in plain.
    pub seal_with: Option<KeyId>,
}

impl NodeKeys {
    /// What a text in a key file is sealed with; `None` if it is in plain.
    pub fn sealed_with(text: &str) -> Option<KeyId> {
        let id = text.strip_prefix(BEGIN)?.get(..16)?;
        u64::from_str_radix(id, 16).ok().map(KeyId)
    }

    /// Whether a sealed private key lay in plain before it was sealed: who has read the disk then knows it, and it is to be replaced. One
    /// that is in plain is not meant.
    pub fn was_exposed(text: &str) -> bool {
        let header = text.split_once("\n\n").map_or("", |(header, _)| header);
        Self::sealed_with(text).is_some() && header.ends_with(EXPOSED)
    }

    /// A new private key as it goes to disk.
    pub fn seal(&self, key_pem: &str) -> Result<Zeroizing<String>, SealedKeyError> {
        self.seal_as(key_pem, false)
    }

    /// A private key as it goes to disk in the place of `before`, which may be the same one in plain.
    pub(super) fn seal_over(
        &self,
        key_pem: &str,
        before: &str,
    ) -> Result<Zeroizing<String>, SealedKeyError> {
        let lay_in_plain = Self::sealed_with(before).is_none() || Self::was_exposed(before);
        let is_same = || self.open(before).is_ok_and(|before| before == key_pem);
        self.seal_as(key_pem, lay_in_plain && is_same())
    }

    fn seal_as(&self, key_pem: &str, exposed: bool) -> Result<Zeroizing<String>, SealedKeyError> {
        let Some(id) = self.seal_with else {
            return Ok(Zeroizing::new(key_pem.to_owned()));
        };
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: key_pem.as_bytes(),
            aad: &place(exposed),
        };
        let sealed = self.cipher(id)?.encrypt(&nonce, payload);
        let sealed = sealed.map_err(|_| SealedKeyError::Damaged)?;
        let (id, nonce, sealed) = (id.0, hex::encode(nonce), hex::encode(sealed));
        let exposed = if exposed { EXPOSED } else { "" };
        Ok(Zeroizing::new(format!(
            "{BEGIN}{id:016x}{exposed}\n\n{nonce}{sealed}{END}"
        )))
    }

    /// The private key of a text on disk, which may be in plain.
    pub fn open(&self, text: &str) -> Result<String, SealedKeyError> {
        let Some(id) = Self::sealed_with(text) else {
            return if text.starts_with(BEGIN) {
                Err(SealedKeyError::Damaged)
            } else {
                Ok(text.to_owned())
            };
        };
        let cipher = self.cipher(id)?;
        open(&cipher, text).ok_or(SealedKeyError::Damaged)
    }

    fn cipher(&self, id: KeyId) -> Result<XChaCha20Poly1305, SealedKeyError> {
        let unknown = if self.keys.is_empty() {
            SealedKeyError::Locked
        } else {
            SealedKeyError::UnknownKey
        };
        let key = self.keys.iter().find(|key| key.id == id).ok_or(unknown)?;
        XChaCha20Poly1305::new_from_slice(key.key.bytes()).map_err(|_| SealedKeyError::UnknownKey)
    }
}

/// What a sealed text is bound to.
fn place(exposed: bool) -> Vec<u8> {
    let exposed = if exposed { EXPOSED } else { "" };
    [PLACE, exposed.as_bytes()].concat()
}

fn open(cipher: &XChaCha20Poly1305, text: &str) -> Option<String> {
    let (header, body) = text.split_once("\n\n")?;
    let exposed = match header.get(BEGIN.len() + 16..)? {
        "" => false,
        EXPOSED => true,
        _ => return None,
    };
    let sealed = hex::decode(body.strip_suffix(END)?).ok()?;
    let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
    let payload = Payload {
        msg: sealed,
        aad: &place(exposed),
    };
    let plain = cipher
        .decrypt(&XNonce::try_from(nonce).ok()?, payload)
        .ok()?;
    String::from_utf8(plain).ok()
}

impl Wire for NodeKeys {
    type Message = wire::NodeKeys;

    fn to_wire(&self) -> wire::NodeKeys {
        let key = |key: &NamedKey| wire::NodeKey {
            id: key.id.0,
            key: key.key.bytes().to_vec(),
        };
        wire::NodeKeys {
            keys: self.keys.iter().map(key).collect(),
            seal_with: self.seal_with.map_or(0, |id| id.0),
        }
    }

    fn from_wire(message: wire::NodeKeys) -> Result<Self, ConvertError> {
        let key = |key: wire::NodeKey| {
            let secret = SecretKey::from_slice(&key.key);
            let secret = secret.ok_or(ConvertError::OutOfRange {
                field: "node_key.key",
                value: key.key.len() as u64,
            });
            secret.map(|secret| NamedKey {
                id: KeyId(key.id),
                key: secret,
            })
        };
        Ok(Self {
            keys: message
                .keys
                .into_iter()
                .map(key)
                .collect::<Result<_, _>>()?,
            seal_with: Some(KeyId(message.seal_with)).filter(|id| id.0 != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n";

    fn key(id: u64) -> NamedKey {
        NamedKey {
            id: KeyId(id),
            key: SecretKey::from_slice(&[u8::try_from(id).unwrap(); 32]).unwrap(),
        }
    }

    fn keys(ids: &[u64], seal_with: Option<u64>) -> NodeKeys {
        NodeKeys {
            keys: ids.iter().map(|id| key(*id)).collect(),
            seal_with: seal_with.map(KeyId),
        }
    }

    #[test]
    fn a_sealed_key_opens_with_its_key_only_and_a_plain_one_with_any() {
        let sealed = keys(&[7, 8], Some(7)).seal(PEM).unwrap();
        assert!(!sealed.contains("MIGH"), "{}", *sealed);
        assert_eq!(NodeKeys::sealed_with(&sealed), Some(KeyId(7)));
        assert_eq!(keys(&[8, 7], Some(8)).open(&sealed).unwrap(), PEM);
        assert_eq!(keys(&[], None).open(&sealed), Err(SealedKeyError::Locked));
        assert_eq!(
            keys(&[8], None).open(&sealed),
            Err(SealedKeyError::UnknownKey)
        );
        let mut wrong = keys(&[7], None);
        wrong.keys[0].key = key(9).key;
        assert_eq!(wrong.open(&sealed), Err(SealedKeyError::Damaged));
        assert_eq!(keys(&[], None).open(PEM).unwrap(), PEM);
        assert_eq!(*keys(&[7], None).seal(PEM).unwrap(), PEM);
        assert_eq!(NodeKeys::sealed_with(PEM), None);
    }

    /// It is known of a sealed private key that it lay in plain, however often it is sealed again, until there is another one.
    #[test]
    fn a_key_that_lay_in_plain_is_marked_until_it_is_replaced() {
        let (one, two) = (keys(&[7], Some(7)), keys(&[8, 7], Some(8)));
        let fresh = one.seal(PEM).unwrap();
        assert!(!NodeKeys::was_exposed(PEM) && !NodeKeys::was_exposed(&fresh));
        let exposed = one.seal_over(PEM, PEM).unwrap();
        let again = two.seal_over(PEM, &exposed).unwrap();
        for text in [&exposed, &again] {
            assert!(NodeKeys::was_exposed(text));
            assert_eq!(two.open(text).unwrap(), PEM);
            let washed = text.replace(EXPOSED, "");
            assert_eq!(two.open(&washed), Err(SealedKeyError::Damaged));
        }
        let rewrapped = two.seal_over(PEM, &fresh).unwrap();
        let replaced = two.seal_over("another", &again).unwrap();
        assert!(!NodeKeys::was_exposed(&rewrapped) && !NodeKeys::was_exposed(&replaced));
        let unlocked = keys(&[8], None).seal_over(PEM, &again).unwrap();
        assert_eq!(*unlocked, PEM);
    }

    /// No cut and no flipped character is taken for something else.
    #[test]
    fn damage_is_named() {
        let keys = keys(&[7], Some(7));
        for sealed in [keys.seal(PEM).unwrap(), keys.seal_over(PEM, PEM).unwrap()] {
            for len in BEGIN.len()..sealed.len() {
                assert!(keys.open(&sealed[..len]).is_err(), "cut at {len}");
            }
            for place in BEGIN.len()..sealed.len() - END.len() {
                let mut flipped = sealed.as_bytes().to_vec();
                flipped[place] ^= 1;
                let text = String::from_utf8(flipped).unwrap();
                assert!(keys.open(&text).is_err(), "flipped at {place}");
            }
        }
    }

    #[test]
    fn keys_survive_the_wire_and_are_not_printed() {
        let keys = keys(&[7, 8], Some(8));
        assert_eq!(NodeKeys::from_wire(keys.to_wire()).unwrap(), keys);
        let printed = format!("{keys:?} {:?}", keys.to_wire());
        assert!(!printed.contains("7, 7, 7"), "{printed}");
        let plain = NodeKeys::default();
        assert_eq!(NodeKeys::from_wire(plain.to_wire()).unwrap(), plain);
    }
}
