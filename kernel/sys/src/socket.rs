//! Passing descriptors over Unix sockets (`unix(7)`, `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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

/// Memory (bytes, the kernel's own included) of what the peer of a Unix socket has not read yet; 0 when it has read all.
/// Errors: `ioctl(2)`, with `SIOCOUTQ`.
pub fn unread_by_peer(socket: impl AsFd) -> Result<u32, Errno> {
    let mut unread: libc::c_int = 0;
    // SAFETY: this request writes one int, for which the pointer is valid.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, std::ptr::from_mut(&mut unread)) };
    crate::check(result.into())?;
    Ok(u32::try_from(unread).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_peer_has_read_or_not() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(unread_by_peer(&ours), Ok(0));
        rustix::io::write(&ours, b"head").unwrap();
        assert_ne!(unread_by_peer(&ours).unwrap(), 0);
        rustix::io::read(&theirs, &mut [0; 16]).unwrap();
        assert_eq!(unread_by_peer(&ours), Ok(0));
    }

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
