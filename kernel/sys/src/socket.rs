//! Passing descriptors over Unix sockets (`unix(7)`, `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Most descriptors in one message (`SCM_MAX_FD`).
pub const FDS_MAX: usize = 253;

const SPACE: usize = rustix::cmsg_space!(ScmRights(FDS_MAX));

/// Sends one packet with descriptors. Allocates nothing, raises no SIGPIPE. Errors: `sendmsg(2)`; `EMSGSIZE` for a
/// packet that went only in part (a stream socket), `EINVAL` for too many descriptors.
pub fn send_with_fds(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    let slices = [IoSlice::new(packet)];
    let sent = rustix::io::retry_on_intr(|| sendmsg(&socket, &slices, &mut control, SendFlags::NOSIGNAL))?;
    if sent == packet.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}

/// Receives one packet and the descriptors with it, close-on-exec. A length of 0 is the end. Errors: `recvmsg(2)`;
/// `EMSGSIZE` for a packet larger than the buffer or more descriptors than [`FDS_MAX`]; what came is dropped then.
pub fn recv_with_fds(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((received.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn descriptors_travel_close_on_exec() {
        let (here, there) = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send_with_fds(&here, b"hello", &[writer.as_fd(), here.as_fd()]).unwrap();
        drop((writer, here));
        let mut buffer = [0; 16];
        let (length, fds) = recv_with_fds(&there, &mut buffer).unwrap();
        assert_eq!((buffer.get(..length), fds.len()), (Some(b"hello".as_slice()), 2));
        let flags = rustix::io::fcntl_getfd(fds.first().unwrap()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        rustix::io::write(fds.first().unwrap(), b"x").unwrap();
        drop(fds);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        assert_eq!(output, "x");
        assert_eq!(recv_with_fds(&there, &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn a_packet_that_does_not_fit_is_an_error() {
        let (here, there) = pair();
        send_with_fds(&here, b"too long", &[here.as_fd()]).unwrap();
        assert_eq!(recv_with_fds(&there, &mut [0; 4]).unwrap_err(), Errno::MSGSIZE);
        drop(there);
        assert_eq!(send_with_fds(&here, b"x", &[]).unwrap_err(), Errno::PIPE);
    }

    #[test]
    fn as_many_as_the_kernel_takes() {
        let (here, there) = pair();
        let all = [here.as_fd(); FDS_MAX];
        send_with_fds(&here, b"x", &all).unwrap();
        assert_eq!(recv_with_fds(&there, &mut [0; 4]).unwrap().1.len(), FDS_MAX);
        assert_eq!(send_with_fds(&here, b"x", &[here.as_fd(); FDS_MAX + 1]).unwrap_err(), Errno::INVAL);
    }
}
