//! The epoll instance, and what each registered descriptor is called in it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Events taken per wait.
const EVENTS_MAX: usize = 16;

/// Who a descriptor belongs to. Keys are given out once and never again, so that an event for something that an earlier
/// event of the same batch has closed finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A child has ended.
    Children,
    /// The container's memory events.
    Memory,
    /// `shim.sock`.
    Listener,
    /// A daemon.
    Control(u64),
    /// A process's standard output or terminal.
    Stdout(u64),
    /// A process's standard error.
    Stderr(u64),
    /// A process's standard input.
    Stdin(u64),
    /// An attached client.
    Client(u64),
    /// A published TCP port that is relayed.
    TcpPort(u64),
    /// A relayed TCP connection: the side of the client.
    TcpClient(u64),
    /// A relayed TCP connection: the side of the container.
    TcpTarget(u64),
    /// A published UDP port that is relayed.
    UdpPort(u64),
    /// The socket towards the container for one UDP client.
    UdpTarget(u64),
    /// The name server's socket for datagrams.
    NameQuery,
    /// The name server's listening socket.
    NameListener,
    /// A connection to the name server.
    NameClient(u64),
    /// A query that the name server has forwarded.
    NameForward(u64),
}

/// Bits below the kind.
const KEY_BITS: u32 = 56;

impl Token {
    fn pack(self) -> u64 {
        let (kind, key) = match self {
            Token::Children => (0, 0),
            Token::Memory => (1, 0),
            Token::Listener => (2, 0),
            Token::Control(key) => (3, key),
            Token::Stdout(key) => (4, key),
            Token::Stderr(key) => (5, key),
            Token::Stdin(key) => (6, key),
            Token::Client(key) => (7, key),
            Token::TcpPort(key) => (8, key),
            Token::TcpClient(key) => (9, key),
            Token::TcpTarget(key) => (10, key),
            Token::UdpPort(key) => (11, key),
            Token::UdpTarget(key) => (12, key),
            Token::NameQuery => (13, 0),
            Token::NameListener => (14, 0),
            Token::NameClient(key) => (15, key),
            Token::NameForward(key) => (16, key),
        };
        kind << KEY_BITS | key
    }

    fn unpack(data: u64) -> Option<Self> {
        let key = data & ((1 << KEY_BITS) - 1);
        Some(match data >> KEY_BITS {
            0 => Token::Children,
            1 => Token::Memory,
            2 => Token::Listener,
            3 => Token::Control(key),
            4 => Token::Stdout(key),
            5 => Token::Stderr(key),
            6 => Token::Stdin(key),
            7 => Token::Client(key),
            8 => Token::TcpPort(key),
            9 => Token::TcpClient(key),
            10 => Token::TcpTarget(key),
            11 => Token::UdpPort(key),
            12 => Token::UdpTarget(key),
            13 => Token::NameQuery,
            14 => Token::NameListener,
            15 => Token::NameClient(key),
            16 => Token::NameForward(key),
            _ => return None,
        })
    }
}

/// What to be told of. Errors and hang-ups always come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub read: bool,
    pub write: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, write: false };
    pub(crate) const HANG_UP: Self = Self { read: false, write: false };

    /// Reading, writing, or nothing at all (not even errors).
    pub(crate) fn of(read: bool, write: bool) -> Option<Self> {
        (read || write).then_some(Self { read, write })
    }

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// What has happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub token: Token,
    pub read: bool,
    pub write: bool,
    /// An error, or nobody at the other end any more.
    pub hang_up: bool,
}

/// The epoll instance.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    last_key: u64,
}

/// A descriptor's registration; each needs its own.
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<Interest>);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, last_key: 0 })
    }

    /// A new key for a token.
    pub(crate) fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Registers, changes or removes; no system call when nothing changes. A descriptor that is closed (and was never
    /// duplicated) leaves by itself.
    pub(crate) fn set(
        &self,
        fd: impl AsFd,
        token: Token,
        watch: &mut Watch,
        interest: Option<Interest>,
    ) -> io::Result<()> {
        if watch.0 == interest {
            return Ok(());
        }
        let data = EventData::new_u64(token.pack());
        match (watch.0, interest) {
            (None, Some(new)) => epoll::add(&self.epoll, fd, data, new.flags())?,
            (Some(_), Some(new)) => epoll::modify(&self.epoll, fd, data, new.flags())?,
            (Some(_), None) => epoll::delete(&self.epoll, fd)?,
            (None, None) => {}
        }
        watch.0 = interest;
        Ok(())
    }

    /// Waits; `None` waits without end. Interrupted by a signal, it returns nothing.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(EVENTS_MAX);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = |event: &epoll::Event| {
            let flags = event.flags;
            Some(Ready {
                token: Token::unpack(event.data.u64())?,
                read: flags.contains(EventFlags::IN),
                write: flags.contains(EventFlags::OUT),
                hang_up: flags.intersects(EventFlags::HUP | EventFlags::ERR),
            })
        };
        Ok(events.iter().filter_map(ready).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_their_kind_and_key() {
        for kind in 0..=17_u64 {
            let token = Token::unpack(kind << KEY_BITS | 77);
            assert_eq!(token.is_none(), kind == 17);
            if let Some(token) = token.filter(|_| ![0, 1, 2, 13, 14].contains(&kind)) {
                assert_eq!(token.pack(), kind << KEY_BITS | 77);
            }
        }
    }

    #[test]
    fn a_descriptor_can_come_go_and_come_back() {
        let poller = Poller::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut watch = Watch::default();
        poller.set(&reader, Token::Stdout(1), &mut watch, Some(Interest::READ)).unwrap();
        drop(writer);
        let ready = poller.wait(None).unwrap();
        assert!(ready.iter().all(|ready| ready.token == Token::Stdout(1) && ready.hang_up));
        poller.set(&reader, Token::Stdout(1), &mut watch, None).unwrap();
        assert!(poller.wait(Some(Duration::ZERO)).unwrap().is_empty());
        poller.set(&reader, Token::Stdout(2), &mut watch, Some(Interest::HANG_UP)).unwrap();
        assert_eq!(poller.wait(None).unwrap().first().map(|ready| ready.token), Some(Token::Stdout(2)));
    }
}
