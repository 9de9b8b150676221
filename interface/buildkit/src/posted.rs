//! Builds that clients without gRPC ask for: `POST /build` with `version=2`, answered with BuildKit's messages in JSON.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::{BuildHistoryRecord, Exporter, SolveRequest};
use futures_util::StreamExt as _;
use prost::Message as _;
use serde_json::json;
use tare_docker_api::stream::JsonMessage;
use tare_engine::{ByteSource, Engine, Error, ProgressStream, Result};
use tare_reference::Reference;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::builds::May;
use crate::exports::{self, Export};
use crate::front::Front;
use crate::gateway;
use crate::results::Inputs;

/// What a message about the build's steps is called.
const TRACE: &str = "moby.buildkit.trace";
/// What the one about its image is called.
const IMAGE: &str = "moby.image.id";
/// What follows Dockerfiles.
const FRONTEND: &str = "dockerfile.v0";
/// Messages a slow client may be behind before the build waits.
const MESSAGES_MAX: usize = 64;

/// What is wanted with what was built, as Docker's API says it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `moby`, `tar`, ….
    pub kind: String,
    /// How.
    pub attributes: HashMap<String, String>,
}

/// A build that is asked for.
pub struct Posted {
    /// What the Dockerfile frontend is told.
    pub attributes: HashMap<String, String>,
    /// Names of the image.
    pub names: Vec<String>,
    /// What is wanted with it; `None` if it is only to be built.
    pub wanted: Option<Wanted>,
    /// The session of the client; empty without one.
    pub session: String,
    /// The context with its Dockerfile; without it they are with the session, or where an attribute says.
    pub archive: Option<ByteSource>,
    /// Whether commands may ask for the machine's own network.
    pub host_network: bool,
    /// Say only the image's ID.
    pub quiet: bool,
    /// The name by which it can be cancelled; empty without one.
    pub id: String,
}

/// Builds that can be cancelled, by the names that clients gave them. Of one name, the last is meant.
#[derive(Default)]
pub(crate) struct Cancellations(Mutex<HashMap<String, CancellationToken>>);

impl Cancellations {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a build known to [`Front::cancel`] while it lives.
struct Cancellable {
    front: Front,
    id: String,
    token: CancellationToken,
}

impl Cancellable {
    fn new(front: &Front, id: String) -> Cancellable {
        let token = CancellationToken::new();
        if !id.is_empty() {
            front.0.posted.lock().insert(id.clone(), token.clone());
        }
        Cancellable { front: front.clone(), id, token }
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.front.0.posted.lock().remove(&self.id);
    }
}

impl Front {
    /// Ends the build that was posted with a name; without one, nothing happens.
    pub fn cancel(&self, id: &str) {
        if let Some(token) = self.0.posted.lock().get(id) {
            token.cancel();
        }
    }

    /// Builds. An error that comes before any message means that nothing was begun. The build ends, and leaves nothing,
    /// when the stream is dropped.
    pub fn build(&self, posted: Posted) -> Result<ProgressStream> {
        let Posted { attributes, names, wanted, session, archive, host_network, quiet, id } = posted;
        let export = asked(wanted, &names).map_err(said)?;
        let is_image = matches!(export, Export::Image { .. });
        let may = May { host_network, is_judged_by_client: false };
        let name = Engine::random_id();
        let (known, _) = self.0.builds.begin(&name, &session, may).map_err(said)?;
        let record = BuildHistoryRecord {
            r#ref: name,
            frontend: FRONTEND.to_owned(),
            frontend_attrs: attributes.clone(),
            ..BuildHistoryRecord::default()
        };
        let recording = self.0.history.begin(known.build.hub.clone(), record);
        known.build.give(archive);
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let mut steps = known.build.hub.listen().map_err(said)?.boxed();
        let front = self.clone();
        let cancellable = Cancellable::new(self, id);
        let work = async move {
            let build = Arc::clone(&known.build);
            let work = async {
                let built = gateway::build(&front, &build, FRONTEND, attributes, &Inputs::default()).await?;
                let id = built.id().to_owned();
                exports::export(&front, &session, export, built).await?;
                Ok::<_, Status>(id)
            };
            let done = work.await;
            build.told().await;
            recording.end(done.clone().map(|_| HashMap::new()));
            // Nothing more comes: whoever passes the steps on gets to their end.
            drop(known);
            done
        };
        tokio::spawn(async move {
            let mut held = Vec::new();
            let show = async {
                while let Some(step) = steps.next().await {
                    let Ok(step) = step else { break };
                    let aux = Some(STANDARD.encode(step.encode_to_vec()).into());
                    let message = JsonMessage { id: TRACE.to_owned(), aux, ..JsonMessage::default() };
                    if quiet {
                        held.push(message);
                    } else {
                        send(&sender, Ok(message)).await;
                    }
                }
            };
            let done = tokio::select! {
                (done, ()) = async { tokio::join!(work, show) } => done,
                () = cancellable.token.cancelled() => Err(Status::cancelled("context canceled")),
                () = sender.closed() => return tracing::debug!("build cancelled: its caller has gone"),
            };
            match done {
                Ok(id) if quiet => send(&sender, Ok(JsonMessage::stream(format!("{id}\n")))).await,
                Ok(id) if is_image => {
                    let aux = Some(json!({ "ID": id }));
                    send(&sender, Ok(JsonMessage { id: IMAGE.to_owned(), aux, ..JsonMessage::default() })).await;
                }
                Ok(_) => {}
                Err(status) => {
                    for message in held {
                        send(&sender, Ok(message)).await;
                    }
                    send(&sender, Err(said(status))).await;
                }
            }
        });
        Ok(receiver)
    }
}

/// What is to be done with the image. What is wrong with a name is said as the classic builder says it.
fn asked(wanted: Option<Wanted>, names: &[String]) -> std::result::Result<Export, Status> {
    for name in names {
        let parsed = Reference::parse_normalized(name).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if parsed.digest().is_some() {
            return Err(Status::invalid_argument("build tag cannot contain a digest"));
        }
    }
    let exporter = wanted.map(|Wanted { kind, mut attributes }| {
        if !names.is_empty() && matches!(kind.as_str(), "moby" | "image") {
            attributes.insert("name".to_owned(), names.join(","));
        }
        Exporter { r#type: kind, attrs: attributes }
    });
    Export::asked(&SolveRequest { exporters: exporter.into_iter().collect(), ..SolveRequest::default() })
}

async fn send(sender: &mpsc::Sender<Result<JsonMessage>>, message: Result<JsonMessage>) {
    // Whoever does not listen any more ends the build.
    let _ = sender.send(message).await;
}

/// A refusal as Docker's API says it.
fn said(status: Status) -> Error {
    let message = status.message().to_owned();
    match status.code() {
        Code::InvalidArgument => Error::invalid(message),
        Code::Unimplemented => Error::not_implemented(message),
        Code::NotFound => Error::not_found(message),
        _ => Error::internal(message),
    }
}
