//! What was built: a record of each build and what happened in it, the newest of them kept on disk.
//!
//! A build in progress is known here only while it lives; a daemon that dies leaves no record of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1 as api;
use bollard_buildkit_proto::moby::buildkit::v1::BuildHistoryEventType as Kind;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tare_reference::Digest;
use tokio::sync::broadcast;
use tonic::{Code, Status};

use crate::status::{self, Hub};

/// Builds that are kept besides pinned ones, as many as BuildKit keeps.
const KEPT_MAX: usize = 50;
/// Largest record, bytes; of a larger one, attributes and answers stay away.
const RECORD_MAX: usize = 256 << 10;
/// Events that a listener may be behind before it loses some.
const EVENTS_MAX: usize = 64;
/// What the files are called, after the digest of the build's name.
const RECORD: &str = "record";
const LOG: &str = "log";

/// All builds.
pub(crate) struct History {
    place: PathBuf,
    known: OnceLock<Mutex<Known>>,
    events: broadcast::Sender<api::BuildHistoryEvent>,
}

#[derive(Default)]
struct Known {
    active: HashMap<String, api::BuildHistoryRecord>,
    complete: BTreeMap<String, api::BuildHistoryRecord>,
}

/// A build that is being recorded; one that is dropped was cancelled.
pub(crate) struct Recording {
    history: Arc<History>,
    hub: Hub,
    name: String,
    is_finished: bool,
}

