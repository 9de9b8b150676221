//! What features beside the engine (alerts) see of it: events, exits, containers by filter, last lines of logs.

use std::sync::Arc;

use tare_docker_api::filters::Filters;
use tare_logs::{LogReader, ReadOptions, Step};
use tare_state::Store;
use tokio::sync::broadcast;

use crate::Engine;
use crate::container::Container;
use crate::container::state::State;
use crate::error::{Error, Result};
use crate::events::{Event, Exit, ExitHook};

impl Engine {
    /// Events from the start of the engine (as many as are kept), and those to come.
    pub fn watch_events(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        self.events.subscribe(Some(0))
    }

    /// Sets who is told of exits; once.
    pub fn on_exit(&self, hook: ExitHook) {
        if self.exit_hook.set(hook).is_err() {
            tracing::error!("exits have somebody who is told already");
        }
    }

    /// How the last run that is over ended, of each container that had one.
    pub fn ended(&self) -> Vec<Exit> {
        let mut ended = Vec::new();
        for container in self.all_containers() {
            let state = container.read().state.clone();
            if state.finished_at != 0 {
                ended.push(exit(&container, &state));
            }
        }
        ended
    }

    /// The IDs of all containers.
    pub fn container_ids(&self) -> Vec<String> {
        self.all_containers().iter().map(|container| container.id.clone()).collect()
    }

    /// Whether a list of containers accepts these filters.
    pub fn check_filters(&self, filters: &Filters) -> Result<()> {
        self.list_filter(filters).map(|_| ())
    }

    /// Whether a container passes a list's filters.
    pub fn passes(&self, id: &str, filters: &Filters) -> Result<bool> {
        let container = self.find(id)?;
        let check = self.list_filter(filters)?;
        let inner = container.read();
        Ok(check.passes(&container, &inner))
    }

    /// How often its policy has started a container again since somebody started it.
    pub fn restarts(&self, id: &str) -> Result<u32> {
        Ok(self.find(id)?.read().state.restart_count)
    }

    /// The last lines of a container's log, without their line ends; none when its driver keeps nothing.
    pub async fn last_lines(&self, id: &str, count: usize, longest: usize) -> Result<Vec<String>> {
        let config = self.find(id)?.read().record.log.clone();
        if config.driver == "none" || count == 0 {
            return Ok(Vec::new());
        }
        crate::blocking(move || {
            let failed = |error| Error::io("read", config.path.display(), error);
            let options = ReadOptions { tail: Some(count), since_ns: None, until_ns: None, follow: false, limit: None };
            let mut reader = LogReader::open(&config, options).map_err(failed)?;
            let mut lines = Vec::new();
            while let Step::Entry(entry) = reader.next().map_err(failed)? {
                let text = String::from_utf8_lossy(&entry.line);
                lines.push(text.trim_end_matches(['\n', '\r']).chars().take(longest).collect());
            }
            Ok(lines)
        })
        .await
    }

    /// The state database, for documents of their own.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }
}

pub(crate) fn exit(container: &Container, state: &State) -> Exit {
    Exit {
        id: container.id.clone(),
        attributes: crate::container::attributes(&container.read().record),
        code: state.exit_code,
        finished_ns: state.finished_at,
    }
}
