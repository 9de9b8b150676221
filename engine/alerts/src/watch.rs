//! Events come in: which alerts they concern, with what lines of log, and into the queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use tare_docker_api::alert::AlertSpec;
use tare_docker_api::time::Time;
use tare_engine::events::{Event, Exit};
use tokio::sync::broadcast::error::RecvError;

use crate::message::{Message, Subject};
use crate::{Alerts, rules};

/// Longest line of log in a message, characters.
const LINE_MAX: usize = 2000;

/// A message without a container.
pub(crate) fn new_message(alert: &str, event: &str, time: Time) -> Message {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Message {
        id: new_id(),
        alert: alert.into(),
        event: event.into(),
        time: time.to_string(),
        host,
        ..Message::default()
    }
}

fn new_id() -> String {
    let mut bytes = [0; 16];
    // Without random numbers the time tells messages apart.
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&Time::now().unix_nanos().to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What happened, in an alert's words.
struct Happening {
    event: Event,
    words: Vec<&'static str>,
    exit: Option<(i32, i64)>,
}

impl Alerts {
    /// Follows the engine, from the first alert on.
    pub(crate) fn watch(self: &Arc<Self>) {
        if self.watching.set(()).is_err() {
            return;
        }
        let alerts = Arc::clone(self);
        self.engine.on_exit(Box::new(move |exit| {
            let alerts = Arc::clone(&alerts);
            Box::pin(async move { alerts.exited(exit).await })
        }));
        let (_, mut live) = self.engine.watch_events();
        let alerts = Arc::clone(self);
        tokio::spawn(async move {
            let mut unhealthy = BTreeSet::new();
            loop {
                match live.recv().await {
                    Ok(event) if event.kind == "container" => alerts.happened(event, &mut unhealthy).await,
                    Ok(_) => {}
                    Err(RecvError::Lagged(lost)) => tracing::warn!("alerts were too slow for {lost} events"),
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Exits that this daemon was not there for, or did not get to store.
    pub(crate) async fn catch_up(&self) {
        let ids: BTreeSet<String> = self.engine.container_ids().into_iter().collect();
        self.entries().values_mut().for_each(|entry| entry.stored.keep(|id| ids.contains(id)));
        for exit in self.engine.ended() {
            self.exited(exit).await;
        }
        // An OOM kill is told by an event of the recovery itself.
        for event in self.engine.watch_events().0.into_iter().filter(|event| event.action == "oom") {
            self.happened(event, &mut BTreeSet::new()).await;
        }
    }

    async fn exited(&self, exit: Exit) {
        let Exit { id, attributes, code, finished_ns } = exit;
        let event = Event { kind: "container", action: "die".into(), id, attributes, time_ns: finished_ns };
        self.take(Happening { event, words: vec!["die"], exit: Some((code, finished_ns)) }).await;
    }

    async fn happened(&self, event: Event, unhealthy: &mut BTreeSet<String>) {
        let restarts = self.engine.restarts(&event.id).unwrap_or(0);
        let was_unhealthy = match event.action.as_str() {
            "health_status: unhealthy" => !unhealthy.insert(event.id.clone()),
            "health_status: healthy" | "destroy" => unhealthy.remove(&event.id),
            _ => false,
        };
        let words = rules::words(&event, restarts, was_unhealthy);
        self.take(Happening { event, words, exit: None }).await;
    }

    /// Gives what happened to every alert that wants it; durable when this returns.
    async fn take(&self, happening: Happening) {
        let Happening { event, words, exit } = happening;
        let mut wanted: Vec<(AlertSpec, &str)> = Vec::new();
        for entry in self.entries().values() {
            let word = words.iter().find(|word| entry.stored.spec.on.iter().any(|on| on == *word));
            let is_news = exit.is_none_or(|(_, finished)| entry.is_new_exit(&event.id, finished));
            if let Some(word) = word.filter(|_| is_news) {
                wanted.push((entry.stored.spec.clone(), word));
            }
        }
        wanted.retain(|(spec, _)| match self.engine.passes(&event.id, &rules::filters(spec)) {
            Ok(passes) => passes,
            Err(error) => {
                tracing::debug!("alert {}: {} of {}: {error}", spec.name, event.action, event.id);
                false
            }
        });
        for (spec, word) in wanted {
            let mut message = new_message(&spec.name, word, Time::from_unix_nanos(event.time_ns));
            message.exit_code = exit.map(|(code, _)| code);
            message.container = subject(&event);
            message.lines = self.engine.last_lines(&event.id, spec.lines, LINE_MAX).await.unwrap_or_else(|error| {
                tracing::warn!("alert {}: the log of {}: {error}", spec.name, event.id);
                Vec::new()
            });
            let changes = {
                let mut entries = self.entries();
                let Some(entry) = entries.get_mut(&spec.name) else { continue };
                if exit.is_some_and(|(_, finished)| !entry.is_new_exit(&event.id, finished)) {
                    continue;
                }
                entry.push(message, Time::now().unix_nanos(), exit.map(|(_, finished)| finished))
            };
            if let Err(error) = self.write(changes).await {
                tracing::error!("alert {}: {error}", spec.name);
            }
        }
    }
}

fn subject(event: &Event) -> Subject {
    let mut labels = event.attributes.clone();
    let name = labels.remove("name").unwrap_or_default();
    let image = labels.remove("image").unwrap_or_default();
    Subject { id: event.id.clone(), name, image, labels }
}
