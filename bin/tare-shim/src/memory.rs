//! Whether the kernel has killed processes of the container for want of memory.

use std::os::fd::OwnedFd;

use tare_cgroup::Cgroup;

use crate::poll::{Interest, Poller, Token, Watch};

/// Watches a group's memory events. Only a group with a limit is watched while it runs; for the others the count at the
/// end says it.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch {
    wanted: bool,
    notifier: Option<OwnedFd>,
    watch: Watch,
    /// How often the group has run out of memory, as far as that has been told.
    told: u64,
}

impl MemoryWatch {
    /// `limited`: the group has a memory limit.
    pub(crate) fn new(limited: bool) -> Self {
        Self { wanted: limited, ..Self::default() }
    }

    /// Starts watching, once the container runs: it is not worth delaying the start for.
    pub(crate) fn begin(&mut self, group: &Cgroup, poller: &Poller) {
        if !std::mem::take(&mut self.wanted) {
            return;
        }
        let Ok(notifier) = group.oom_notifier() else { return };
        if poller.set(&notifier, Token::Memory, &mut self.watch, Some(Interest::READ)).is_ok() {
            self.notifier = Some(notifier);
        }
    }

    /// The notifier is readable: whether the group has run out of memory again.
    pub(crate) fn ready(&mut self, group: &Cgroup) -> bool {
        self.notifier.as_ref().is_some_and(|notifier| group.ran_out_of_memory(notifier, &mut self.told))
    }

    /// Whether there was a kill at any time.
    pub(crate) fn has_killed(&self, group: &Cgroup) -> bool {
        group.oom_kills().is_ok_and(|kills| kills > 0)
    }

    /// Whether there was a kill that has not been told of.
    pub(crate) fn has_more_kills(&self, group: &Cgroup) -> bool {
        group.oom_kills().is_ok_and(|kills| kills > self.told)
    }

    /// No more events: the group is about to be removed, which is one.
    pub(crate) fn end(&mut self, poller: &Poller) {
        if let Some(notifier) = self.notifier.take() {
            let _ = poller.set(&notifier, Token::Memory, &mut self.watch, None);
        }
    }
}
