//! One transfer per layer at a time, however many pulls want it: the second waits and finds it done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tare_reference::Digest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Locks by digest; those that nobody holds take no memory.
#[derive(Default)]
pub(crate) struct Locks(Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>);

impl Locks {
    /// Waits for the digest's lock. The guard may be sent to the thread that does the work, so that a caller who
    /// gives up does not let another one in before that thread has stopped.
    pub(crate) async fn lock(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(AsyncMutex::new(()));
                locks.insert(digest.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}
