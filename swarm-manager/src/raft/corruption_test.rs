//! Damage of every kind: a byte of each class is flipped, and the start must name what is wrong, change nothing, and never go on
//! with something else than what was written.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use redb::{Database, ReadableDatabase as _};

use super::{
    database::{LOG, META, StateDb, database_file},
    sample::{fill, observe},
};

/// All files with their content.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The refusal to start, which changes nothing.
fn refusal(dir: &Path) -> String {
    let before = content(dir);
    let error = StateDb::open(dir).unwrap_err().to_string();
    assert!(
        content(dir) == before,
        "a failed start changed something: {error}"
    );
    error
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for (path, bytes) in content(from) {
        let target = to.path().join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
    to
}

#[test]
fn a_flipped_byte_of_the_database_is_noticed_or_was_not_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let expected = fill(dir.path());
    let path = database_file(dir.path());
    let sound = fs::read(&path).unwrap();
    let mut refused = 0;
    let header = [
        0, 5, 9, 10, 14, 24, 40, 64, 70, 100, 140, 192, 200, 230, 300,
    ];
    let used = sound
        .chunks(4096)
        .enumerate()
        .skip(1)
        .filter(|(_, page)| page.iter().any(|b| *b != 0));
    let pages: Vec<usize> = used
        .flat_map(|(number, page)| {
            let last = page.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            [0, 9, last / 2, last].map(|at| number * 4096 + at)
        })
        .collect();
    for at in header.into_iter().chain(pages) {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        let damaged = copy(dir.path());
        fs::write(database_file(damaged.path()), &flipped).unwrap();
        match StateDb::open(damaged.path()) {
            Ok(db) => assert_eq!(observe(&db).unwrap(), expected, "byte {at}"),
            Err(error) => {
                let left = fs::read(database_file(damaged.path())).unwrap();
                assert!(
                    left == flipped,
                    "byte {at}: a failed start changed the file"
                );
                let text = error.to_string();
                assert!(text.contains("raft.redb: "), "byte {at}: {text}");
                assert!(text.contains("Nothing was changed"), "byte {at}: {text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused}");
    for cut in [100, 5000, sound.len() / 2] {
        fs::write(&path, &sound[..cut]).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("raft.redb: "), "{text}");
    }
}

/// Changes sealed values as a fault outside redb would not, so that only their seal can notice.
fn tamper(dir: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(database_file(dir)).unwrap();
    let txn = database.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
}

fn meta_value(dir: &Path, name: &str) -> Vec<u8> {
    let database = Database::open(database_file(dir)).unwrap();
    let txn = database.begin_read().unwrap();
    let table = txn.open_table(META).unwrap();
    table.get(name).unwrap().unwrap().value().to_vec()
}

fn log_value(dir: &Path, index: u64) -> Vec<u8> {
    let database = Database::open(database_file(dir)).unwrap();
    let txn = database.begin_read().unwrap();
    let table = txn.open_table(LOG).unwrap();
    table.get(index).unwrap().unwrap().value().to_vec()
}

#[test]
fn damaged_records_are_named() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    for name in ["member", "vote", "purged", "snapshots"] {
        let damaged = copy(dir.path());
        let sound = meta_value(damaged.path(), name);
        for at in [0, 24, sound.len() / 2, sound.len() - 1] {
            let mut flipped = sound.clone();
            flipped[at] ^= 1;
            tamper(damaged.path(), |txn| {
                let mut meta = txn.open_table(META).unwrap();
                meta.insert(name, flipped.as_slice()).unwrap();
            });
            let text = refusal(damaged.path());
            let expected = format!("raft.redb: meta/{name} is damaged or sealed with another key");
            assert!(text.contains(&expected), "{text}");
            assert!(text.contains("swarm-manager recover"), "{text}");
        }
    }
    // an entry; one in another's place; a missing one; one of the wrong place, sealed rightly
    let entry = log_value(dir.path(), 13);
    let mut flipped = entry.clone();
    flipped[40] ^= 1;
    for (index, value) in [(13, Some(flipped)), (14, Some(entry)), (13, None)] {
        let damaged = copy(dir.path());
        let missing = value.is_none();
        tamper(damaged.path(), |txn| {
            let mut log = txn.open_table(LOG).unwrap();
            match value {
                Some(value) => drop(log.insert(index, value.as_slice()).unwrap()),
                None => drop(log.remove(index).unwrap()),
            }
        });
        let text = refusal(damaged.path());
        let expected = if missing {
            format!("log/{index} is missing")
        } else {
            format!("log/{index} is damaged or sealed with another key")
        };
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn a_damaged_or_missing_snapshot_or_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let snapshots = content(&dir.path().join("snapshots"));
    let (path, sound) = snapshots.first_key_value().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    for at in [0, 3, 4, 30, sound.len() / 2, sound.len() - 1] {
        let damaged = copy(dir.path());
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        fs::write(damaged.path().join("snapshots").join(name), flipped).unwrap();
        let text = refusal(damaged.path());
        assert!(
            text.contains(name) && text.contains("snapshot of entry 14 is damaged"),
            "{text}"
        );
    }
    let damaged = copy(dir.path());
    fs::remove_file(damaged.path().join("snapshots").join(name)).unwrap();
    let text = refusal(damaged.path());
    assert!(
        text.contains(name) && text.contains("No such file"),
        "{text}"
    );

    let key = dir.path().join("seal.key");
    let text = fs::read_to_string(&key).unwrap();
    let at = text.find("\"keys\":\"").unwrap() + 8;
    let mut other = text.clone();
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    other.replace_range(at..=at, digit);
    fs::write(&key, other).unwrap();
    let refused = refusal(dir.path());
    assert!(refused.contains("seal.key is not a key file"), "{refused}");
    fs::write(&key, &text[..text.len() / 2]).unwrap();
    let refused = refusal(dir.path());
    assert!(refused.contains("seal.key is not a key file"), "{refused}");
    fs::remove_file(&key).unwrap();
    let refused = refusal(dir.path());
    assert!(refused.contains("seal.key is missing"), "{refused}");
}

#[test]
fn a_state_in_use_is_not_opened_twice() {
    let dir = tempfile::tempdir().unwrap();
    let first = StateDb::open(dir.path()).unwrap();
    let text = StateDb::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("another process uses it"), "{text}");
    drop(first);
    StateDb::open(dir.path()).unwrap();
}
