//! User namespaces: ID maps, and a namespace for idmapped mounts.

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tare_oci_runtime::IdMapping;
use tare_sys::process::namespace::USER;

use crate::error::{Error, Result};

/// Writes the maps of a process in a new user namespace (`user_namespaces(7)`).
pub(crate) fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{file}");
        let mut text = String::new();
        for mapping in mappings {
            let _ = writeln!(text, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
        }
        // One write: the kernel takes no second one.
        std::fs::write(&path, text).map_err(|error| Error::io("write", &path, &error))?;
    }
    Ok(())
}

/// A user namespace with these maps and no process in it.
pub(crate) fn namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (reader, writer) = std::io::pipe().map_err(|error| Error::io("make", "pipe", &error))?;
    let holder = tare_sys::process::clone(USER, None, |child| {
        // Until the parent ends, if it does not kill this before.
        let _ = child.close_all_but(0, &[reader.as_raw_fd()]);
        let _ = rustix::io::read(&reader, &mut [0u8; 1][..]);
        0
    })
    .map_err(|errno| Error::os("clone", "user namespace", errno))?;
    let opened = write_maps(holder.pid, uids, gids).and_then(|()| {
        let path = format!("/proc/{}/ns/user", holder.pid);
        File::open(&path).map_err(|error| Error::io("open", &path, &error))
    });
    drop(writer);
    let _ = pidfd_send_signal(&holder.pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(holder.pidfd.as_fd()), WaitIdOptions::EXITED);
    opened.map(OwnedFd::from)
}
