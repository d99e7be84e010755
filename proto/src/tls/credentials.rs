//! The three files of a node's identity on disk: key, certificate chain, trusted root.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Private key, PKCS #8 PEM.
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
    /// What the system says.
    pub source: io::Error,
}

impl Credentials {
    /// Reads the three files of `dir`; `None` if one of them is not there (yet).
    pub fn load(dir: &Path) -> Result<Option<Self>, CredentialsError> {
        let read = |name: &str| {
            let path = dir.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(CredentialsError { path, source }),
            }
        };
        let (key, cert, ca) = (read(KEY_FILE)?, read(CERT_FILE)?, read(CA_FILE)?);
        Ok(match (key, cert, ca) {
            (Some(key_pem), Some(cert_chain_pem), Some(ca_pem)) => Some(Self {
                key_pem,
                cert_chain_pem,
                ca_pem,
            }),
            (_, _, _) => None,
        })
    }

    /// Writes the three files, the key with mode 0640 so that the manager's group may read it. Each file is replaced as
    /// a whole and synced: a crash leaves the old or the new one.
    pub fn save(&self, dir: &Path) -> Result<(), CredentialsError> {
        for (name, text, mode) in [
            (KEY_FILE, &self.key_pem, 0o640),
            (CA_FILE, &self.ca_pem, 0o644),
            (CERT_FILE, &self.cert_chain_pem, 0o644),
        ] {
            let path = dir.join(name);
            replace_file(&path, text.as_bytes(), mode)
                .map_err(|source| CredentialsError { path, source })?;
        }
        Ok(())
    }
}

fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
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
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
