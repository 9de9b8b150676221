//! Following a running container through its shim until it ends.

use std::sync::Arc;

use tare_shim_protocol::{Event, ExitRecord, Op};
use tokio::sync::mpsc;

use super::Container;
use crate::Engine;
use crate::host::clock;
use crate::shim::Connection;

/// Exit code of a container whose shim was lost: it was killed.
const LOST_CODE: i32 = 137;

/// Serves a shim's events. Ends after the container's exit was dealt with.
pub(crate) async fn run(
    engine: Arc<Engine>,
    container: Arc<Container>,
    connection: Arc<Connection>,
    mut events: mpsc::UnboundedReceiver<Event>,
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Exit(record) => {
                engine.exited(&container, record, Some(&connection)).await;
                return;
            }
            Event::ExecExit { id, code } => engine.exec_exited(&container, &id, code),
            Event::Detached { exec, .. } => engine.detached(&container, exec.as_deref()),
            Event::OutOfMemory => engine.out_of_memory(&container),
        }
    }
    engine.shim_lost(&container).await;
}

impl Engine {
    /// The shim's socket closed without an exit: the shim was killed. Its container must not go on unwatched.
    pub(crate) async fn shim_lost(self: &Arc<Self>, container: &Arc<Container>) {
        tracing::error!("the shim of container {} is lost; killing the container", container.id);
        let record = container.read().record.clone();
        let engine = Arc::clone(self);
        let bundle = self.bundle(&container.id);
        let exit = crate::blocking(move || {
            if let Some(exit) = read_exit(&bundle) {
                return Ok(exit);
            }
            let cgroup = tare_cgroup::Cgroup::open(&engine.hierarchies, &engine.cgroup_path(&record));
            if let Err(error) = cgroup.kill_all(super::signal::KILL).and_then(|()| cgroup.remove()) {
                tracing::error!("killing container {}: {error}", record.id);
            }
            Ok(lost())
        })
        .await
        .unwrap_or_else(|_| lost());
        self.exited(container, exit, None).await;
    }

    fn detached(&self, container: &Container, exec: Option<&str>) {
        let mut attributes = super::attributes(&container.read().record);
        let action = match exec {
            Some(exec) => {
                attributes.insert("execID".to_owned(), exec.to_owned());
                "exec_detach"
            }
            None => "detach",
        };
        self.events.publish("container", action, &container.id, attributes);
    }

    fn out_of_memory(&self, container: &Container) {
        let attributes = super::attributes(&container.read().record);
        container.read().state.oom_killed = true;
        self.events.publish("container", "oom", &container.id, attributes);
    }

    /// Tells the shim that its exit record is no longer needed, and removes the bundle.
    pub(crate) async fn acknowledge(&self, container: &Container, connection: Option<&Arc<Connection>>) {
        if let Some(connection) = connection {
            // A shim that has gone already needs no answer.
            let _ = connection.begin(Op::Acknowledge, Vec::new()).await;
        }
        crate::remove_tree(&self.bundle(&container.id));
    }
}

/// The exit record in a bundle directory.
pub(crate) fn read_exit(bundle: &std::path::Path) -> Option<ExitRecord> {
    let bytes = std::fs::read(bundle.join(tare_shim_protocol::EXIT_NAME)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The end of a container whose shim was killed.
pub(crate) fn lost() -> ExitRecord {
    ExitRecord { code: LOST_CODE, oom_killed: false, finished_at: clock::now_ns(), error: "shim lost".to_owned() }
}
