//! The user that an exec asks for is looked up when it is made, so that clients are told of a mistake before they attach.
//!
//! The files can change until the start, where the user is looked up again.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::Container;
use crate::error::{Error, Result};

/// Fails in Docker's words unless a running container has the user and group that are named by `user`; the container's
/// own user (an empty name) is not looked at.
pub(super) async fn check(container: &Arc<Container>, user: &str) -> Result<()> {
    if user.is_empty() {
        return Ok(());
    }
    let (container, user) = (Arc::clone(container), user.to_owned());
    // The files may lie on anything that is mounted there.
    crate::blocking(move || {
        let path = format!("/proc/{}/root", container.read().state.pid);
        // One whose process is gone by now is the start's to refuse.
        let Ok(root) = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
            return Ok(());
        };
        match tare_runtime::resolve_user(root.as_fd(), &user, &[]) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::invalid(error.to_string())),
        }
    })
    .await
}
