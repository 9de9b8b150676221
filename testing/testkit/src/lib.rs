//! What end-to-end tests stand on: an engine of their own, a person at a console who types into it, and proof that
//! nothing stays behind.
//!
//! In reading order: [`Console`] (what a test holds), [`Engine`] (a daemon on directories of its own), [`Disk`] (small ones
//! for it), [`Terminal`]
//! (for what only a terminal can do), [`leftovers`] (mounts, interfaces, tables, cgroups and processes of an engine),
//! [`install`] (where programs and images come from), [`native`] (programs in C), [`words`] (a typed line becomes arguments).
//!
//! Everything here is for tests: what goes wrong panics, and says what was typed and what was seen.
#![forbid(unsafe_code)]

pub mod api;
pub mod console;
pub mod disk;
pub mod engine;
pub mod http;
pub mod install;
pub mod leftovers;
pub mod native;
pub mod output;
pub mod terminal;
pub mod words;

use std::time::Duration;

pub use console::{Client, Console};
pub use disk::Disk;
pub use engine::{Engine, ServiceManager};
pub use output::Output;
pub use terminal::Terminal;

/// How long anything in a test may take before it counts as hanging: what is awaited takes milliseconds, this is for
/// a machine that is busy with other tests and for pulling an image meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks at something that changes by itself.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Makes two tests of each function that takes a [`Console`]: one types `tare`, one types the unmodified `docker`.
#[macro_export]
macro_rules! with_both_clients {
    ($($name:ident),+ $(,)?) => {
        mod tare {
            $(#[test] fn $name() { super::$name(&$crate::Console::new($crate::Client::Tare)); })+
        }
        mod docker {
            $(#[test] fn $name() { super::$name(&$crate::Console::new($crate::Client::Docker)); })+
        }
    };
}

/// Looks again and again until there is something to see; panics with `what` when there is not.
///
/// # Panics
/// When [`PATIENCE`] is over.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut seen = None;
    within_patience(|| {
        seen = look();
        seen.is_some()
    });
    seen.unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}"))
}

/// Whether something becomes true before [`PATIENCE`] is over.
pub fn within_patience(mut is_true: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    loop {
        if is_true() {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
