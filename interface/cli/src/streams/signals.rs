//! Signals that the client receives: sent on to the container, or what ends the client in good order.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::process::Signal;
use tare_docker_client::{Client, Query};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::terminal;

/// What is sent on: all that a process can catch, except those about the client itself (CHLD, PIPE, URG) and faults.
/// The window's size travels on its own way, see [`super::resize`].
const FORWARDED: &[(Signal, &str)] = &[
    (Signal::INT, "INT"),
    (Signal::TERM, "TERM"),
    (Signal::HUP, "HUP"),
    (Signal::QUIT, "QUIT"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
    (Signal::ALARM, "ALRM"),
    (Signal::CONT, "CONT"),
    (Signal::TSTP, "TSTP"),
    (Signal::TTIN, "TTIN"),
    (Signal::TTOU, "TTOU"),
    (Signal::ABORT, "ABRT"),
    (Signal::IO, "IO"),
    (Signal::POWER, "PWR"),
    (Signal::PROF, "PROF"),
    (Signal::SYS, "SYS"),
    (Signal::TRAP, "TRAP"),
    (Signal::VTALARM, "VTALRM"),
    (Signal::XCPU, "XCPU"),
    (Signal::XFSZ, "XFSZ"),
];

/// Those that end a client that does not send them on.
const ENDING: &[(Signal, &str)] =
    &[(Signal::INT, "INT"), (Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::QUIT, "QUIT")];

/// Signals caught from now on.
pub struct Caught {
    streams: Vec<(Signal, &'static str, Stream)>,
}

impl Caught {
    /// Everything that is to be sent on.
    pub fn forwarded() -> Caught {
        Caught::of(FORWARDED)
    }

    /// What would end the client.
    pub fn ending() -> Caught {
        Caught::of(ENDING)
    }

    fn of(signals: &[(Signal, &'static str)]) -> Caught {
        let catch = |(kind, name): &(Signal, &'static str)| {
            let stream = signal(SignalKind::from_raw(kind.as_raw())).ok()?;
            Some((*kind, *name, stream))
        };
        Caught { streams: signals.iter().filter_map(catch).collect() }
    }

    /// The next signal: its number and its name without `SIG`.
    pub async fn next(&mut self) -> (i32, &'static str) {
        Next(&mut self.streams).await
    }

    /// Sends on what comes, in order, for ever. A container that has ended takes no signals: failures are nobody's business.
    pub async fn forward(mut self, client: &Client, container: &str) {
        let path = format!("/containers/{container}/kill");
        loop {
            let (_, name) = self.next().await;
            let _ = client.post(&path, Query::new().add("signal", name)).await;
        }
    }

    /// Waits for one that ends the client; gives the exit status, with the terminal as it was.
    pub async fn end(mut self) -> i32 {
        let (number, _) = self.next().await;
        terminal::restore();
        128 + number
    }
}

struct Next<'a>(&'a mut Vec<(Signal, &'static str, Stream)>);

impl Future for Next<'_> {
    type Output = (i32, &'static str);
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        for (kind, name, stream) in self.get_mut().0.iter_mut() {
            if stream.poll_recv(cx).is_ready() {
                return Poll::Ready((kind.as_raw(), name));
            }
        }
        Poll::Pending
    }
}
