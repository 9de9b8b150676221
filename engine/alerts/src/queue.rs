//! What is remembered of an alert, and the worker that brings its messages out, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tare_docker_api::alert::{Alert, AlertSpec};
use tare_docker_api::time::Time;
use tare_state::{Change, Kind};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::limit::Limits;
use crate::message::Message;
use crate::{Alerts, deliver, rules};

/// Messages of one alert that may wait; those beyond are counted and told of.
const WAITING_MAX: usize = 1000;
/// Wait before the second try; doubles with each.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Tries of a program that fails: unlike a server it is not down, it is wrong.
const EXEC_TRIES: u32 = 10;

/// An alert in the state database.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Stored {
    pub(crate) spec: AlertSpec,
    /// Nanoseconds since the epoch, as all times here.
    pub(crate) created: i64,
    sent: u64,
    failed: u64,
    suppressed: u64,
    last_sent: i64,
    last_error: String,
    limits: Limits,
    /// The last exit that was looked at, by container.
    exits: BTreeMap<String, i64>,
    /// Number of the next message.
    next: u64,
}

impl Stored {
    pub(crate) fn new(spec: AlertSpec, created: i64) -> Self {
        Self { spec, created, ..Self::default() }
    }

    /// Forgets containers that are gone.
    pub(crate) fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.limits.keep(&exists);
        self.exits.retain(|id, _| exists(id));
    }
}

/// An alert at work.
pub(crate) struct Entry {
    pub(crate) stored: Stored,
    pub(crate) waiting: VecDeque<(String, Message)>,
    pub(crate) worker: Option<AbortHandle>,
    arrived: Arc<Notify>,
}

impl Entry {
    pub(crate) fn new(stored: Stored) -> Self {
        Self { stored, waiting: VecDeque::new(), worker: None, arrived: Arc::default() }
    }

    pub(crate) fn show(&self) -> Alert {
        let time = |ns| if ns == 0 { String::new() } else { Time::from_unix_nanos(ns).to_string() };
        Alert {
            spec: rules::redacted(self.stored.spec.clone()),
            created: time(self.stored.created),
            sent: self.stored.sent,
            failed: self.stored.failed,
            suppressed: self.stored.suppressed,
            waiting: self.waiting.len(),
            last_sent: time(self.stored.last_sent),
            last_error: self.stored.last_error.clone(),
        }
    }

    /// Whether an exit is news.
    pub(crate) fn is_new_exit(&self, id: &str, finished: i64) -> bool {
        finished >= self.stored.created && self.stored.exits.get(id) != Some(&finished)
    }

    /// Puts a message in the queue unless the rate forbids it; what the database has to learn.
    pub(crate) fn push(&mut self, mut message: Message, now: i64, exit: Option<i64>) -> Vec<Change> {
        let stored = &mut self.stored;
        let container = message.container.id.clone();
        if let Some(finished) = exit {
            stored.exits.insert(container.clone(), finished);
        }
        let mut changes = Vec::new();
        match stored.limits.take(&container, stored.spec.rate, now) {
            Some(held) if self.waiting.len() < WAITING_MAX => {
                message.suppressed = held;
                let key = format!("{}/{:020}", stored.spec.name, stored.next);
                stored.next += 1;
                changes.extend(put(Kind::AlertMessage, &key, &message));
                self.waiting.push_back((key, message));
                self.arrived.notify_one();
            }
            held => {
                stored.suppressed += 1;
                if let Some(held) = held {
                    stored.limits.hold(&container, held + 1);
                }
            }
        }
        changes.extend(self.changed());
        changes
    }

    fn changed(&self) -> Option<Change> {
        put(Kind::Alert, &self.stored.spec.name, &self.stored)
    }

    /// Takes the first message out of the queue.
    fn finish(&mut self, key: &str, error: Option<&str>) -> Vec<Change> {
        self.waiting.retain(|(other, _)| other != key);
        match error {
            None => {
                self.stored.sent += 1;
                self.stored.last_sent = Time::now().unix_nanos();
                self.stored.last_error.clear();
            }
            Some(error) => {
                self.stored.failed += 1;
                error.clone_into(&mut self.stored.last_error);
            }
        }
        let deleted = Change::Delete(Kind::AlertMessage, key.to_owned());
        Some(deleted).into_iter().chain(self.changed()).collect()
    }
}

