//! Names of error numbers (`ENOENT`), for messages that say step, object and errno.

/// The name of an error number, `E?` for one that is not in the table.
pub fn name(errno: i32) -> &'static str {
    NAMES.iter().find(|(number, _)| *number == errno).map_or("E?", |(_, name)| name)
}

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

/// Those that a container engine meets, from `errno(3)`.
const NAMES: &[(i32, &str)] = names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV
    ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK
    ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA EPROTO EBADMSG EOVERFLOW EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE
    EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY
    EINPROGRESS ESTALE EDQUOT ECANCELED EKEYREJECTED ENOKEY ELIBBAD ENOMEDIUM
};

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn known_and_unknown() {
        assert_eq!(name(2), "ENOENT");
        assert_eq!(name(0), "E?");
        assert_eq!(name(-1), "E?");
    }
}
