//! Scheduling policy and CPU affinity of a process.

use rustix::thread::CpuSet;
use tare_oci_runtime::Process;
use tare_sys::thread::Scheduling;

use crate::error::{Error, Result};

pub(crate) fn scheduling(process: &Process) -> Result<Option<Scheduling>> {
    let Some(scheduler) = &process.scheduler else { return Ok(None) };
    let policies = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    let flags = [
        ("SCHED_FLAG_RESET_ON_FORK", 0x01),
        ("SCHED_FLAG_RECLAIM", 0x02),
        ("SCHED_FLAG_DL_OVERRUN", 0x04),
        ("SCHED_FLAG_KEEP_POLICY", 0x08),
        ("SCHED_FLAG_KEEP_PARAMS", 0x10),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ];
    let policy = policies.iter().find(|(name, _)| *name == scheduler.policy).map(|(_, number)| *number);
    let policy = policy.ok_or_else(|| Error::invalid(format!("scheduler policy `{}`: unknown", scheduler.policy)))?;
    let mut all = 0;
    for flag in &scheduler.flags {
        let bit = flags.iter().find(|(name, _)| name == flag).map(|(_, bit)| *bit);
        all |= bit.ok_or_else(|| Error::invalid(format!("scheduler flag `{flag}`: unknown")))?;
    }
    let priority = u32::try_from(scheduler.priority)
        .map_err(|_| Error::invalid(format!("scheduler priority {}: negative", scheduler.priority)))?;
    Ok(Some(Scheduling {
        policy,
        flags: all,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    }))
}

/// The CPUs that the process is executed on (`final`; without it, `initial`).
pub(crate) fn affinity(process: &Process) -> Result<Option<CpuSet>> {
    let Some(affinity) = &process.exec_cpu_affinity else { return Ok(None) };
    let list = if affinity.last.is_empty() { &affinity.initial } else { &affinity.last };
    if list.is_empty() {
        return Ok(None);
    }
    cpu_list(list).map(Some).ok_or_else(|| Error::invalid(format!("execCPUAffinity `{list}`: not a list of CPUs")))
}

fn cpu_list(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for range in list.split(',').map(str::trim) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        (first..=last).for_each(|cpu| set.set(cpu));
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        let set = cpu_list("0-2, 5").unwrap();
        assert_eq!((set.count(), set.is_set(5), set.is_set(3)), (4, true, false));
        for bad in ["", "x", "3-1", "-1", "0-99999"] {
            assert!(cpu_list(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn policies() {
        let scheduler = tare_oci_runtime::Scheduler {
            policy: "SCHED_BATCH".to_owned(),
            nice: 3,
            flags: vec!["SCHED_FLAG_RESET_ON_FORK".to_owned()],
            ..Default::default()
        };
        let process = Process { scheduler: Some(scheduler.clone()), ..Process::default() };
        let plan = scheduling(&process).unwrap().unwrap();
        assert_eq!((plan.policy, plan.nice, plan.flags), (3, 3, 1));
        let scheduler = tare_oci_runtime::Scheduler { policy: "X".to_owned(), ..scheduler };
        assert!(scheduling(&Process { scheduler: Some(scheduler), ..Process::default() }).is_err());
    }
}
