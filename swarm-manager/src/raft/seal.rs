//! Sealing of everything that goes to disk: XChaCha20-Poly1305 with a random nonce per value, bound to the place the value
//! is stored at, so that values cannot be swapped. The key file says how the key itself is kept; today it is plain (mode
//! 0600), the form leaves room for a key sealed by an unlock key.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, Payload},
};
use serde::{Deserialize, Serialize};

const NONCE_BYTES: usize = 24;
/// Name of the key's file in the state directory.
pub(super) const KEY_FILE: &str = "seal.key";
const KEY_FILE_VERSION: u32 = 1;

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Cannot be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Damaged.
    #[error("{} is not a key file: {reason}", path.display())]
    Format { path: PathBuf, reason: String },
    /// Made by a newer program, or sealed with an unlock key.
    #[error("{} is of a form this version cannot open (version {version}, kept {kept:?})", path.display())]
    Unsupported {
        path: PathBuf,
        version: u32,
        kept: String,
    },
    /// The state is there, but its key is not.
    #[error("{} is missing, and without it the state beside it cannot be opened", path.display())]
    Missing { path: PathBuf },
    /// No randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    /// `plain`; later also `unlock`, with `key` sealed by the unlock key.
    kept: String,
    /// 32 bytes as hex.
    key: String,
}

/// Seals and opens values.
#[derive(Clone)]
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// The key of `dir`; makes one if `fresh` (there is no state yet).
    pub(crate) fn open(dir: &Path, fresh: bool) -> Result<Self, KeyError> {
        let path = dir.join(KEY_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && fresh => create(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::Missing { path });
            }
            Err(source) => return Err(KeyError::File { path, source }),
        };
        Self::from_text(&path, &text)
    }

    fn from_text(path: &Path, text: &str) -> Result<Self, KeyError> {
        let format = |reason: String| KeyError::Format {
            path: path.to_owned(),
            reason,
        };
        // the text of a parse error could quote the key, so only its place is told
        let file: KeyFile =
            serde_json::from_str(text).map_err(|error| format(format!("line {}", error.line())))?;
        if file.version != KEY_FILE_VERSION || file.kept != "plain" {
            return Err(KeyError::Unsupported {
                path: path.to_owned(),
                version: file.version,
                kept: file.kept,
            });
        }
        let key = hex::decode(&file.key).map_err(|_| format("the key is not hex".to_owned()))?;
        let cipher = XChaCha20Poly1305::new_from_slice(&key)
            .map_err(|_| format(format!("the key has {} bytes, not 32", key.len())))?;
        Ok(Self { cipher })
    }

    /// Seals a value for `place`.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> io::Result<Vec<u8>> {
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: plain,
            aad: place.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&nonce, payload)
            .map_err(|_| io::Error::other(format!("{place} cannot be sealed")))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for `place`.
    pub(crate) fn unseal(&self, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let damaged = || {
            let text = format!("{place} is damaged or sealed with another key");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| damaged())?;
        let payload = Payload {
            msg: sealed,
            aad: place.as_bytes(),
        };
        self.cipher.decrypt(&nonce, payload).map_err(|_| damaged())
    }
}

fn create(path: &Path) -> Result<String, KeyError> {
    let mut key = [0_u8; 32];
    getrandom::fill(&mut key).map_err(KeyError::Random)?;
    let file = KeyFile {
        version: KEY_FILE_VERSION,
        kept: "plain".to_owned(),
        key: hex::encode(key),
    };
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_string(&file).map_err(|error| failed(error.into()))?;
    let mut output = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    output.write_all(text.as_bytes()).map_err(failed)?;
    output.sync_all().map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn values_open_only_at_their_place_and_with_their_key() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(dir.path(), true).unwrap();
        let sealed = sealer.seal("log/1", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let again = Sealer::open(dir.path(), false).unwrap();
        assert_eq!(again.unseal("log/1", &sealed).unwrap(), b"secret");
        assert!(again.unseal("log/2", &sealed).is_err());
        let other = tempfile::tempdir().unwrap();
        let other = Sealer::open(other.path(), true).unwrap();
        let text = other.unseal("log/1", &sealed).unwrap_err().to_string();
        assert_eq!(text, "log/1 is damaged or sealed with another key");
    }

    #[test]
    fn the_key_file_is_private_and_its_loss_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Sealer::open(dir.path(), true).unwrap();
        let path = dir.path().join(KEY_FILE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            Sealer::open(dir.path(), false),
            Err(KeyError::Missing { .. })
        ));
        fs::write(&path, "{}").unwrap();
        assert!(matches!(
            Sealer::open(dir.path(), false),
            Err(KeyError::Format { .. })
        ));
    }
}
