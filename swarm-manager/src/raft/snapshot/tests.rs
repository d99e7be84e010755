//! Snapshots: what is written is read, damage is named, a transfer is whole or refused, and memory does not grow with the size.

use std::{fs, path::PathBuf};

use swarm_core::{
    model::{Annotations, Meta, Network, NetworkSpec},
    store::{Object, Store, Transaction},
    time::Timestamp,
};
use swarm_proto::{SNAPSHOT_CHUNK_BYTES, wire};

use super::{Incoming, SnapshotData, SnapshotDir, header, load_store, pieces, save, write_file};
use crate::{
    clock::SystemRandom,
    raft::{
        database::StateDb,
        sample::meta_at,
        types::{SnapshotMeta, Vote},
    },
};

fn place() -> (tempfile::TempDir, SnapshotDir) {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = SnapshotDir::new(dir.path());
    (dir, snapshots)
}

/// A store of about `bytes`, in objects of a few kilobytes.
pub(crate) fn store_of(bytes: usize) -> Store {
    let label = "x".repeat(4000);
    let mut store = Store::new();
    for index in 1..=(bytes / 4000).max(1) as u64 {
        let labels = [("label".to_owned(), label.clone())].into();
        let network = Network {
            id: swarm_core::id::NetworkId::random(&mut SystemRandom),
            meta: Meta::default(),
            spec: NetworkSpec {
                annotations: Annotations {
                    name: format!("network-{index}"),
                    labels,
                },
                ..NetworkSpec::default()
            },
            allocation: None,
        };
        let create = Transaction::new(Timestamp(1)).create(Object::Network(network));
        store.apply(index, create).unwrap();
    }
    store
}

fn files(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("snapshots")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_is_written_is_read_and_a_file_without_a_record_goes() {
    let (dir, snapshots) = place();
    let store = store_of(3 * SNAPSHOT_CHUNK_BYTES);
    let data = write_file(&snapshots, &store).unwrap();
    assert!(data.info().chunks >= 3);
    assert_eq!(load_store(&data).unwrap(), store);
    data.verify().unwrap();
    assert_eq!(files(&dir), [snapshots.file_of(data.info())]);
    let text = fs::read(snapshots.file_of(data.info())).unwrap();
    assert!(
        !text.windows(7).any(|window| window == b"network"),
        "sealed"
    );
    let info = data.info().clone();
    data.keep();
    drop(data);
    assert_eq!(load_store(&snapshots.open(&info).unwrap()).unwrap(), store);
    let unfinished = snapshots.create().unwrap();
    assert_eq!(files(&dir).len(), 2);
    drop(unfinished);
    let unrecorded = write_file(&snapshots, &store).unwrap();
    drop(unrecorded);
    assert_eq!(files(&dir), [snapshots.file_of(&info)]);
}

#[test]
fn every_damaged_byte_is_noticed_and_its_file_named() {
    let (_dir, snapshots) = place();
    let store = store_of(SNAPSHOT_CHUNK_BYTES + 1000);
    let data = write_file(&snapshots, &store).unwrap();
    data.keep();
    let path = snapshots.file_of(data.info());
    let whole = fs::read(&path).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let opened = snapshots.open(data.info()).unwrap();
        let error = load_store(&opened).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    };
    // length, nonce, content and authentication of both chunks
    let second = 4 + u32::from_be_bytes(whole[..4].try_into().unwrap()) as usize;
    for at in [
        0,
        3,
        4,
        27,
        28,
        5000,
        second - 1,
        second,
        second + 5,
        whole.len() - 1,
    ] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        check(&flipped);
    }
    for cut in [0, 2, 100, second, second + 2, whole.len() - 1] {
        check(&whole[..cut]);
    }
    check(&[whole.as_slice(), b"more"].concat());
    // a whole chunk in another's place
    let swapped = [&whole[second..], &whole[..second]].concat();
    check(&swapped);
}

fn sent(data: &SnapshotData) -> Vec<wire::SnapshotChunk> {
    let first = header(3, &Vote::new(1, 1), &SnapshotMeta::default(), data).unwrap();
    let rest = pieces(data).map(|piece| piece.unwrap());
    std::iter::once(first).chain(rest).collect()
}

#[test]
fn a_snapshot_arrives_as_it_was_sent() {
    let (_dir, snapshots) = place();
    let store = store_of(2 * SNAPSHOT_CHUNK_BYTES);
    let data = write_file(&snapshots, &store).unwrap();
    let (there, elsewhere) = place();
    let mut incoming = Incoming::new(elsewhere);
    for chunk in sent(&data) {
        incoming.accept(chunk).unwrap();
    }
    let (_vote, _meta, arrived) = incoming.finish().unwrap();
    assert_eq!(arrived.info().sha256, data.info().sha256);
    assert_eq!(load_store(&arrived).unwrap(), store);
    drop(arrived);
    assert!(files(&there).is_empty(), "it was never installed");
}

