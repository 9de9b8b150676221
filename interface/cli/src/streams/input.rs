//! Standard input, read by a thread of its own: a terminal or a pipe can only be waited for there, and a file needs not to.

use std::io::{self, IsTerminal, Read};
use std::sync::Arc;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

/// Bytes read at once; a pipe holds twice as much.
const CHUNK: usize = 32 << 10;
/// Chunks read ahead of the connection.
const AHEAD: usize = 2;

/// Opens the stream when it is needed.
type Open = Arc<dyn Fn() -> Box<dyn Read + Send> + Send + Sync>;

/// An input stream.
#[derive(Clone)]
pub struct Input {
    open: Open,
    terminal: bool,
}

impl Input {
    /// The process' standard input.
    pub fn stdin() -> Input {
        Input { open: Arc::new(|| Box::new(RawStdin)), terminal: io::stdin().is_terminal() }
    }

    /// What `open` gives, not a terminal.
    pub fn from(open: impl Fn() -> Box<dyn Read + Send> + Send + Sync + 'static) -> Input {
        Input { open: Arc::new(open), terminal: false }
    }

    /// Whether somebody types it.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A reader for one use.
    pub fn reader(&self) -> Box<dyn Read + Send> {
        (self.open)()
    }

    /// What is read, in chunks; the channel closes at the end. The thread ends when nobody wants more, at the latest
    /// with the process: a read that never returns holds nothing up.
    pub fn chunks(&self) -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let mut reader = self.reader();
        let read = move || {
            let mut buffer = vec![0; CHUNK];
            loop {
                let chunk = match reader.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => Err(e),
                };
                let failed = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("stdin".into()).spawn(read)?;
        Ok(receiver)
    }
}

/// Standard input without the standard library's buffer and lock, which a blocked thread would keep.
struct RawStdin;

impl Read for RawStdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = rustix::stdio::stdin();
        loop {
            match rustix::io::read(fd, &mut *buffer) {
                // Whoever gave us the stream made it non-blocking for everybody.
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
                }
                read => return Ok(read?),
            }
        }
    }
}
