//! Limits, from Docker's form to the runtime's.

use std::os::unix::fs::MetadataExt;

use tare_docker_api::container::{Resources as Limits, ThrottleDevice as Throttle};
use tare_oci_runtime::{BlockIo, Cpu, DeviceRule, Memory, Pids, Resources, ThrottleDevice, WeightDevice};

use crate::error::{Error, Result};

/// Microseconds per period that `--cpus` is expressed in.
const CPUS_PERIOD_US: u64 = 100_000;

/// Converts limits; 0 means unset everywhere.
pub(crate) fn of(limits: &Limits, devices: Vec<DeviceRule>) -> Result<Resources> {
    Ok(Resources {
        devices,
        memory: memory(limits),
        cpu: cpu(limits),
        pids: limits.pids_limit.filter(|limit| *limit != 0).map(|limit| Pids { limit: Some(limit.max(-1)) }),
        block_io: block_io(limits)?,
        ..Resources::default()
    })
}

fn set(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn memory(limits: &Limits) -> Option<Memory> {
    let memory = Memory {
        limit: set(limits.memory),
        reservation: set(limits.memory_reservation),
        swap: set(limits.memory_swap),
        kernel_tcp: set(limits.kernel_memory_tcp),
        swappiness: limits.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: limits.oom_kill_disable.filter(|disable| *disable),
        ..Memory::default()
    };
    (memory != Memory::default()).then_some(memory)
}

fn cpu(limits: &Limits) -> Option<Cpu> {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let mut cpu = Cpu {
        shares: positive(limits.cpu_shares),
        quota: set(limits.cpu_quota),
        period: positive(limits.cpu_period),
        realtime_runtime: set(limits.cpu_realtime_runtime),
        realtime_period: positive(limits.cpu_realtime_period),
        cpus: limits.cpuset_cpus.clone(),
        mems: limits.cpuset_mems.clone(),
        ..Cpu::default()
    };
    if limits.nano_cpus > 0 {
        cpu.period = Some(CPUS_PERIOD_US);
        let quota = i128::from(limits.nano_cpus) * i128::from(CPUS_PERIOD_US) / 1_000_000_000;
        cpu.quota = i64::try_from(quota).ok();
    }
    (cpu != Cpu::default()).then_some(cpu)
}

fn block_io(limits: &Limits) -> Result<Option<BlockIo>> {
    let weights = limits
        .blkio_weight_device
        .iter()
        .map(|device| {
            let (major, minor) = block_device(&device.path)?;
            Ok(WeightDevice { major, minor, weight: Some(device.weight), leaf_weight: None })
        })
        .collect::<Result<_>>()?;
    let io = BlockIo {
        weight: (limits.blkio_weight != 0).then_some(limits.blkio_weight),
        weight_device: weights,
        throttle_read_bps_device: throttles(&limits.blkio_device_read_bps)?,
        throttle_write_bps_device: throttles(&limits.blkio_device_write_bps)?,
        throttle_read_iops_device: throttles(&limits.blkio_device_read_iops)?,
        throttle_write_iops_device: throttles(&limits.blkio_device_write_iops)?,
        ..BlockIo::default()
    };
    Ok((io != BlockIo::default()).then_some(io))
}

fn throttles(devices: &[Throttle]) -> Result<Vec<ThrottleDevice>> {
    devices
        .iter()
        .map(|device| {
            let (major, minor) = block_device(&device.path)?;
            Ok(ThrottleDevice { major, minor, rate: device.rate })
        })
        .collect()
}

fn block_device(path: &str) -> Result<(i64, i64)> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::invalid(format!("stat {path}: no such file or directory")),
        _ => Error::invalid(format!("stat {path}: {error}")),
    })?;
    let number = metadata.rdev();
    Ok((i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_a_quota() {
        let limits = Limits { nano_cpus: 1_500_000_000, ..Limits::default() };
        let cpu = of(&limits, Vec::new()).unwrap().cpu.unwrap();
        assert_eq!((cpu.period, cpu.quota), (Some(100_000), Some(150_000)));
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        assert_eq!(of(&Limits::default(), Vec::new()).unwrap(), Resources::default());
    }
}
