//! The container's terminal: a pseudoterminal of the container's own devpts, whose master goes to the parent.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, ResolveFlags, Uid, fchown, fstat, makedev};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::mounts::{attach, clone_tree};
use super::paths::{self, Make};
use super::{Outcome, Task, at};
use crate::step::{Report, Step};

/// The process's side of the terminal.
pub(crate) struct Terminal {
    pub(crate) slave: OwnedFd,
}

/// Makes a terminal and sends its master to the parent.
pub(crate) fn open(
    task: &Task<'_>,
    root: BorrowedFd<'_>,
    size: Option<Winsize>,
    raw_newlines: bool,
) -> Outcome<Terminal> {
    let master = open_multiplexer(root, c"dev/pts/ptmx")
        .or_else(|_| open_multiplexer(root, c"dev/ptmx"))
        .map_err(at(Step::OpenTerminal))?;
    unlockpt(&master).map_err(at(Step::NewTerminal))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    // Not by its path, at which the container may have put something else.
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(at(Step::NewTerminal))?;
    if let Some(size) = size {
        tcsetwinsize(&master, size).map_err(at(Step::TerminalSize))?;
    }
    if raw_newlines {
        let mut modes = tcgetattr(&master).map_err(at(Step::NewTerminal))?;
        modes.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&master, OptionalActions::Now, &modes).map_err(at(Step::NewTerminal))?;
    }
    if task.process.uid != 0 {
        fchown(&slave, Some(Uid::from_raw(task.process.uid)), None).map_err(at(Step::TerminalOwner))?;
    }
    tare_sys::socket::send_with_fds(task.socket, &Report::Terminal.encode(), &[master.as_fd()])
        .map_err(at(Step::SendTerminal))?;
    Ok(Terminal { slave })
}

/// Looks before it opens: opening the wrong device can do something.
fn open_multiplexer(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    const MULTIPLEXER: (u32, u32) = (5, 2);
    let check = |fd: &OwnedFd| {
        let stat = fstat(fd)?;
        let right = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(MULTIPLEXER.0, MULTIPLEXER.1);
        if right { Ok(()) } else { Err(Errno::NODEV) }
    };
    check(&paths::open(root, path)?)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let master = tare_sys::scoped::open(root, path, flags, ResolveFlags::IN_ROOT)?;
    check(&master)?;
    rustix::fs::fcntl_setfl(&master, OFlags::empty())?;
    Ok(master)
}

/// `/dev/console` is the terminal.
pub(crate) fn mount_console(root: BorrowedFd<'_>, terminal: &Terminal) -> Outcome {
    let console = paths::ensure(root, c"dev/console", Make::File).map_err(at(Step::Console))?;
    let tree = clone_tree(terminal.slave.as_fd(), OpenTreeFlags::empty()).map_err(at(Step::Console))?;
    attach(&tree, console.as_fd()).map_err(at(Step::Console))
}
