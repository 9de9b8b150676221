//! What is written where, for the same resources on both versions.

use std::collections::BTreeMap;

use tare_cgroup::{Version, plan, plan_update};
use tare_oci_runtime::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma, Resources, ThrottleDevice,
    WeightDevice,
};

fn update(resources: &Resources, version: Version) -> String {
    plan_update(resources, version).map_or_else(|error| error.to_string(), |plan| plan.to_string())
}

fn memory(memory: Memory) -> Resources {
    Resources { memory: Some(memory), ..Resources::default() }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources { cpu: Some(cpu), ..Resources::default() }
}

/// Everything that has a meaning in both versions.
fn everything() -> Resources {
    let throttle = |minor, rate| vec![ThrottleDevice { major: 8, minor, rate }];
    Resources {
        devices: vec![DeviceRule { allow: true, kind: "a".to_owned(), ..DeviceRule::default() }],
        memory: Some(Memory {
            limit: Some(64 << 20),
            reservation: Some(32 << 20),
            swap: Some(96 << 20),
            kernel: Some(1 << 20),
            swappiness: Some(60),
            disable_oom_killer: Some(true),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: Some(512),
            quota: Some(50_000),
            burst: Some(1000),
            period: Some(100_000),
            cpus: "0-1".to_owned(),
            mems: "0".to_owned(),
            ..Cpu::default()
        }),
        pids: Some(Pids { limit: Some(100) }),
        block_io: Some(BlockIo {
            weight: Some(500),
            weight_device: vec![WeightDevice { major: 8, minor: 0, weight: Some(10), ..WeightDevice::default() }],
            throttle_read_bps_device: throttle(0, 1 << 20),
            throttle_write_bps_device: throttle(1, 0),
            throttle_read_iops_device: throttle(2, 100),
            throttle_write_iops_device: throttle(3, 200),
            ..BlockIo::default()
        }),
        hugepage_limits: vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 4 << 20 }],
        rdma: BTreeMap::from([("mlx5_0".to_owned(), Rdma { hca_handles: Some(2), ..Rdma::default() })]),
        ..Resources::default()
    }
}

