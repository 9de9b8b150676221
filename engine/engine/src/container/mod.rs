//! Containers: what is stored of one ([`record`]), what it does now ([`state`]), how it is found ([`index`]), and the
//! use cases, one file each.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod exec_record;
mod exec_user;
pub(crate) mod exit;
mod farewell;
pub(crate) mod health;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod links;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod merge;
pub(crate) mod modes;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod pause;
pub(crate) mod prepare;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod setup;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod supervise;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod wait;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tare_shim_protocol::Attach;
use tokio::sync::watch;

use crate::shim::Connection;
use record::Record;
use state::{Progress, State};

/// A container. Readers (`ps`, `inspect`) take [`Container::read`] for moments and never wait for an operation;
/// operations that change its life hold [`Container::operation`] throughout.
#[derive(Debug)]
pub(crate) struct Container {
    /// The full ID.
    pub(crate) id: String,
    /// Serialises start, stop, pause, rename, remove and exit handling.
    pub(crate) operation: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
    progress: watch::Sender<Progress>,
}

/// What a container's mutex protects.
#[derive(Debug)]
pub(crate) struct Inner {
    /// The durable part.
    pub(crate) record: Record,
    /// The present.
    pub(crate) state: State,
    /// The running container's shim.
    pub(crate) shim: Option<Arc<Connection>>,
    /// Clients attached before the start, with their streams.
    pub(crate) waiting_clients: Vec<(Attach, OwnedFd)>,
    /// Number of the newest client.
    pub(crate) last_client: u64,
    /// Networks and ports of this run.
    pub(crate) sandbox: crate::network::sandbox::Sandbox,
    /// Wait before the last restart by policy.
    pub(crate) restart_delay: std::time::Duration,
    /// It is being restarted or removed by hand: one that removes itself when it ends leaves that to them.
    pub(crate) kept: bool,
    /// Health checks, restarts and the like that end with this run.
    pub(crate) tasks: Vec<tokio::task::AbortHandle>,
    /// Who passes its log on.
    pub(crate) forward: Option<crate::logging::forward::Forward>,
}

impl Inner {
    /// The record with the present state, to be stored.
    pub(crate) fn snapshot(&self) -> Record {
        Record { state: self.state.clone(), ..self.record.clone() }
    }
}

/// What events say of a container: its image, name and labels.
pub(crate) fn attributes(record: &Record) -> std::collections::BTreeMap<String, String> {
    let mut attributes = record.config.labels.clone().into_inner();
    attributes.insert("image".to_owned(), record.config.image.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    attributes
}

impl Container {
    pub(crate) fn new(record: Record, state: State) -> Arc<Self> {
        let progress = Progress { running: state.is_alive(), ..Progress::default() };
        Arc::new(Self {
            id: record.id.clone(),
            operation: tokio::sync::Mutex::new(()),
            inner: Mutex::new(Inner {
                record,
                state,
                shim: None,
                waiting_clients: Vec::new(),
                last_client: 0,
                sandbox: crate::network::sandbox::Sandbox::default(),
                restart_delay: std::time::Duration::ZERO,
                kept: false,
                tasks: Vec::new(),
                forward: None,
            }),
            progress: watch::Sender::new(progress),
        })
    }

    /// The container's data, for a moment: never held across an await.
    pub(crate) fn read(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name without its slash.
    pub(crate) fn name(&self) -> String {
        self.read().record.name.clone()
    }

    /// The running container's shim, or the error Docker gives for one that does not run.
    pub(crate) fn shim(&self) -> crate::error::Result<Arc<Connection>> {
        self.read().shim.clone().ok_or_else(|| crate::error::Error::not_running(&self.id))
    }

    /// Tells waiters of a step.
    pub(crate) fn announce(&self, step: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(step);
    }

    /// Follows the container's progress.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}
