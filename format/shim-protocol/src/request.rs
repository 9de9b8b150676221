//! What the daemon asks of a shim.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One request packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the daemon, repeated in the reply.
    pub seq: u64,
    /// What each descriptor sent with this packet is for, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fds: Vec<FdRole>,
    /// The operation.
    pub op: Op,
}

/// The purpose of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FdRole {
    /// A detached mount (fsmount(2)) that becomes the container's root.
    Root,
    /// The container's network namespace.
    NetNs,
    /// A bound socket kept open while the container runs, so that a published port is taken.
    Held(HeldSocket),
    /// An attached client's stream socket: input and output both ways.
    Client,
    /// UDP socket of the embedded DNS server, made inside the container's network namespace.
    DnsUdp,
    /// Listening TCP socket of the embedded DNS server, made inside the container's network namespace.
    DnsTcp,
    /// A detached mount (open_tree(2)) for the specification's bind mount at a destination, in place of its source. Since
    /// version 2.
    Mount {
        /// The destination as the specification has it.
        destination: PathBuf,
    },
}

/// A published port's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSocket {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Where accepted connections (TCP) or datagrams (UDP) are relayed to; `None` only holds the port.
    #[serde(default)]
    pub relay: Option<SocketAddr>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Become the shim of a container and start it. Answered when its process has been executed, or has failed to.
    /// Descriptors: at most one `Root`, at most one `NetNs`, any number of `Held` and `Mount`, one `DnsUdp` and `DnsTcp`.
    Launch(Launch),
    /// Attach a client (descriptor `Client`) to the container's standard streams. Allowed before `Launch`: such
    /// clients see everything from the first byte.
    Attach(Attach),
    /// Let output flow to a client that was attached with `hold`.
    Release {
        /// [`Attach::id`].
        id: u64,
    },
    /// Close the container's standard input.
    CloseStdin,
    /// Set a terminal's size.
    Resize {
        /// The exec instance, or `None` for the container's own terminal.
        #[serde(default)]
        exec: Option<String>,
        /// Height in rows.
        rows: u16,
        /// Width in columns.
        cols: u16,
    },
    /// Send a signal to the container's init or an exec's process.
    Signal {
        /// The exec instance, or `None` for the container's init.
        #[serde(default)]
        exec: Option<String>,
        /// Signal number.
        signal: i32,
        /// Signal every process in the container's cgroup.
        #[serde(default)]
        all: bool,
    },
    /// Run a further process in the container. Descriptor: `Client` when someone is attached. Answered when executed.
    Exec(Exec),
    /// The daemon has committed the exit record: delete it, clean up, end.
    Acknowledge,
    /// Answered at once; tells a returning daemon that the shim lives.
    Ping,
    /// Serve names to a container that was launched without a name server, or from other sockets than until now.
    /// Descriptors: `DnsUdp`, `DnsTcp`, `NetNs`. Since version 2.
    ServeNames(ServeNames),
    /// Relay to another address what was relayed to this one until now; to the unspecified address: to nobody. Since
    /// version 2.
    Retarget {
        /// The container's address until now.
        from: IpAddr,
        /// Its address from now on.
        to: IpAddr,
    },
    /// Hold, and relay where they say so, ports that are published while the container runs. Descriptors: any number of
    /// `Held`. Since version 3.
    Publish,
}

/// [`Op::ServeNames`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeNames {
    /// As [`crate::ShimConfig::dns`].
    pub directory: PathBuf,
}

/// [`Op::Launch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Absolute path of the bundle directory, with `config.json` and `shim.json` written.
    pub bundle: PathBuf,
}

/// [`Op::Attach`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Chosen by the daemon, unique for this shim; names the client in events.
    pub id: u64,
    /// Read the client's bytes into the container's standard input.
    #[serde(default)]
    pub stdin: bool,
    /// Send the container's standard output.
    #[serde(default)]
    pub stdout: bool,
    /// Send the container's standard error.
    #[serde(default)]
    pub stderr: bool,
    /// Frame output with Docker's 8-byte headers.
    #[serde(default)]
    pub multiplexed: bool,
    /// Input bytes that end the attachment without ending the container; empty for none.
    #[serde(default)]
    pub detach_keys: Vec<u8>,
    /// Bytes the client already sent, to be taken before those on the descriptor.
    #[serde(default)]
    pub input: Vec<u8>,
    /// Queue output but send nothing until [`Op::Release`]; the reply tells where the log ends, so that the daemon can
    /// replay it without a gap or an overlap.
    #[serde(default)]
    pub hold: bool,
}

/// [`Op::Exec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The exec instance's ID.
    pub id: String,
    /// File in the bundle directory that holds the OCI `process` object; the shim deletes it.
    pub process_file: String,
    /// How the client is attached; `None` runs with `/dev/null`.
    #[serde(default)]
    pub attach: Option<Attach>,
    /// Initial terminal size (rows, columns), when the process has a terminal.
    #[serde(default)]
    pub size: Option<(u16, u16)>,
    /// File in the bundle directory that gets the [`crate::ExecRecord`] when the process has ended, before that is told;
    /// empty for none. The daemon deletes it.
    #[serde(default)]
    pub exit_file: String,
}
