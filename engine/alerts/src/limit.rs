//! How many messages about one container an alert sends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tare_docker_api::alert::Rate;

/// What an alert remembers of containers, by ID.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Limits(BTreeMap<String, Window>);

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Window {
    /// When messages were queued, nanoseconds since the epoch, oldest first.
    times: Vec<i64>,
    /// Held back since the last one.
    suppressed: u64,
}

impl Limits {
    /// Whether a message may go at `now`: how many were held back before it, or `None`.
    pub(crate) fn take(&mut self, container: &str, rate: Rate, now: i64) -> Option<u64> {
        let window = self.0.entry(container.to_owned()).or_default();
        window.times.retain(|time| now.saturating_sub(*time) < rate.period);
        if rate.count > 0 && window.times.len() >= rate.count {
            window.suppressed += 1;
            return None;
        }
        if rate.count > 0 {
            window.times.push(now);
        }
        Some(std::mem::take(&mut window.suppressed))
    }

    /// Counts a message that had to be held back for another reason.
    pub(crate) fn hold(&mut self, container: &str, more: u64) {
        self.0.entry(container.to_owned()).or_default().suppressed += more;
    }

    /// Forgets containers that are gone.
    pub(crate) fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| exists(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides_per_container_and_counts_what_it_holds_back() {
        let mut limits = Limits::default();
        let rate = Rate { count: 2, period: 10 };
        assert_eq!(limits.take("a", rate, 0), Some(0));
        assert_eq!(limits.take("a", rate, 5), Some(0));
        assert_eq!(limits.take("a", rate, 6), None);
        assert_eq!(limits.take("a", rate, 9), None);
        assert_eq!(limits.take("b", rate, 9), Some(0));
        assert_eq!(limits.take("a", rate, 10), Some(2));
        assert_eq!(limits.take("a", rate, 11), None);
        assert_eq!(limits.take("a", rate, 15), Some(1));
        limits.keep(|id| id == "b");
        assert_eq!(limits.take("a", rate, 15), Some(0));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut limits = Limits::default();
        assert!((0..100).all(|n| limits.take("a", Rate::default(), n) == Some(0)));
        limits.hold("a", 3);
        assert_eq!(limits.take("a", Rate::default(), 5), Some(3));
    }
}
