//! The protocol between the daemon and a container's shim: values only, no sockets.
//!
//! Transport: `SOCK_SEQPACKET` on a Unix socket, one JSON value per packet, at most [`PACKET_BYTES_MAX`] bytes; file
//! descriptors travel as `SCM_RIGHTS` with the packet that names them, in the order of its `fds` list. A daemon talks
//! to a shim first over the socketpair the shim was spawned with, and after a daemon restart over the listening socket
//! `shim.sock` in the container's bundle directory. Requests carry a sequence number; each gets exactly one
//! [`Message::Reply`]. Events are not answered, except that [`Event::Exit`] is acknowledged by [`Op::Acknowledge`].
//!
//! The protocol is append-only: fields and variants are added with defaults, never changed or removed, so that a new
//! daemon can talk to the shims an old one left behind. [`VERSION`] counts additions.
//!
//! Read in this order: [`bundle`] (what lies in the bundle directory), [`request`], [`event`].
#![forbid(unsafe_code)]

pub mod bundle;
pub mod event;
pub mod request;

pub use bundle::{ExecRecord, ExitRecord, LogConfig, ShimConfig, ShimState};
pub use event::{Event, Failure, FailureKind, Message, Outcome, Reply};
pub use request::{Attach, Exec, FdRole, HeldSocket, Launch, Op, Protocol, Request, ServeNames};

/// Version this crate speaks. A shim reports its own in [`ShimState::version`]; it hangs up on operations it does not know.
pub const VERSION: u32 = 3;
/// The first version with [`Op::ServeNames`] and [`Op::Retarget`].
pub const VERSION_NETWORKS: u32 = 2;
/// The first version with [`Op::Publish`].
pub const VERSION_PUBLISH: u32 = 3;

/// Largest packet in bytes, either way. Larger data (the runtime specification, an exec's process) goes through files in
/// the bundle directory. Below the smallest default socket buffer (212,992 bytes) with room for the kernel's overhead.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;

/// Most file descriptors in one packet (the kernel's own limit is 253, `SCM_MAX_FD`).
pub const PACKET_FDS_MAX: usize = 250;

/// Name of the shim's listening socket inside the bundle directory.
pub const SOCKET_NAME: &str = "shim.sock";
/// Name of the OCI runtime specification inside the bundle directory.
pub const SPEC_NAME: &str = "config.json";
/// Name of the [`ShimConfig`] inside the bundle directory.
pub const CONFIG_NAME: &str = "shim.json";
/// Name of the [`ShimState`] inside the bundle directory; exists from the container's start on.
pub const STATE_NAME: &str = "state.json";
/// Name of the [`ExitRecord`] inside the bundle directory; written by rename before the exit is announced.
pub const EXIT_NAME: &str = "exit.json";

/// A packet that could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The JSON does not describe a value of the protocol.
    #[error("malformed shim packet: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The encoded value is larger than [`PACKET_BYTES_MAX`].
    #[error("shim packet of {0} bytes is over the limit of {PACKET_BYTES_MAX} bytes")]
    TooLarge(usize),
}

/// Encodes one packet.
pub fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, PacketError> {
    let bytes = serde_json::to_vec(value)?;
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(PacketError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// Decodes one packet.
pub fn decode<'a, T: serde::Deserialize<'a>>(packet: &'a [u8]) -> Result<T, PacketError> {
    if packet.len() > PACKET_BYTES_MAX {
        return Err(PacketError::TooLarge(packet.len()));
    }
    Ok(serde_json::from_slice(packet)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn request_round_trip() {
        let request = Request {
            seq: 7,
            fds: vec![FdRole::Client],
            op: Op::Attach(Attach { id: 3, stdin: true, stdout: true, stderr: true, ..Attach::default() }),
        };
        let packet = encode(&request).unwrap();
        assert_eq!(decode::<Request>(&packet).unwrap(), request);
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let reply: Message = decode(br#"{"reply":{"seq":1,"outcome":{"ok":{"pid":5,"later":true}}}}"#).unwrap();
        assert_eq!(
            reply,
            Message::Reply(Reply {
                seq: 1,
                outcome: Outcome::Ok { pid: 5, start_time: 0, log_end: 0, log_file: 0, started_at: 0 }
            })
        );
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Message>(&bytes);
        }
    }
}
