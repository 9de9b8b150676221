//! What all connections share.

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::control_server::ControlServer;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridgeServer;
use tare_engine::Engine;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

use crate::builds::Builds;
use crate::connection;
use crate::history::History;
use crate::posted::Cancellations;
use crate::results::Results;
use crate::session::{Greeting, Sessions};

/// Says what there is not.
pub(crate) fn unsupported<T>(what: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("{what} is not supported by this engine")))
}

/// The builder's front for BuildKit's clients; on a connection, with what was built there.
#[derive(Clone)]
pub struct Front(pub(crate) Arc<Shared>, pub(crate) Arc<Results>);

pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) sessions: Sessions,
    pub(crate) builds: Builds,
    pub(crate) posted: Cancellations,
    pub(crate) history: Arc<History>,
}

impl Front {
    /// A front with no connections.
    pub fn new(engine: Arc<Engine>) -> Front {
        let history = Arc::new(History::new(engine.build_history_directory()));
        let (sessions, builds, posted) = (Sessions::default(), Builds::default(), Cancellations::default());
        Front(Arc::new(Shared { engine, sessions, builds, posted, history }), Arc::default())
    }

    /// Answers calls on a connection until it closes.
    pub async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        // What was built is kept for who is at the other end, and nobody else.
        let front = Front(self.0, Arc::default());
        let services =
            connection::Services { control: ControlServer::new(front.clone()), gateway: LlbBridgeServer::new(front) };
        if let Err(error) = connection::serve(stream, services).await {
            // Mostly clients that went away in the middle.
            tracing::debug!("gRPC: {error}");
        }
    }

    /// Keeps a client that can be called, until its connection closes. False if another has its name.
    pub async fn attend(
        self,
        greeting: Greeting,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> bool {
        self.0.sessions.attend(greeting, stream).await
    }

    /// Whether a session of this name is open.
    pub fn attends(&self, id: &str) -> bool {
        self.0.sessions.has(id)
    }
}
