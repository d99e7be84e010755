//! The command on damaged states.

use std::{fs, path::Path};

use clap::Parser as _;
use redb::Database;

use super::{RecoverArgs, run};
use crate::raft::{
    database::{LOG, META, StateDb, database_file},
    sample::{NODE, fill},
};

/// Whether all is sound, and the text; or the refusal.
fn recover(dir: &Path, flags: &[&str]) -> Result<(bool, String), String> {
    let state = dir.display().to_string();
    let certificates = dir.join("certificates").display().to_string();
    let fixed = [
        "recover",
        "--state-dir",
        &state,
        "--certificates",
        &certificates,
    ];
    let args = RecoverArgs::parse_from(fixed.iter().chain(flags));
    let mut output = Vec::new();
    let sound =
        run(&args, &mut std::io::empty(), &mut output).map_err(|error| error.to_string())?;
    Ok((sound, String::from_utf8(output).unwrap()))
}

fn damage_entry(dir: &Path, index: u64) {
    let database = Database::open(database_file(dir)).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(LOG)
        .unwrap()
        .insert(index, b"rubbish".as_slice())
        .unwrap();
    txn.commit().unwrap();
}

fn damage_meta(dir: &Path, name: &str) {
    let database = Database::open(database_file(dir)).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META)
        .unwrap()
        .insert(name, b"rubbish".as_slice())
        .unwrap();
    txn.commit().unwrap();
}

fn snapshot_file(dir: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(dir.join("snapshots")).unwrap();
    files.next().unwrap().unwrap().path()
}

#[test]
fn a_sound_state_is_shown_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let before = fs::read(database_file(dir.path())).unwrap();
    let (sound, text) = recover(dir.path(), &[]).unwrap();
    assert!(sound, "{text}");
    for expected in [
        "raft number 7, node 0123456789abcdefghijklmno, reached at 10.0.0.1:2377",
        "term 5, for raft number 7",
        "entries 13 to 14, purged up to 12",
        "up to entry 14",
        "(this one)",
        "0 services, 0 tasks, 13 networks at entry 14",
        "every record and every snapshot is sound",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    assert!(fs::read(database_file(dir.path())).unwrap() == before);
    let running = StateDb::open(dir.path()).unwrap();
    let refused = recover(dir.path(), &[]).unwrap_err();
    assert!(refused.contains("another process uses it"), "{refused}");
    drop(running);
    let empty = tempfile::tempdir().unwrap();
    let refused = recover(empty.path(), &[]).unwrap_err();
    assert!(refused.contains("no manager's state"), "{refused}");
}

#[test]
fn entries_that_a_snapshot_holds_are_repaired_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    damage_entry(dir.path(), 13);
    let (sound, text) = recover(dir.path(), &[]).unwrap();
    assert!(!sound && text.contains("log/13 is damaged"), "{text}");
    let (sound, text) = recover(dir.path(), &["--repair"]).unwrap();
    assert!(sound && text.contains("dropped entries up to 14"), "{text}");
    StateDb::open(dir.path()).unwrap();
}

#[test]
fn a_damaged_tail_is_dropped_only_with_consent() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    // two entries behind the snapshot
    let db = StateDb::open(dir.path()).unwrap();
    let entries = [15, 16].map(crate::raft::sample::entry);
    db.append(&entries).unwrap();
    drop(db);
    damage_entry(dir.path(), 16);
    let refused = recover(dir.path(), &["--repair"]).unwrap_err();
    assert!(
        refused.contains("entry 16 of the log is damaged"),
        "{refused}"
    );
    assert!(refused.contains("--truncate-corrupt-tail"), "{refused}");
    let (sound, text) = recover(dir.path(), &["--truncate-corrupt-tail"]).unwrap();
    assert!(
        sound && text.contains("dropped the log from entry 16 on"),
        "{text}"
    );
    assert!(text.contains("14 networks at entry 15"), "{text}");
}

#[test]
fn damaged_records_and_snapshots_need_a_new_cluster() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    damage_meta(dir.path(), "vote");
    let refused = recover(dir.path(), &["--repair"]).unwrap_err();
    assert!(refused.contains("own records are damaged"), "{refused}");
    // The sample's snapshot holds no cluster: it cannot become one.
    let refused = recover(dir.path(), &["--force-new-cluster"]).unwrap_err();
    assert!(refused.contains("holds no cluster"), "{refused}");

    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::write(snapshot_file(dir.path()), b"rubbish").unwrap();
    let refused = recover(dir.path(), &["--repair"]).unwrap_err();
    assert!(
        refused.contains("no readable snapshot and log fit together"),
        "{refused}"
    );

    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::write(database_file(dir.path()), vec![0x5a; 9000]).unwrap();
    let (sound, text) = recover(dir.path(), &[]).unwrap();
    assert!(
        !sound && text.contains("cannot be repaired in place"),
        "{text}"
    );
    let refused = recover(dir.path(), &["--force-new-cluster"]).unwrap_err();
    assert!(refused.contains("database cannot be read"), "{refused}");
}

/// A log from its beginning, without a snapshot, becomes a cluster of one under a new number.
#[test]
fn a_cluster_of_one_is_made_from_what_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    let db = StateDb::open(dir.path()).unwrap();
    let entries: Vec<_> = (0..6).map(crate::raft::sample::entry).collect();
    db.append(&entries).unwrap();
    drop(db);
    damage_meta(dir.path(), "member");
    damage_entry(dir.path(), 5);
    let refused = recover(dir.path(), &["--force-new-cluster"]).unwrap_err();
    assert!(refused.contains("entry 5"), "{refused}");
    let flags = ["--truncate-corrupt-tail", "--force-new-cluster"];
    let refused = recover(dir.path(), &flags).unwrap_err();
    assert!(refused.contains("which node this is"), "{refused}");
    let db_member = crate::raft::sample::this_member();
    let sealer = crate::raft::seal::Sealer::open(dir.path(), false, None).unwrap();
    let database = Database::open(database_file(dir.path())).unwrap();
    let db = StateDb::of(database, dir.path(), sealer);
    db.put_meta(crate::raft::database::key::MEMBER, &db_member)
        .unwrap();
    drop(db);
    let (sound, text) = recover(dir.path(), &flags).unwrap();
    assert!(sound && text.contains("made a cluster of one"), "{text}");
    assert!(text.contains(NODE) && text.contains("4 networks"), "{text}");
    assert!(text.contains("1 nodes"), "{text}");
    let after = StateDb::open(dir.path()).unwrap();
    assert_eq!(after.entries(0, u64::MAX).unwrap(), []);
}
