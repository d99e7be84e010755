//! A snapshot's file: sealed chunks one behind the other, each bound to its snapshot and its number. Length, digest and the file's
//! own key are in the database, in the record that makes the file count (so the file stays as it is when the manager's keys are
//! replaced); a file without a record is rubbish of an interrupted attempt.
//!
//! ```text
//!   <state-dir>/snapshots/<id>.snap    4 bytes: length of the sealed chunk, big endian; the sealed chunk; and so on
//!   <state-dir>/snapshots/<id>.part    the same while it is written
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use swarm_proto::SNAPSHOT_CHUNK_BYTES;

/// Directory of the snapshots below the state directory.
const DIRECTORY: &str = "snapshots";
/// Bytes of a chunk's length.
const LENGTH_BYTES: usize = 4;
/// A sealed chunk may be this much longer than its content: nonce, authentication and room for a later form.
const SEAL_BYTES: usize = 256;

/// What a snapshot's file must hold.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileInfo {
    /// Its name: 32 hexadecimal digits, never used again.
    pub(crate) id: String,
    /// Length of the content.
    pub(crate) size_bytes: u64,
    /// Number of chunks.
    pub(crate) chunks: u64,
    /// SHA-256 of the content, hexadecimal.
    pub(crate) sha256: String,
    /// The key of its chunks, hexadecimal.
    key: String,
}

impl std::fmt::Debug for FileInfo {
    /// Not the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileInfo")
            .field("id", &self.id)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// Where snapshots are.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotDir {
    path: PathBuf,
}

/// An open file of a snapshot. Unlinked when nobody uses it any more, unless a record counts on it.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: File,
    kept: AtomicBool,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire) {
            remove(&self.path);
        }
    }
}

/// The content of a snapshot, on disk. Clones read the same file, which stays readable when a newer snapshot replaces it.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotData {
    info: FileInfo,
    open: Arc<OpenFile>,
}

