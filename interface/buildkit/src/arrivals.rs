//! What is known by a name, and may be asked for a little before it is there: clients open their connections and make their
//! calls at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How long somebody waits for what has not come yet.
const ARRIVAL: Duration = Duration::from_secs(5);

/// Everything of one kind.
pub(crate) struct Arrivals<T> {
    all: Mutex<HashMap<String, T>>,
    changed: Notify,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Arrivals { all: Mutex::default(), changed: Notify::default() }
    }
}

impl<T: Clone> Arrivals<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// Makes something known; false if the name is taken, or there are `most` already.
    pub(crate) fn add(&self, name: &str, what: T, most: usize) -> bool {
        let mut all = self.lock();
        if all.contains_key(name) || all.len() >= most {
            return false;
        }
        all.insert(name.to_owned(), what);
        drop(all);
        self.changed.notify_waiters();
        true
    }

    pub(crate) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// What has a name; `None` if it does not come.
    pub(crate) async fn get(&self, name: &str) -> Option<T> {
        let found = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(found) = self.lock().get(name).cloned() {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(ARRIVAL, found).await.ok()
    }
}
