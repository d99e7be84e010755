//! `seal.key`: the keys of a manager's disk, in plain (mode 0600) or wrapped by the unlock key. It is replaced as a whole:
//! written beside, synced, renamed, and the directory synced, so that a crash at any moment leaves the old or the new one.

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
use sha2::{Digest as _, Sha256};
use swarm_core::lock::{InvalidUnlockKey, KeyRing, ManagerLock, SecretKey};
use zeroize::Zeroizing;

use super::NONCE_BYTES;
use crate::{
    clock::SystemRandom,
    raft::types::{decode, encode},
};

const VERSION: u32 = 2;

/// Why the keys cannot be used. Quotes nothing of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Cannot be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Damaged.
    #[error("{} is not a key file: {reason}", path.display())]
    Format { path: PathBuf, reason: String },
    /// Made by another version of the program.
    #[error("{} is of a form this version cannot open (version {version})", path.display())]
    Unsupported { path: PathBuf, version: u32 },
    /// The state is there, but its key is not.
    #[error("{} is missing, and without it the state beside it cannot be opened", path.display())]
    Missing { path: PathBuf },
    /// Wrapped by an unlock key, and none was given.
    #[error("{} is locked: it opens with the swarm's unlock key", path.display())]
    Locked { path: PathBuf },
    /// Wrapped by another unlock key than the given one. Docker's text.
    #[error("{}", InvalidUnlockKey::Length)]
    WrongKey,
}

/// How the keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Plain,
    Unlock,
}

#[derive(Serialize, Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    kept: Kept,
    /// Version of the lock this was written for.
    lock: u64,
    /// The key ring, encoded and (if `kept` is `unlock`) sealed with its nonce in front; hex.
    keys: String,
    /// SHA-256 of the fields before, hex: tells a damaged file from a wrong unlock key.
    sum: String,
}

impl KeyFile {
    fn digest(&self) -> String {
        let text = format!(
            "{} {:?} {} {}",
            self.version, self.kept, self.lock, self.keys
        );
        hex::encode(Sha256::digest(text.as_bytes()))
    }
}

/// What the wrapped keys are bound to, so that an older file's cannot be passed off as a newer one's.
fn place(lock: u64) -> String {
    format!("seal.key/{lock}")
}

/// Reads the file; a wrapped one only with its unlock key.
pub(super) fn read(
    path: &Path,
    unlock: Option<&SecretKey>,
) -> Result<(ManagerLock, KeyRing), KeyError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing {
                path: path.to_owned(),
            });
        }
        Err(source) => {
            return Err(KeyError::File {
                path: path.to_owned(),
                source,
            });
        }
    };
    let format = |reason: &str| KeyError::Format {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let file = parse(path, &text)?;
    let stored = hex::decode(&file.keys).map_err(|_| format("the keys are not hex"))?;
    let stored = Zeroizing::new(stored);
    let (key, plain) = match (file.kept, unlock) {
        (Kept::Plain, _) => (None, stored),
        (Kept::Unlock, None) => {
            return Err(KeyError::Locked {
                path: path.to_owned(),
            });
        }
        (Kept::Unlock, Some(key)) => {
            let plain = unwrap(key, file.lock, &stored).ok_or(KeyError::WrongKey)?;
            (Some(key.clone()), Zeroizing::new(plain))
        }
    };
    let ring: KeyRing = decode(&plain).map_err(|_| format("the keys cannot be read"))?;
    if ring.data.is_empty() {
        return Err(format("it holds no key"));
    }
    let version = file.lock;
    Ok((ManagerLock { version, key }, ring))
}

fn parse(path: &Path, text: &str) -> Result<KeyFile, KeyError> {
    // the text of a parse error could quote a key, so only its place is told
    let format = |error: &serde_json::Error| KeyError::Format {
        path: path.to_owned(),
        reason: format!("line {} column {}", error.line(), error.column()),
    };
    let Version { version } = serde_json::from_str(text).map_err(|error| format(&error))?;
    if version != VERSION {
        return Err(KeyError::Unsupported {
            path: path.to_owned(),
            version,
        });
    }
    let file: KeyFile = serde_json::from_str(text).map_err(|error| format(&error))?;
    if file.sum != file.digest() {
        return Err(KeyError::Format {
            path: path.to_owned(),
            reason: "its checksum is wrong".to_owned(),
        });
    }
    Ok(file)
}

/// Makes the keys of a new manager.
pub(super) fn create(path: &Path) -> Result<(ManagerLock, KeyRing), KeyError> {
    let (lock, ring) = (ManagerLock::default(), KeyRing::new(&mut SystemRandom));
    write(path, &lock, &ring)?;
    Ok((lock, ring))
}

/// Replaces the file, wrapped if the lock has a key.
pub(super) fn write(path: &Path, lock: &ManagerLock, ring: &KeyRing) -> Result<(), KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let plain = Zeroizing::new(encode(ring).map_err(failed)?);
    let (kept, keys) = match &lock.key {
        None => (Kept::Plain, hex::encode(&*plain)),
        Some(key) => {
            let sealed = wrap(key, lock.version, &plain).map_err(failed)?;
            (Kept::Unlock, hex::encode(sealed))
        }
    };
    let mut file = KeyFile {
        version: VERSION,
        kept,
        lock: lock.version,
        keys,
        sum: String::new(),
    };
    file.sum = file.digest();
    let text = serde_json::to_string(&file).map_err(|error| failed(error.into()))?;
    replace(path, Zeroizing::new(text).as_bytes(), &mut |_| Ok(())).map_err(failed)
}

fn wrap(key: &SecretKey, lock: u64, plain: &[u8]) -> io::Result<Vec<u8>> {
    let nonce = XNonce::generate();
    let place = place(lock);
    let payload = Payload {
        msg: plain,
        aad: place.as_bytes(),
    };
    let cipher = XChaCha20Poly1305::new_from_slice(key.bytes()).map_err(io::Error::other)?;
    let sealed = cipher.encrypt(&nonce, payload);
    let sealed = sealed.map_err(|_| io::Error::other("the keys cannot be wrapped"))?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn unwrap(key: &SecretKey, lock: u64, stored: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = stored.split_at_checked(NONCE_BYTES)?;
    let place = place(lock);
    let payload = Payload {
        msg: sealed,
        aad: place.as_bytes(),
    };
    let cipher = XChaCha20Poly1305::new_from_slice(key.bytes()).ok()?;
    cipher.decrypt(&XNonce::try_from(nonce).ok()?, payload).ok()
}

/// What [`replace`] has done, in this order; tests stop it after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Created,
    Written,
    Synced,
    Renamed,
}

/// Replaces a file with mode 0600 as a whole.
pub(super) fn replace(
    path: &Path,
    content: &[u8],
    after: &mut dyn FnMut(Done) -> io::Result<()>,
) -> io::Result<()> {
    let beside = path.with_extension("key.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {} // what an interrupted replacement left
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    after(Done::Created)?;
    file.write_all(content)?;
    after(Done::Written)?;
    file.sync_all()?;
    after(Done::Synced)?;
    fs::rename(&beside, path)?;
    after(Done::Renamed)?;
    path.parent()
        .map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}