#[test]
fn a_missing_reordered_or_damaged_chunk_is_refused_and_leaves_nothing() {
    let (_dir, snapshots) = place();
    let data = write_file(&snapshots, &store_of(2 * SNAPSHOT_CHUNK_BYTES)).unwrap();
    let whole = sent(&data);
    let (there, elsewhere) = place();
    let refused = |chunks: Vec<wire::SnapshotChunk>| {
        let mut incoming = Incoming::new(elsewhere.clone());
        let taken = chunks
            .into_iter()
            .try_for_each(|chunk| incoming.accept(chunk));
        let error = taken.err().or_else(|| incoming.finish().err());
        error.unwrap().to_string()
    };
    assert!(refused(whole[1..].to_vec()).contains("out of order"));
    let mut missing = whole.clone();
    missing.remove(1);
    assert!(refused(missing).contains("checksum"));
    let mut swapped = whole.clone();
    swapped.swap(1, 2);
    assert!(refused(swapped).contains("checksum"));
    let mut twice = whole.clone();
    twice.insert(2, whole[1].clone());
    assert!(refused(twice).contains("bytes, not"));
    assert!(refused(whole[..whole.len() - 1].to_vec()).contains("bytes, not"));
    let mut damaged = whole.clone();
    if let Some(wire::snapshot_chunk::Part::Data(data)) = &mut damaged[2].part {
        data[7] ^= 1;
    }
    assert!(refused(damaged).contains("checksum"));
    assert!(refused([&whole[..], &whole[..1]].concat()).contains("out of order"));
    let mut huge = whole;
    if let Some(wire::snapshot_chunk::Part::Header(header)) = &mut huge[0].part {
        header.size_bytes = u64::MAX;
    }
    assert!(refused(huge).contains("is not accepted"));
    let rest = fs::read_dir(there.path().join("snapshots")).unwrap();
    assert_eq!(rest.count(), 0);
}

/// Peak resident memory of this process.
fn peak_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Writing and moving a state takes a few chunks of memory beside the state itself. `SWARM_SNAPSHOT_MB=500` moves 500 MB. Measured
/// in a process of its own: other tests need memory too.
#[test]
#[expect(clippy::print_stderr, reason = "the figures are worth seeing")]
fn moving_a_state_takes_a_few_chunks_of_memory() {
    let megabytes = std::env::var("SWARM_SNAPSHOT_MB").unwrap_or_else(|_| "8".to_owned());
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "raft::snapshot::tests::measured", "--nocapture"])
        .env("SWARM_MEASURED_MB", megabytes)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    eprintln!("{told}");
    assert!(
        run.status.success() && told.contains("memory grew by"),
        "{told}"
    );
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are for the test above")]
fn measured() {
    let Ok(megabytes) = std::env::var("SWARM_MEASURED_MB") else {
        return; // the other half of the test above
    };
    let megabytes: usize = megabytes.parse().unwrap();
    let (_dir, snapshots) = place();
    let store = store_of(megabytes << 20);
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_kilobytes();
    let began = std::time::Instant::now();
    let data = write_file(&snapshots, &store).unwrap();
    let written = began.elapsed();
    let (_there, elsewhere) = place();
    let mut incoming = Incoming::new(elsewhere);
    let first = header(3, &Vote::new(1, 1), &SnapshotMeta::default(), &data).unwrap();
    incoming.accept(first).unwrap();
    for piece in pieces(&data) {
        incoming.accept(piece.unwrap()).unwrap();
    }
    let (_vote, _meta, arrived) = incoming.finish().unwrap();
    let moved = began.elapsed().saturating_sub(written);
    let grown = peak_kilobytes() - before;
    assert!(data.info().size_bytes >= (megabytes << 20) as u64 * 9 / 10);
    assert!(grown < 6 * 1024, "grew by {grown} KiB");
    assert_eq!(arrived.info().sha256, data.info().sha256);
    eprintln!(
        "{megabytes} MB: written in {written:?}, moved in {moved:?}, memory grew by {grown} KiB"
    );
}

/// One is built while a newer one arrives: whichever is written last, the newer one counts.
#[test]
fn two_snapshots_at_once_do_not_undo_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let db = StateDb::open(dir.path()).unwrap();
    for round in 1..=30 {
        let both = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for upto in [2 * round, 2 * round + 1] {
                let (db, both) = (&db, &both);
                scope.spawn(move || {
                    let data = write_file(db.snapshot_dir(), &Store::new()).unwrap();
                    both.wait();
                    save(db, &meta_at(upto), &data, 0).unwrap();
                });
            }
        });
        let stored = db.snapshots().unwrap();
        let counts: Vec<_> = stored.iter().map(|stored| stored.meta.clone()).collect();
        assert_eq!(counts, [meta_at(2 * round + 1)]);
        assert_eq!(files(&dir).len(), 1);
    }
}
