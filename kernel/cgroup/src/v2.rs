//! Limits on cgroup v2, converted from v1's units where the interface still speaks them. Source: the kernel's
//! `Documentation/admin-guide/cgroup-v2.rst`.

use tare_oci_runtime::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

use crate::Error;
use crate::common::{either_order, page_size, pids_max, rdma, set};
use crate::plan::{Plan, Step, Write};

pub(crate) fn plan(resources: &Resources) -> Result<Plan, Error> {
    let mut plan = Plan::default();
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
        plan.write("hugetlb", format!("hugetlb.{size}.max"), limit.limit);
        let reserved = Write::new("hugetlb", format!("hugetlb.{size}.rsvd.max"), limit.limit);
        plan.steps.push(Step::IfPresent(reserved));
    }
    if resources.network.as_ref().is_some_and(|network| network.class_id.is_some() || !network.priorities.is_empty()) {
        return Err(Error::Invalid("network classes and priorities need cgroup v1".to_owned()));
    }
    rdma(resources, &mut plan);
    for (file, value) in &resources.unified {
        let controller = file.split_once('.').map(|(controller, _)| controller);
        let Some(controller) = controller.filter(|name| !name.is_empty() && !file.contains('/')) else {
            return Err(Error::Invalid(format!("unified resource `{file}` is not the name of a cgroup file")));
        };
        plan.write(controller.to_owned(), file.clone(), value);
    }
    Ok(plan)
}

fn plan_cpu(cpu: &Cpu, plan: &mut Plan) -> Result<(), Error> {
    if set(cpu.realtime_period).is_some() || set(cpu.realtime_runtime).is_some() {
        return Err(Error::Invalid("realtime limits of processor time need cgroup v1".to_owned()));
    }
    // An idle group has no weight, and must stop being idle before it gets one.
    if let Some(idle) = cpu.idle {
        plan.write("cpu", "cpu.idle", idle);
    }
    if let Some(shares) = set(cpu.shares).filter(|_| cpu.idle != Some(1)) {
        plan.write("cpu", "cpu.weight", cpu_weight(shares));
    }
    let quota = set(cpu.quota).map(|quota| if quota > 0 { quota.to_string() } else { "max".to_owned() });
    // Without a period the kernel keeps the one in force.
    let max = quota.map(|quota| set(cpu.period).map_or(quota.clone(), |period| format!("{quota} {period}")));
    let period_alone = if max.is_none() { set(cpu.period) } else { None };
    // The burst can never be above the quota.
    let burst = cpu.burst.map(|burst| Write::new("cpu", "cpu.max.burst", burst));
    either_order(burst.into_iter().collect(), max.map(|max| Write::new("cpu", "cpu.max", max)), plan);
    plan.steps.extend(period_alone.map(Step::Period));
    if !cpu.cpus.is_empty() {
        plan.write("cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        plan.write("cpuset", "cpuset.mems", &cpu.mems);
    }
    Ok(())
}

/// v1's shares (2 to 262144, by default 1024) on v2's scale (1 to 10000, by default 100): the quadratic curve in
/// log space through those three points, rounded up, which OCI runtimes have agreed on
/// (<https://github.com/opencontainers/cgroups/pull/20>; before, 1024 became 39).
fn cpu_weight(shares: u64) -> u64 {
    const FROM: (u64, u64) = (2, 1 << 18);
    const TO: (u64, u64) = (1, 10_000);
    if shares <= FROM.0 {
        return TO.0;
    }
    if shares >= FROM.1 {
        return TO.1;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 2^18")]
    let log = (shares as f64).log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0);
    /// Rounding up must not turn the inexact 100.00000000000001 into 101.
    const EPSILON: f64 = 1e-9;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = (weight - EPSILON).ceil() as u64;
    weight.clamp(TO.0, TO.1)
}

fn plan_memory(memory: &Memory, plan: &mut Plan) -> Result<(), Error> {
    let limit = set(memory.limit).map(|limit| limit.max(-1));
    if memory.check_before_update == Some(true) {
        for (what, value) in [("memory+swap", memory.swap), ("memory", memory.limit)] {
            let limit = value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
            plan.steps.extend(limit.map(|limit| Step::RefuseBelowUsage { what, limit }));
        }
    }
    // First swap: it may have to grow before memory shrinks.
    if let Some(swap) = swap_limit(limit, set(memory.swap))? {
        let write = Write::new("memory", "memory.swap.max", max(swap));
        // Without swap accounting these two are what happens anyway.
        plan.steps.push(if swap <= 0 { Step::IfPresent(write) } else { Step::Write(write) });
    }
    if let Some(limit) = limit {
        plan.write("memory", "memory.max", max(limit));
    }
    if let Some(reservation) = set(memory.reservation) {
        plan.write("memory", "memory.low", max(reservation));
    }
    Ok(())
}

/// v2 limits swap alone, v1 memory and swap together. `None`: not given; -1: no limit.
fn swap_limit(limit: Option<i64>, both: Option<i64>) -> Result<Option<i64>, Error> {
    match (limit, both) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(both)) if both < 0 => Ok(Some(-1)),
        (None | Some(-1), Some(_)) => Err(Error::Invalid("unable to set swap limit without memory limit".to_owned())),
        (Some(limit), Some(both)) if both < limit => {
            Err(Error::Invalid("memory+swap limit should be >= memory limit".to_owned()))
        }
        (Some(limit), Some(both)) => Ok(Some(both - limit)),
    }
}

fn max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn plan_block_io(io: &BlockIo, plan: &mut Plan) {
    // BFQ keeps v1's scale.
    let weight = |target: &str, weight: u16| {
        Step::FirstPresent(vec![
            Write::new("io", "io.bfq.weight", format!("{target} {weight}")),
            Write::new("io", "io.weight", format!("{target} {}", io_weight(weight))),
        ])
    };
    if let Some(value) = set(io.weight) {
        plan.steps.push(weight("default", value));
    }
    for device in &io.weight_device {
        if let Some(value) = set(device.weight) {
            plan.steps.push(weight(&format!("{}:{}", device.major, device.minor), value));
        }
    }
    let throttles: [(&str, &[ThrottleDevice]); 4] = [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ];
    for (key, devices) in throttles {
        for ThrottleDevice { major, minor, rate } in devices {
            let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            plan.write("io", "io.max", format!("{major}:{minor} {key}={rate}"));
        }
    }
}

/// v1's weight (10 to 1000) linearly on v2's scale (1 to 10000).
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        let table = [(0, 1), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, weight) in table {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        // The curve never falls.
        let mut last = 0;
        for shares in (2..300_000).step_by(7) {
            let weight = cpu_weight(shares);
            assert!(weight >= last, "{shares}");
            last = weight;
        }
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
    }

    #[test]
    fn swap_is_what_is_left_of_both() {
        let show = |limit, both| match swap_limit(limit, both) {
            Ok(swap) => format!("{swap:?}"),
            Err(error) => error.to_string(),
        };
        insta::assert_snapshot!(show(Some(100), Some(300)), @"Some(200)");
        insta::assert_snapshot!(show(Some(100), Some(100)), @"Some(0)");
        insta::assert_snapshot!(show(Some(100), Some(-1)), @"Some(-1)");
        insta::assert_snapshot!(show(Some(100), None), @"None");
        insta::assert_snapshot!(show(Some(-1), None), @"Some(-1)");
        insta::assert_snapshot!(show(Some(100), Some(99)), @"memory+swap limit should be >= memory limit");
        insta::assert_snapshot!(show(None, Some(99)), @"unable to set swap limit without memory limit");
    }
}
