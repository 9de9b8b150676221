//! Clients that can be called.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tonic::Status;

use crate::connection::{self, Channel};

/// How long a build waits for the session that it names: the client opens both connections at once.
const ARRIVAL: Duration = Duration::from_secs(5);
/// Sessions at once.
const SESSIONS_MAX: usize = 1024;

/// What a client says of itself when it opens a session.
#[derive(Debug, Clone, Default)]
pub struct Greeting {
    /// Its name.
    pub id: String,
    /// The methods it answers, as `/service/method`.
    pub methods: Vec<String>,
}

/// A client that can be called.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) channel: Channel,
    /// In lower case.
    methods: std::sync::Arc<HashSet<String>>,
}

impl Session {
    /// Whether it answers a method.
    pub(crate) fn answers(&self, method: &str) -> bool {
        self.methods.contains(&method.to_ascii_lowercase())
    }
}

/// The open sessions, by name.
#[derive(Default)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<String, Session>>,
    changed: Notify,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    pub(crate) async fn attend(
        &self,
        greeting: Greeting,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> bool {
        let (channel, connection) = match connection::call(stream).await {
            Ok(begun) => begun,
            Err(error) => {
                tracing::debug!("session: {error}");
                return true;
            }
        };
        let methods: HashSet<String> = greeting.methods.iter().map(|method| method.to_ascii_lowercase()).collect();
        {
            let mut all = self.lock();
            if all.contains_key(&greeting.id) || all.len() >= SESSIONS_MAX {
                return false;
            }
            all.insert(greeting.id.clone(), Session { channel, methods: methods.into() });
        }
        self.changed.notify_waiters();
        if let Err(error) = connection.await {
            tracing::debug!("session: {error}");
        }
        self.lock().remove(&greeting.id);
        true
    }

    /// A session by name, which may be about to open.
    pub(crate) async fn get(&self, id: &str) -> Result<Session, Status> {
        let found = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if let Some(session) = self.lock().get(id).cloned() {
                    return session;
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(ARRIVAL, found).await;
        found.map_err(|_| Status::not_found(format!("no active session for {id}: context deadline exceeded")))
    }
}
