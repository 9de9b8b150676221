//! Limits on cgroup v1. Source: the kernel's `Documentation/admin-guide/cgroup-v1/`.

use std::ops::RangeInclusive;

use tare_oci_runtime::{BlockIo, Cpu, Memory, Resources, ThrottleDevice, WeightDevice};

use crate::Error;
use crate::common::{either_order, page_size, pids_max, rdma, set};
use crate::plan::{Plan, Step, Write};

pub(crate) fn plan(resources: &Resources) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    if !resources.unified.is_empty() {
        return Err(Error::Invalid("invalid configuration: unified resources need cgroup v2".to_owned()));
    }
    if let Some(cpu) = &resources.cpu {
        plan_cpu(cpu, &mut plan)?;
    }
    if let Some(memory) = &resources.memory {
        plan_memory(memory, &mut plan)?;
    }
    pids_max(resources, &mut plan);
    if let Some(io) = &resources.block_io {
        plan_block_io(io, &mut plan);
    }
    for limit in &resources.hugepage_limits {
        let size = page_size(&limit.page_size)?;
        plan.write("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), limit.limit);
        let reserved = Write::new("hugetlb", format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit.limit);
        plan.steps.push(Step::IfPresent(reserved));
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id {
            plan.write("net_cls", "net_cls.classid", class);
        }
        for priority in &network.priorities {
            plan.write("net_prio", "net_prio.ifpriomap", format!("{} {}", priority.name, priority.priority));
        }
    }
    rdma(resources, &mut plan);
    Ok(plan)
}

fn plan_cpu(cpu: &Cpu, plan: &mut Plan) -> Result<(), Error> {
    /// The kernel's `MIN_SHARES` and `MAX_SHARES`: it takes what is beyond them, silently, for the nearer one.
    const SHARES: RangeInclusive<u64> = 2..=1 << 18;
    if let Some(shares) = set(cpu.shares) {
        if shares < *SHARES.start() {
            return Err(Error::Invalid(format!("the minimum allowed cpu-shares is {}", SHARES.start())));
        }
        if shares > *SHARES.end() {
            return Err(Error::Invalid(format!("the maximum allowed cpu-shares is {}", SHARES.end())));
        }
        plan.write("cpu", "cpu.shares", shares);
    }
    // The burst can never be above the quota.
    let period = set(cpu.period).map(|period| Write::new("cpu", "cpu.cfs_period_us", period));
    let burst = cpu.burst.map(|burst| Write::new("cpu", "cpu.cfs_burst_us", burst));
    either_order(
        period.into_iter().chain(burst).collect(),
        set(cpu.quota).map(|quota| Write::new("cpu", "cpu.cfs_quota_us", quota.max(-1))),
        plan,
    );
    either_order(
        set(cpu.realtime_period).map(|period| Write::new("cpu", "cpu.rt_period_us", period)).into_iter().collect(),
        set(cpu.realtime_runtime).map(|runtime| Write::new("cpu", "cpu.rt_runtime_us", runtime)),
        plan,
    );
    if let Some(idle) = cpu.idle {
        plan.write("cpu", "cpu.idle", idle);
    }
    if !cpu.cpus.is_empty() {
        plan.write("cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        plan.write("cpuset", "cpuset.mems", &cpu.mems);
    }
    Ok(())
}

fn plan_memory(memory: &Memory, plan: &mut Plan) -> Result<(), Error> {
    let limit = set(memory.limit).map(|limit| limit.max(-1));
    let swap = set(memory.swap).map(|swap| swap.max(-1));
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap != -1
        && (limit == -1 || swap < limit)
    {
        return Err(Error::Invalid("memory+swap limit should be >= memory limit".to_owned()));
    }
    let write_limit = |limit: i64| Write::new("memory", "memory.limit_in_bytes", limit);
    let write_swap = |swap: i64| Write::new("memory", "memory.memsw.limit_in_bytes", swap);
    match (limit, swap) {
        // No memory limit cannot stand below a limit of memory and swap together: both go.
        (Some(-1), None) => {
            plan.steps.push(Step::EitherOrder { first: vec![write_limit(-1)], second: write_swap(-1), optional: true })
        }
        (Some(limit), Some(swap)) => plan.steps.push(Step::EitherOrder {
            first: vec![write_limit(limit)],
            second: write_swap(swap),
            // Without swap accounting there is nothing to be unlimited.
            optional: swap == -1,
        }),
        (Some(limit), None) => plan.steps.push(Step::Write(write_limit(limit))),
        (None, Some(-1)) => plan.steps.push(Step::IfPresent(write_swap(-1))),
        (None, Some(swap)) => plan.steps.push(Step::Write(write_swap(swap))),
        (None, None) => {}
    }
    if let Some(reservation) = set(memory.reservation) {
        plan.write("memory", "memory.soft_limit_in_bytes", reservation.max(-1));
    }
    if let Some(tcp) = set(memory.kernel_tcp) {
        plan.write("memory", "memory.kmem.tcp.limit_in_bytes", tcp.max(-1));
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            return Err(Error::Invalid(format!("invalid memory swappiness {swappiness} (valid range is 0-100)")));
        }
        plan.write("memory", "memory.swappiness", swappiness);
    }
    if let Some(disable) = memory.disable_oom_killer {
        plan.write("memory", "memory.oom_control", u8::from(disable));
    }
    Ok(())
}

fn plan_block_io(io: &BlockIo, plan: &mut Plan) {
    let weight = |file: &'static str, bfq: &'static str, value: String| {
        Step::FirstPresent(vec![Write::new("blkio", bfq, &value), Write::new("blkio", file, value)])
    };
    if let Some(value) = set(io.weight) {
        plan.steps.push(weight("blkio.weight", "blkio.bfq.weight", value.to_string()));
    }
    if let Some(leaf) = set(io.leaf_weight) {
        plan.write("blkio", "blkio.leaf_weight", leaf);
    }
    for WeightDevice { major, minor, weight: value, leaf_weight } in &io.weight_device {
        if let Some(value) = set(*value) {
            let value = format!("{major}:{minor} {value}");
            plan.steps.push(weight("blkio.weight_device", "blkio.bfq.weight_device", value));
        }
        if let Some(leaf) = set(*leaf_weight) {
            plan.write("blkio", "blkio.leaf_weight_device", format!("{major}:{minor} {leaf}"));
        }
    }
    let throttles: [(&'static str, &[ThrottleDevice]); 4] = [
        ("blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
    ];
    for (file, devices) in throttles {
        for ThrottleDevice { major, minor, rate } in devices {
            plan.write("blkio", file, format!("{major}:{minor} {rate}"));
        }
    }
}
