//! Against the running kernel: v1's controllers where they are mounted, and the files every v2 mount has.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tare_oci_runtime::{Cpu, DeviceRule, Memory, Pids, Resources};

use crate::hierarchy::Mount;
use crate::{Cgroup, Hierarchies, Version, plan, plan_update};

/// A group that is emptied and removed when the test ends, however it ends.
struct Group(Cgroup);

impl Drop for Group {
    fn drop(&mut self) {
        let killed = self.0.kill_all(sigkill());
        let removed = self.0.remove();
        if !std::thread::panicking() {
            killed.unwrap();
            removed.unwrap();
        }
    }
}

fn sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("/tare-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `None` where the machine has only v2.
fn v1() -> Option<Hierarchies> {
    let hierarchies = Hierarchies::detect().unwrap();
    (hierarchies.version() == Version::V1).then_some(hierarchies)
}

/// The v2 mount of a hybrid machine, or of a pure one.
fn v2() -> Option<Hierarchies> {
    let hybrid = PathBuf::from("/sys/fs/cgroup/unified");
    if hybrid.join("cgroup.procs").exists() {
        let mount = Mount { point: hybrid, controllers: Vec::new(), name: None };
        return Some(Hierarchies::for_test(Version::V2, vec![mount]));
    }
    let hierarchies = Hierarchies::detect().unwrap();
    (hierarchies.version() == Version::V2).then_some(hierarchies)
}

/// A shell that waits in the group until it is told to run its script.
struct Shell(Child);

impl Shell {
    fn new(group: &Cgroup, script: &str) -> Self {
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        group.add_process(child.id().cast_signed()).unwrap();
        Self(child)
    }

    fn run(mut self) -> std::process::Output {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        self.0.wait_with_output().unwrap()
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

fn check_life(hierarchies: &Hierarchies) {
    let path = unique();
    let parent = Group(Cgroup::create(hierarchies, &path).unwrap());
    let group = Cgroup::create(hierarchies, &format!("{path}/a/b")).unwrap();
    assert!(group.exists());
    assert!(group.procs().unwrap().is_empty());
    let shell = Shell::new(&group, "exit 7");
    assert_eq!(group.procs().unwrap(), [shell.pid()]);
    assert!(parent.0.procs().unwrap().is_empty());
    assert_eq!(parent.0.all_procs().unwrap(), [shell.pid()]);
    assert!(!parent.0.frozen().unwrap());
    parent.0.freeze().unwrap();
    assert!(parent.0.frozen().unwrap());
    // Any other signal leaves it frozen, and so alive.
    parent.0.kill_all(rustix::process::Signal::CONT.as_raw()).unwrap();
    assert!(parent.0.frozen().unwrap());
    parent.0.thaw().unwrap();
    assert_eq!(shell.run().status.code(), Some(7));

    // On v2 a group that passes on controllers has no processes of its own.
    let elsewhere = if hierarchies.version() == Version::V1 { &parent.0 } else { &group };
    let mut victims = [Shell::new(&group, ":"), Shell::new(elsewhere, ":")];
    parent.0.freeze().unwrap();
    parent.0.kill_all(sigkill()).unwrap();
    for victim in &mut victims {
        assert_eq!(victim.0.wait().unwrap().signal(), Some(sigkill()));
    }
    assert!(parent.0.all_procs().unwrap().is_empty());
    parent.0.thaw().unwrap();
    // Whoever came now would stand still: in a group that is empty, or below it, or that is still to be made.
    let missing = Cgroup::open(hierarchies, &format!("{path}/c/d"));
    for frozen in [false, true] {
        if frozen {
            parent.0.freeze().unwrap();
        }
        for group in [&parent.0, &group, &missing] {
            assert_eq!(group.freezes_newcomers().unwrap(), frozen, "{}", group.path());
        }
    }
    parent.0.thaw().unwrap();
    parent.0.remove().unwrap();
    assert!(!parent.0.exists() && !group.exists());
    parent.0.remove().unwrap();
    assert!(group.procs().unwrap().is_empty());
    assert!(group.stats().is_err());
}

#[test]
fn life_of_a_group_on_v1() {
    let Some(hierarchies) = v1() else { return };
    check_life(&hierarchies);
}

#[test]
fn life_of_a_group_on_v2() {
    let Some(hierarchies) = v2() else { return };
    check_life(&hierarchies);
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    group.0.fd_v2().unwrap();
    assert!(group.0.add_current_thread().is_err());
}

#[test]
fn a_busy_group_is_not_removed() {
    let Some(hierarchies) = v1() else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    let shell = Shell::new(&group.0, ":");
    let error = group.0.remove().unwrap_err().to_string();
    assert!(error.contains("EBUSY") && error.contains("rmdir"), "{error}");
    shell.run();
}

#[test]
fn renaming_takes_the_processes_along() {
    let Some(hierarchies) = v1() else { return };
    let path = unique();
    let parent = Group(Cgroup::create(&hierarchies, &path).unwrap());
    let mut group = Cgroup::create(&hierarchies, &format!("{path}/pool-1")).unwrap();
    let shell = Shell::new(&group, ":");
    group.rename("container").unwrap();
    assert_eq!(group.path(), format!("{path}/container"));
    assert_eq!(group.procs().unwrap(), [shell.pid()]);
    assert!(!Cgroup::open(&hierarchies, &format!("{path}/pool-1")).exists());
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", shell.pid())).unwrap();
    let v1_lines = cgroups.lines().filter(|line| !line.starts_with("0::"));
    assert!(v1_lines.clone().count() > 0 && v1_lines.clone().all(|line| line.ends_with("/container")), "{cgroups}");
    // A taken name leaves everything as it was.
    let other = Cgroup::create(&hierarchies, &format!("{path}/other")).unwrap();
    assert!(group.rename("other").is_err());
    assert!(group.rename("../x").is_err());
    assert_eq!(group.procs().unwrap(), [shell.pid()]);
    assert!(other.exists());
    shell.run();
    drop(parent);
}

#[test]
fn a_thread_joins_alone_and_its_children_are_born_there() {
    let Some(hierarchies) = v1() else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    let path = group.0.path().to_owned();
    let inside = group.0.clone();
    let cgroups = std::thread::spawn(move || {
        inside.add_current_thread().unwrap();
        let output = Command::new("/bin/cat").arg("/proc/self/cgroup").output().unwrap();
        // Counted among the processes of the group, but spared.
        assert_eq!(inside.procs().unwrap(), [std::process::id().cast_signed()]);
        inside.kill_all(sigkill()).unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
    .join()
    .unwrap();
    assert!(cgroups.lines().filter(|line| !line.starts_with("0::")).all(|line| line.ends_with(&path)), "{cgroups}");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(!own.contains(&path), "{own}");
}

#[test]
fn a_thread_leaves_the_count_of_one_controller() {
    let Some(hierarchies) = v1().filter(|all| all.has_controller("pids")) else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    let inside = group.0.clone();
    let (before, after, cgroups) = std::thread::spawn(move || {
        let count = || inside.stats().unwrap().pids.unwrap().current;
        inside.add_current_thread().unwrap();
        let before = count();
        inside.take_out_current_thread("pids").unwrap();
        (before, count(), std::fs::read_to_string("/proc/thread-self/cgroup").unwrap())
    })
    .join()
    .unwrap();
    assert_eq!((before, after), (1, 0));
    let path = group.0.path();
    let (out, others): (Vec<&str>, _) =
        cgroups.lines().filter(|line| !line.starts_with("0::")).partition(|line| line.contains("pids"));
    assert!(out.iter().all(|line| !line.ends_with(path)), "{cgroups}");
    assert!(others.iter().all(|line| line.ends_with(path)), "{cgroups}");
}

fn limits(memory: i64, swap: i64, quota: i64) -> Resources {
    Resources {
        memory: Some(Memory { limit: Some(memory), swap: Some(swap), ..Memory::default() }),
        cpu: Some(Cpu { shares: Some(512), quota: Some(quota), period: Some(50_000), ..Cpu::default() }),
        pids: Some(Pids { limit: Some(20) }),
        ..Resources::default()
    }
}

#[test]
fn limits_are_set_raised_and_lowered_on_v1() {
    let Some(hierarchies) = v1() else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    group.0.apply(&plan(&limits(32 << 20, 48 << 20, 20_000), Version::V1).unwrap()).unwrap();
    let stats = group.0.stats().unwrap();
    assert_eq!(stats.memory.as_ref().unwrap().limit, Some(32 << 20));
    assert_eq!(stats.memory.as_ref().unwrap().get("hierarchical_memsw_limit"), Some(48 << 20));
    assert_eq!(stats.pids.unwrap().limit, Some(20));
    // Above the old sum of memory and swap, back below the old memory limit, and no limit at all.
    for (memory, swap) in [(64 << 20, 96 << 20), (16 << 20, 24 << 20), (64 << 20, -1), (16 << 20, 24 << 20)] {
        group.0.apply(&plan_update(&limits(memory, swap, 40_000), Version::V1).unwrap()).unwrap();
        let limit = group.0.stats().unwrap().memory.unwrap().limit;
        assert_eq!(limit, Some(memory.cast_unsigned()));
    }
    let unlimited = Resources { memory: Some(Memory { limit: Some(-1), ..Memory::default() }), ..Resources::default() };
    group.0.apply(&plan_update(&unlimited, Version::V1).unwrap()).unwrap();
    assert_eq!(group.0.stats().unwrap().memory.unwrap().limit, None);
}

/// Checks the order in which quota and burst are written: neither may be above or below the other's old value.
fn check_burst(hierarchies: &Hierarchies, file: &str) {
    let group = Group(Cgroup::create(hierarchies, &unique()).unwrap());
    let version = hierarchies.version();
    let (_, directory) = group.0.directories().into_iter().find(|(_, path)| path.join(file).exists()).unwrap();
    for (quota, burst) in [(20_000, 20_000), (60_000, 50_000), (10_000, 5_000), (-1, 70_000), (30_000, 0)] {
        let cpu = Cpu { quota: Some(quota), period: Some(50_000), burst: Some(burst), ..Cpu::default() };
        let resources = Resources { cpu: Some(cpu), ..Resources::default() };
        group.0.apply(&plan_update(&resources, version).unwrap()).unwrap();
        let value = std::fs::read_to_string(directory.join(file)).unwrap();
        assert_eq!(value.trim(), burst.to_string(), "{quota} {burst}");
    }
}

#[test]
fn a_burst_of_processor_time_is_raised_and_lowered_with_the_quota() {
    if let Some(hierarchies) = v1().filter(|all| all.has_controller("cpu")) {
        check_burst(&hierarchies, "cpu.cfs_burst_us");
    }
    if let Some(hierarchies) = v2().filter(|all| all.has_controller("cpu")) {
        check_burst(&hierarchies, "cpu.max.burst");
    }
}

#[test]
fn both_versions_of_a_hybrid_machine_have_the_group() {
    let Some(hierarchies) = v1() else { return };
    let hybrid = Hierarchies::detect_hybrid().unwrap();
    let group = Group(Cgroup::create(&hybrid, &unique()).unwrap());
    let names = |group: &Cgroup| group.directories().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let plain = Cgroup::open(&hierarchies, group.0.path());
    assert_eq!(plain.mount_sources(), group.0.mount_sources());
    if hybrid.all().len() == hierarchies.all().len() {
        assert_eq!(names(&group.0), names(&plain));
        return;
    }
    assert_eq!(names(&group.0), [names(&plain), vec![String::new()]].concat());
    let shell = Shell::new(&group.0, ":");
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", shell.pid())).unwrap();
    assert!(cgroups.contains(&format!("\n0::{}\n", group.0.path())), "{cgroups}");
    shell.run();
    // One that was made without it is joined without it.
    let unified = v2().unwrap();
    Cgroup::open(&unified, group.0.path()).remove().unwrap();
    assert_eq!(names(&group.0), names(&plain));
}

#[test]
fn a_limit_below_the_usage_is_explained() {
    let Some(hierarchies) = v1() else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    // Anonymous memory that cannot be swapped away.
    let mut shell = Shell::new(&group.0, "x=$(head -c 8388608 /dev/zero | tr '\\0' x); echo ready; read again");
    shell.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(shell.0.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let tiny = Memory { limit: Some(1 << 20), swap: Some(1 << 20), ..Memory::default() };
    let resources = Resources { memory: Some(tiny), ..Resources::default() };
    let error = group.0.apply(&plan(&resources, Version::V1).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("unable to set memory limit to 1048576 (current usage: "), "{error}");
    shell.run();
}

#[test]
fn a_missing_controller_is_named() {
    let Some(hierarchies) = v1() else { return };
    if hierarchies.has_controller("rdma") {
        return;
    }
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    let resources =
        Resources { rdma: [("mlx5_0".to_owned(), tare_oci_runtime::Rdma::default())].into(), ..Resources::default() };
    let error = group.0.apply(&plan(&resources, Version::V1).unwrap()).unwrap_err();
    insta::assert_snapshot!(error, @"the requested cgroup controller `rdma` is not available (needed for `rdma.max`)");
}

#[test]
fn statistics_count_what_ran() {
    let Some(hierarchies) = v1() else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    let shell = Shell::new(
        &group.0,
        "x=$(head -c 1048576 /dev/zero | tr '\\0' x); i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done",
    );
    assert_eq!(group.0.stats().unwrap().pids.unwrap().current, 1);
    assert!(shell.run().status.success());
    let stats = group.0.stats().unwrap();
    assert!(stats.cpu.total > 0 && stats.cpu.user > 0, "{stats:?}");
    assert!(stats.cpu.per_cpu.iter().sum::<u64>() > 0);
    let memory = stats.memory.unwrap();
    assert!(memory.get("total_inactive_anon").is_some() && memory.get("pgfault").is_some());
    assert!(group.0.memory_peak().unwrap().is_some_and(|peak| peak > 0));
    assert_eq!(memory.limit, None);
    assert_eq!(group.0.oom_kills().unwrap(), 0);
}

#[test]
fn the_killing_for_lack_of_memory_is_heard_and_counted() {
    let Some(hierarchies) = v1() else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    group.0.apply(&plan_update(&limits(8 << 20, 8 << 20, -1), Version::V1).unwrap()).unwrap();
    let notifier = group.0.oom_notifier().unwrap();
    let output = Shell::new(&group.0, "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo survived").run();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("survived"));
    let mut fds = [PollFd::new(&notifier, PollFlags::IN)];
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1);
    assert!(group.0.oom_kills().unwrap() > 0);
    let mut told = 0;
    assert!(group.0.ran_out_of_memory(&notifier, &mut told) && told > 0);
    assert!(!group.0.ran_out_of_memory(&notifier, &mut told));
}

#[test]
fn the_lack_of_memory_is_heard_where_nothing_is_killed() {
    let Some(hierarchies) = v1() else { return };
    let group = Group(Cgroup::create(&hierarchies, &unique()).unwrap());
    let memory = Memory { disable_oom_killer: Some(true), ..limits(8 << 20, 8 << 20, -1).memory.unwrap() };
    let resources = Resources { memory: Some(memory), ..Resources::default() };
    group.0.apply(&plan(&resources, Version::V1).unwrap()).unwrap();
    let notifier = group.0.oom_notifier().unwrap();
    let hungry = Shell::new(&group.0, "x=$(head -c 33554432 /dev/zero | tr '\\0' x)");
    let waiting = std::thread::spawn(move || hungry.run());
    let mut fds = [PollFd::new(&notifier, PollFlags::IN)];
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1);
    assert!(group.0.ran_out_of_memory(&notifier, &mut 0));
    assert_eq!(group.0.oom_kills().unwrap(), 0);
    group.0.kill_all(sigkill()).unwrap();
    waiting.join().unwrap();
}

/// Rules that leave the kernel log (1:11) readable or not; what is read is the open alone.
fn kernel_log(allow: bool) -> Resources {
    let rule = DeviceRule { allow, kind: "c".to_owned(), major: Some(1), minor: Some(11), access: "r".to_owned() };
    Resources { devices: vec![rule], ..Resources::default() }
}

fn check_devices(hierarchies: &Hierarchies, resources: &Resources) -> Option<i32> {
    let group = Group(Cgroup::create(hierarchies, &unique()).unwrap());
    group.0.apply(&plan(resources, hierarchies.version()).unwrap()).unwrap();
    let output = Shell::new(&group.0, ": < /dev/null && : > /dev/zero || exit 9; exec 3< /dev/kmsg").run();
    output.status.code()
}

#[test]
fn devices_are_allowed_and_denied() {
    for hierarchies in [v1(), v2()].into_iter().flatten() {
        assert_eq!(check_devices(&hierarchies, &kernel_log(true)), Some(0), "{:?}", hierarchies.version());
        let denied = check_devices(&hierarchies, &kernel_log(false));
        assert!(denied.is_some_and(|code| code != 0 && code != 9), "{:?} {denied:?}", hierarchies.version());
    }
}

#[test]
fn what_is_supported_is_what_is_mounted() {
    let Some(hierarchies) = v1() else { return };
    let support = hierarchies.support();
    assert_eq!(support.pids_limit, hierarchies.has_controller("pids"));
    assert_eq!(support.memory_limit, hierarchies.has_controller("memory"));
    assert_eq!(support.hugetlb, hierarchies.has_controller("hugetlb"));
}
