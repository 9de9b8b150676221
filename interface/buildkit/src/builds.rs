//! Builds in progress, by the names that clients give them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tare_build::{Built, Event};
use tare_engine::ByteSource;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::arrivals::Arrivals;
use crate::status::Hub;

/// How long what happened in a build can still be asked for after its end: a client asks for both at once.
const AFTER: Duration = Duration::from_secs(5);

/// What a client gives back as the result of its part.
pub(crate) type Returned = Result<String, Status>;

/// What a client allows a build, or reserves for itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct May {
    /// Commands may ask for the machine's own network.
    pub(crate) host_network: bool,
    /// The client has a policy for sources and wants to be asked.
    pub(crate) is_judged_by_client: bool,
}

/// One build.
pub(crate) struct Build {
    pub(crate) session: String,
    pub(crate) may: May,
    pub(crate) hub: Hub,
    /// What was built, by reference.
    pub(crate) built: Mutex<HashMap<String, Built>>,
    /// The context with its Dockerfile, where it came with the request.
    archive: Mutex<Option<ByteSource>>,
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

    /// Hands in the context with its Dockerfile.
    pub(crate) fn give(&self, archive: Option<ByteSource>) {
        *self.archive.lock().unwrap_or_else(PoisonError::into_inner) = archive;
    }

    /// The context with its Dockerfile, once.
    pub(crate) fn archive(&self) -> Option<ByteSource> {
        self.archive.lock().unwrap_or_else(PoisonError::into_inner).take()
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
pub(crate) struct Builds(Arc<Arrivals<Arc<Build>>>);

/// A build that is known as long as this lives, and a little longer.
pub(crate) struct Known {
    pub(crate) build: Arc<Build>,
    all: Arc<Arrivals<Arc<Build>>>,
    name: String,
}

impl Builds {
    /// Makes a build known.
    pub(crate) fn begin(
        &self,
        name: &str,
        session: &str,
        may: May,
    ) -> Result<(Known, oneshot::Receiver<Returned>), Status> {
        let (sender, receiver) = oneshot::channel();
        let build = Arc::new(Build {
            session: session.to_owned(),
            may,
            hub: Hub::new(name),
            built: Mutex::default(),
            archive: Mutex::default(),
            telling: Mutex::default(),
            returned: Mutex::new(Some(sender)),
        });
        if !self.0.add(name, Arc::clone(&build), usize::MAX) {
            return Err(Status::already_exists(format!("job ID {name} exists")));
        }
        Ok((Known { build, all: Arc::clone(&self.0), name: name.to_owned() }, receiver))
    }

    /// A build by name, which may be about to begin.
    pub(crate) async fn get(&self, name: &str) -> Result<Arc<Build>, Status> {
        self.0.get(name).await.ok_or_else(|| Status::not_found(format!("no such job {name}")))
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
            all.remove(&name);
        });
    }
}
