//! `kill`, `delete`, `pause`, `resume`, `update`.

use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tare_cgroup::{Cgroup, Hierarchies, plan_update};
use tare_oci_runtime::{NamespaceKind, Resources, Status};
use tare_runtime::{HookKind, run_hooks};

use super::arguments::{Kill, Update};
use super::create::group_path;
use super::store::{Container, Directory, Store};
use super::warn;

/// `kill`
pub(super) fn kill(store: &Store, options: &Kill) -> anyhow::Result<()> {
    let signal = signal_number(&options.signal)?;
    let container = store.get(&options.id)?;
    if options.all {
        return Ok(container.cgroup()?.kill_all(signal)?);
    }
    // With the process namespace of somebody else the other processes do not go with the init.
    let fatal = signal == Signal::KILL.as_raw();
    if fatal && container.spec()?.namespace(NamespaceKind::Pid).is_none_or(|own| !own.path.as_os_str().is_empty()) {
        return Ok(container.cgroup()?.kill_all(signal)?);
    }
    let _pidfd = container.pidfd()?;
    tare_sys::kill::kill(container.record.pid, signal).with_context(|| format!("kill {}", container.record.pid))?;
    let group = container.cgroup()?;
    // On v1 it would end only when it goes on. A group that is gone has nobody in it who stands still.
    if fatal && group.frozen().unwrap_or_default() {
        group.thaw()?;
    }
    Ok(())
}

/// `delete`
pub(super) fn delete(store: &Store, id: &str, force: bool) -> anyhow::Result<()> {
    let Some(directory) = store.directory(id)? else { return absent(force) };
    let _lock = match directory.lock() {
        Err(_) if !directory.exists() => return absent(force),
        lock => lock?,
    };
    if !directory.is_complete() {
        return if force { clear(&directory, id) } else { absent(force) };
    }
    let container = store.get(id)?;
    match container.status()? {
        Status::Stopped => {}
        Status::Created => end_init(&container)?,
        _ if force => end_init(&container)?,
        status => {
            let status = format!("{status:?}").to_lowercase();
            bail!("cannot delete container {id} that is not stopped: {status}");
        }
    }
    remove_group(&container.cgroup()?)?;
    let spec = container.spec();
    container.directory.remove()?;
    if let Ok(spec) = spec {
        let state = container.state(&spec, Status::Stopped);
        run_hooks(HookKind::Poststop, &spec, &state, None).unwrap_or_else(|error| warn(&error.to_string()));
    }
    Ok(())
}

fn absent(force: bool) -> anyhow::Result<()> {
    if force { Ok(()) } else { bail!("container does not exist") }
}

/// Removes what a creation has left that was killed.
fn clear(directory: &Directory, id: &str) -> anyhow::Result<()> {
    // It is written before the group is made, and that only where no process is.
    if let Ok(spec) = directory.spec() {
        remove_group(&Cgroup::open(&Hierarchies::detect_hybrid()?, &group_path(&spec, id)))?;
    }
    directory.remove()
}

fn remove_group(group: &Cgroup) -> anyhow::Result<()> {
    if group.exists() {
        group.kill_all(Signal::KILL.as_raw())?;
        group.remove()?;
    }
    Ok(())
}

/// Kills the init and waits until it is gone, whoever its parent is.
pub(super) fn end_init(container: &Container) -> anyhow::Result<()> {
    /// Seconds. An init ends in well below a millisecond, unless a process in its namespace has a parent outside that
    /// does not reap it.
    const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
    let Ok(pidfd) = container.pidfd() else {
        return Ok(());
    };
    let group = container.cgroup()?;
    if group.exists() && group.frozen()? {
        group.thaw()?;
    }
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&PATIENCE))).context("wait for the container's init")? {
        0 => bail!("container init still running"),
        _ => Ok(()),
    }
}

