//! Other firewalls on the machine, which may drop what containers send and get.

use super::Networks;

impl Networks {
    /// Puts this engine's rules into their chains where they are missing, if it may. Blocking.
    pub(crate) fn renew_passages(&self) {
        if let Err(error) = self.mechanism.renew_passages() {
            tracing::warn!("letting containers' traffic through other firewalls: {error}");
        }
    }

    /// What users should know about them, a sentence for each chain that is in the way.
    pub(crate) fn firewall_warnings(&self) -> impl Iterator<Item = String> {
        let conflicts = self.mechanism.forward_conflicts().unwrap_or_else(|error| {
            tracing::warn!("looking for other firewalls: {error}");
            Vec::new()
        });
        let warning = |chain| format!("containers' traffic may be dropped by another firewall: {chain}");
        conflicts.into_iter().map(warning)
    }
}
