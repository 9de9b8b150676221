//! `exec`

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, PathBuf};

use anyhow::{Context as _, bail};
use tare_cgroup::Version;
use tare_oci_runtime::{Process, Status};
use tare_runtime::{CgroupPlace, ExecTarget, Stdio};

use super::arguments::Exec;
use super::create::{debug_seccomp, warn_unknown, write_pid};
use super::descriptors::Preserved;
use super::store::Store;
use super::{control, debug, terminal};

pub(super) fn exec(store: &Store, options: &Exec) -> anyhow::Result<i32> {
    let preserved = Preserved::take(options.preserve_fds)?;
    let container = store.get(&options.id)?;
    match container.status()? {
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused if !options.ignore_paused => {
            bail!("cannot exec in a paused container (use --ignore-paused)")
        }
        _ => {}
    }
    let spec = container.spec()?;
    let mut process = process(options, spec.process.as_ref())?;
    process.env.extend(preserved.environment());
    warn_unknown(&process);
    debug_seccomp(&spec);
    if let Some(mask) = tare_runtime::initial_cpu_mask(&process)? {
        // In the words of the runtime whose logs are read for it.
        debug(|| format!("nsexec: affinity: {mask:#x}"));
    }
    let pidfd = container.pidfd()?;
    let group = container.cgroup()?;
    let joined = groups(group.directories(), &options.cgroup)?;
    for path in joined.iter().filter(|_| !options.cgroup.is_empty()) {
        fs::metadata(path).with_context(|| format!("adding pid to cgroups: `{}`", path.display()))?;
    }
    let directory = match (group.version(), joined.first()) {
        (Version::V2, Some(path)) => Some(File::open(path).with_context(|| format!("open `{}`", path.display()))?),
        _ => None,
    };
    let preserve: Vec<_> = preserved.fds.iter().map(OwnedFd::as_fd).collect();
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
    let raw_newlines = options.console_socket.is_none();
    let stdio = if process.terminal { Stdio::Terminal { size, raw_newlines } } else { Stdio::Inherit };
    let signals = if options.detach { None } else { Some(terminal::signals()?) };
    // In the words of the runtime whose logs are read for them.
    debug(|| format!("nsexec container setup: namespaces of {}", container.record.pid));
    let mut init = tare_runtime::exec(&target, &process, stdio)?;
    debug(|| format!("child process in init(): {}", init.pid));
    debug(|| format!("setns_init: about to exec {:?}", process.args));
    let handed = match (&options.console_socket, &init.console) {
        (Some(socket), Some(console)) => terminal::send(socket, console.as_fd()),
        _ => Ok(()),
    };
    let handed = handed.and_then(|()| match &options.pidfd_socket {
        Some(socket) => terminal::send_pidfd(socket, init.pidfd.as_fd()),
        None => Ok(()),
    });
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

/// The directories of the groups to join: the container's own, or those below that the options name.
fn groups(own: Vec<(String, PathBuf)>, options: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = own;
    for option in options {
        let (controllers, path) = option.split_once(':').unwrap_or(("", option));
        let below = PathBuf::from(path.trim_start_matches('/'));
        if below.components().any(|component| !matches!(component, Component::Normal(_))) {
            bail!("--cgroup {option}: bad sub cgroup path, not below the container's own");
        }
        let mut known = controllers.is_empty();
        for (name, host) in &mut all {
            if controllers.is_empty() || name.split(',').any(|own| controllers.split(',').any(|wanted| wanted == own)) {
                known = true;
                host.push(&below);
            }
        }
        if !known {
            bail!("--cgroup {option}: unknown controller {controllers}");
        }
    }
    Ok(all.into_iter().map(|(_, host)| host).collect())
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
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend_from_slice(&options.cap);
        }
        // An ambient capability has to be inheritable too, which the option does not say.
        if !sets.inheritable.is_empty() {
            sets.ambient.extend_from_slice(&options.cap);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_below_the_containers() {
        let own = |name: &str| (name.to_owned(), PathBuf::from(format!("/sys/fs/cgroup/{name}/box")));
        let joined = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            groups(vec![own("cpu,cpuacct"), own("pids")], &options)
                .map(|all| all.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(joined(&[]).unwrap(), "/sys/fs/cgroup/cpu,cpuacct/box /sys/fs/cgroup/pids/box");
        assert_eq!(joined(&["/sub"]).unwrap(), "/sys/fs/cgroup/cpu,cpuacct/box/sub /sys/fs/cgroup/pids/box/sub");
        assert_eq!(joined(&["cpu:/a"]).unwrap(), "/sys/fs/cgroup/cpu,cpuacct/box/a /sys/fs/cgroup/pids/box");
        assert!(joined(&["/"]).is_ok());
        assert!(joined(&["/../x"]).is_err() && joined(&["nonsense:/"]).is_err());
    }
}
