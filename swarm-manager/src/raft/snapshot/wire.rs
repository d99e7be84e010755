//! A snapshot on its way to another manager: a header, chunks of its content, a SHA-256 over all of it. Both ends hold a few chunks
//! in memory; the receiver writes them to a file, which counts only when everything fits. A broken transfer starts again.

use std::io::{self, Write as _};

use swarm_proto::wire::{self, snapshot_chunk::Part};

use super::file::{SnapshotData, SnapshotDir, Writer};
use crate::raft::types::{RaftId, SnapshotMeta, Vote, decode, encode};

/// Largest snapshot that is accepted from another manager.
const MAX_SNAPSHOT_BYTES: u64 = 4 << 30;

/// The first message of a transfer.
pub(crate) fn header(
    target: RaftId,
    vote: &Vote,
    meta: &SnapshotMeta,
    data: &SnapshotData,
) -> io::Result<wire::SnapshotChunk> {
    let header = wire::SnapshotHeader {
        target,
        meta: encode(&(vote, meta))?,
        size_bytes: data.info().size_bytes,
    };
    Ok(message(Part::Header(header)))
}

/// The vote of the leader that sends a snapshot.
pub(crate) fn vote_of(header: &wire::SnapshotHeader) -> io::Result<Vote> {
    let (vote, _meta): (Vote, SnapshotMeta) = decode(&header.meta)?;
    Ok(vote)
}

/// The messages that follow: the content and its checksum, read from disk as they are asked for.
pub(crate) fn pieces(
    data: &SnapshotData,
) -> impl Iterator<Item = io::Result<wire::SnapshotChunk>> + Send + use<> {
    let mut reader = Some(data.reader());
    let checksum = hex::decode(&data.info().sha256).map_err(io::Error::other);
    let mut checksum = Some(checksum);
    std::iter::from_fn(move || {
        let Some(open) = &mut reader else {
            let last = checksum.take()?;
            return Some(last.map(|sum| message(Part::Checksum(sum))));
        };
        match open.next_chunk() {
            Ok(Some(chunk)) => Some(Ok(message(Part::Data(chunk)))),
            Ok(None) => {
                reader = None;
                let last = checksum.take()?;
                Some(last.map(|sum| message(Part::Checksum(sum))))
            }
            Err(error) => {
                (reader, checksum) = (None, None);
                Some(Err(error))
            }
        }
    })
}

fn message(part: Part) -> wire::SnapshotChunk {
    wire::SnapshotChunk { part: Some(part) }
}

/// A snapshot that arrives.
#[derive(Debug)]
pub(crate) struct Incoming {
    dir: SnapshotDir,
    header: Option<wire::SnapshotHeader>,
    writer: Option<Writer>,
    complete: bool,
}

/// Why an arriving snapshot is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    /// The first chunk is not a header, or a later one is.
    #[error("a chunk of the snapshot is out of order")]
    Order,
    /// Not what the header announced.
    #[error("the snapshot has {received} bytes, not {announced}")]
    Size { received: u64, announced: u64 },
    /// Larger than anything we make.
    #[error("a snapshot of {announced} bytes is not accepted, {MAX_SNAPSHOT_BYTES} is the most")]
    TooLarge { announced: u64 },
    /// Not what was sent.
    #[error("the checksum of the snapshot is wrong")]
    Checksum,
    /// Cannot be kept: the disk is full or cannot be written.
    #[error("the snapshot cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

impl Incoming {
    pub(crate) fn new(dir: SnapshotDir) -> Self {
        Self {
            dir,
            header: None,
            writer: None,
            complete: false,
        }
    }

    /// Takes the next chunk.
    pub(crate) fn accept(&mut self, chunk: wire::SnapshotChunk) -> Result<(), IncomingError> {
        match (&mut self.writer, chunk.part) {
            (None, Some(Part::Header(header))) if self.header.is_none() => {
                let announced = header.size_bytes;
                if announced > MAX_SNAPSHOT_BYTES {
                    return Err(IncomingError::TooLarge { announced });
                }
                self.writer = Some(self.dir.create()?);
                self.header = Some(header);
                Ok(())
            }
            (Some(writer), Some(Part::Data(data))) if !self.complete => {
                let received = writer.so_far().0 + data.len() as u64;
                let announced = self.header.as_ref().map_or(0, |header| header.size_bytes);
                if received > announced {
                    return Err(IncomingError::Size {
                        received,
                        announced,
                    });
                }
                Ok(writer.write_all(&data)?)
            }
            (Some(writer), Some(Part::Checksum(sum))) if !self.complete => {
                if writer.so_far().1.as_slice() != sum {
                    return Err(IncomingError::Checksum);
                }
                self.complete = true;
                Ok(())
            }
            (_, _) => Err(IncomingError::Order),
        }
    }

    /// What was sent, on disk; it counts once it is installed.
    pub(crate) fn finish(self) -> Result<(Vote, SnapshotMeta, SnapshotData), IncomingError> {
        let (Some(header), Some(writer)) = (self.header, self.writer) else {
            return Err(IncomingError::Order);
        };
        let (received, _digest) = writer.so_far();
        if received != header.size_bytes || !self.complete {
            return Err(IncomingError::Size {
                received,
                announced: header.size_bytes,
            });
        }
        let (vote, meta) = decode(&header.meta)?;
        Ok((vote, meta, writer.finish()?))
    }
}
