//! Builds in progress, by the names that clients give them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tare_build::{Built, Event};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::status::Hub;

/// How long a call waits for the build that it names: a client makes both calls at once.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long what happened in a build can still be asked for after its end, for the same reason.
const AFTER: Duration = Duration::from_secs(5);

/// What a client gives back as the result of its part.
pub(crate) type Returned = Result<String, Status>;

/// One build.
pub(crate) struct Build {
    pub(crate) session: String,
    pub(crate) hub: Hub,
    /// What was built, by reference.
    pub(crate) built: Mutex<HashMap<String, Built>>,
    /// What turns events into messages.
    telling: Mutex<Vec<JoinHandle<()>>>,
    /// Takes what the client gives back.
    returned: Mutex<Option<oneshot::Sender<Returned>>>,
}

impl Build {
    /// Passes on what the client gives back; only the first counts.
    pub(crate) fn give_back(&self, returned: Returned) {
        if let Some(sender) = self.returned.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever waited has gone: the build is given up.
            let _ = sender.send(returned);
        }
    }

    /// Turns events into messages, until nobody can send one any more.
    pub(crate) fn tell(&self, mut events: mpsc::Receiver<Event>) {
        let hub = self.hub.clone();
        let telling = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                hub.put(event).await;
            }
        });
        self.telling.lock().unwrap_or_else(PoisonError::into_inner).push(telling);
    }

    /// Waits until everything that happened is a message. What was built and not taken goes.
    pub(crate) async fn told(&self) {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let telling = std::mem::take(&mut *self.telling.lock().unwrap_or_else(PoisonError::into_inner));
        for each in telling {
            // It does not fail.
            let _ = each.await;
        }
    }

    /// Keeps what was built.
    pub(crate) fn keep(&self, reference: String, built: Built) {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).insert(reference, built);
    }

    /// Takes what was built.
    pub(crate) fn take(&self, reference: &str) -> Option<Built> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).remove(reference)
    }
}

/// All builds.
#[derive(Default)]
pub(crate) struct Builds {
    all: Arc<Mutex<HashMap<String, Arc<Build>>>>,
    changed: Notify,
}

/// A build that is known as long as this lives, and a little longer.
pub(crate) struct Known {
    pub(crate) build: Arc<Build>,
    all: Arc<Mutex<HashMap<String, Arc<Build>>>>,
    name: String,
}

impl Builds {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Build>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a build known.
    pub(crate) fn begin(&self, name: &str, session: &str) -> Result<(Known, oneshot::Receiver<Returned>), Status> {
        let (sender, receiver) = oneshot::channel();
        let build = Arc::new(Build {
            session: session.to_owned(),
            hub: Hub::new(name),
            built: Mutex::default(),
            telling: Mutex::default(),
            returned: Mutex::new(Some(sender)),
        });
        let mut all = self.lock();
        if all.contains_key(name) {
            return Err(Status::already_exists(format!("job ID {name} exists")));
        }
        all.insert(name.to_owned(), Arc::clone(&build));
        drop(all);
        self.changed.notify_waiters();
        Ok((Known { build, all: Arc::clone(&self.all), name: name.to_owned() }, receiver))
    }

    /// A build by name, which may be about to begin.
    pub(crate) async fn get(&self, name: &str) -> Result<Arc<Build>, Status> {
        let found = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(build) = self.lock().get(name).cloned() {
                    return build;
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(ARRIVAL, found).await;
        found.map_err(|_| Status::not_found(format!("no such job {name}")))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.build.hub.close();
        self.build.built.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (all, name) = (Arc::clone(&self.all), std::mem::take(&mut self.name));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(AFTER).await;
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        });
    }
}
