//! Scheduling policy and CPU affinity of a process.

use std::ops::RangeInclusive;

use rustix::thread::CpuSet;
use tare_oci_runtime::{Linux, Process};
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

/// CPUs of a process run in a container: until it is in the container's cgroup, and from then on. The init of a
/// container has none.
pub(crate) fn affinity(process: &Process) -> Result<(Option<CpuSet>, Option<CpuSet>)> {
    let Some(affinity) = &process.exec_cpu_affinity else { return Ok((None, None)) };
    Ok((cpus(&affinity.initial)?, cpus(&affinity.last)?))
}

/// The CPUs that a process run in a container has until it is in the container's cgroup, as a mask of the first 64.
pub fn initial_cpu_mask(process: &Process) -> Result<Option<u64>> {
    let Some(cpus) = affinity(process)?.0 else { return Ok(None) };
    let bits = (0..u64::BITS).filter(|cpu| cpus.is_set(*cpu as usize));
    Ok(Some(bits.fold(0, |mask, cpu| mask | 1 << cpu)))
}

fn cpus(list: &str) -> Result<Option<CpuSet>> {
    if list.is_empty() {
        return Ok(None);
    }
    let mut set = CpuSet::new();
    let ranges = ranges(list, CpuSet::MAX_CPU);
    let ranges = ranges.ok_or_else(|| Error::invalid(format!("execCPUAffinity `{list}`: not a list of CPUs")))?;
    ranges.into_iter().flatten().for_each(|cpu| set.set(cpu));
    Ok(Some(set))
}

/// `0-2,5`, all below `end`.
fn ranges(list: &str, end: usize) -> Option<Vec<RangeInclusive<usize>>> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < end).then_some(first..=last)
    };
    list.split(',').map(str::trim).map(range).collect()
}

/// NUMA policy as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    /// Mode and flags.
    pub(crate) mode: u32,
    /// Mask of nodes.
    pub(crate) nodes: Vec<u64>,
}

pub(crate) fn memory_policy(linux: Option<&Linux>) -> Result<Option<MemoryPolicy>> {
    /// Nodes that a kernel may have, `MAX_NUMNODES`.
    const NODES_MAX: usize = 1024;
    const WORD_BITS: usize = u64::BITS as usize;
    const MODES: [(&str, u32); 7] = [
        ("MPOL_DEFAULT", 0),
        ("MPOL_PREFERRED", 1),
        ("MPOL_BIND", 2),
        ("MPOL_INTERLEAVE", 3),
        ("MPOL_LOCAL", 4),
        ("MPOL_PREFERRED_MANY", 5),
        ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ];
    const FLAGS: [(&str, u32); 3] =
        [("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];
    let Some(policy) = linux.and_then(|linux| linux.memory_policy.as_ref()) else { return Ok(None) };
    let number = |all: &[(&str, u32)], name: &str| all.iter().find(|(own, _)| *own == name).map(|(_, number)| *number);
    let mut mode = number(&MODES, &policy.mode)
        .ok_or_else(|| Error::invalid(format!("invalid memory policy mode `{}`", policy.mode)))?;
    let ranges = if policy.nodes.is_empty() { Some(Vec::new()) } else { ranges(&policy.nodes, NODES_MAX) };
    let ranges = ranges.ok_or_else(|| Error::invalid(format!("invalid memory policy nodes `{}`", policy.nodes)))?;
    let mut nodes = Vec::new();
    for node in ranges.into_iter().flatten() {
        nodes.resize(nodes.len().max(node / WORD_BITS + 1), 0_u64);
        if let Some(word) = nodes.get_mut(node / WORD_BITS) {
            *word |= 1 << (node % WORD_BITS);
        }
    }
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    if matches!(policy.mode.as_str(), "MPOL_DEFAULT" | "MPOL_LOCAL") && count > 0 {
        let message = format!("invalid memory policy nodes: {} mode requires 0 nodes but got {count}", policy.mode);
        return Err(Error::invalid(message));
    }
    for flag in &policy.flags {
        mode |= number(&FLAGS, flag).ok_or_else(|| Error::invalid(format!("invalid memory policy flag `{flag}`")))?;
    }
    Ok(Some(MemoryPolicy { mode, nodes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        let set = cpus("0-2, 5").unwrap().unwrap();
        assert_eq!((set.count(), set.is_set(5), set.is_set(3)), (4, true, false));
        assert_eq!(cpus("").unwrap(), None);
        for bad in [",", "x", "3-1", "-1", "0-99999"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn masks_of_cpus() {
        let mask = |initial: &str| {
            let affinity = tare_oci_runtime::CpuAffinity { initial: initial.to_owned(), ..Default::default() };
            initial_cpu_mask(&Process { exec_cpu_affinity: Some(affinity), ..Process::default() }).unwrap()
        };
        assert_eq!([mask("0"), mask("1,3"), mask("")], [Some(1), Some(10), None]);
        assert_eq!(initial_cpu_mask(&Process::default()).unwrap(), None);
    }

    #[test]
    fn policies_of_memory() {
        let planned = |mode: &str, nodes: &str, flags: &[&str]| {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let policy = tare_oci_runtime::MemoryPolicy { mode: mode.to_owned(), nodes: nodes.to_owned(), flags };
            memory_policy(Some(&Linux { memory_policy: Some(policy), ..Linux::default() })).map(Option::unwrap)
        };
        let plan = planned("MPOL_BIND", "0-1,65", &["MPOL_F_STATIC_NODES"]).unwrap();
        assert_eq!(plan, MemoryPolicy { mode: 0x8002, nodes: vec![3, 2] });
        assert_eq!(planned("MPOL_DEFAULT", "", &[]).unwrap(), MemoryPolicy { mode: 0, nodes: Vec::new() });
        assert_eq!(memory_policy(Some(&Linux::default())).unwrap(), None);
        for (mode, nodes, flag, message) in [
            ("", "0-7", None, "invalid memory policy mode ``"),
            ("MPOL_BIND", "0-9876543210", None, "invalid memory policy nodes `0-9876543210`"),
            ("MPOL_BIND", "0", Some("x"), "invalid memory policy flag `x`"),
            ("MPOL_DEFAULT", "0-7", None, "invalid memory policy nodes: MPOL_DEFAULT mode requires 0 nodes but got 8"),
        ] {
            assert_eq!(planned(mode, nodes, flag.as_slice()).unwrap_err().to_string(), message);
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