/// Kills and reaps a child of ours.
pub(super) fn end(pidfd: BorrowedFd<'_>) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

/// `pause`
pub(super) fn pause(store: &Store, id: &str) -> anyhow::Result<()> {
    let container = store.get(id)?;
    match container.status()? {
        Status::Running | Status::Created => Ok(container.cgroup()?.freeze()?),
        _ => bail!("container not running"),
    }
}

/// `resume`
pub(super) fn resume(store: &Store, id: &str) -> anyhow::Result<()> {
    let container = store.get(id)?;
    let group = container.cgroup()?;
    if container.status()? == Status::Stopped || !group.frozen()? {
        bail!("container not paused");
    }
    Ok(group.thaw()?)
}

/// `update`
pub(super) fn update(store: &Store, options: &Update) -> anyhow::Result<()> {
    let container = store.get(&options.id)?;
    if container.status()? == Status::Stopped {
        bail!("container not running");
    }
    for (what, given) in [("l3-cache-schema", &options.l3_cache_schema), ("mem-bw-schema", &options.mem_bw_schema)] {
        if given.is_some() {
            bail!("--{what}: not supported, Intel RDT is not used");
        }
    }
    let resources = resources(options)?;
    let group = container.cgroup()?;
    Ok(group.apply(&plan_update(&resources, group.version())?)?)
}

fn resources(options: &Update) -> anyhow::Result<Resources> {
    let mut all = match &options.resources {
        Some(path) => read_resources(path)?,
        None => Resources::default(),
    };
    let memory = all.memory.get_or_insert_default();
    for (option, value) in [
        (&options.memory, &mut memory.limit),
        (&options.memory_reservation, &mut memory.reservation),
        (&options.memory_swap, &mut memory.swap),
    ] {
        if let Some(text) = option {
            *value = Some(bytes(text).with_context(|| format!("`{text}`: not a number of bytes"))?);
        }
    }
    let cpu = all.cpu.get_or_insert_default();
    cpu.period = options.cpu_period.or(cpu.period);
    cpu.quota = options.cpu_quota.or(cpu.quota);
    cpu.burst = options.cpu_burst.or(cpu.burst);
    cpu.shares = options.cpu_share.or(cpu.shares);
    cpu.realtime_period = options.cpu_rt_period.or(cpu.realtime_period);
    cpu.realtime_runtime = options.cpu_rt_runtime.or(cpu.realtime_runtime);
    cpu.idle = options.cpu_idle.or(cpu.idle);
    cpu.cpus = options.cpuset_cpus.clone().unwrap_or_else(|| std::mem::take(&mut cpu.cpus));
    cpu.mems = options.cpuset_mems.clone().unwrap_or_else(|| std::mem::take(&mut cpu.mems));
    if options.pids_limit.is_some() {
        all.pids.get_or_insert_default().limit = options.pids_limit;
    }
    if options.blkio_weight.is_some() {
        all.block_io.get_or_insert_default().weight = options.blkio_weight;
    }
    Ok(all)
}

fn read_resources(path: &Path) -> anyhow::Result<Resources> {
    let mut json = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut json).context("read standard input")?;
    } else {
        json = fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
    }
    serde_json::from_slice(&json).with_context(|| format!("parse `{}`", path.display()))
}

/// `512m`, `-1`
fn bytes(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix('b').unwrap_or(&lower);
    let units = [('k', 1 << 10), ('m', 1 << 20), ('g', 1 << 30), ('t', 1_i64 << 40)];
    let unit = units.iter().find_map(|(unit, factor)| Some((number.strip_suffix(*unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((number, 1));
    number.parse::<i64>().ok()?.checked_mul(factor)
}

/// `SIGTERM`, `term`, `15`, `RTMIN+3`
fn signal_number(text: &str) -> anyhow::Result<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    const REALTIME: std::ops::RangeInclusive<i32> = 34..=64;
    let unknown = || anyhow::anyhow!("unknown signal {text:?}");
    if let Ok(number) = text.parse::<i32>() {
        // 0 only asks whether the process is there.
        return if (0..=*REALTIME.end()).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| {
        if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() }
    };
    let realtime = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest).map(|offset| REALTIME.start() + offset),
        (_, Some(rest)) => offset(rest).map(|offset| REALTIME.end() + offset),
        _ => None,
    };
    let named = || NAMES.iter().position(|own| *own == name).and_then(|index| i32::try_from(index + 1).ok());
    realtime.filter(|number| REALTIME.contains(number)).or_else(named).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in
            [("SIGTERM", 15), ("kill", 9), ("9", 9), ("0", 0), ("SIGSYS", 31), ("RTMIN+3", 37), ("RTMAX-1", 63)]
        {
            assert_eq!(signal_number(text).unwrap(), number);
        }
        for bad in ["", "SIGX", "65", "-1", "RTMIN-1", "RTMAX+1"] {
            assert!(signal_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        let all = ["-1", "512", "2k", "3M", "1gb", "1T", "x", "9999999t"].map(bytes);
        assert_eq!(all, [Some(-1), Some(512), Some(2048), Some(3 << 20), Some(1 << 30), Some(1 << 40), None, None]);
    }
}
