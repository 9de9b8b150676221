//! Starting another program without forking the caller's memory (posix_spawn(3), which glibc does with
//! `CLONE_VM | CLONE_VFORK`: its cost does not grow with the caller).

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

/// Starts `path` in a session of its own with working directory `/`. The i-th of `fds` becomes its descriptor i; every
/// other descriptor of the caller becomes close-on-exec: what it was started with by accident (a script's lock) must not
/// live as long as its helpers. Returns the process ID; the caller reaps it.
pub fn spawn(path: &CStr, argv: &[CString], envp: &[CString], fds: &[BorrowedFd<'_>]) -> io::Result<i32> {
    spawn_in(Some(c"/"), path, argv, envp, fds)
}

/// The same in the caller's working directory.
pub fn spawn_here(path: &CStr, argv: &[CString], envp: &[CString], fds: &[BorrowedFd<'_>]) -> io::Result<i32> {
    spawn_in(None, path, argv, envp, fds)
}

fn spawn_in(
    directory: Option<&CStr>,
    path: &CStr,
    argv: &[CString],
    envp: &[CString],
    fds: &[BorrowedFd<'_>],
) -> io::Result<i32> {
    close_others_on_exec(fds.len())?;
    let mut actions = FileActions::new()?;
    // Two passes: a descriptor moved to its place must not overwrite one that is yet to be moved, so all are first
    // copied out of the way by the kernel's lowest-free rule, above the targets.
    let copies = fds.iter().map(|fd| above(*fd, fds.len())).collect::<io::Result<Vec<_>>>()?;
    for (target, copy) in (0..).zip(&copies) {
        actions.dup2(copy.as_raw_fd(), target)?;
    }
    if let Some(directory) = directory {
        actions.chdir(directory)?;
    }
    let attributes = Attributes::new_session()?;
    let argv = pointers(argv);
    let envp = pointers(envp);
    let mut pid = 0;
    // SAFETY: all pointers are valid for the call: `path` is NUL-terminated, `argv` and `envp` are NULL-terminated
    // arrays of NUL-terminated strings owned by the caller, and `actions` and `attributes` are initialised.
    let error = unsafe {
        libc::posix_spawn(
            &mut pid,
            path.as_ptr(),
            actions.0.as_ptr(),
            attributes.0.as_ptr(),
            argv.as_ptr().cast(),
            envp.as_ptr().cast(),
        )
    };
    check(error)?;
    Ok(pid)
}

/// The same with an open file as the program, for example one of [`crate::sealed`]. Needs `/proc`.
pub fn spawn_file(program: impl AsFd, argv: &[CString], envp: &[CString], fds: &[BorrowedFd<'_>]) -> io::Result<i32> {
    // Its number must not be one of those that the child has for something else when it is executed.
    let program = above(program.as_fd(), fds.len())?;
    let path = CString::new(format!("/proc/self/fd/{}", program.as_raw_fd()))?;
    spawn(&path, argv, envp, fds)
}

fn close_others_on_exec(first: usize) -> io::Result<()> {
    /// `CLOSE_RANGE_CLOEXEC` of `linux/close_range.h`.
    const CLOEXEC: libc::c_uint = 1 << 2;
    let first = libc::c_uint::try_from(first).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: integer arguments; with this flag nothing is closed now.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOEXEC) };
    crate::check(result).map(drop).map_err(io::Error::from)
}

fn above(fd: BorrowedFd<'_>, floor: usize) -> io::Result<std::os::fd::OwnedFd> {
    let floor = i32::try_from(floor).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, floor)?)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

struct FileActions(MaybeUninit<libc::posix_spawn_file_actions_t>);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: `actions` is valid for writes; it counts as initialised only if this succeeds.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        Ok(Self(actions))
    }

    fn dup2(&mut self, from: i32, to: i32) -> io::Result<()> {
        // SAFETY: the actions are initialised (`new`).
        check(unsafe { libc::posix_spawn_file_actions_adddup2(self.0.as_mut_ptr(), from, to) })
    }

    fn chdir(&mut self, path: &CStr) -> io::Result<()> {
        // SAFETY: the actions are initialised (`new`); the path is copied by the call.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(self.0.as_mut_ptr(), path.as_ptr()) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: the actions are initialised (`new`) and not used afterwards.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

struct Attributes(MaybeUninit<libc::posix_spawnattr_t>);

impl Attributes {
    fn new_session() -> io::Result<Self> {
        /// `POSIX_SPAWN_SETSID` of glibc's `spawn.h`; libc has it for other systems only.
        const SETSID: i16 = 0x80;
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: `attributes` is valid for writes; it counts as initialised only if this succeeds.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        let mut attributes = Self(attributes);
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set it is given, and the attributes are initialised.
        check(unsafe {
            libc::sigemptyset(mask.as_mut_ptr());
            libc::posix_spawnattr_setsigmask(attributes.0.as_mut_ptr(), mask.as_ptr())
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "the flags are a C short by POSIX")]
        let flags = SETSID | libc::POSIX_SPAWN_SETSIGMASK as i16;
        // SAFETY: the attributes are initialised.
        check(unsafe { libc::posix_spawnattr_setflags(attributes.0.as_mut_ptr(), flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the attributes are initialised and not used afterwards.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn descriptors_land_where_they_should() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let script = CString::new("echo $PWD $0 $X >&3; test -t 0 || echo done >&1").unwrap();
        let argv = [c"sh".to_owned(), c"-c".to_owned(), script, c"me".to_owned()];
        let fds = [null.as_fd(), writer.as_fd(), null.as_fd(), writer.as_fd()];
        let pid = spawn(c"/bin/sh", &argv, &[c"X=y".to_owned()], &fds).unwrap();
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        assert_eq!(output, "/ me y\ndone\n");
        rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty()).unwrap();
    }

    #[test]
    fn nothing_else_is_inherited() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        // As a script leaves it.
        let stray = above(null.as_fd(), 100).unwrap();
        rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
        let script = CString::new(format!("test -e /proc/self/fd/{} && echo inherited", stray.as_raw_fd())).unwrap();
        let argv = [c"sh".to_owned(), c"-c".to_owned(), script];
        let pid = spawn(c"/bin/sh", &argv, &[], &[null.as_fd(), writer.as_fd(), null.as_fd()]).unwrap();
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        assert_eq!(output, "");
        rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty()).unwrap();
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = spawn(c"/nonexistent", &[c"x".to_owned()], &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