fn event(kind: Kind, record: &api::BuildHistoryRecord) -> api::BuildHistoryEvent {
    api::BuildHistoryEvent { r#type: kind.into(), record: Some(record.clone()) }
}

impl History {
    /// The records of a directory, which need not be there; they are read when they are first asked for.
    pub(crate) fn new(place: PathBuf) -> History {
        History { place, known: OnceLock::new(), events: broadcast::channel(EVENTS_MAX).0 }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        let known = self.known.get_or_init(|| {
            let complete = read_all(&self.place);
            Mutex::new(Known { active: HashMap::new(), complete })
        });
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to record a build.
    pub(crate) fn begin(self: &Arc<Self>, hub: Hub, record: api::BuildHistoryRecord) -> Recording {
        let record = api::BuildHistoryRecord { created_at: Some(status::now()), ..record };
        let name = record.r#ref.clone();
        self.tell(event(Kind::Started, &record));
        self.lock().active.insert(name.clone(), record);
        Recording { history: Arc::clone(self), hub, name, is_finished: false }
    }

    /// What is recorded now; and what will be, unless the client wants no more.
    pub(crate) fn listen(
        &self,
        request: &api::BuildHistoryRequest,
    ) -> (Vec<api::BuildHistoryEvent>, Option<broadcast::Receiver<api::BuildHistoryEvent>>) {
        let known = self.lock();
        let later = (!request.early_exit).then(|| self.events.subscribe());
        let wanted = |record: &&api::BuildHistoryRecord| request.r#ref.is_empty() || request.r#ref == record.r#ref;
        let mut complete: Vec<_> = known.complete.values().filter(wanted).collect();
        complete.sort_by_key(|record| std::cmp::Reverse(age(record)));
        // Clients sort out themselves what their filters leave, of all that there are.
        if let Ok(limit @ 1..) = usize::try_from(request.limit)
            && request.filter.is_empty()
        {
            complete.truncate(limit);
        }
        let active = known.active.values().filter(wanted).map(|record| event(Kind::Started, record));
        let complete = complete.into_iter().map(|record| event(Kind::Complete, record));
        let complete = complete.filter(|_| !request.active_only);
        (active.chain(complete).collect(), later)
    }

    /// Pins a record, or takes it away.
    pub(crate) fn update(&self, request: &api::UpdateBuildHistoryRequest) -> Result<(), Status> {
        let name = request.r#ref.as_str();
        let mut known = self.lock();
        if request.delete {
            let was_active = known.active.remove(name).is_some();
            let Some(record) = known.complete.remove(name) else {
                let missing = || Status::not_found(format!("lease \"ref_{name}\": not found"));
                return was_active.then_some(()).ok_or_else(missing);
            };
            drop(known);
            self.remove(&record);
            return Ok(());
        }
        if request.finalize {
            // Nothing is added to a record after its end.
            return Ok(());
        }
        let Some(record) = known.complete.get_mut(name) else {
            return Err(Status::not_found(format!("failed to retrieve ref {name}: file does not exist")));
        };
        record.pinned = request.pinned;
        let record = record.clone();
        drop(known);
        let written = write(&self.file(name, RECORD), &record.encode_to_vec());
        written.map_err(|error| Status::internal(format!("writing the record of a build: {error}")))
    }

    /// What happened in a build that has ended; `None` if there is none of that name.
    pub(crate) fn log(&self, name: &str) -> Option<Vec<api::StatusResponse>> {
        self.lock().complete.get(name)?;
        let bytes = std::fs::read(self.file(name, LOG)).unwrap_or_default();
        let mut rest = bytes.as_slice();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            // What a full disk has cut off ends it.
            let Ok(message) = api::StatusResponse::decode_length_delimited(&mut rest) else { break };
            messages.push(message);
        }
        Some(messages)
    }

    fn complete(&self, name: &str, outcome: Result<HashMap<String, String>, Status>, hub: &Hub) {
        let mut known = self.lock();
        // One that was taken away while it went on leaves nothing.
        let Some(mut record) = known.active.remove(name) else { return };
        let told = hub.told();
        record.completed_at = Some(status::now());
        record.num_total_steps = told.total;
        record.num_completed_steps = told.completed;
        record.num_cached_steps = told.cached;
        record.num_warnings = told.warnings;
        match outcome {
            Ok(response) => record.exporter_response = response,
            Err(status) => {
                let (code, message) = (status.code().into(), status.message().to_owned());
                record.error = Some(rpc::Status { code, message, details: Vec::new() });
            }
        }
        if record.encoded_len() > RECORD_MAX {
            record.frontend_attrs.clear();
            record.exporter_response.clear();
        }
        known.complete.insert(name.to_owned(), record.clone());
        let gone = outlived(&mut known.complete);
        drop(known);
        let written = std::fs::create_dir_all(&self.place)
            .and_then(|()| write(&self.file(name, LOG), &told.log))
            .and_then(|()| write(&self.file(name, RECORD), &record.encode_to_vec()));
        if let Err(error) = written {
            tracing::warn!("writing the record of a build: {error}");
        }
        self.tell(event(Kind::Complete, &record));
        for record in gone {
            self.remove(&record);
        }
    }

    fn remove(&self, record: &api::BuildHistoryRecord) {
        for kind in [RECORD, LOG] {
            match std::fs::remove_file(self.file(&record.r#ref, kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("removing the record of a build: {error}");
                }
                _ => {}
            }
        }
        self.tell(event(Kind::Deleted, record));
    }

    fn tell(&self, event: api::BuildHistoryEvent) {
        // Nobody need listen.
        let _ = self.events.send(event);
    }

    /// Clients choose the names: they are no file names.
    fn file(&self, name: &str, kind: &str) -> PathBuf {
        let digest = Digest::from_sha256(&Sha256::digest(name).into());
        self.place.join(format!("{}.{kind}", digest.hex()))
    }
}

impl Recording {
    /// Says what came of the build.
    pub(crate) fn end(mut self, outcome: Result<HashMap<String, String>, Status>) {
        self.is_finished = true;
        self.history.complete(&self.name, outcome, &self.hub);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.is_finished {
            let cancelled = Status::new(Code::Cancelled, "context canceled");
            self.history.complete(&self.name, Err(cancelled), &self.hub);
        }
    }
}

fn age(record: &api::BuildHistoryRecord) -> (i64, i32) {
    record.created_at.map_or((0, 0), |at| (at.seconds, at.nanos))
}

/// Takes the oldest that are not pinned out of what is more than is kept.
fn outlived(complete: &mut BTreeMap<String, api::BuildHistoryRecord>) -> Vec<api::BuildHistoryRecord> {
    let mut loose: Vec<_> =
        complete.values().filter(|record| !record.pinned).map(|r| (age(r), r.r#ref.clone())).collect();
    loose.sort();
    let more = loose.len().saturating_sub(KEPT_MAX);
    loose.into_iter().take(more).filter_map(|(_, name)| complete.remove(&name)).collect()
}

fn read_all(place: &Path) -> BTreeMap<String, api::BuildHistoryRecord> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != RECORD) {
            continue;
        }
        let record = std::fs::read(&path).map(|bytes| api::BuildHistoryRecord::decode(bytes.as_slice()));
        match record {
            Ok(Ok(record)) => drop(all.insert(record.r#ref.clone(), record)),
            Ok(Err(error)) => tracing::warn!("the record of a build, {}: {error}", path.display()),
            Err(error) => tracing::warn!("the record of a build, {}: {error}", path.display()),
        }
    }
    all
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path)).inspect_err(|_| {
        // What is there of it takes room that there is not.
        let _ = std::fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> api::BuildHistoryRecord {
        api::BuildHistoryRecord { r#ref: name.to_owned(), ..api::BuildHistoryRecord::default() }
    }

    fn names(history: &History) -> Vec<String> {
        let request = api::BuildHistoryRequest { early_exit: true, ..Default::default() };
        history.listen(&request).0.into_iter().filter_map(|event| event.record).map(|record| record.r#ref).collect()
    }

    #[test]
    fn the_newest_and_the_pinned_stay_and_are_found_again() {
        let place = tempfile::tempdir().unwrap();
        let history = Arc::new(History::new(place.path().join("h")));
        for number in 0..KEPT_MAX + 3 {
            let name = format!("../{number}");
            history.begin(Hub::new(&name), record(&name)).end(Ok(HashMap::new()));
            if number == 1 {
                let pin = api::UpdateBuildHistoryRequest { r#ref: name, pinned: true, ..Default::default() };
                history.update(&pin).unwrap();
            }
        }
        let kept = names(&history);
        assert_eq!(kept.len(), KEPT_MAX + 1);
        assert!(
            kept.contains(&"../1".to_owned())
                && !kept.contains(&"../0".to_owned())
                && !kept.contains(&"../2".to_owned())
        );
        assert_eq!(std::fs::read_dir(place.path().join("h")).unwrap().count(), 2 * kept.len());
        let again = Arc::new(History::new(place.path().join("h")));
        assert_eq!(names(&again).len(), kept.len());
        assert_eq!(again.log("../1").unwrap().len(), 0);
        assert!(again.log("../0").is_none());
        let delete =
            |name: &str| api::UpdateBuildHistoryRequest { r#ref: name.to_owned(), delete: true, ..Default::default() };
        again.update(&delete("../1")).unwrap();
        assert_eq!(names(&again).len(), KEPT_MAX);
        // One that is taken away before its end leaves nothing.
        let recording = again.begin(Hub::new("x"), record("x"));
        again.update(&delete("x")).unwrap();
        drop(recording);
        assert_eq!(names(&again).len(), KEPT_MAX);
    }

    #[test]
    fn what_is_dropped_was_cancelled_and_listeners_hear_of_it() {
        let place = tempfile::tempdir().unwrap();
        let history = Arc::new(History::new(place.path().to_owned()));
        let (now, later) = history.listen(&api::BuildHistoryRequest::default());
        assert!(now.is_empty());
        drop(history.begin(Hub::new("x"), record("x")));
        let mut later = later.unwrap();
        let (begun, ended) = (later.try_recv().unwrap(), later.try_recv().unwrap());
        assert_eq!((begun.r#type(), ended.r#type()), (Kind::Started, Kind::Complete));
        assert_eq!(ended.record.unwrap().error.unwrap().code, i32::from(Code::Cancelled));
    }
}
