//! A snapshot: the whole store as bytes, on disk sealed, on the wire in chunks with a checksum.

use std::{io, sync::Arc};

use sha2::{Digest as _, Sha256};
use swarm_core::store::Store;
use swarm_proto::{SNAPSHOT_CHUNK_BYTES, wire};

use super::{
    database::{StateDb, blocking, key},
    types::{RaftId, SnapshotMeta, Vote, decode, encode},
};

/// Largest snapshot that is accepted from another manager.
const MAX_SNAPSHOT_BYTES: u64 = 4 << 30;

/// The encoded store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotData {
    bytes: Arc<Vec<u8>>,
}

impl SnapshotData {
    pub(crate) fn encode(store: &Store) -> io::Result<Self> {
        Ok(Self {
            bytes: Arc::new(encode(store)?),
        })
    }

    pub(crate) fn decode(&self) -> io::Result<Store> {
        decode(&self.bytes)
    }
}

/// The last snapshot on disk: length of the metadata (4 bytes, big endian), metadata, store.
pub(crate) fn load(db: &StateDb) -> io::Result<Option<(SnapshotMeta, SnapshotData)>> {
    let Some(stored) = db.meta_bytes(key::SNAPSHOT)? else {
        return Ok(None);
    };
    let cut = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the snapshot on disk is cut off",
        )
    };
    let (len, rest) = stored.split_first_chunk::<4>().ok_or_else(cut)?;
    let (meta, data) = rest
        .split_at_checked(u32::from_be_bytes(*len) as usize)
        .ok_or_else(cut)?;
    let data = SnapshotData {
        bytes: Arc::new(data.to_vec()),
    };
    Ok(Some((decode(meta)?, data)))
}

/// Replaces the snapshot on disk, synced.
pub(crate) async fn save(db: &StateDb, meta: &SnapshotMeta, data: &SnapshotData) -> io::Result<()> {
    let meta = encode(meta)?;
    let len = u32::try_from(meta.len()).map_err(io::Error::other)?;
    let (db, data) = (db.clone(), Arc::clone(&data.bytes));
    blocking(move || {
        let stored = [len.to_be_bytes().as_slice(), &meta, &data].concat();
        db.put_meta_bytes(key::SNAPSHOT, &stored)
    })
    .await
}

/// A snapshot as messages for the wire.
pub(crate) fn to_chunks(
    target: RaftId,
    vote: &Vote,
    meta: &SnapshotMeta,
    data: &SnapshotData,
) -> io::Result<impl Iterator<Item = wire::SnapshotChunk> + Send + use<>> {
    use wire::snapshot_chunk::Part;
    let header = wire::SnapshotHeader {
        target,
        meta: encode(&(vote, meta))?,
        size_bytes: data.bytes.len() as u64,
    };
    let checksum = Sha256::digest(data.bytes.as_slice()).to_vec();
    let bytes = Arc::clone(&data.bytes);
    let starts = (0..bytes.len()).step_by(SNAPSHOT_CHUNK_BYTES);
    let pieces = starts.map(move |start| {
        let end = (start + SNAPSHOT_CHUNK_BYTES).min(bytes.len());
        Part::Data(bytes.get(start..end).unwrap_or_default().to_vec())
    });
    Ok(std::iter::once(Part::Header(header))
        .chain(pieces)
        .chain(std::iter::once(Part::Checksum(checksum)))
        .map(|part| wire::SnapshotChunk { part: Some(part) }))
}

/// A snapshot that arrives.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    header: Option<wire::SnapshotHeader>,
    bytes: Vec<u8>,
    complete: bool,
}

/// Why an arriving snapshot is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IncomingError {
    /// The first chunk is not a header, or a later one is.
    #[error("a chunk of the snapshot is out of order")]
    Order,
    /// Not what the header announced.
    #[error("the snapshot has {received} bytes, not {announced}")]
    Size { received: u64, announced: u64 },
    /// Not what was sent.
    #[error("the checksum of the snapshot is wrong")]
    Checksum,
}

impl Incoming {
    /// Takes the next chunk.
    pub(crate) fn accept(&mut self, chunk: wire::SnapshotChunk) -> Result<(), IncomingError> {
        use wire::snapshot_chunk::Part;
        match (&self.header, chunk.part) {
            (None, Some(Part::Header(header))) if header.size_bytes <= MAX_SNAPSHOT_BYTES => {
                self.header = Some(header);
                Ok(())
            }
            (Some(header), Some(Part::Data(data))) if !self.complete => {
                self.bytes.extend_from_slice(&data);
                let received = self.bytes.len() as u64;
                if received > header.size_bytes {
                    return Err(IncomingError::Size {
                        received,
                        announced: header.size_bytes,
                    });
                }
                Ok(())
            }
            (Some(_), Some(Part::Checksum(sum))) => {
                if Sha256::digest(&self.bytes).as_slice() != sum {
                    return Err(IncomingError::Checksum);
                }
                self.complete = true;
                Ok(())
            }
            (_, _) => Err(IncomingError::Order),
        }
    }

    /// The member the sender meant and what it sent.
    pub(crate) fn finish(self) -> io::Result<(RaftId, Vote, SnapshotMeta, SnapshotData)> {
        let refused = |error: IncomingError| io::Error::new(io::ErrorKind::InvalidData, error);
        let header = self.header.ok_or_else(|| refused(IncomingError::Order))?;
        let received = self.bytes.len() as u64;
        if received != header.size_bytes || !self.complete {
            return Err(refused(IncomingError::Size {
                received,
                announced: header.size_bytes,
            }));
        }
        let (vote, meta) = decode(&header.meta)?;
        let data = SnapshotData {
            bytes: Arc::new(self.bytes),
        };
        Ok((header.target, vote, meta, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks() -> Vec<wire::SnapshotChunk> {
        let data = SnapshotData {
            bytes: Arc::new(vec![7; SNAPSHOT_CHUNK_BYTES * 2 + 5]),
        };
        let meta = SnapshotMeta::default();
        to_chunks(3, &Vote::new(1, 1), &meta, &data)
            .unwrap()
            .collect()
    }

    #[test]
    fn a_snapshot_arrives_as_it_was_sent() {
        let sent = chunks();
        assert_eq!(sent.len(), 5);
        let mut incoming = Incoming::default();
        for chunk in sent {
            incoming.accept(chunk).unwrap();
        }
        let (target, _, _, data) = incoming.finish().unwrap();
        assert_eq!(target, 3);
        assert_eq!(data.bytes.len(), SNAPSHOT_CHUNK_BYTES * 2 + 5);
    }

    #[test]
    fn a_missing_reordered_or_damaged_chunk_is_refused() {
        let mut incoming = Incoming::default();
        assert_eq!(
            incoming.accept(chunks().remove(1)),
            Err(IncomingError::Order)
        );
        let mut missing = chunks();
        missing.remove(1);
        let mut incoming = Incoming::default();
        let results: Vec<_> = missing.into_iter().map(|c| incoming.accept(c)).collect();
        assert_eq!(results.last(), Some(&Err(IncomingError::Checksum)));
        let mut cut = chunks();
        cut.pop();
        let mut incoming = Incoming::default();
        for chunk in cut {
            incoming.accept(chunk).unwrap();
        }
        assert!(incoming.finish().is_err());
    }
}
