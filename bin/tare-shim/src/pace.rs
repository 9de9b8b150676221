//! How often a pipe is read.
//!
//! Whoever prints a lot wakes us with each write, and is held up each time. So once output has come in quick succession
//! for a while, its pipe gets more room, and each time we have emptied it, it is left alone for a moment. The order of
//! the two outputs is known only by looking often: while both are in use, neither is left alone.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Bytes of a pipe that has much to carry: the most that one may have without privileges.
const WIDE_BYTES: usize = 1024 * 1024;
/// Bytes of any other: the kernel's default.
const USUAL_BYTES: usize = 64 * 1024;
/// Reads in quick succession after which a pipe is given more room and left alone.
const BURST_READS: u32 = 16;
/// Reads are in quick succession when no more time passes between them.
const QUICK: Duration = Duration::from_millis(5);
/// How long a pipe is left alone: at 1 GB/s it fills in that time.
const REST: Duration = Duration::from_millis(1);
/// How long an output counts as in use after a read.
const LIVELY: Duration = Duration::from_millis(100);

/// One output's.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    room: Room,
    /// Reads in quick succession.
    burst: u32,
    /// The last read, or the end of the rest that followed it.
    last: Option<Instant>,
    rests_until: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Room {
    #[default]
    Usual,
    Wide,
    /// It cannot have more: a terminal, or the user has too many pipes.
    Narrow,
}

impl Pace {
    /// A read from `pipe`; `full`: there may be more in it. `mixed`: the other output is in use.
    pub(crate) fn has_read(&mut self, pipe: impl AsFd, full: bool, mixed: bool, now: Instant) {
        let quick = self.last.is_some_and(|last| now < last + QUICK);
        self.burst = if quick { self.burst.saturating_add(1) } else { 0 };
        if self.burst >= BURST_READS && self.room == Room::Usual {
            let widened = rustix::pipe::fcntl_setpipe_size(pipe, WIDE_BYTES);
            self.room = if widened.is_ok() { Room::Wide } else { Room::Narrow };
        }
        let rests = self.burst >= BURST_READS && self.room == Room::Wide && !full && !mixed;
        self.rests_until = rests.then(|| now + REST);
        self.last = Some(self.rests_until.unwrap_or(now));
    }

    /// When it is to be read again; `None`: whenever there is something.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Its rest may be over.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.rests_until = self.rests_until.filter(|end| *end > now);
    }

    /// Whether it has been read lately.
    pub(crate) fn is_lively(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < LIVELY)
    }

    /// Gives back the room, unless there is something in it: then it is needed.
    pub(crate) fn relax(&mut self, pipe: impl AsFd) {
        if self.room == Room::Wide && rustix::pipe::fcntl_setpipe_size(pipe, USUAL_BYTES).is_ok() {
            self.room = Room::Usual;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(pipe: impl AsFd) -> usize {
        rustix::pipe::fcntl_getpipe_size(pipe).unwrap()
    }

    /// A pace after so many reads, each `gap` after the last rest or read, and the time of the last.
    fn after(reads: u32, gap: Duration, mixed: bool, pipe: impl AsFd) -> (Pace, Instant) {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..reads {
            now = pace.rests_until().unwrap_or(now) + gap;
            pace.expire(now);
            assert_eq!(pace.rests_until(), None);
            pace.has_read(&pipe, false, mixed, now);
        }
        (pace, now)
    }

    #[test]
    fn a_burst_gets_room_and_rests() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        let (pace, _) = after(BURST_READS, QUICK / 2, false, &pipe);
        assert_eq!((pace.rests_until(), size(&pipe)), (None, USUAL_BYTES));
        let (mut pace, now) = after(BURST_READS + 5, QUICK / 2, false, &pipe);
        assert_eq!((pace.rests_until(), size(&pipe)), (Some(now + REST), WIDE_BYTES));
        // More waits: no rest.
        pace.has_read(&pipe, true, false, now + REST);
        assert_eq!(pace.rests_until(), None);
        pace.relax(&pipe);
        assert_eq!(size(&pipe), USUAL_BYTES);
    }

    #[test]
    fn now_and_then_is_no_burst() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        let (pace, _) = after(100, QUICK * 2, false, &pipe);
        assert_eq!((pace.rests_until(), size(&pipe)), (None, USUAL_BYTES));
    }

    #[test]
    fn two_outputs_in_use_do_not_rest() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        let (pace, _) = after(100, QUICK / 2, true, &pipe);
        assert_eq!((pace.rests_until(), size(&pipe)), (None, WIDE_BYTES));
    }

    #[test]
    fn what_cannot_be_wide_does_not_rest() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (pace, _) = after(100, QUICK / 2, false, &socket);
        assert_eq!(pace.rests_until(), None);
    }
}
