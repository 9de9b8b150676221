//! What rustix lacks for networking: a new network namespace for one thread, two socket options.

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Moves the calling thread, and no other, into a new network namespace. Errors: `unshare(2)`.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare with CLONE_NEWNET takes no pointers and changes nothing that the memory model or std rely on
    // (unlike CLONE_FILES or CLONE_FS, which could break descriptors or paths used by other threads).
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes a netlink socket report errors with a message (`NETLINK_EXT_ACK`) and without a copy of the request
/// (`NETLINK_CAP_ACK`), see `netlink(7)`.
pub fn set_netlink_error_detail(socket: impl AsFd) -> io::Result<()> {
    let on: c_int = 1;
    set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &on)?;
    set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, &on)
}

/// Makes a socket receive nothing at all: a classic BPF filter that returns 0 for every packet (`SO_ATTACH_FILTER`,
/// `socket(7)`). For sockets that only hold a port.
pub fn drop_everything_received(socket: impl AsFd) -> io::Result<()> {
    let mut program = [libc::sock_filter { code: RETURN_CONSTANT, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    // The kernel copies the program during the call; `program` outlives it.
    set_option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// `BPF_RET | BPF_K` of `linux/filter.h`.
const RETURN_CONSTANT: u16 = 0x06;

fn set_option<T>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `value` is a live `T` of `length` bytes, one of the plain C types that the three callers above pass with
    // the option that takes it; the kernel only reads it (and the one-instruction program behind `sock_fprog`) during
    // the call. The descriptor is borrowed, hence open.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_that_drops_everything_receives_nothing() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 16];
        sender.send_to(b"before", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), 6);
        drop_everything_received(&socket).unwrap();
        sender.send_to(b"after", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_thread_gets_a_network_of_its_own() {
        let link = |path: &str| std::fs::read_link(path).unwrap();
        let before = link("/proc/thread-self/ns/net");
        let inside = std::thread::spawn(move || {
            unshare_network().unwrap();
            link("/proc/thread-self/ns/net")
        });
        assert_ne!(inside.join().unwrap(), before);
        assert_eq!(link("/proc/thread-self/ns/net"), before);
    }

    #[test]
    fn options_of_netlink_are_refused_elsewhere() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(set_netlink_error_detail(&socket).is_err());
    }
}
