//! Looks at everything a state directory holds, without changing it: every record is opened, every snapshot read. A manager starts
//! only if nothing is wrong; `recover` shows what is.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::Database;

use super::{
    database::{FILE, StateDb, ThisMember, key, make_tables},
    overlay::Overlay,
    seal::Sealer,
    snapshot::Stored,
    types::{LogId, Vote},
};

/// What to do about it, in a few words.
const JOIN_AGAIN: &str = "if other managers are alive, remove the state directory and join again";

/// Something on disk that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The damaged file.
    pub(crate) file: PathBuf,
    /// Which record in it, and what is wrong with it.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.file.display(), self.what, self.remedy)
    }
}

/// What a state directory holds.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) member: Option<ThisMember>,
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    /// Index of the first and the last entry.
    pub(crate) log: Option<(u64, u64)>,
    /// The last readable entry.
    pub(crate) last: Option<LogId>,
    /// Entries that cannot be used: damaged, or behind a missing one.
    pub(crate) bad_entries: Vec<u64>,
    /// The newest first, with what is wrong with it.
    pub(crate) snapshots: Vec<(Stored, Option<String>)>,
    pub(crate) problems: Vec<Problem>,
    /// Everything could be opened as a database, so single records may be repaired.
    pub(crate) readable: bool,
}

/// Looks at the state in `dir`.
pub(crate) fn survey(dir: &Path, sealer: &Sealer) -> Survey {
    let mut found = Survey::default();
    let file = dir.join(FILE);
    let looked = peek(dir, sealer, |db| look(db, &file, &mut found));
    if let Err(error) = looked {
        found.readable = false;
        found.problems.push(Problem {
            file,
            what: error.to_string(),
            remedy: format!("it cannot be repaired in place: {JOIN_AGAIN}"),
        });
    }
    found
}

/// Reads from the state in `dir` without changing it.
pub(crate) fn peek<T>(
    dir: &Path,
    sealer: &Sealer,
    read: impl FnOnce(&StateDb) -> io::Result<T>,
) -> io::Result<T> {
    quietly(|| {
        let db = StateDb::of(open_layer(&dir.join(FILE))?, dir, sealer.clone());
        read(&db)
    })
}

/// redb panics on some damage that it did not write itself.
fn quietly<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(_panic) => Err(damaged("the database's pages contradict each other")),
    }
}

fn damaged(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// Opens the file without changing it, and checks all its pages.
fn open_layer(file: &Path) -> io::Result<Database> {
    let overlay = Overlay::open(file)?;
    let mut database = Database::builder()
        .create_with_backend(overlay)
        .map_err(|error| damaged(error.to_string()))?;
    let sound = database
        .check_integrity()
        .map_err(|error| damaged(error.to_string()))?;
    if !sound {
        return Err(damaged("pages of the database do not have their checksums"));
    }
    make_tables(&database)?;
    Ok(database)
}

fn look(db: &StateDb, file: &Path, found: &mut Survey) -> io::Result<()> {
    let mut problem = |what: String, remedy: &str| {
        found.problems.push(Problem {
            file: file.to_owned(),
            what,
            remedy: remedy.to_owned(),
        });
    };
    let rebuild = format!("{JOIN_AGAIN}; if not, swarm-manager recover --force-new-cluster");
    found.readable = true;
    match db.meta(key::MEMBER) {
        Ok(member) => found.member = member,
        Err(error) => problem(error.to_string(), &rebuild),
    }
    match db.meta(key::VOTE) {
        Ok(vote) => found.vote = vote,
        Err(error) => problem(error.to_string(), &rebuild),
    }
    match db.meta(key::PURGED) {
        Ok(purged) => found.purged = purged,
        Err(error) => problem(error.to_string(), &rebuild),
    }
    for removed in [db.removed(), db.told_removed()] {
        if let Err(error) = removed {
            problem(error.to_string(), &rebuild);
        }
    }
    match db.snapshots() {
        Ok(all) => look_at_snapshots(db, all, found),
        Err(error) => problem(error.to_string(), &rebuild),
    }
    look_at_log(db, file, found)?;
    look_at_whole(file, found);
    Ok(())
}

fn look_at_snapshots(db: &StateDb, all: Vec<Stored>, found: &mut Survey) {
    for stored in all {
        let read = db
            .snapshot_dir()
            .open(&stored.file)
            .and_then(|data| data.verify());
        let wrong = read.err().map(|error| error.to_string());
        if let Some(what) = &wrong {
            found.problems.push(Problem {
                file: db.snapshot_dir().file_of(&stored.file),
                what: format!("the snapshot of entry {} is damaged: {what}", stored.index()),
                remedy: format!("{JOIN_AGAIN}; if not, swarm-manager recover --repair, which uses an older snapshot if one is kept and the log reaches back to it"),
            });
        }
        found.snapshots.push((stored, wrong));
    }
}

fn look_at_log(db: &StateDb, file: &Path, found: &mut Survey) -> io::Result<()> {
    let mut expected = Some(found.purged.map_or(0, |id| id.index + 1));
    let mut wrong: Vec<String> = Vec::new();
    let (log, last, bad) = (&mut found.log, &mut found.last, &mut found.bad_entries);
    db.each_entry(|index, entry| {
        *log = Some(log.map_or((index, index), |(first, _)| (first, index)));
        if bad.is_empty() && expected.is_some_and(|expected| expected != index) {
            let missing = expected.unwrap_or_default();
            wrong.push(format!("log/{missing} is missing"));
            bad.push(missing);
        }
        expected = Some(index + 1);
        match entry {
            Ok(entry) if entry.log_id.index != index => {
                wrong.push(format!("log/{index} holds entry {}", entry.log_id.index));
                bad.push(index);
            }
            Ok(entry) if bad.is_empty() => *last = Some(entry.log_id),
            Ok(_) => bad.push(index),
            Err(error) => {
                wrong.push(error.to_string());
                bad.push(index);
            }
        }
    })?;
    let remedy = format!(
        "{JOIN_AGAIN}; if this is the only manager, swarm-manager recover --repair drops entries that a snapshot holds too, --truncate-corrupt-tail drops the rest of the log from the damaged entry on"
    );
    found.problems.extend(wrong.into_iter().map(|what| Problem {
        file: file.to_owned(),
        what,
        remedy: remedy.clone(),
    }));
    Ok(())
}

/// What must hold between the records.
fn look_at_whole(file: &Path, found: &mut Survey) {
    let mut wrong = Vec::new();
    let purged = found.purged.map(|id| id.index);
    let newest = found.snapshots.first().map(|(stored, _)| stored.index());
    if purged.is_some() && newest < purged {
        wrong.push(format!(
            "the log begins behind entry {}, which no snapshot holds",
            purged.unwrap_or_default()
        ));
    }
    let written = found.log.is_some() || newest.is_some();
    let unreadable = found.problems.iter().any(|p| p.what.starts_with("meta/"));
    if found.member.is_none() && written && !unreadable {
        wrong.push("meta/member is missing, although there is a log".to_owned());
    }
    found.problems.extend(wrong.into_iter().map(|what| Problem {
        file: file.to_owned(),
        what,
        remedy: JOIN_AGAIN.to_owned(),
    }));
}