fn put(kind: Kind, key: &str, document: &impl Serialize) -> Option<Change> {
    match serde_json::to_string(document) {
        Ok(body) => Some(Change::Put(kind, key.to_owned(), body)),
        Err(error) => {
            tracing::error!("storing alert {key}: {error}");
            None
        }
    }
}

fn delay(tries: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(RETRY_MAX)
}

impl Alerts {
    /// Starts the worker of an alert.
    pub(crate) fn start_worker(self: &Arc<Self>, name: &str) {
        let worker = tokio::spawn(Arc::clone(self).work(name.to_owned())).abort_handle();
        match self.entries().get_mut(name) {
            Some(entry) => entry.worker = Some(worker),
            // Removed in the meantime.
            None => worker.abort(),
        }
    }

    async fn work(self: Arc<Self>, name: String) {
        let mut tries = 0;
        loop {
            let (spec, arrived, first) = {
                let entries = self.entries();
                let Some(entry) = entries.get(&name) else { return };
                (entry.stored.spec.clone(), Arc::clone(&entry.arrived), entry.waiting.front().cloned())
            };
            let Some((key, message)) = first else {
                arrived.notified().await;
                continue;
            };
            tries += 1;
            let result = deliver::deliver(&spec, &message).await;
            let given_up = match &result {
                Ok(()) => false,
                Err(refusal) => !refusal.again || (!spec.exec.is_empty() && tries >= EXEC_TRIES),
            };
            if let Err(refusal) = &result {
                let what = if given_up { "given up" } else { "will be tried again" };
                tracing::warn!("alert {name}: message {} {what}: {}", message.id, refusal.reason);
                if !given_up {
                    if let Some(entry) = self.entries().get_mut(&name) {
                        entry.stored.last_error.clone_from(&refusal.reason);
                    }
                    tokio::time::sleep(delay(tries)).await;
                    continue;
                }
            }
            tries = 0;
            let error = result.err().map(|refusal| refusal.reason);
            let changes = self.entries().get_mut(&name).map(|entry| entry.finish(&key, error.as_deref()));
            if let Err(error) = self.write(changes.unwrap_or_default()).await {
                tracing::error!("alert {name}: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Subject;
    use tare_docker_api::alert::Rate;

    fn entry(rate: Rate) -> Entry {
        Entry::new(Stored::new(AlertSpec { name: "a".into(), rate, ..AlertSpec::default() }, 100))
    }

    fn message() -> Message {
        Message { container: Subject { id: "c".into(), ..Subject::default() }, ..Message::default() }
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|tries| delay(tries).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn an_exit_is_news_once_also_after_a_restart() {
        let mut entry = entry(Rate::default());
        assert!(!entry.is_new_exit("c", 99), "before the alert was made");
        assert!(entry.is_new_exit("c", 100));
        entry.push(message(), 100, Some(100));
        assert!(!entry.is_new_exit("c", 100));
        let body = serde_json::to_string(&entry.stored).unwrap();
        let mut again = Entry::new(serde_json::from_str(&body).unwrap());
        assert!(!again.is_new_exit("c", 100));
        assert!(again.is_new_exit("c", 101));
        again.stored.keep(|_| false);
        assert!(again.is_new_exit("c", 100));
    }

    #[test]
    fn a_queue_is_bounded_and_what_does_not_fit_is_told() {
        let mut entry = entry(Rate::default());
        for _ in 0..WAITING_MAX + 5 {
            entry.push(message(), 100, None);
        }
        assert_eq!((entry.waiting.len(), entry.stored.suppressed), (WAITING_MAX, 5));
        let key = entry.waiting[0].0.clone();
        entry.finish(&key, None);
        entry.push(message(), 100, None);
        assert_eq!(entry.waiting.back().unwrap().1.suppressed, 5);
    }

    #[test]
    fn what_is_put_is_what_is_deleted() {
        let mut entry = entry(Rate { count: 1, period: 10 });
        let put = entry.push(message(), 100, None);
        let Change::Put(Kind::AlertMessage, key, _) = &put[0] else { panic!("{put:?}") };
        assert_eq!(entry.push(message(), 101, None).len(), 1, "held back: only the alert itself is stored");
        let done = entry.finish(key, Some("no"));
        assert_eq!(done[0], Change::Delete(Kind::AlertMessage, key.clone()));
        assert_eq!((entry.show().failed, entry.show().last_error.as_str(), entry.waiting.len()), (1, "no", 0));
    }
}
