//! What cannot be asked of a container: Docker's sentences, from the client and from the engine.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(options, conflicts, networks, bodies);

/// Each line of options is refused with its text, and nothing is made.
#[track_caller]
fn refused(c: &Console, lines: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (options, text) in lines {
        let output = c.run(&format!("create --name wrong {options} busybox:1.29 true"));
        if output.status == 0 || !output.stderr.contains(text) {
            wrong.push(format!("{text:?} is not in\n{output}"));
            c.run("rm -f wrong");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(c.ok("ps --all --quiet"), "");
}

fn options(c: &Console) {
    c.ok("pull -q busybox:1.29");
    refused(
        c,
        &[
            ("-m 5m", "Minimum memory limit allowed is 6MB"),
            ("-m 100m --memory-swap 50m", "Minimum memoryswap limit should be larger than memory limit, see usage"),
            ("--memory-swap 50m", "You should always set the Memory limit when using Memoryswap limit, see usage"),
            ("--memory-reservation 5m", "Minimum memory reservation allowed is 6MB"),
            (
                "-m 50m --memory-reservation 60m",
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ),
            ("--memory-swappiness 200", "alid memory swappiness range is 0-100"),
            ("--cpus 1 --cpu-period 1000", "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
            ("--cpus 1 --cpu-quota 1000", "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
            ("--cpus 100000", "range of CPUs is from 0.01 to "),
            (
                "--cpu-period 100",
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ),
            ("--cpu-quota 100", "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
            ("--cpu-shares=-1", "invalid CPU shares (-1): value must be a positive integer"),
            ("--blkio-weight 5", "Range of blkio weight is from 10 to 1000"),
            ("--oom-score-adj 2000", "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
            ("--cpuset-cpus 8000", "Requested CPUs are not available - requested 8000, available: "),
            ("--cpuset-mems 8000", "Requested memory nodes are not available - requested 8000, available: "),
            ("--cpuset-cpus x", "Invalid value x for cpuset cpus: invalid format: x"),
            ("--shm-size=-1", "invalid size: '-1'"),
            ("-w relative", "the working directory 'relative' is invalid, it needs to be an absolute path"),
            ("--cap-add nonsense", "invalid CapAdd: unknown capability: \"CAP_NONSENSE\""),
            ("--cap-drop nonsense", "invalid CapDrop: unknown capability: \"CAP_NONSENSE\""),
            ("-e =x", "invalid environment variable: =x"),
            ("--stop-signal nonsense", "nvalid signal: nonsense"),
            ("--restart nonsense", "invalid restart policy: unknown policy 'nonsense'; use one of 'no', 'always'"),
            ("--restart always:3", "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
            ("--restart on-failure:-1", "invalid restart policy: maximum retry count cannot be negative"),
            ("--restart on-failure:x", "invalid restart policy format: maximum retry count must be an integer"),
            ("--restart :3", "invalid restart policy format: no policy provided before colon"),
            ("--log-driver nonsense", "nonsense"),
            ("--log-opt nonsense=1", "unknown log opt 'nonsense' for json-file log driver"),
            ("--gpus all", "could not select device driver \"\" with capabilities: [[gpu]]"),
            ("-v a:b:c:d", "invalid"),
            ("-v /a:/b:what", "invalid mode: what"),
            ("-v /a:relative", "mount path must be absolute"),
            ("-v /a:/", "destination can't be '/'"),
            ("-v /a:/x -v /b:/x", "Duplicate mount point: /x"),
            ("--mount type=volume,src=x", "arget"),
            ("--mount type=nonsense,dst=/x", "nonsense"),
            ("--mount type=volume,dst=/x,bind-propagation=rslave", "bind"),
            ("--security-opt nonsense=1", "invalid --security-opt"),
            ("--sysctl kernel.nonsense=1", "sysctl"),
            ("--runtime nonsense", "unknown or invalid runtime name: nonsense"),
            ("--userns nonsense", "invalid USER mode"),
            ("--ulimit nonsense=1", "nonsense"),
            ("--device /dev/null:/x:q", "bad mode specified: q"),
            ("--device-cgroup-rule nonsense", "invalid device cgroup format 'nonsense'"),
            ("-h aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aximum 64"),
        ],
    );
}

/// What the clients refuse before the engine hears of it, and pairs that do not go together.
fn conflicts(c: &Console) {
    c.ok("pull -q busybox:1.29");
    refused(
        c,
        &[
            ("--rm --restart always", "onflicting options: cannot specify both --restart and --rm"),
            ("--pull nonsense", "invalid pull option: 'nonsense': must be one of \"always\", \"missing\" or \"never\""),
            ("-a nonsense", "valid streams are STDIN, STDOUT and STDERR"),
            ("--no-healthcheck --health-retries 3", "--no-healthcheck conflicts with --health-* options"),
            ("--mac-address nonsense", "nonsense"),
            ("--pid nonsense", "--pid: invalid PID mode"),
            ("--uts nonsense", "--uts: invalid UTS mode"),
            ("--cgroupns nonsense", "--cgroupns: invalid CGROUP mode"),
            ("--log-driver none --log-opt a=b", "invalid logging opts for driver none"),
            ("--expose x-y", "expose"),
            ("--env-file /no/such", "/no/such"),
            ("--label-file /no/such", "/no/such"),
            ("--link a:b:c", "bad format for links: a:b:c"),
            ("--link nobody:x", "nobody"),
            ("--volumes-from nobody", "nobody"),
            ("--cidfile /", "container ID file found"),
            ("--network host --network-alias x", "network-scoped aliases are only supported for user-defined networks"),
            ("--security-opt seccomp=/no/such", "opening seccomp profile (/no/such) failed"),
            ("-p nonsense", "nonsense"),
            ("-p 70000:80", "70000"),
            ("--add-host nonsense", "nonsense"),
        ],
    );
    let both = c.run("run -d -a stdout busybox:1.29 true");
    assert!(both.stderr.contains("onflicting options: cannot specify both --attach and --detach"), "{both}");
    assert_ne!(both.status, 0);
    assert_eq!(c.ok("ps --all --quiet"), "");
}

fn networks(c: &Console) {
    c.ok("pull -q busybox:1.29");
    c.ok("network create mine");
    refused(
        c,
        &[
            ("--network container:x -h name", "conflicting options: hostname and the network mode"),
            ("--network container:x --dns 1.1.1.1", "conflicting options: dns and the network mode"),
            (
                "--network container:x --add-host a:1.1.1.1",
                "conflicting options: custom host-to-IP mapping and the network mode",
            ),
            ("--network container:x -p 80", "conflicting options: port publishing and the container type network mode"),
            (
                "--network container:x --expose 80",
                "conflicting options: port exposing and the container type network mode",
            ),
            ("--uts host -h name", "conflicting options: hostname and the UTS mode"),
            ("--network container:", "invalid container format container:<name|id>"),
            ("--network mine --network mine", "network \"mine\" is specified multiple times"),
            (
                "--network mine --network host",
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
            ("--ip 10.1.1.1", "user-specified IP address is supported on user-defined networks only"),
            ("--network mine --ip 10.1.1.1", "no configured subnet contains IP address 10.1.1.1"),
        ],
    );
}

/// What no client sends.
fn bodies(c: &Console) {
    c.ok("pull -q busybox:1.29");
    let json = "Content-Type: application/json\r\n";
    for (body, text) in [
        (r#""Entrypoint":[""]"#, "no command specified"),
        (r#""HostConfig":{"ShmSize":-1}"#, "SHM size can not be less than 0"),
        (r#""Healthcheck":{"Test":["CMD","a"],"Retries":-1}"#, "Retries in Healthcheck cannot be negative"),
        (r#""Healthcheck":{"Test":["CMD","a"],"Interval":5}"#, "Interval in Healthcheck cannot be less than 1ms"),
        (
            r#""HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}"#,
            "can't create 'AutoRemove' container with restart policy",
        ),
        (r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/","Target":""}]}"#, "field Target must not be empty"),
        (
            r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"","Target":"/x"}]}"#,
            "invalid mount config for type \"bind\": field Source must not be empty",
        ),
        (
            r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/","Target":"/x","VolumeOptions":{}}]}"#,
            "VolumeOptions must not be specified on mount type \"bind\"",
        ),
        (
            r#""HostConfig":{"Mounts":[{"Type":"volume","Source":"x","Target":"x"}]}"#,
            "invalid mount path: 'x' mount path must be absolute",
        ),
    ] {
        let body = format!("{{\"Image\":\"busybox:1.29\",{body}}}");
        let (status, answer) = c.request("POST /v1.44/containers/create?name=wrong", json, &body);
        assert_eq!(status, 400, "{body}: {answer}");
        let message = serde_json::from_str::<serde_json::Value>(&answer).expect("JSON")["message"].clone();
        assert!(message.as_str().is_some_and(|message| message.contains(text)), "{text:?} is not in {answer}");
    }
    let (status, answer) = c.request("POST /v1.44/containers/nobody/wait?condition=nonsense", "", "");
    assert!(status == 400 || status == 404, "{status} {answer}");
}
