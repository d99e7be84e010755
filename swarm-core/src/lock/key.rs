//! Keys as values: the operator's unlock key with its printed form, and the keys it protects.

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{id::Random, time::Timestamp};

/// Length of every key here.
const KEY_BYTES: usize = 32;
/// How a printed unlock key begins (SwarmKit's form).
const PREFIX: &str = "SWMKEY-1-";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why a text is no unlock key. The texts are Docker's; neither quotes what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnlockKey {
    /// It does not look like one.
    #[error("invalid key string")]
    Form,
    /// It looks like one, but has not 32 bytes, so it cannot be the one that is asked for.
    #[error("swarm could not be unlocked: invalid key provided")]
    Length,
}

/// A secret of 32 bytes. Wiped when dropped, never printed by `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// A new key from the caller's randomness.
    pub fn random(rng: &mut dyn Random) -> Self {
        let mut key = Self([0; KEY_BYTES]);
        rng.fill(&mut key.0);
        key
    }

    /// The key with these bytes; `None` for any other number of bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for a cipher.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// As an operator reads and types it: `SWMKEY-1-` and raw standard base64. Not `Display`, so that it is not printed by
    /// accident.
    pub fn to_human(&self) -> String {
        let mut text = String::from(PREFIX);
        for group in self.0.chunks(3) {
            let mut bits = 0u32;
            for position in 0..3 {
                bits = (bits << 8) | u32::from(group.get(position).copied().unwrap_or(0));
            }
            // n bytes need n + 1 digits; nothing is padded
            for position in 0..=group.len() {
                let shift = 18usize.saturating_sub(position.saturating_mul(6));
                let digit = (bits >> shift) & 0x3f;
                text.push(char::from(ALPHABET[digit as usize]));
            }
        }
        text
    }
}

impl FromStr for SecretKey {
    type Err = InvalidUnlockKey;

    /// Reads [`SecretKey::to_human`]'s form.
    fn from_str(text: &str) -> Result<Self, InvalidUnlockKey> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidUnlockKey::Form)?;
        let mut bytes = decode(digits).ok_or(InvalidUnlockKey::Form)?;
        let key = Self::from_slice(&bytes).ok_or(InvalidUnlockKey::Length);
        bytes.zeroize();
        key
    }
}

/// Raw standard base64; `None` for other characters or an impossible length.
fn decode(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    for group in digits.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            let value = ALPHABET.iter().position(|known| known == digit)?;
            bits = (bits << 6) | u32::try_from(value).ok()?;
        }
        let missing = 4usize.saturating_sub(group.len());
        bits <<= missing.saturating_mul(6);
        let whole = match missing {
            0 => 3,
            1 => 2,
            2 => 1,
            _ => return None,
        };
        bytes.extend(bits.to_be_bytes().iter().skip(1).take(whole));
    }
    Some(bytes)
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for SecretKey {
    /// Compares every byte, so that time tells nothing.
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0);
        differing.fold(0u8, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Names a key without telling it. Random, so that no two keys of a node have the same; never 0, which stands for none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct KeyId(pub u64);

/// A key with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedKey {
    /// Its name.
    pub id: KeyId,
    /// The key.
    pub key: SecretKey,
}

impl NamedKey {
    /// A new key with a new name.
    pub fn random(rng: &mut dyn Random) -> Self {
        let mut id = [0; 8];
        rng.fill(&mut id);
        Self {
            id: KeyId(u64::from_le_bytes(id).max(1)),
            key: SecretKey::random(rng),
        }
    }
}

/// What the cluster wants of its managers (SwarmKit's `Cluster.UnlockKeys`). Part of the cluster object, which is sealed on
/// every manager's disk; it has no field on the wire to anybody but Raft's members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerLock {
    /// Grows with each change of the key. A time (nanoseconds), so that it also grows across a state restored from an older one.
    pub version: u64,
    /// What managers are locked with; `None` while they are not.
    pub key: Option<SecretKey>,
}

impl ManagerLock {
    /// The lock after an update of the cluster: a key is made when locking is turned on or the key is rotated, and forgotten when
    /// it is turned off.
    #[must_use]
    pub fn updated(self, wanted: bool, rotate: bool, now: Timestamp, rng: &mut dyn Random) -> Self {
        let key = match (wanted, &self.key) {
            (false, None) => return self,
            (true, Some(_)) if !rotate => return self,
            (false, Some(_)) => None,
            (true, _) => Some(SecretKey::random(rng)),
        };
        Self {
            version: now.0.max(self.version.saturating_add(1)),
            key,
        }
    }
}
