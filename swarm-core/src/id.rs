//! Object identifiers: SwarmKit's form, 25 characters of base 36 that encode 17 random bytes with the top bit set and
//! the first digit dropped. Randomness comes in from the caller.

use alloc::{borrow::ToOwned, string::String};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Length of an identifier in characters.
pub const ID_LEN: usize = 25;
/// Characters of an identifier that tables show.
pub const SHORT_ID_LEN: usize = 12;

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an identifier: {ID_LEN} characters of 0-9 and a-z are expected")]
pub struct InvalidId {
    /// What was given.
    pub text: String,
}

/// Source of random bytes that the shell supplies, so that identifiers and jitter are inputs.
pub trait Random {
    /// Fills `bytes` with random data.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A random number below `bound`; zero if `bound` is zero.
    fn below(&mut self, bound: u64) -> u64 {
        let mut raw = [0; 8];
        self.fill(&mut raw);
        u64::from_le_bytes(raw).checked_rem(bound).unwrap_or(0)
    }
}

/// Encodes 17 random bytes as an identifier's text.
fn encode(mut bytes: [u8; 17]) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    bytes[0] |= 0x80;
    let mut text = [0u8; ID_LEN];
    // Long division of the 136-bit number by 36, least significant digit first. 17 bytes with the top bit set give 27
    // digits; the 25 least significant carry 129 bits of the randomness.
    for digit in text.iter_mut().rev() {
        let mut remainder = 0u32;
        for byte in &mut bytes {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 36).unwrap_or(u8::MAX);
            remainder = value % 36;
        }
        *digit = DIGITS[remainder as usize];
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new identifier from the caller's randomness.
            pub fn random(rng: &mut dyn Random) -> Self {
                let mut bytes = [0; 17];
                rng.fill(&mut bytes);
                Self(encode(bytes))
            }

            /// The whole identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first twelve characters, as tables show.
            pub fn short(&self) -> &str {
                self.0.get(..SHORT_ID_LEN).unwrap_or(&self.0)
            }

            /// Whether no identifier is set (a task that is not yet placed has an empty node).
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts exactly 25 characters of base 36, or the empty text for "none".
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
                if digits && (text.is_empty() || text.len() == ID_LEN) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId { text: text.to_owned() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl core::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id_type!(
    /// Identifies the cluster.
    ClusterId
);
id_type!(
    /// Identifies a node; the common name of its certificate.
    NodeId
);
id_type!(
    /// Identifies a service.
    ServiceId
);
id_type!(
    /// Identifies one incarnation of a task; a restart makes a new one.
    TaskId
);
id_type!(
    /// Identifies a network.
    NetworkId
);
id_type!(
    /// Identifies a secret.
    SecretId
);
id_type!(
    /// Identifies a config.
    ConfigId
);

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0;
                self.0 = self.0.wrapping_add(41);
            }
        }
    }

    #[test]
    fn random_ids_have_the_documented_form_and_differ() {
        let mut rng = Counting(1);
        let one = NodeId::random(&mut rng);
        let two = NodeId::random(&mut rng);
        assert_ne!(one, two);
        assert_eq!(one.as_str().len(), ID_LEN);
        assert_eq!(one.to_string().parse::<NodeId>(), Ok(one.clone()));
        assert_eq!(one.short().len(), SHORT_ID_LEN);
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in [
            "x",
            "ABCDEFGHIJKLMNOPQRSTUVWXY",
            "0123456789012345678901234-",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
        assert!("".parse::<TaskId>().is_ok_and(|id| id.is_empty()));
    }
}
