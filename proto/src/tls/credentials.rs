//! The three files of a node's identity on disk: key, certificate chain, trusted root.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{NodeKeys, SealedKeyError, staged};

/// Private key, PKCS #8 PEM, in plain or as [`NodeKeys::seal`] writes it.
pub const KEY_FILE: &str = "node.key";
/// Certificate chain, leaf first, PEM.
pub const CERT_FILE: &str = "node.crt";
/// Trusted root, PEM.
pub const CA_FILE: &str = "ca.crt";

/// A node's identity as PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Private key.
    pub key_pem: String,
    /// Certificate chain, leaf first.
    pub cert_chain_pem: String,
    /// Trusted root.
    pub ca_pem: String,
}

impl std::fmt::Debug for Credentials {
    /// Hides the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// A file of the identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct CredentialsError {
    /// The file.
    pub path: PathBuf,
    /// What the system says, or why the sealed private key cannot be opened.
    pub source: io::Error,
}

impl CredentialsError {
    /// Whether the private key is sealed and nobody has told with what.
    pub fn is_locked(&self) -> bool {
        let inner = self.source.get_ref();
        inner.and_then(|inner| inner.downcast_ref()) == Some(&SealedKeyError::Locked)
    }
}

impl Credentials {
    /// Reads the three files of `dir`, whose key is in plain; `None` if one of them is not there (yet).
    pub fn load(dir: &Path) -> Result<Option<Self>, CredentialsError> {
        Self::load_with(dir, &NodeKeys::default())
    }

    /// Reads the three files of `dir`, whose key is in plain or sealed with one of `keys`, as they were at one moment.
    pub fn load_with(dir: &Path, keys: &NodeKeys) -> Result<Option<Self>, CredentialsError> {
        let [key, cert, ca] = staged::read_together(dir, [KEY_FILE, CERT_FILE, CA_FILE])?;
        Ok(match (key, cert, ca) {
            (Some(key), Some(cert_chain_pem), Some(ca_pem)) => Some(Self {
                key_pem: keys.open(&key).map_err(|source| sealed(dir, source))?,
                cert_chain_pem,
                ca_pem,
            }),
            (_, _, _) => None,
        })
    }

    /// Writes the three files, the key in plain, as [`Credentials::save_with`] does.
    pub fn save(&self, dir: &Path) -> Result<(), CredentialsError> {
        self.save_with(dir, &NodeKeys::default())
    }

    /// Writes the three files, the key sealed as `keys` says and with mode 0640 so that the manager's group may read it. They
    /// change together: a crash leaves all old or all new ones.
    pub fn save_with(&self, dir: &Path, keys: &NodeKeys) -> Result<(), CredentialsError> {
        staged::finish(dir)?;
        let before = read_key(dir)?;
        let key = match &before {
            Some(before) => keys.seal_over(&self.key_pem, before),
            None => keys.seal(&self.key_pem),
        };
        let key = key.map_err(|source| sealed(dir, source))?;
        staged::replace_together(
            dir,
            &[
                (KEY_FILE, key.as_str(), 0o640),
                (CA_FILE, &self.ca_pem, 0o644),
                (CERT_FILE, &self.cert_chain_pem, 0o644),
            ],
        )
    }

    /// Finishes a change of the files that a crash interrupted. For the one who writes them, before anything else.
    pub fn recover(dir: &Path) -> Result<(), CredentialsError> {
        staged::finish(dir)
    }
}

/// Seals the key on disk anew as `keys` says; `false` if there is none. The file is replaced as a whole, so a
/// crash leaves it sealed the old or the new way.
pub fn reseal_key(dir: &Path, keys: &NodeKeys) -> Result<bool, CredentialsError> {
    staged::finish(dir)?;
    let path = dir.join(KEY_FILE);
    let Some(text) = read_key(dir)? else {
        return Ok(false);
    };
    if NodeKeys::sealed_with(&text) == keys.seal_with {
        return Ok(true);
    }
    let plain = Zeroizing::new(keys.open(&text).map_err(|source| sealed(dir, source))?);
    let text = keys
        .seal_over(&plain, &text)
        .map_err(|source| sealed(dir, source))?;
    replace_file(&path, text.as_bytes(), 0o640)
        .map_err(|source| CredentialsError { path, source })?;
    Ok(true)
}

/// Whether the private key on disk is sealed now and lay there in plain before.
pub fn was_key_exposed(dir: &Path) -> Result<bool, CredentialsError> {
    Ok(read_key(dir)?.is_some_and(|text| NodeKeys::was_exposed(&text)))
}

/// The file of the private key, as it is.
fn read_key(dir: &Path) -> Result<Option<Zeroizing<String>>, CredentialsError> {
    let path = dir.join(KEY_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialsError { path, source }),
    }
}

fn sealed(dir: &Path, source: SealedKeyError) -> CredentialsError {
    CredentialsError {
        path: dir.join(KEY_FILE),
        source: io::Error::new(io::ErrorKind::PermissionDenied, source),
    }
}

/// Replaces a file as a whole, synced, readable for the group that its directory belongs to if `mode` says so.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    let dir = path.parent().map(fs::File::open).transpose()?;
    if let Some(dir) = &dir {
        let group = dir.metadata()?.gid();
        if file.metadata()?.gid() != group {
            fchown(&file, None, Some(group))?;
        }
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    dir.map_or(Ok(()), |dir| dir.sync_all())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn named(name: &str) -> Credentials {
        Credentials {
            key_pem: format!("key of {name}"),
            cert_chain_pem: format!("certificate of {name}"),
            ca_pem: format!("root of {name}"),
        }
    }

    /// However the writer and the reader are interleaved, a key comes with its certificate.
    #[test]
    fn a_reader_never_sees_parts_of_two_identities() {
        // In memory, where a change is not much slower than a look.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let identities = [named("a"), named("b")];
        identities[0].save(dir.path()).unwrap();
        let ended = AtomicBool::new(false);
        let mut seen = [0, 0];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for identity in identities.iter().cycle().skip(1).take(5000) {
                    identity.save(dir.path()).unwrap();
                }
                ended.store(true, Ordering::SeqCst);
            });
            while !ended.load(Ordering::SeqCst) {
                let found = Credentials::load(dir.path()).unwrap().unwrap();
                let position = identities.iter().position(|identity| *identity == found);
                seen[position.expect("a mixed set")] += 1;
            }
        });
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}
