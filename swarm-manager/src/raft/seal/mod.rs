//! Sealing of everything that goes to disk: XChaCha20-Poly1305 with a random nonce per value, bound to the place the value
//! is stored at, so that values cannot be swapped. A sealed value begins with the name of its key, because keys are
//! replaced while values live on. The keys are in `seal.key` ([`key_file`]); which key is made, kept or forgotten when is
//! decided by `swarm_core::lock`.

mod key_file;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, Payload},
};
pub(crate) use key_file::KeyError;
use swarm_core::lock::{KeyId, KeyRing, ManagerLock, SecretKey};
use swarm_proto::tls::NodeKeys;

/// Name of the key's file in the state directory.
pub(super) const KEY_FILE: &str = "seal.key";
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;

/// The keys at a moment, ready for use. As long as a write holds them, none of them is forgotten: keep it until the
/// sealed value is on disk.
#[derive(Debug)]
pub(crate) struct Keys {
    lock: ManagerLock,
    ring: KeyRing,
}

impl Keys {
    fn cipher(&self, id: Option<KeyId>) -> Option<XChaCha20Poly1305> {
        let mut keys = self.ring.data.iter();
        let key = match id {
            Some(id) => keys.find(|key| key.id == id),
            None => keys.next(),
        };
        XChaCha20Poly1305::new_from_slice(key?.key.bytes()).ok()
    }

    /// Seals a value for `place`.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> io::Result<Vec<u8>> {
        let failed = || io::Error::other(format!("{place} cannot be sealed"));
        let id = self.ring.data.first().ok_or_else(failed)?.id;
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: plain,
            aad: place.as_bytes(),
        };
        let cipher = self.cipher(Some(id)).ok_or_else(failed)?;
        let sealed = cipher.encrypt(&nonce, payload).map_err(|_| failed())?;
        Ok([&id.0.to_le_bytes(), nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for `place`.
    pub(crate) fn unseal(&self, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let damaged = || {
            let text = format!("{place} is damaged or sealed with another key");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let id = key_of(sealed).ok_or_else(damaged)?;
        let cipher = self.cipher(Some(id)).ok_or_else(damaged)?;
        let (_, sealed) = sealed.split_at_checked(ID_BYTES).ok_or_else(damaged)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| damaged())?;
        let payload = Payload {
            msg: sealed,
            aad: place.as_bytes(),
        };
        cipher.decrypt(&nonce, payload).map_err(|_| damaged())
    }

    /// The key that [`Keys::seal`] uses.
    pub(crate) fn first(&self) -> Option<KeyId> {
        self.ring.data.first().map(|key| key.id)
    }
}

/// The key that a sealed value names.
pub(crate) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    let id = sealed.first_chunk::<ID_BYTES>()?;
    Some(KeyId(u64::from_le_bytes(*id)))
}

/// Seals and opens values. Cheap to clone; all clones see a change of keys at once.
#[derive(Clone)]
pub(crate) struct Sealer {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    keys: ArcSwap<Keys>,
    /// Earlier keys that a write may still hold. Locked while the file is written, too.
    earlier: Mutex<Vec<Weak<Keys>>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// The keys of `dir`, opened with the unlock key if they are locked; makes keys if `fresh` (there is no state yet).
    pub(crate) fn open(
        dir: &Path,
        fresh: bool,
        unlock: Option<&SecretKey>,
    ) -> Result<Self, KeyError> {
        let path = dir.join(KEY_FILE);
        let (lock, ring) = match key_file::read(&path, unlock) {
            Err(KeyError::Missing { .. }) if fresh => key_file::create(&path)?,
            read => read?,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                keys: ArcSwap::from_pointee(Keys { lock, ring }),
                earlier: Mutex::default(),
            }),
        })
    }

    /// The keys as they are now, for a write: see [`Keys`].
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.shared.keys.load_full()
    }

    /// Opens what was sealed for `place`.
    pub(crate) fn unseal(&self, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
        self.shared.keys.load().unseal(place, sealed)
    }

    /// The lock the key file is written for, and its content.
    pub(crate) fn held(&self) -> (ManagerLock, KeyRing) {
        let keys = self.shared.keys.load();
        (keys.lock.clone(), keys.ring.clone())
    }

    /// Whether no write is under way that seals with keys from before the last change. Only then can it be told which keys are
    /// in use.
    pub(crate) fn is_settled(&self) -> bool {
        let mut earlier = self.earlier();
        earlier.retain(|keys| keys.strong_count() > 0);
        earlier.is_empty()
    }

    /// Writes the key file anew, synced, and uses these keys from then on. On an error the earlier ones stay in use.
    pub(crate) fn replace(&self, lock: ManagerLock, ring: KeyRing) -> Result<(), KeyError> {
        let mut earlier = self.earlier();
        key_file::write(&self.shared.path, &lock, &ring)?;
        let before = self.shared.keys.swap(Arc::new(Keys { lock, ring }));
        earlier.push(Arc::downgrade(&before));
        Ok(())
    }

    /// What seals the node's private key.
    pub(crate) fn node_keys(&self) -> NodeKeys {
        let keys = self.shared.keys.load();
        let first = keys.ring.node.first().map(|key| key.id);
        NodeKeys {
            keys: keys.ring.node.clone(),
            seal_with: first.filter(|_| keys.lock.key.is_some()),
        }
    }

    fn earlier(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Keys>>> {
        let earlier = self.shared.earlier.lock();
        earlier.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys found on values, by name.
pub(crate) type KeyIds = BTreeSet<KeyId>;
