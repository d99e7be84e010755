//! A crash at every write and every sync: by SIGKILL, with a real file, and by loss of power, with a disk that forgets or tears
//! what was not synced. Afterwards everything acknowledged is there, the interrupted step is there whole or not at all, and the
//! log has no hole.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use redb::{Database, StorageBackend, backends::FileBackend, backends::InMemoryBackend};

use super::{
    database::{StateDb, database_file, key},
    sample::{Expected, after, carry_out, observe, steps, this_member},
    seal::Sealer,
    survey::survey,
};

/// A disk with a volatile cache.
#[derive(Debug, Default)]
struct Disk {
    /// What reads see.
    current: Vec<u8>,
    /// What survives for certain.
    durable: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    operations: usize,
    fails_at: usize,
}

impl Disk {
    /// Counts an operation; from the chosen one on nothing works.
    fn tick(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.operations > self.fails_at {
            return Err(io::Error::other("no power"));
        }
        Ok(())
    }

    /// What is found after the power is back: some unsynced writes arrived, some not, some in part.
    fn after_power_loss(&self, seed: u64) -> Vec<u8> {
        let mut image = self.durable.clone();
        image.resize(self.current.len().max(image.len()), 0);
        let mut state = seed;
        for (offset, data) in &self.pending {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let arrived = match (seed, state >> 62) {
                (0, _) => 0,
                (1, _) | (_, 0) => data.len(),
                (_, 1) => 0,
                // torn at a sector
                _ => (usize::try_from(state >> 33).unwrap() % data.len().max(1)) & !511,
            };
            if *offset + arrived <= image.len() {
                image[*offset..*offset + arrived].copy_from_slice(&data[..arrived]);
            }
        }
        image
    }
}

#[derive(Clone, Debug)]
struct Volatile(Arc<Mutex<Disk>>);

impl StorageBackend for Volatile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let end = start + out.len();
        let found = disk.current.get(start..end);
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.tick()?;
        disk.current.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.tick()?;
        disk.durable = disk.current.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let alive = disk.tick();
        let start = usize::try_from(offset).unwrap();
        if disk.operations <= disk.fails_at.saturating_add(1) {
            disk.pending.push((start, data.to_vec())); // the one that the failure interrupts may have arrived
        }
        alive?;
        let end = start + data.len();
        if disk.current.len() < end {
            disk.current.resize(end, 0);
        }
        disk.current[start..end].copy_from_slice(data);
        Ok(())
    }
}

/// Runs all steps on a disk that fails at one operation; gives the disk, what was acknowledged, and what else may be there.
fn run_until_failure(
    dir: &Path,
    sealer: &Sealer,
    image: &[u8],
    fails_at: usize,
) -> (Arc<Mutex<Disk>>, Expected, Option<Expected>) {
    let disk = Arc::new(Mutex::new(Disk {
        current: image.to_vec(),
        durable: image.to_vec(),
        fails_at,
        ..Disk::default()
    }));
    let mut acknowledged = Expected::default();
    let database = Database::builder().create_with_backend(Volatile(Arc::clone(&disk)));
    let Ok(database) = database else {
        return (disk, acknowledged, None);
    };
    let db = StateDb::of(database, dir, sealer.clone());
    for step in steps() {
        let next = after(&acknowledged, &step);
        if carry_out(&db, &step, &next).is_err() {
            return (disk, acknowledged, Some(next));
        }
        acknowledged = next;
    }
    (disk, acknowledged, None)
}

/// The random parts of an entry do not matter here, only which entries there are.
fn same(found: &Expected, wanted: &Expected) -> bool {
    found.outline() == wanted.outline()
}

/// An empty database with its tables.
fn fresh(dir: &Path) -> Vec<u8> {
    drop(StateDb::open(dir).unwrap());
    fs::read(database_file(dir)).unwrap()
}

