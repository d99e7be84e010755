//! After a change of the data key: which keys the values on disk are sealed with, and sealing them with the new one. Snapshots'
//! files have keys of their own, which are values of the database.

use std::io;

use redb::{ReadableDatabase as _, ReadableTable as _};
use swarm_core::lock::KeyId;

use super::{
    database::{LOG, META, StateDb, log_place, meta_place},
    seal::{KeyIds, key_of},
};

/// Values that one write seals anew, so that Raft's own writes wait only briefly.
const BATCH: usize = 128;

impl StateDb {
    /// The data keys that values on disk are sealed with; `None` while a write with earlier keys is under way.
    pub(crate) fn keys_in_use(&self) -> io::Result<Option<KeyIds>> {
        if !self.sealer.is_settled() {
            return Ok(None);
        }
        let txn = self.database.begin_read().map_err(io::Error::other)?;
        let mut ids = KeyIds::new();
        let log = txn.open_table(LOG).map_err(io::Error::other)?;
        for item in log.iter().map_err(io::Error::other)? {
            let (_, sealed) = item.map_err(io::Error::other)?;
            ids.extend(key_of(sealed.value()));
        }
        let meta = txn.open_table(META).map_err(io::Error::other)?;
        for item in meta.iter().map_err(io::Error::other)? {
            let (_, sealed) = item.map_err(io::Error::other)?;
            ids.extend(key_of(sealed.value()));
        }
        Ok(Some(ids))
    }

    /// Seals with the first data key whatever is sealed with another one, a batch at a time, each synced. May stop anywhere:
    /// every value names its key.
    pub(crate) fn reseal(&self) -> io::Result<()> {
        while self.reseal_meta()? || self.reseal_log()? {}
        Ok(())
    }

    fn reseal_log(&self) -> io::Result<bool> {
        let keys = self.sealer.keys();
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        let mut count = 0;
        {
            let mut log = txn.open_table(LOG).map_err(io::Error::other)?;
            let mut old = Vec::new();
            for item in log.iter().map_err(io::Error::other)? {
                let (index, sealed) = item.map_err(io::Error::other)?;
                if is_older(sealed.value(), keys.first()) {
                    let place = log_place(index.value());
                    old.push((index.value(), keys.unseal(&place, sealed.value())?));
                }
                if old.len() == BATCH {
                    break;
                }
            }
            for (index, plain) in old {
                let sealed = keys.seal(&log_place(index), &plain)?;
                log.insert(index, sealed.as_slice())
                    .map_err(io::Error::other)?;
                count += 1;
            }
        }
        txn.commit().map_err(io::Error::other)?;
        Ok(count > 0)
    }

    fn reseal_meta(&self) -> io::Result<bool> {
        let keys = self.sealer.keys();
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        let mut found = None;
        {
            let mut meta = txn.open_table(META).map_err(io::Error::other)?;
            for item in meta.iter().map_err(io::Error::other)? {
                let (name, sealed) = item.map_err(io::Error::other)?;
                if is_older(sealed.value(), keys.first()) {
                    let place = meta_place(name.value());
                    let plain = keys.unseal(&place, sealed.value())?;
                    found = Some((name.value().to_owned(), keys.seal(&place, &plain)?));
                    break;
                }
            }
            if let Some((name, sealed)) = &found {
                meta.insert(name.as_str(), sealed.as_slice())
                    .map_err(io::Error::other)?;
            }
        }
        txn.commit().map_err(io::Error::other)?;
        Ok(found.is_some())
    }
}

fn is_older(sealed: &[u8], first: Option<KeyId>) -> bool {
    key_of(sealed) != first
}

#[cfg(test)]
mod tests {
    use swarm_core::lock::{KeyRing, ManagerLock, SecretKey};

    use super::*;
    use crate::clock::SystemRandom;

    fn renewed(ring: &KeyRing) -> KeyRing {
        ring.renewed(&mut SystemRandom)
    }

    /// Values of three generations of keys become values of the last one; none is lost, and what opens the state changes with
    /// the unlock key.
    #[test]
    fn everything_is_sealed_with_the_new_key_and_opens() {
        let dir = tempfile::tempdir().unwrap();
        let lock = ManagerLock {
            version: 1,
            key: Some(SecretKey::random(&mut SystemRandom)),
        };
        {
            let db = StateDb::open(dir.path()).unwrap();
            for generation in 0..3 {
                let name = format!("value {generation}");
                db.put_meta(&name, &generation).unwrap();
                let (_, ring) = db.sealer().held();
                db.sealer().replace(lock.clone(), renewed(&ring)).unwrap();
            }
            assert_eq!(db.keys_in_use().unwrap().unwrap().len(), 3);
            db.reseal().unwrap();
            let first = db.sealer().keys().first();
            let used = db.keys_in_use().unwrap().unwrap();
            assert_eq!(used.into_iter().collect::<Vec<_>>(), Vec::from_iter(first));
        }
        assert!(StateDb::open(dir.path()).is_err());
        let db = StateDb::unlock(dir.path(), lock.key.as_ref()).unwrap();
        for generation in 0..3 {
            let name = format!("value {generation}");
            assert_eq!(db.meta::<u64>(&name).unwrap(), Some(generation));
        }
    }
}
