//! Command lines of `create` and the requests they make. `fixtures/create-requests.jsonl` holds what Docker's own client
//! (28.2.2, API 1.50) sent for each: the first line a whole body without its nulls, the others what differs from it.
//! Changed by hand: no empty `DriverConfig` (version 29 sends none), `Env` and `Binds` sorted, paths as placeholders.

use std::path::Path;

use serde_json::{Map, Value};
use tare_cli::flags;
use tare_cli::opts::plan::plan;
use tare_cli::opts::surroundings::Surroundings;

/// Leaves out nulls, and sorts what Docker's client sends in the random order of a Go map.
fn normal(mut body: Value) -> Value {
    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
            }
            Value::Array(items) => items.into_iter().map(without_nulls).collect(),
            other => other,
        }
    }
    let sort = |value: Option<&mut Value>| {
        if let Some(Value::Array(items)) = value {
            items.sort_by_key(ToString::to_string);
        }
    };
    sort(body.get_mut("Env"));
    sort(body.pointer_mut("/HostConfig/Binds"));
    without_nulls(body)
}

fn request(args: &[String], directory: &Path) -> Value {
    let parsed = flags::parse(&tare_cli::opts::flags::RUN, args.to_vec(), false);
    let Ok(parsed) = parsed.map_err(|e| panic!("{args:?}: {e:?}"));
    let var = |name: &str| match name {
        "FOO" => Some("from client".to_owned()),
        _ => None,
    };
    let around = Surroundings { var: &var, cwd: directory };
    let (image, command) = parsed.args.split_first().expect("an image");
    let request = plan(&parsed.values, image, command, &[], &around);
    normal(serde_json::to_value(request.unwrap_or_else(|e| panic!("{args:?}: {e}"))).unwrap())
}

/// What of `body` differs from `base`, at the top and within the host configuration.
fn difference(base: &Value, body: &Value) -> Value {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let differing = |base: &Map<String, Value>, body: Map<String, Value>| -> Map<String, Value> {
        body.into_iter().filter(|(k, v)| k != "HostConfig" && base.get(k) != Some(v)).collect()
    };
    let mut out = differing(&fields(base), fields(body));
    let host = differing(&fields(&base["HostConfig"]), fields(&body["HostConfig"]));
    if !host.is_empty() {
        out.insert("HostConfig".into(), Value::Object(host));
    }
    Value::Object(out)
}

#[test]
fn requests_are_those_of_docker() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        ("env.list", "# c\nA=1\nFOO\nUNSET\n  B=two words \n"),
        ("label.list", "l1=x\nl2\n"),
        ("seccomp.json", "{\n \"defaultAction\" : \"SCMP_ACT_ALLOW\"\n}\n"),
    ];
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    let text = include_str!("fixtures/create-requests.jsonl")
        .replace("{DIR}", directory.path().to_str().unwrap())
        .replace("{PARENT}", directory.path().parent().unwrap().to_str().unwrap());
    let mut base = None;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let args: Vec<String> = serde_json::from_value(case["args"].clone()).unwrap();
        let body = request(&args, directory.path());
        match &base {
            None => {
                // Docker's client writes this one although it is empty.
                assert_eq!(body, case["body"], "{args:?}");
                base = Some(body);
            }
            Some(base) => assert_eq!(difference(base, &body), case["body"], "{args:?}"),
        }
    }
}

#[test]
fn mistakes_between_flags() {
    let fail = |line: &str| {
        let args: Vec<String> = line.split(' ').map(str::to_owned).chain(["busybox".to_owned()]).collect();
        let Ok(parsed) = flags::parse(&tare_cli::opts::flags::RUN, args, false).map_err(|e| panic!("{line}: {e:?}"));
        let around = Surroundings { var: &|_| None, cwd: Path::new("/") };
        plan(&parsed.values, "busybox", &[], &[], &around).map(drop).unwrap_err().0
    };
    insta::assert_snapshot!(fail("--restart always --rm"), @"conflicting options: cannot specify both --restart and --rm");
    insta::assert_snapshot!(fail("--memory-swappiness 200"), @"invalid value: 200. Valid memory swappiness range is 0-100");
    insta::assert_snapshot!(fail("--mac-address zz"), @"zz is not a valid mac address");
    insta::assert_snapshot!(fail("--no-healthcheck --health-cmd x"), @"--no-healthcheck conflicts with --health-* options");
    insta::assert_snapshot!(fail("--health-retries -1"), @"--health-retries cannot be negative");
    insta::assert_snapshot!(fail("--health-interval -1s"), @"--health-interval cannot be negative");
    insta::assert_snapshot!(fail("--env-file /does/not/exist"), @"--env-file: open /does/not/exist: no such file or directory");
    insta::assert_snapshot!(fail("--label-file /does/not/exist"), @"--label-file: open /does/not/exist: no such file or directory");
    insta::assert_snapshot!(fail("--network-alias x"), @"network-scoped aliases are only supported for user-defined networks");
    insta::assert_snapshot!(fail("--pid x"), @"--pid: invalid PID mode");
}

#[test]
fn mistakes_in_one_flag() {
    let fail = |args: &[&str]| {
        let args = args.iter().map(ToString::to_string).collect();
        match flags::parse(&tare_cli::opts::flags::RUN, args, false) {
            Err(flags::FlagError::Bad(why) | flags::FlagError::Unsupported(why)) => why,
            _ => "nothing is wrong".to_owned(),
        }
    };
    insta::assert_snapshot!(fail(&["--rm=x"]), @r#"invalid argument "x" for "--rm" flag: strconv.ParseBool: parsing "x": invalid syntax"#);
    insta::assert_snapshot!(fail(&["-m", "x"]), @r#"invalid argument "x" for "-m, --memory" flag: invalid size: 'x'"#);
    insta::assert_snapshot!(fail(&["-e", "=x"]), @r#"invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x"#);
    insta::assert_snapshot!(fail(&["--mount", "a\"b"]), @r#"invalid argument "a\"b" for "--mount" flag: parse error on line 1, column 2: bare " in non-quoted-field"#);
    insta::assert_snapshot!(fail(&["-a", "x"]), @r#"invalid argument "x" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR"#);
    insta::assert_snapshot!(fail(&["--ip", "x"]), @r#"invalid argument "x" for "--ip" flag: failed to parse IP: "x""#);
    insta::assert_snapshot!(fail(&["--cpu-count", "1"]), @r#""--cpu-count" is not supported: it is for Windows only"#);
    insta::assert_snapshot!(fail(&["-itZ"]), @"unknown shorthand flag: 'Z' in -Z");
    insta::assert_snapshot!(fail(&["-p"]), @"flag needs an argument: 'p' in -p");
}
