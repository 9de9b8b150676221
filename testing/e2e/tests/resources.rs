//! Limits: set, changed, shown, and kept to.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(
    limits_and_updates,
    limits_from_the_first_instruction,
    execs_have_them_too,
    wrong_updates,
    stats,
    out_of_memory
);

/// Prints a limit inside a container, with either version of cgroups.
fn limit(c: &Console, container: &str, v2: &str, v1: &str) -> String {
    c.ok(&format!("exec {container} sh -c 'cat /sys/fs/cgroup/{v2} 2>/dev/null || cat /sys/fs/cgroup/{v1}'"))
}

fn memory(c: &Console, container: &str) -> String {
    limit(c, container, "memory.max", "memory/memory.limit_in_bytes")
}

fn pids(c: &Console, container: &str) -> String {
    limit(c, container, "pids.max", "pids/pids.max")
}

fn limits_and_updates(c: &Console) {
    c.ok("run -d --name small -m 64m --memory-swap 128m --cpus 0.5 --pids-limit 50 busybox:1.29 sleep 1000");
    assert_eq!((memory(c, "small").as_str(), pids(c, "small").as_str()), ("67108864", "50"));
    let quota = |c: &Console| {
        limit(c, "small", "cpu.max", "cpu/cpu.cfs_quota_us").split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(quota(c), "50000");
    assert_eq!(c.ok("update -m 128m --memory-swap 256m --cpus 0.25 --pids-limit 60 --restart always small"), "small");
    for _ in 0..2 {
        assert_eq!((memory(c, "small").as_str(), pids(c, "small").as_str()), ("134217728", "60"));
        assert_eq!(quota(c), "25000");
        let shown = "'{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}'";
        assert_eq!(c.ok(&format!("inspect --format {shown} small")), "134217728 60 always");
        // The next run has them, too.
        c.ok("restart -t 0 small");
    }
    // Of one that does not run they are kept for later.
    c.ok("create --name later busybox:1.29 sleep 1000");
    c.ok("update -m 32m --memory-swap 64m later");
    // Swap alone, beside the memory that there is.
    c.ok("update --memory-swap 96m later");
    assert_eq!(c.ok("inspect --format {{.HostConfig.MemorySwap}} later"), (96 << 20).to_string());
    c.fails("update --memory-swap 16m later", 1);
    c.ok("start later");
    assert_eq!(memory(c, "later"), "33554432");
}

fn limits_from_the_first_instruction(c: &Console) {
    let read = "sh -c 'cd /sys/fs/cgroup; [ -e pids.max ] || cd pids; read max <pids.max; echo $max'";
    for limit in ["1", "5"] {
        assert_eq!(c.ok(&format!("run --rm --pids-limit {limit} busybox:1.29 {read}")), limit);
    }
    // As many as allowed, at once.
    c.ok("run --rm --pids-limit 3 busybox:1.29 sh -c 'true | true'");
    if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.shares").exists() {
        c.ok("run --rm --cpu-shares 2 busybox:1.29 true");
        let refused = c.fails("run --rm --cpu-shares 1 busybox:1.29 true", 125);
        assert!(refused.contains("the minimum allowed cpu-shares is 2"), "{refused}");
    }
}

/// What a process is given by itself, its container's execs are given too.
fn execs_have_them_too(c: &Console) {
    c.ok("run -d --name box --ulimit nofile=1000:2000 --ulimit core=0 --oom-score-adj 77 busybox:1.29 sleep 1000");
    let limits = "sh -c 'ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj'";
    assert_eq!(c.ok(&format!("exec box {limits}")), "1000\n2000\n0\n77");
    let health = format!("--health-cmd \"{}\" --health-interval 100ms", "ulimit -n");
    c.ok(&format!("run -d --name checked --ulimit nofile=1000:2000 {health} busybox:1.29 sleep 1000"));
    c.until("inspect --format '{{range .State.Health.Log}}{{.Output}}{{end}}' checked", |said| {
        said.starts_with("1000")
    });
}

