//! `exec`

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, bail};
use tare_cgroup::MountSources;
use tare_oci_runtime::{Process, Status};
use tare_runtime::{CgroupPlace, ExecTarget, Stdio};

use super::arguments::Exec;
use super::create::write_pid;
use super::store::Store;
use super::{control, terminal};

pub(super) fn exec(store: &Store, options: &Exec) -> anyhow::Result<i32> {
    let container = store.get(&options.id)?;
    match container.status()? {
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused if !options.ignore_paused => {
            bail!("cannot exec in a paused container (use --ignore-paused)")
        }
        _ => {}
    }
    let spec = container.spec()?;
    let process = process(options, spec.process.as_ref())?;
    let pidfd = container.pidfd()?;
    let group = container.cgroup()?;
    let (joined, directory) = match group.mount_sources() {
        MountSources::V1(all) => (all.into_iter().map(|source| source.host).collect(), None),
        MountSources::V2 { .. } => (Vec::new(), Some(group.fd_v2()?)),
    };
    let preserved = preserved(options.preserve_fds)?;
    let preserve: Vec<_> = preserved.iter().map(OwnedFd::as_fd).collect();
    let target = ExecTarget {
        id: &container.record.id,
        pid: container.record.pid,
        pidfd: pidfd.as_fd(),
        spec: &spec,
        bundle: &container.record.bundle,
        cgroup: directory.as_ref().map_or(CgroupPlace::Join(&joined), |fd| CgroupPlace::Into(fd.as_fd())),
        preserve_fds: &preserve,
    };
    let size = process.console_size.as_ref().map(|size| (size.height, size.width));
    let stdio = if process.terminal { Stdio::Terminal { size } } else { Stdio::Inherit };
    let signals = if options.detach { None } else { Some(terminal::signals()?) };
    let mut init = tare_runtime::exec(&target, &process, stdio)?;
    let handed = match (&options.console_socket, &init.console) {
        (Some(socket), Some(console)) => terminal::send(socket, console.as_fd()),
        _ => Ok(()),
    };
    let handed = handed.and_then(|()| write_pid(options.pid_file.as_deref(), init.pid));
    if let Err(error) = handed {
        control::end(init.pidfd.as_fd());
        return Err(error);
    }
    match signals {
        None => Ok(0),
        Some(signals) => terminal::attend(init.pid, init.pidfd.as_fd(), init.console.take(), &signals),
    }
}

/// The process of the file, or the container's own with what the options change.
fn process(options: &Exec, own: Option<&Process>) -> anyhow::Result<Process> {
    if let Some(path) = &options.process {
        let json = fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
        return serde_json::from_slice(&json).with_context(|| format!("parse `{}`", path.display()));
    }
    let mut process = own.cloned().unwrap_or_default();
    if options.args.is_empty() {
        bail!("exec: no command");
    }
    process.args.clone_from(&options.args);
    process.terminal = options.tty;
    process.env.extend_from_slice(&options.env);
    process.no_new_privileges |= options.no_new_privs;
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(profile) = &options.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &options.process_label {
        process.selinux_label.clone_from(label);
    }
    if !options.cap.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in
            [&mut sets.bounding, &mut sets.effective, &mut sets.permitted, &mut sets.ambient, &mut sets.inheritable]
        {
            set.extend_from_slice(&options.cap);
        }
    }
    if let Some(user) = &options.user {
        let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
        let number = |text: &str| text.parse().with_context(|| format!("user `{user}`: not uid[:gid]"));
        process.user.uid = number(uid)?;
        if !gid.is_empty() {
            process.user.gid = number(gid)?;
        }
    }
    process.user.additional_gids.extend_from_slice(&options.additional_gids);
    Ok(process)
}

fn preserved(count: u16) -> anyhow::Result<Vec<OwnedFd>> {
    const FIRST: i32 = 3;
    let all = FIRST..FIRST + i32::from(count);
    let duplicate =
        |number: i32| tare_sys::inherited::duplicate(number).with_context(|| format!("preserve descriptor {number}"));
    all.map(duplicate).collect()
}