#[test]
fn everything_on_v1() {
    insta::assert_snapshot!(plan(&everything(), Version::V1).unwrap(), @r"
    devices.allow = a
    cpu.shares = 512
    cpu.cfs_period_us = 100000 & cpu.cfs_burst_us = 1000 & cpu.cfs_quota_us = 50000
    cpuset.cpus = 0-1
    cpuset.mems = 0
    memory.limit_in_bytes = 67108864 & memory.memsw.limit_in_bytes = 100663296
    memory.soft_limit_in_bytes = 33554432
    memory.swappiness = 60
    memory.oom_control = 1
    pids.max = 100
    blkio.bfq.weight = 500 | blkio.weight = 500
    blkio.bfq.weight_device = 8:0 10 | blkio.weight_device = 8:0 10
    blkio.throttle.read_bps_device = 8:0 1048576
    blkio.throttle.write_bps_device = 8:1 0
    blkio.throttle.read_iops_device = 8:2 100
    blkio.throttle.write_iops_device = 8:3 200
    hugetlb.2MB.limit_in_bytes = 4194304
    hugetlb.2MB.rsvd.limit_in_bytes = 4194304 (if present)
    rdma.max = mlx5_0 hca_handle=2 hca_object=max
    ");
}

#[test]
fn everything_on_v2() {
    insta::assert_snapshot!(plan(&everything(), Version::V2).unwrap(), @r"
    device program of 8 instructions
    cpu.weight = 59
    cpu.max.burst = 1000 & cpu.max = 50000 100000
    cpuset.cpus = 0-1
    cpuset.mems = 0
    memory.swap.max = 33554432
    memory.max = 67108864
    memory.low = 33554432
    pids.max = 100
    io.bfq.weight = default 500 | io.weight = default 4950
    io.bfq.weight = 8:0 10 | io.weight = 8:0 1
    io.max = 8:0 rbps=1048576
    io.max = 8:1 wbps=max
    io.max = 8:2 riops=100
    io.max = 8:3 wiops=200
    hugetlb.2MB.max = 4194304
    hugetlb.2MB.rsvd.max = 4194304 (if present)
    rdma.max = mlx5_0 hca_handle=2 hca_object=max
    ");
}

#[test]
fn nothing_changes_nothing_but_devices_of_a_new_group_are_denied() {
    for version in [Version::V1, Version::V2] {
        assert_eq!(update(&Resources::default(), version), "");
        let zero = Resources {
            memory: Some(Memory { limit: Some(0), swap: Some(0), reservation: Some(0), ..Memory::default() }),
            cpu: Some(Cpu { shares: Some(0), quota: Some(0), period: Some(0), ..Cpu::default() }),
            ..Resources::default()
        };
        assert_eq!(update(&zero, version), "");
        // The number of processes is another matter: zero is the least there can be.
        let pids = |limit| update(&Resources { pids: Some(Pids { limit }), ..Resources::default() }, version);
        let lines = [None, Some(0), Some(-1), Some(7)].map(pids);
        assert_eq!(lines.map(|line| line.trim().to_owned()), ["", "pids.max = 1", "pids.max = max", "pids.max = 7"]);
    }
    insta::assert_snapshot!(plan(&Resources::default(), Version::V1).unwrap(), @r"
    devices.deny = a
    devices.allow = c *:* m
    devices.allow = b *:* m
    devices.allow = c 1:3 rwm
    devices.allow = c 1:5 rwm
    devices.allow = c 1:7 rwm
    devices.allow = c 1:8 rwm
    devices.allow = c 1:9 rwm
    devices.allow = c 5:0 rwm
    devices.allow = c 5:2 rwm
    devices.allow = c 136:* rwm
    ");
    insta::assert_snapshot!(plan(&Resources::default(), Version::V2).unwrap(), @"device program of 59 instructions");
}

#[test]
fn memory_on_v1() {
    let v1 = |limit, swap| update(&memory(Memory { limit, swap, ..Memory::default() }), Version::V1);
    insta::assert_snapshot!(v1(Some(100), None), @"memory.limit_in_bytes = 100");
    insta::assert_snapshot!(v1(None, Some(200)), @"memory.memsw.limit_in_bytes = 200");
    insta::assert_snapshot!(v1(Some(100), Some(-1)), @"memory.limit_in_bytes = 100 & memory.memsw.limit_in_bytes = -1 (if present)");
    insta::assert_snapshot!(v1(Some(-1), None), @"memory.limit_in_bytes = -1 & memory.memsw.limit_in_bytes = -1 (if present)");
    insta::assert_snapshot!(v1(None, Some(-1)), @"memory.memsw.limit_in_bytes = -1 (if present)");
    insta::assert_snapshot!(v1(Some(100), Some(99)), @"memory+swap limit should be >= memory limit");
    insta::assert_snapshot!(v1(Some(-1), Some(99)), @"memory+swap limit should be >= memory limit");
}

#[test]
fn memory_on_v2() {
    let v2 = |limit, swap| update(&memory(Memory { limit, swap, ..Memory::default() }), Version::V2);
    insta::assert_snapshot!(v2(Some(100), None), @"memory.max = 100");
    insta::assert_snapshot!(v2(Some(100), Some(100)), @r"
    memory.swap.max = 0 (if present)
    memory.max = 100
    ");
    insta::assert_snapshot!(v2(Some(100), Some(-1)), @r"
    memory.swap.max = max (if present)
    memory.max = 100
    ");
    insta::assert_snapshot!(v2(Some(-1), None), @r"
    memory.swap.max = max (if present)
    memory.max = max
    ");
    insta::assert_snapshot!(v2(None, Some(200)), @"unable to set swap limit without memory limit");
    let checked = Memory { limit: Some(100), check_before_update: Some(true), ..Memory::default() };
    insta::assert_snapshot!(update(&memory(checked), Version::V2), @r"
    refuse memory if memory.current >= 100
    memory.max = 100
    ");
}

#[test]
fn processor_time_on_v2() {
    let v2 = |quota, period| update(&cpu(Cpu { quota, period, ..Cpu::default() }), Version::V2);
    insta::assert_snapshot!(v2(Some(1000), Some(2000)), @"cpu.max = 1000 2000");
    insta::assert_snapshot!(v2(Some(1000), None), @"cpu.max = 1000");
    insta::assert_snapshot!(v2(Some(-1), None), @"cpu.max = max");
    insta::assert_snapshot!(v2(None, Some(2000)), @"cpu.max = (its quota) 2000");
    let idle = |idle| update(&cpu(Cpu { idle: Some(idle), shares: Some(1024), ..Cpu::default() }), Version::V2);
    insta::assert_snapshot!(idle(1), @"cpu.idle = 1");
    insta::assert_snapshot!(idle(0), @r"
    cpu.idle = 0
    cpu.weight = 100
    ");
    let realtime = Cpu { realtime_runtime: Some(1000), ..Cpu::default() };
    insta::assert_snapshot!(update(&cpu(realtime), Version::V2), @"realtime limits of processor time need cgroup v1");
}

#[test]
fn processor_time_on_v1() {
    let v1 = |quota, period| update(&cpu(Cpu { quota, period, ..Cpu::default() }), Version::V1);
    insta::assert_snapshot!(v1(Some(1000), None), @"cpu.cfs_quota_us = 1000");
    insta::assert_snapshot!(v1(Some(-5), None), @"cpu.cfs_quota_us = -1");
    insta::assert_snapshot!(v1(None, Some(2000)), @"cpu.cfs_period_us = 2000");
    let realtime = Cpu { realtime_runtime: Some(1000), realtime_period: Some(2000), ..Cpu::default() };
    insta::assert_snapshot!(update(&cpu(realtime), Version::V1), @"cpu.rt_period_us = 2000 & cpu.rt_runtime_us = 1000");
}

#[test]
fn only_one_version_has_them() {
    let network = Resources {
        network: Some(Network {
            class_id: Some(0x10_0001),
            priorities: vec![InterfacePriority { name: "eth0".to_owned(), priority: 5 }],
        }),
        ..Resources::default()
    };
    insta::assert_snapshot!(update(&network, Version::V1), @r"
    net_cls.classid = 1048577
    net_prio.ifpriomap = eth0 5
    ");
    insta::assert_snapshot!(update(&network, Version::V2), @"network classes and priorities need cgroup v1");
    let unified =
        |file: &str| Resources { unified: BTreeMap::from([(file.to_owned(), "1".to_owned())]), ..Resources::default() };
    insta::assert_snapshot!(update(&unified("memory.high"), Version::V1), @"invalid configuration: unified resources need cgroup v2");
    insta::assert_snapshot!(update(&unified("memory.high"), Version::V2), @"memory.high = 1");
    insta::assert_snapshot!(update(&unified("../memory.high"), Version::V2), @"unified resource `../memory.high` is not the name of a cgroup file");
    insta::assert_snapshot!(update(&unified("memory"), Version::V2), @"unified resource `memory` is not the name of a cgroup file");
}

#[test]
fn file_names_cannot_be_injected() {
    let resources = Resources {
        hugepage_limits: vec![HugepageLimit { page_size: "../x/".to_owned(), limit: 1 }],
        ..Resources::default()
    };
    for version in [Version::V1, Version::V2] {
        assert_eq!(update(&resources, version), "invalid huge page size `../x/`");
    }
    let swappiness = Memory { swappiness: Some(101), ..Memory::default() };
    insta::assert_snapshot!(update(&memory(swappiness), Version::V1), @"invalid memory swappiness 101 (valid range is 0-100)");
}

#[test]
fn shares_that_the_kernel_would_change_are_refused_on_v1() {
    let shares = |shares| update(&cpu(Cpu { shares: Some(shares), ..Cpu::default() }), Version::V1);
    assert_eq!(shares(1), "the minimum allowed cpu-shares is 2");
    assert_eq!((shares(2).as_str(), shares(262_144).as_str()), ("cpu.shares = 2\n", "cpu.shares = 262144\n"));
    assert_eq!(shares(262_145), "the maximum allowed cpu-shares is 262144");
    // None given.
    assert_eq!(shares(0), "");
}

#[test]
fn a_controller_can_be_applied_later() {
    let mut plan = plan_update(&everything(), Version::V1).unwrap();
    let pids = plan.split_off("pids");
    insta::assert_snapshot!(pids, @"pids.max = 100");
    assert!(!plan.to_string().contains("pids"));
}
