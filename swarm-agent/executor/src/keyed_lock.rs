//! One asynchronous lock per key: two pulls of one image, two operations on one container wait for each
//! other, all others do not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

#[derive(Debug, Default)]
pub(crate) struct KeyedLock {
    locks: Mutex<BTreeMap<String, Arc<AsyncMutex<()>>>>,
}

impl KeyedLock {
    /// Waits until nobody else holds the key.
    pub(crate) async fn lock(&self, key: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // A lock that only the map holds is free and forgotten.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(key.to_owned()).or_default())
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_holder_per_key_and_no_memory_of_old_keys() {
        let locks = KeyedLock::default();
        let a = locks.lock("a").await;
        assert!(locks.lock("a").now_or_never().is_none());
        let b = locks.lock("b").now_or_never().expect("another key is free");
        drop((a, b));
        let c = locks.lock("c").await;
        assert_eq!(locks.locks.lock().unwrap().len(), 1);
        drop(c);
    }
}
