//! Names of error numbers (`ENOENT`), for messages that say step, object and errno.

use std::io;

/// What an error says in the words of Go, for the sentences that Docker's users know: the C library's text without a
/// capital letter at its start, and without the number.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// What an error says. A full disk is a matter of the user's, who is told in the words that every other tool has for it.
pub fn reason(error: &io::Error) -> String {
    if is_no_space(error) { words(error) } else { error.to_string() }
}

/// Whether there was no room on the disk, or no more of it for us.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// `ENOSPC` in words.
pub const NO_SPACE: &str = "no space left on device";

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
    use super::{NO_SPACE, is_no_space, name, reason, words};

    #[test]
    fn known_and_unknown() {
        assert_eq!(name(2), "ENOENT");
        assert_eq!(name(0), "E?");
        assert_eq!(name(-1), "E?");
    }

    #[test]
    fn a_full_disk_in_words() {
        let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!((reason(&full).as_str(), words(&full).as_str()), (NO_SPACE, NO_SPACE));
        let quota = std::io::Error::from_raw_os_error(libc::EDQUOT);
        assert_eq!(reason(&quota), "disk quota exceeded");
        assert!(is_no_space(&full));
        assert!(!is_no_space(&std::io::Error::from_raw_os_error(libc::ENOENT)));
    }
}
