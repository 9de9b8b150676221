//! Handing a filter's notification descriptor to the agent that answers (OCI runtime specification, "Container process
//! state"): one message over its stream socket, with the descriptor.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tare_oci_runtime::{ContainerProcessState, SECCOMP_FD_NAME, State};

use crate::error::{Error, Result, text};
use crate::plan::process::Agent;

/// Sends the descriptor of process `pid` to the agent.
pub(crate) fn hand_over(agent: Option<&Agent>, listener: BorrowedFd<'_>, pid: i32, state: State) -> Result<()> {
    let agent = agent.ok_or_else(|| Error::invalid("seccomp: a listener without an agent"))?;
    let fail = |what: &str, errno| Error::invalid(format!("{what} seccomp agent `{}`: {}", agent.path, text(errno)));
    let address = match agent.path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(agent.path.as_str()),
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::os("socket", "unix", errno))?;
    address
        .and_then(|address| rustix::io::retry_on_intr(|| connect(&socket, &address)))
        .map_err(|errno| fail("failed to connect with", errno))?;
    let message = ContainerProcessState {
        oci_version: state.oci_version.clone(),
        fds: vec![SECCOMP_FD_NAME.to_owned()],
        pid,
        metadata: agent.metadata.clone(),
        state,
    };
    let json = serde_json::to_vec(&message).map_err(|error| Error::invalid(error.to_string()))?;
    tare_sys::socket::send_with_fds(socket.as_fd(), &json, &[listener])
        .map_err(|errno| fail("failed to send the listener to", errno))
}
