//! Clients that can be called.

use std::collections::HashSet;

use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

use crate::arrivals::Arrivals;
use crate::connection::{self, Channel};

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
pub(crate) struct Sessions(Arrivals<Session>);

impl Sessions {
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.has(id)
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
        if !self.0.add(&greeting.id, Session { channel, methods: methods.into() }, SESSIONS_MAX) {
            return false;
        }
        if let Err(error) = connection.await {
            tracing::debug!("session: {error}");
        }
        self.0.remove(&greeting.id);
        true
    }

    /// A session by name, which may be about to open.
    pub(crate) async fn get(&self, id: &str) -> Result<Session, Status> {
        let found = self.0.get(id).await;
        found.ok_or_else(|| Status::not_found(format!("no active session for {id}: context deadline exceeded")))
    }
}
