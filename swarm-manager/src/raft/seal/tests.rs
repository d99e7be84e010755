use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use super::{
    key_file::{Done, replace},
    *,
};
use crate::clock::SystemRandom;

fn locked_with(version: u64) -> ManagerLock {
    ManagerLock {
        version,
        key: Some(SecretKey::random(&mut SystemRandom)),
    }
}

#[test]
fn values_open_only_at_their_place_and_with_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::open(dir.path(), true, None).unwrap();
    let sealed = sealer.keys().seal("log/1", b"secret").unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"secret"));
    let again = Sealer::open(dir.path(), false, None).unwrap();
    assert_eq!(again.unseal("log/1", &sealed).unwrap(), b"secret");
    assert!(again.unseal("log/2", &sealed).is_err());
    assert!(again.unseal("log/1", &sealed[..30]).is_err());
    let other = tempfile::tempdir().unwrap();
    let other = Sealer::open(other.path(), true, None).unwrap();
    let text = other.unseal("log/1", &sealed).unwrap_err().to_string();
    assert_eq!(text, "log/1 is damaged or sealed with another key");
}

#[test]
fn the_key_file_is_private_and_its_loss_is_named() {
    let dir = tempfile::tempdir().unwrap();
    Sealer::open(dir.path(), true, None).unwrap();
    let path = dir.path().join(KEY_FILE);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_file(&path).unwrap();
    let missing = Sealer::open(dir.path(), false, None);
    assert!(matches!(missing, Err(KeyError::Missing { .. })));
    fs::write(&path, "{}").unwrap();
    let damaged = Sealer::open(dir.path(), false, None);
    assert!(matches!(damaged, Err(KeyError::Format { .. })));
    fs::write(&path, r#"{"version":9}"#).unwrap();
    let newer = Sealer::open(dir.path(), false, None);
    assert!(matches!(
        newer,
        Err(KeyError::Unsupported { version: 9, .. })
    ));
}

/// On, rotated, off: what was sealed at any time opens after each change, with the unlock key of that time and no other.
#[test]
fn a_locked_key_file_opens_with_its_unlock_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::open(dir.path(), true, None).unwrap();
    let mut sealed = vec![sealer.keys().seal("a", b"first").unwrap()];
    let off = |version| ManagerLock { version, key: None };
    let locks = [locked_with(1), locked_with(2), off(3), locked_with(4)];
    for lock in &locks {
        let ring = sealer.held().1.renewed(&mut SystemRandom);
        sealer.replace(lock.clone(), ring).unwrap();
        sealed.push(sealer.keys().seal("a", b"first").unwrap());
        let names: BTreeSet<_> = sealed.iter().filter_map(|value| key_of(value)).collect();
        assert_eq!(names.len(), sealed.len());
        if lock.key.is_some() {
            let without = Sealer::open(dir.path(), false, None).unwrap_err();
            assert!(matches!(without, KeyError::Locked { .. }), "{without}");
            let others = locks.iter().filter(|other| *other != lock);
            for key in others.filter_map(|other| other.key.as_ref()) {
                let wrong = Sealer::open(dir.path(), false, Some(key)).unwrap_err();
                assert!(matches!(wrong, KeyError::WrongKey), "{wrong}");
            }
        }
        let again = Sealer::open(dir.path(), false, lock.key.as_ref()).unwrap();
        assert_eq!(again.held(), sealer.held());
        assert_eq!(again.node_keys().seal_with.is_some(), lock.key.is_some());
        for value in &sealed {
            assert_eq!(again.unseal("a", value).unwrap(), b"first");
        }
    }
}

/// Stopped after each step of the replacement, the file is the old or the new one, whole.
#[test]
fn a_replacement_that_stops_anywhere_leaves_a_file_that_opens() {
    let (old, new) = (locked_with(1), locked_with(2));
    for stop in [Done::Created, Done::Written, Done::Synced, Done::Renamed] {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(dir.path(), true, None).unwrap();
        let ring = sealer.held().1.renewed(&mut SystemRandom);
        sealer.replace(new.clone(), ring.clone()).unwrap();
        let path = dir.path().join(KEY_FILE);
        let content = fs::read(&path).unwrap();
        sealer.replace(old.clone(), ring).unwrap();
        let mut halt = |done| {
            if done == stop {
                Err(io::Error::other("power is lost"))
            } else {
                Ok(())
            }
        };
        replace(&path, &content, &mut halt).unwrap_err();
        let expected = if stop == Done::Renamed { &new } else { &old };
        let opened = Sealer::open(dir.path(), false, expected.key.as_ref()).unwrap();
        assert_eq!(&opened.held().0, expected, "stopped after {stop:?}");
        // and what was left beside it does not hinder the next one
        opened.replace(old.clone(), opened.held().1).unwrap();
        Sealer::open(dir.path(), false, old.key.as_ref()).unwrap();
    }
}

#[test]
fn a_damaged_locked_file_is_not_taken_for_a_wrong_key() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::open(dir.path(), true, None).unwrap();
    let lock = locked_with(1);
    sealer.replace(lock.clone(), sealer.held().1).unwrap();
    let path = dir.path().join(KEY_FILE);
    let text = fs::read_to_string(&path).unwrap();
    for place in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[place] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Sealer::open(dir.path(), false, lock.key.as_ref()).unwrap_err();
        let named = matches!(
            error,
            KeyError::Format { .. } | KeyError::Unsupported { .. }
        );
        assert!(named, "byte {place}: {error}");
        assert!(!error.to_string().contains(&text[60..100]), "{error}");
    }
}

/// A write that began with earlier keys is waited for before anybody asks which keys are in use.
#[test]
fn keys_held_by_a_write_are_not_settled() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::open(dir.path(), true, None).unwrap();
    let writing = sealer.keys();
    assert!(sealer.is_settled());
    let ring = sealer.held().1.renewed(&mut SystemRandom);
    sealer.replace(locked_with(1), ring).unwrap();
    assert!(!sealer.is_settled());
    drop(writing);
    assert!(sealer.is_settled());
}