#[test]
fn power_loss_at_every_write_and_sync_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let image = fresh(dir.path());
    let sealer = Sealer::open(dir.path(), false, None).unwrap();
    let (disk, _, rest) = run_until_failure(dir.path(), &sealer, &image, usize::MAX);
    assert_eq!(rest, None);
    let operations = disk.lock().unwrap().operations;
    assert!(operations > 60, "{operations}");
    for fails_at in 0..operations {
        let (disk, acknowledged, in_flight) =
            run_until_failure(dir.path(), &sealer, &image, fails_at);
        for seed in 0..5 {
            let image = disk.lock().unwrap().after_power_loss(seed);
            let backend = InMemoryBackend::new();
            backend.set_len(image.len() as u64).unwrap();
            backend.write(0, &image).unwrap();
            let database = Database::builder().create_with_backend(backend);
            let database = database.unwrap_or_else(|error| {
                panic!("operation {fails_at}, seed {seed}: {error}");
            });
            let db = StateDb::of(database, dir.path(), sealer.clone());
            let found = observe(&db).unwrap();
            let whole = same(&found, &acknowledged)
                || in_flight.as_ref().is_some_and(|next| same(&found, next));
            assert!(
                whole,
                "operation {fails_at}, seed {seed}: {found:?} is neither {acknowledged:?} nor {in_flight:?}"
            );
        }
    }
}

/// Kills its process at one operation.
#[derive(Debug)]
struct Deadly {
    file: FileBackend,
    operations: AtomicUsize,
    fatal: usize,
}

impl Deadly {
    fn tick(&self) {
        if self.operations.fetch_add(1, Ordering::SeqCst) == self.fatal {
            let own = nix::unistd::getpid();
            nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

impl StorageBackend for Deadly {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.tick();
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tick(); // before the sync: what was written is in the file, but nothing of it was acknowledged
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.tick();
        // half of it first, so that a kill also finds a torn write
        let (first, second) = data.split_at(data.len() / 2);
        self.file.write(offset, first)?;
        self.tick();
        self.file.write(offset + first.len() as u64, second)
    }
}

const CHILD_DIR: &str = "SWARM_CRASH_DIR";
const CHILD_FATAL: &str = "SWARM_CRASH_AT";

/// The process that is killed: runs all steps, and notes each that was acknowledged.
#[test]
fn crash_child() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return; // the other half of the test below
    };
    let dir = Path::new(&dir);
    let fatal = std::env::var(CHILD_FATAL).unwrap().parse().unwrap();
    let sealer = Sealer::open(dir, false, None).unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(database_file(dir))
        .unwrap();
    let backend = Deadly {
        file: FileBackend::new(file).unwrap(),
        operations: AtomicUsize::new(0),
        fatal,
    };
    let database = Database::builder().create_with_backend(backend).unwrap();
    let db = StateDb::of(database, dir, sealer);
    let mut acknowledged = fs::File::create(dir.join("acknowledged")).unwrap();
    let mut expected = Expected::default();
    for step in steps() {
        expected = after(&expected, &step);
        carry_out(&db, &step, &expected).unwrap();
        acknowledged.write_all(b"x").unwrap();
    }
}

#[test]
fn sigkill_at_every_write_and_sync_loses_nothing_acknowledged() {
    let mut killed = 0;
    for fatal in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let db = StateDb::open(dir.path()).unwrap();
        db.put_meta(key::MEMBER, &this_member()).unwrap();
        drop(db);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "raft::crash_test::crash_child", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .env(CHILD_FATAL, fatal.to_string())
            .output()
            .unwrap();
        let acknowledged = fs::read(dir.path().join("acknowledged")).unwrap_or_default();
        let mut wanted = Expected::default();
        for step in steps().iter().take(acknowledged.len()) {
            wanted = after(&wanted, step);
        }
        let next = steps()
            .get(acknowledged.len())
            .map(|step| after(&wanted, step));
        let sealer = Sealer::open(dir.path(), false, None).unwrap();
        let problems = survey(dir.path(), &sealer).problems;
        assert_eq!(problems, [], "operation {fatal}");
        let db = StateDb::open(dir.path()).unwrap();
        let found = observe(&db).unwrap();
        let whole = same(&found, &wanted) || next.is_some_and(|next| same(&found, &next));
        assert!(
            whole,
            "operation {fatal}: {found:?}, acknowledged {wanted:?}"
        );
        let files = fs::read_dir(dir.path().join("snapshots")).map_or(0, Iterator::count);
        assert!(files <= 1, "rubbish stays: {files}");
        if child.status.success() {
            break; // it got through all steps
        }
        killed += 1;
    }
    assert!(killed > 60, "{killed}");
}
