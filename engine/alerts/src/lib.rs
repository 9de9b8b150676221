//! Alerts: containers' events are turned into messages and brought to people, over mail, a webhook or a program.
//!
//! A message is in the state database before the engine gives up the exit record it is about, and leaves the database
//! when its target has taken it: whatever ends the daemon, it is delivered at least once. In reading order: [`rules`] (what an
//! alert may say), [`limit`], [`message`], [`queue`] (what is remembered), [`watch`] (events come in), [`deliver`].
//! Without alerts nothing here runs.
#![forbid(unsafe_code)]

mod deliver;
mod error;
mod limit;
mod message;
mod queue;
mod rules;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tare_docker_api::alert::{Alert, AlertSpec};
use tare_docker_api::time::Time;
use tare_engine::Engine;
use tare_state::{Change, Kind, Store};

pub use error::Error;
pub use message::{Message, Subject};

use queue::{Entry, Stored};

/// All alerts of an engine.
pub struct Alerts {
    engine: Arc<Engine>,
    store: Arc<Store>,
    entries: Mutex<BTreeMap<String, Entry>>,
    watching: OnceLock<()>,
}

impl Alerts {
    /// Reads what is stored, catches up with what happened meanwhile, and goes on.
    pub async fn start(engine: &Arc<Engine>) -> Result<Arc<Self>, Error> {
        let store = engine.store();
        let mut entries = BTreeMap::new();
        for (name, body) in store.load(Kind::Alert)? {
            entries.insert(name, Entry::new(serde_json::from_str(&body)?));
        }
        let mut lost = Vec::new();
        for (key, body) in store.load(Kind::AlertMessage)? {
            let name = key.split('/').next().unwrap_or_default();
            match entries.get_mut(name) {
                Some(entry) => entry.waiting.push_back((key, serde_json::from_str(&body)?)),
                None => lost.push(Change::Delete(Kind::AlertMessage, key)),
            }
        }
        if !lost.is_empty() {
            store.write_sync(lost)?;
        }
        let names: Vec<String> = entries.keys().cloned().collect();
        let engine = Arc::clone(engine);
        let alerts = Arc::new(Self { engine, store, entries: Mutex::new(entries), watching: OnceLock::new() });
        if !names.is_empty() {
            alerts.watch();
            alerts.catch_up().await;
        }
        for name in names {
            alerts.start_worker(&name);
        }
        Ok(alerts)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an alert.
    pub async fn add(self: &Arc<Self>, mut spec: AlertSpec) -> Result<Alert, Error> {
        rules::check(&mut spec)?;
        self.engine.check_filters(&rules::filters(&spec)).map_err(|error| Error::Invalid(error.message))?;
        let name = spec.name.clone();
        let stored = Stored::new(spec, Time::now().unix_nanos());
        let body = serde_json::to_string(&stored)?;
        let shown = {
            let mut entries = self.entries();
            if entries.contains_key(&name) {
                return Err(Error::Taken(name));
            }
            let entry = Entry::new(stored);
            let shown = entry.show();
            entries.insert(name.clone(), entry);
            shown
        };
        self.watch();
        if let Err(error) = self.write(vec![Change::Put(Kind::Alert, name.clone(), body)]).await {
            self.entries().remove(&name);
            return Err(error);
        }
        self.start_worker(&name);
        Ok(shown)
    }

    /// All alerts, by name.
    pub fn list(&self) -> Vec<Alert> {
        self.entries().values().map(Entry::show).collect()
    }

    /// One alert.
    pub fn inspect(&self, name: &str) -> Result<Alert, Error> {
        self.entries().get(name).map(Entry::show).ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    /// Removes an alert with the messages that wait.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let entry = self.entries().remove(name).ok_or_else(|| Error::NotFound(name.to_owned()))?;
        if let Some(worker) = entry.worker {
            worker.abort();
        }
        let waiting = entry.waiting.into_iter().map(|(key, _)| Change::Delete(Kind::AlertMessage, key));
        let own = Change::Delete(Kind::Alert, name.to_owned());
        self.write(waiting.chain(Some(own)).collect()).await
    }

    /// Sends a test message at once, past queue and rate; an error is the target's.
    pub async fn test(&self, name: &str) -> Result<(), Error> {
        let spec = self.entries().get(name).map(|entry| entry.stored.spec.clone());
        let spec = spec.ok_or_else(|| Error::NotFound(name.to_owned()))?;
        let message = watch::new_message(name, "test", Time::now());
        let sent = deliver::deliver(&spec, &message).await;
        sent.map_err(|refusal| Error::Target(format!("alert {name}: {}", refusal.reason)))
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        let (sender, done) = tokio::sync::oneshot::channel();
        self.store.write(
            changes,
            Box::new(move |result| {
                // A caller that was cancelled does not want the answer.
                let _ = sender.send(result);
            }),
        );
        Ok(done.await.map_err(|_| tare_state::Error::Closed)??)
    }
}
