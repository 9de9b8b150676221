//! What the storm is made of: chance, and clients that ask for things all the time.

pub mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tare_testkit::{PAUSE, api};

/// Chance that can be repeated (xorshift64*, Marsaglia 2003 and Vigna 2016).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// What all clients know.
#[derive(Debug)]
pub struct Shared {
    socket: PathBuf,
    daemons: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, daemons: AtomicU64::new(0), over: AtomicBool::new(false) }
    }

    /// There is a new daemon.
    pub fn next_daemon(&self) {
        self.daemons.fetch_add(1, Ordering::SeqCst);
    }

    pub fn daemons(&self) -> u64 {
        self.daemons.load(Ordering::SeqCst)
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Asks the daemon; nothing when it does not live to answer.
    pub fn ask(&self, line: &str, body: &str) -> Option<(u16, Value)> {
        let Ok((status, body)) = api::send(&self.socket, line, body) else {
            std::thread::sleep(PAUSE);
            return None;
        };
        if body.is_empty() {
            return Some((status, Value::Null));
        }
        // A daemon that dies may leave half an answer; then it is none.
        serde_json::from_str(&body).ok().map(|value| (status, value))
    }
}
