//! Events: what happened, to whom, for those who listen now and those who ask a little later.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

/// Past events kept for `since` queries, as many as Docker keeps.
const RING_EVENTS: usize = 256;
/// Events a slow listener may lag behind before it loses the oldest.
const LISTENER_EVENTS_MAX: usize = 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `container`, `image`, `network`, `volume`, `daemon`.
    pub kind: &'static str,
    /// What happened, in Docker's words (`start`, `exec_create: sh`…).
    pub action: String,
    /// The object's ID or name.
    pub id: String,
    /// Facts about it, labels included.
    pub attributes: BTreeMap<String, String>,
    /// When, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
}

/// Told of a container's exit before the exit record is given up: what it makes durable is not lost, however the daemon
/// ends. It may be told of the same exit again.
pub type ExitHook = Box<dyn Fn(Exit) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The container's full ID.
    pub id: String,
    /// Facts about it: `name`, `image`, labels.
    pub attributes: BTreeMap<String, String>,
    /// The exit status.
    pub code: i32,
    /// When it ended, in nanoseconds since the Unix epoch: with the ID, the name of this exit.
    pub finished_ns: i64,
}

/// The log of recent events and its listeners.
#[derive(Debug)]
pub(crate) struct Events {
    ring: Mutex<VecDeque<Event>>,
    listeners: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            ring: Mutex::new(VecDeque::with_capacity(RING_EVENTS)),
            listeners: broadcast::channel(LISTENER_EVENTS_MAX).0,
        }
    }

    /// Publishes an event that happens now.
    pub(crate) fn publish(
        &self,
        kind: &'static str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let event =
            Event { kind, action: action.into(), id: id.into(), attributes, time_ns: crate::host::clock::now_ns() };
        if ring.len() == RING_EVENTS {
            ring.pop_front();
        }
        ring.push_back(event.clone());
        // Sent under the lock, so that a subscriber sees each event either in the ring or live, never twice. Without
        // listeners sending fails, which is fine.
        let _ = self.listeners.send(event);
    }

    /// The past events not older than `since_ns`, and those to come.
    pub(crate) fn subscribe(&self, since_ns: Option<i64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let past = match since_ns {
            Some(since) => ring.iter().filter(|event| event.time_ns >= since).cloned().collect(),
            None => Vec::new(),
        };
        (past, self.listeners.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_and_subscribers_miss_nothing() {
        let events = Events::new();
        for n in 0..RING_EVENTS + 10 {
            events.publish("container", format!("a{n}"), "id", BTreeMap::new());
        }
        let (past, mut live) = events.subscribe(Some(0));
        assert_eq!(past.len(), RING_EVENTS);
        assert_eq!(past.first().unwrap().action, "a10");
        events.publish("container", "later", "id", BTreeMap::new());
        assert_eq!(live.try_recv().unwrap().action, "later");
        assert!(events.subscribe(None).0.is_empty());
    }
}
