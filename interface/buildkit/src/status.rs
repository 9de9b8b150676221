//! What happens in a build, as its client is told: one listener gets everything, from the beginning.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use futures_util::Stream;
use futures_util::stream::unfold;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tare_build::Event;
use tare_build::events::What;
use tare_reference::Digest;
use tokio::sync::Notify;
use tonic::Status;

/// Messages that wait for the listener. With one, the build waits; without, the oldest go.
const WAITING_MAX: usize = 1024;

/// Where a build's events become messages.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    name: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<StatusResponse>,
    begun: HashMap<u64, Vertex>,
    parts: HashMap<(u64, String), Timestamp>,
    has_listener: bool,
    is_closed: bool,
    told: Told,
}

/// Bytes of a build's messages that are kept for later; beyond, what commands say is left out, and beyond the double everything.
const LOG_MAX: usize = 1 << 20;
/// Instead of what is left out.
const CLIPPED: &str = "[output clipped, log limit 1MiB reached]\n";

/// What has been told of a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// The messages, each after its length.
    pub(crate) log: Vec<u8>,
    pub(crate) total: i32,
    pub(crate) completed: i32,
    pub(crate) cached: i32,
    pub(crate) warnings: i32,
    is_clipped: bool,
}

impl Told {
    fn add(&mut self, message: &StatusResponse) {
        for vertex in &message.vertexes {
            if vertex.completed.is_some() {
                self.completed += 1;
                self.cached += i32::from(vertex.cached);
            } else {
                self.total += 1;
            }
        }
        self.warnings += i32::try_from(message.warnings.len()).unwrap_or(0);
        if self.log.len() < LOG_MAX || message.logs.is_empty() && self.log.len() < 2 * LOG_MAX {
            self.log.extend(message.encode_length_delimited_to_vec());
        } else if let Some(log) = message.logs.first().filter(|_| !self.is_clipped) {
            self.is_clipped = true;
            let log = VertexLog { msg: CLIPPED.into(), ..log.clone() };
            let clipped = StatusResponse { logs: vec![log], ..StatusResponse::default() };
            self.log.extend(clipped.encode_length_delimited_to_vec());
        }
    }
}

impl Hub {
    pub(crate) fn new(name: &str) -> Hub {
        Hub(Arc::new(Inner { name: name.to_owned(), state: Mutex::default(), changed: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event; waits while the listener is behind.
    pub(crate) async fn put(&self, event: Event) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.waiting.len() < WAITING_MAX || !state.has_listener {
                    if state.waiting.len() >= WAITING_MAX {
                        state.waiting.pop_front();
                    }
                    let message = message(&self.0.name, &mut state, event);
                    state.told.add(&message);
                    state.waiting.push_back(message);
                    break;
                }
            }
            changed.await;
        }
        self.0.changed.notify_waiters();
    }

    /// What has been told so far.
    pub(crate) fn told(&self) -> Told {
        self.lock().told.clone()
    }

    /// What is kept of it, from the beginning, for whoever comes beside the listener.
    pub(crate) fn follow(&self) -> impl Stream<Item = Result<StatusResponse, Status>> + Send + use<> {
        unfold((self.clone(), 0), |(hub, mut at)| async move {
            loop {
                let mut changed = std::pin::pin!(hub.0.changed.notified());
                changed.as_mut().enable();
                let next = {
                    let state = hub.lock();
                    let rest = state.told.log.get(at..).unwrap_or_default();
                    match StatusResponse::decode_length_delimited(rest) {
                        Ok(next) if !rest.is_empty() => Some(next),
                        _ if state.is_closed => return None,
                        _ => None,
                    }
                };
                if let Some(next) = next {
                    at += next.encode_length_delimited_to_vec().len();
                    return Some((Ok(next), (hub.clone(), at)));
                }
                changed.await;
            }
        })
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.0.changed.notify_waiters();
    }

    /// Everything, from the beginning, for one listener.
    pub(crate) fn listen(&self) -> Result<impl Stream<Item = Result<StatusResponse, Status>> + Send + use<>, Status> {
        if std::mem::replace(&mut self.lock().has_listener, true) {
            return Err(Status::already_exists(format!("job {} has a listener", self.0.name)));
        }
        let listener = Listener(self.clone());
        Ok(unfold(listener, |listener| async move {
            let next = listener.next().await?;
            Some((Ok(next), listener))
        }))
    }
}

/// Goes with the stream: without it the build does not wait.
struct Listener(Hub);

impl Listener {
    /// What waits, in one message.
    async fn next(&self) -> Option<StatusResponse> {
        loop {
            let mut changed = std::pin::pin!(self.0.0.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.0.lock();
                if let Some(mut first) = state.waiting.pop_front() {
                    // Logs are large and come alone; the rest is small.
                    while first.logs.is_empty()
                        && let Some(next) = state.waiting.pop_front_if(|next| next.logs.is_empty())
                    {
                        first.vertexes.extend(next.vertexes);
                        first.statuses.extend(next.statuses);
                        first.warnings.extend(next.warnings);
                    }
                    drop(state);
                    self.0.0.changed.notify_waiters();
                    return Some(first);
                }
                if state.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.lock().has_listener = false;
        self.0.0.changed.notify_waiters();
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

/// A digest that stands for a step.
fn digest(build: &str, step: u64) -> String {
    Digest::from_sha256(&Sha256::digest(format!("{build}/{step}")).into()).to_string()
}

fn message(build: &str, state: &mut State, event: Event) -> StatusResponse {
    let Event { step, what } = event;
    let mut message = StatusResponse::default();
    let now = now();
    let vertex = digest(build, step);
    match what {
        What::Started(name) => {
            let begun = Vertex { digest: vertex, name, started: Some(now), ..Vertex::default() };
            state.begun.insert(step, begun.clone());
            message.vertexes.push(begun);
        }
        What::Cached => {
            if let Some(begun) = state.begun.get_mut(&step) {
                begun.cached = true;
            }
        }
        What::Done(error) => {
            if let Some(begun) = state.begun.remove(&step) {
                message.vertexes.push(Vertex { completed: Some(now), error: error.unwrap_or_default(), ..begun });
            }
            state.parts.retain(|(of, _), _| *of != step);
        }
        What::Progress { id, name, current, total, is_done } => {
            let started = *state.parts.entry((step, id.clone())).or_insert(now);
            message.statuses.push(VertexStatus {
                id,
                vertex,
                name,
                current,
                total,
                timestamp: Some(now),
                started: Some(started),
                completed: is_done.then_some(now),
            });
        }
        What::Warning(text) => {
            message.warnings.push(VertexWarning { vertex, level: 1, short: text.into_bytes(), ..Default::default() });
        }
        What::Log { is_error, text } => {
            let stream = if is_error { 2 } else { 1 };
            message.logs.push(VertexLog { vertex, timestamp: Some(now), stream, msg: text.into_bytes() });
        }
    }
    message
}
