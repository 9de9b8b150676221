//! Raw mode: every key goes to the container as it is typed. Undone when the guard is dropped, when the program panics
//! (which aborts it, so a hook does it) and when a signal ends it.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The mode to go back to, while the terminal is raw.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
/// The panic hook is set once.
static HOOK: Once = Once::new();
/// With this variable the terminal is left alone.
const NO_RAW: &str = "NORAW";

/// The terminal on standard input in raw mode; dropping it goes back.
#[derive(Debug)]
#[must_use]
pub struct Raw(());

impl Raw {
    /// Switches the terminal.
    pub fn enter() -> io::Result<Raw> {
        if std::env::var_os(NO_RAW).is_some_and(|v| !v.is_empty()) {
            return Ok(Raw(()));
        }
        let saved = tcgetattr(stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                next(panic);
            }));
        });
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        let guard = Raw(());
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(guard)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Goes back to the mode before [`Raw::enter`], if that is not done yet.
pub fn restore() {
    if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &saved);
    }
}