fn wrong_updates(c: &Console) {
    c.ok("run -d --name small -m 64m --memory-swap 64m --cpus 0.5 busybox:1.29 sleep 1000");
    for (options, text) in [
        (
            "-m 128m",
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ),
        ("-m 1m", "Minimum memory limit allowed is 6MB"),
        ("--cpu-period 50000", "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"),
        ("--cpu-quota 50000", "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"),
        ("--restart nonsense", "invalid restart policy: unknown policy 'nonsense'"),
    ] {
        let refused = c.fails(&format!("update {options} small"), 1);
        assert!(refused.contains(text), "{text:?} is not in\n{refused}");
    }
    assert_eq!(memory(c, "small"), "67108864");
    let refused = c.fails("update -m 64m nobody", 1);
    assert!(refused.contains("No such container: nobody"), "{refused}");
}

fn stats(c: &Console) {
    c.ok("run -d --name busy -m 64m busybox:1.29 sh -c 'while true; do :; done'");
    c.ok("create --name idle busybox:1.29");
    let row = c.ok("stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}} {{.CPUPerc}}' busy");
    let words: Vec<&str> = row.split(' ').collect();
    assert_eq!((words[0], words[2], words[3], words[4]), ("busy", "/", "64MiB", "1"), "{row}");
    let percent: f64 = words[5].trim_end_matches('%').parse().expect("a percentage");
    assert!(percent > 0.0, "{row}");
    let table = c.ok("stats --no-stream");
    assert!(table.lines().count() == 2 && table.contains("busy"), "{table}");
    assert!(c.ok("stats --no-stream --all").contains("idle"));
    let header: Vec<&str> =
        table.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
    let expected = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
    assert_eq!(header, expected);
    // At a terminal it goes on until it is ended.
    let mut stream = c.terminal("stats busy");
    for _ in 0..3 {
        stream.expect("busy");
    }
    // The docker client needs to be told so three times when it has the names of containers.
    for _ in 0..3 {
        stream.send("\u{3}");
        std::thread::sleep(tare_testkit::PAUSE * 5);
    }
    stream.wait();
    let json: serde_json::Value = serde_json::from_str(&c.ok("stats --no-stream --format json busy")).expect("JSON");
    assert_eq!(json["Name"], "busy");
}

fn out_of_memory(c: &Console) {
    c.ok("run -d --name greedy -m 16m --memory-swap 16m busybox:1.29 sh -c 'sleep 0.2; exec tail /dev/zero'");
    assert_eq!(c.ok("wait greedy"), "137");
    assert_eq!(c.ok("inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' greedy"), "true 137");
    let now = c.ok("run --rm busybox:1.29 date +%s");
    let until = now.parse::<u64>().expect("a time") + 1;
    let events = c.ok(&format!("events --since 0 --until {until} --filter container=greedy --format {{{{.Action}}}}"));
    let position = |action: &str| events.lines().position(|line| line == action);
    assert!(position("oom").is_some() && position("oom") < position("die"), "{events}");
    // One that does not run out is not said to have.
    c.fails("run --name modest -m 16m busybox:1.29 sh -c 'exit 137'", 137);
    assert_eq!(c.ok("inspect --format {{.State.OOMKilled}} modest"), "false");
    // One that the kernel may not kill waits for memory that it has touched itself, which only v1 knows.
    if c.ok("info --format {{.CgroupVersion}}") == "1" {
        let limits = "-m 16m --memory-swap 16m --oom-kill-disable";
        c.ok(&format!("run -d --name stuck {limits} busybox:1.29 sh -c 'x=xxxxxxxx; while :; do x=$x$x; done'"));
        c.until("inspect --format {{.State.OOMKilled}} stuck", |killed| killed == "true");
        assert_eq!(c.ok("inspect --format {{.State.Running}} stuck"), "true");
        c.ok("kill stuck");
        assert_eq!(c.ok("wait stuck"), "137");
    }
}
