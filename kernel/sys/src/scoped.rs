//! Lookups that stay below a directory whatever links and `..` they meet (openat2(2)).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// How often a lookup is repeated. The kernel gives up one that meets `..` while anything on the machine is renamed or
/// mounted, since it could have left the directory meanwhile (`EAGAIN`); what is refused that often is an attack.
const ATTEMPTS: u32 = 256;

/// Opens `path` below `directory`, close-on-exec, following what `resolve` allows (`IN_ROOT` or `BENEATH` make a
/// scope of it, `NO_SYMLINKS` a plain path); never magic links. Does not allocate for a `&CStr`: it may be called between `clone3` and `execve`.
/// Errors: `openat2(2)`; `EAGAIN` only when the kernel refused every attempt.
pub fn open(directory: impl AsFd, path: impl Arg, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let directory = directory.as_fd();
    path.into_with_c_str(|path| {
        for _ in 0..ATTEMPTS {
            match openat2(
                directory,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve | ResolveFlags::NO_MAGICLINKS,
            ) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;

    use super::open;

    /// Renames that have nothing to do with a lookup do not make it fail.
    #[test]
    fn renames_elsewhere_do_no_harm() {
        let place = std::env::temp_dir().join(format!("tare-scoped-{}", std::process::id()));
        fs::create_dir_all(place.join("root/a/b")).unwrap();
        fs::write(place.join("0"), "").unwrap();
        let root = rustix::fs::openat(CWD, place.join("root"), OFlags::PATH, Mode::empty()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    fs::rename(place.join("0"), place.join("1")).unwrap();
                    fs::rename(place.join("1"), place.join("0")).unwrap();
                }
            });
            let opened = (0..20_000)
                .try_for_each(|_| open(&root, c"a/../a/b/../b", OFlags::PATH, ResolveFlags::BENEATH).map(drop));
            done.store(true, Ordering::Relaxed);
            assert_eq!(opened, Ok(()));
        });
        assert_eq!(open(&root, "a/../../0", OFlags::PATH, ResolveFlags::BENEATH).err(), Some(Errno::XDEV));
        fs::remove_dir_all(&place).unwrap();
    }
}