impl SnapshotDir {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(DIRECTORY),
        }
    }

    /// Where a snapshot's file is.
    pub(crate) fn file_of(&self, info: &FileInfo) -> PathBuf {
        self.path.join(format!("{}.snap", info.id))
    }

    /// Begins a new snapshot.
    pub(crate) fn create(&self) -> io::Result<Writer> {
        let mut id = [0_u8; 16];
        getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let id = hex::encode(id);
        let path = self.path.join(format!("{id}.part"));
        let open = || -> io::Result<File> {
            fs::create_dir_all(&self.path)?;
            same_owner(&self.path)?;
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).mode(0o600);
            let file = file.open(&path)?;
            same_owner(&path)?;
            Ok(file)
        };
        let file = open().map_err(|error| named(&path, &error))?;
        Ok(Writer {
            dir: self.clone(),
            id,
            key,
            open: OpenFile {
                path,
                file,
                kept: AtomicBool::new(false),
            },
            buffer: Vec::with_capacity(SNAPSHOT_CHUNK_BYTES),
            chunks: 0,
            size_bytes: 0,
            digest: Sha256::new(),
        })
    }

    /// The same content in this directory.
    pub(crate) fn adopt(&self, data: SnapshotData) -> io::Result<SnapshotData> {
        if self.file_of(&data.info) == data.open.path {
            return Ok(data);
        }
        let (mut reader, mut writer) = (data.reader(), self.create()?);
        while let Some(chunk) = reader.next_chunk()? {
            writer.write_all(&chunk)?;
        }
        writer.finish()
    }

    /// Opens the file that a record names.
    pub(crate) fn open(&self, info: &FileInfo) -> io::Result<SnapshotData> {
        let path = self.file_of(info);
        let file = File::open(&path).map_err(|error| named(&path, &error))?;
        Ok(SnapshotData {
            info: info.clone(),
            open: Arc::new(OpenFile {
                path,
                file,
                kept: AtomicBool::new(true),
            }),
        })
    }

    /// Removes the file of a snapshot that no longer counts.
    pub(crate) fn remove(&self, info: &FileInfo) {
        remove(&self.file_of(info));
    }

    /// Removes every file that no record names. Only before anything writes snapshots.
    pub(crate) fn remove_others(&self, kept: &[&FileInfo]) {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "old snapshots stay");
                return;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if !kept.iter().any(|info| self.file_of(info) == path) {
                remove(&path);
            }
        }
    }

    /// Removes all snapshots.
    pub(crate) fn remove_all(state_dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(state_dir.join(DIRECTORY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Writes a snapshot, chunk by chunk. What is not finished is removed.
pub(crate) struct Writer {
    dir: SnapshotDir,
    id: String,
    key: [u8; 32],
    open: OpenFile,
    buffer: Vec<u8>,
    chunks: u64,
    size_bytes: u64,
    digest: Sha256,
}

impl Writer {
    fn seal_chunk(&mut self) -> io::Result<()> {
        let sealed = seal(&self.key, &chunk_place(&self.id, self.chunks), &self.buffer)?;
        let len = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        let mut file = &self.open.file;
        file.write_all(&len.to_be_bytes())
            .and_then(|()| file.write_all(&sealed))
            .map_err(|error| named(&self.open.path, &error))?;
        self.chunks += 1;
        self.buffer.clear();
        Ok(())
    }

    /// Length and digest of what was written so far.
    pub(super) fn so_far(&self) -> (u64, [u8; 32]) {
        (self.size_bytes, self.digest.clone().finalize().into())
    }

    /// Makes the file durable under its final name. It counts once a record names it.
    pub(crate) fn finish(mut self) -> io::Result<SnapshotData> {
        if !self.buffer.is_empty() {
            self.seal_chunk()?;
        }
        let info = FileInfo {
            id: self.id,
            size_bytes: self.size_bytes,
            chunks: self.chunks,
            sha256: hex::encode(self.digest.finalize()),
            key: hex::encode(self.key),
        };
        let path = self.dir.file_of(&info);
        let durable = || -> io::Result<()> {
            self.open.file.sync_all()?;
            fs::rename(&self.open.path, &path)?;
            File::open(&self.dir.path)?.sync_all()
        };
        durable().map_err(|error| named(&path, &error))?;
        let mut open = self.open;
        open.path = path;
        Ok(SnapshotData {
            info,
            open: Arc::new(open),
        })
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = SNAPSHOT_CHUNK_BYTES - self.buffer.len();
        let (taken, _) = bytes.split_at(room.min(bytes.len()));
        self.buffer.extend_from_slice(taken);
        self.digest.update(taken);
        self.size_bytes += taken.len() as u64;
        if self.buffer.len() == SNAPSHOT_CHUNK_BYTES {
            self.seal_chunk()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotData {
    pub(crate) fn info(&self) -> &FileInfo {
        &self.info
    }

    /// From now on the file outlives this process. Called before the record is written: a write that failed may have
    /// happened all the same.
    pub(crate) fn keep(&self) {
        self.open.kept.store(true, Ordering::Release);
    }

    /// Reads the content from its beginning.
    pub(crate) fn reader(&self) -> Reader {
        Reader {
            data: self.clone(),
            offset: 0,
            next: 0,
            size_bytes: 0,
            digest: Sha256::new(),
            chunk: Vec::new(),
            position: 0,
        }
    }

    /// Reads everything and compares it with the record.
    pub(crate) fn verify(&self) -> io::Result<()> {
        self.reader().finish()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Reads a snapshot, chunk by chunk.
#[derive(Debug)]
pub(crate) struct Reader {
    data: SnapshotData,
    offset: u64,
    next: u64,
    size_bytes: u64,
    digest: Sha256,
    chunk: Vec<u8>,
    position: usize,
}

impl Reader {
    /// The next chunk; `None` behind the last one, once length and digest are what the record says.
    pub(crate) fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.next == self.data.info.chunks {
            return self.check_end().map(|()| None);
        }
        let mut len = [0; LENGTH_BYTES];
        self.read_at(&mut len, self.offset)?;
        let len = u32::from_be_bytes(len) as usize;
        if len > SNAPSHOT_CHUNK_BYTES + SEAL_BYTES {
            return Err(self.damaged(&format!("chunk {} has an impossible length", self.next)));
        }
        let mut sealed = vec![0; len];
        self.read_at(&mut sealed, self.offset + LENGTH_BYTES as u64)?;
        let place = chunk_place(&self.data.info.id, self.next);
        let unsealed = unseal(&self.data.info.key, &place, &sealed);
        let plain = unsealed.map_err(|error| self.damaged(&error.to_string()))?;
        self.offset += (LENGTH_BYTES + len) as u64;
        self.next += 1;
        self.size_bytes += plain.len() as u64;
        self.digest.update(&plain);
        Ok(Some(plain))
    }

    /// Reads the rest and checks it.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        while self.next_chunk()?.is_some() {}
        Ok(())
    }

    fn check_end(&self) -> io::Result<()> {
        let digest = hex::encode(self.digest.clone().finalize());
        if self.size_bytes != self.data.info.size_bytes || digest != self.data.info.sha256 {
            return Err(self.damaged("the content is not what the database remembers"));
        }
        let on_disk = self.data.open.file.metadata()?.len();
        if on_disk != self.offset {
            return Err(self.damaged(&format!(
                "the file has {on_disk} bytes, not {}",
                self.offset
            )));
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.data.open.file.read_exact_at(bytes, offset);
        read.map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.damaged(&format!("the file ends within chunk {}", self.next))
            } else {
                named(&self.data.open.path, &error)
            }
        })
    }

    fn damaged(&self, reason: &str) -> io::Error {
        let text = format!("{}: {reason}", self.data.open.path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.position == self.chunk.len() {
            let Some(chunk) = self.next_chunk()? else {
                return Ok(0);
            };
            self.chunk = chunk;
            self.position = 0;
        }
        let rest = self.chunk.get(self.position..).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        let (target, source) = (bytes.get_mut(..len), rest.get(..len));
        if let (Some(target), Some(source)) = (target, source) {
            target.copy_from_slice(source);
        }
        self.position += len;
        Ok(len)
    }
}

fn seal(key: &[u8], place: &str, plain: &[u8]) -> io::Result<Vec<u8>> {
    let failed = || io::Error::other(format!("{place} cannot be sealed"));
    let cipher = XChaCha20Poly1305::new_from_slice(key).map_err(|_| failed())?;
    let nonce = XNonce::generate();
    let payload = Payload {
        msg: plain,
        aad: place.as_bytes(),
    };
    let sealed = cipher.encrypt(&nonce, payload).map_err(|_| failed())?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn unseal(key: &str, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{place} is damaged"));
    let key = hex::decode(key).map_err(|_| damaged())?;
    let cipher = XChaCha20Poly1305::new_from_slice(&key).map_err(|_| damaged())?;
    let (nonce, sealed) = sealed.split_at_checked(24).ok_or_else(damaged)?;
    let nonce = XNonce::try_from(nonce).map_err(|_| damaged())?;
    let payload = Payload {
        msg: sealed,
        aad: place.as_bytes(),
    };
    cipher.decrypt(&nonce, payload).map_err(|_| damaged())
}

fn chunk_place(id: &str, number: u64) -> String {
    format!("snapshot/{id}/{number}")
}

/// The same error with the file's name.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Gives a file to the owner of its directory: `recover` runs as root, the manager does not.
fn same_owner(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let (own, wanted) = (fs::metadata(path)?, fs::metadata(parent)?);
    if (own.uid(), own.gid()) == (wanted.uid(), wanted.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(wanted.uid()), Some(wanted.gid()))
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an unused snapshot stays");
        }
        Ok(()) | Err(_) => {}
    }
}
