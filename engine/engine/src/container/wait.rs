//! Waiting for a container.

use tare_docker_api::container::WaitResponse;

use crate::Engine;
use crate::error::Result;
use crate::options::WaitCondition;

impl Engine {
    /// Registers a wait; the future ends when the condition holds. It sees every exit after this call.
    pub fn wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = WaitResponse> + Send + use<>> {
        let container = self.find(name)?;
        let mut progress = container.watch();
        let (exits, running) = {
            let now = progress.borrow();
            (now.exits, now.running)
        };
        let last_code = container.read().state.exit_code;
        Ok(async move {
            let reached = progress
                .wait_for(|now| match condition {
                    WaitCondition::NotRunning => !running || now.exits > exits || !now.running,
                    WaitCondition::NextExit => now.exits > exits || now.removed,
                    WaitCondition::Removed => now.removed,
                })
                .await;
            // The container is held to the end, so the sender is there.
            let code = match &reached {
                Ok(now) if now.exits > exits => now.exit_code,
                _ => last_code,
            };
            drop(reached);
            drop(container);
            WaitResponse { error: None, status_code: i64::from(code) }
        })
    }
}
