//! Every command of the table: its help, its flags against docker's, its refusals.

use tare_cli::app::{self, Request};
use tare_cli::cli::Globals;
use tare_cli::commands::{GROUPS, TABLE};
use tare_cli::help;

/// Docker's commands with their flags, `-s/--long`.
const DOCKER: &str = include_str!("flags.txt");

/// Commands of docker that are not there yet, or never will be.
const ABSENT: &[&str] = &["volume update"];

fn read(line: &str) -> Request {
    let args = line.split_whitespace().map(str::to_owned).collect();
    app::read(args, &mut Globals::default(), 80)
}

fn failure(line: &str) -> (i32, String) {
    match read(line) {
        Request::Fail(error) => (error.code, error.message),
        Request::Print(text) | Request::Hint(text) => panic!("{line}: prints {text}"),
        Request::Run(_) | Request::Complete(_) => panic!("{line}: runs"),
        Request::Overview { .. } => panic!("{line}: prints the overall help"),
        Request::Plugin { otherwise, .. } => match *otherwise {
            Request::Fail(error) => (error.code, error.message),
            _ => panic!("{line}: is no mistake"),
        },
    }
}

#[test]
fn every_flag_of_docker_is_known() {
    let mut missing = Vec::new();
    for line in DOCKER.lines() {
        let (name, flags) = line.split_once(':').unwrap();
        let Some(command) = app::find(name) else {
            assert!(ABSENT.contains(&name), "{name} is missing");
            continue;
        };
        for flag in flags.split_whitespace() {
            let (short, long) = flag.split_once('/').map_or((None, flag), |(s, l)| (s.chars().nth(1), l));
            let long = long.trim_start_matches('-');
            let known = command.flags.iter().find(|f| f.long == long);
            if long != "help" && known.is_none_or(|f| f.short != short) {
                missing.push(format!("{name} {flag}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn flags_are_declared_once() {
    for command in TABLE {
        let name = command.names[0];
        for (i, flag) in command.flags.iter().enumerate() {
            let others = &command.flags[i + 1..];
            assert!(others.iter().all(|o| o.long != flag.long), "{name}: --{} twice", flag.long);
            assert!(
                flag.short.is_none() || others.iter().all(|o| o.short != flag.short),
                "{name}: -{:?} twice",
                flag.short
            );
        }
    }
}

#[test]
fn names_lead_to_one_command() {
    for command in TABLE {
        for name in command.names {
            assert!(std::ptr::eq(app::find(name).unwrap(), *command), "{name}");
            if let Some((group, _)) = name.split_once(' ') {
                assert!(GROUPS.iter().any(|g| g.name == group), "{group} is not a group");
            }
        }
    }
}

#[test]
fn every_command_has_help() {
    for command in TABLE {
        for name in command.names {
            for line in [format!("{name} --help"), format!("help {name}")] {
                let Request::Print(text) = read(&line) else { panic!("{line}: no help") };
                let usage = format!("Usage:  tare {name}");
                assert!(text.starts_with(&usage), "{line}: {text}");
                assert!(text.lines().all(|l| l.trim_end() == l), "{line}: spaces at the end of a line");
            }
        }
    }
}

#[test]
fn every_command_refuses_what_it_does_not_know() {
    for command in TABLE {
        for name in command.names {
            let (code, text) = failure(&format!("{name} --no-such-flag"));
            assert_eq!(code, 125, "{name}");
            let end = format!("\n\nRun 'tare {name} --help' for more information");
            assert!(
                text.starts_with("unknown flag: --no-such-flag\n\nUsage:  tare ") && text.ends_with(&end),
                "{text}"
            );
        }
    }
}

#[test]
fn refusals_read_like_dockers() {
    insta::assert_snapshot!(failure("rm").1, @"
    tare: 'tare rm' requires at least 1 argument

    Usage:  tare rm [OPTIONS] CONTAINER [CONTAINER...]

    See 'tare rm --help' for more information
    ");
    insta::assert_snapshot!(failure("container rename x").1, @"
    tare: 'tare container rename' requires 2 arguments

    Usage:  tare container rename CONTAINER NEW_NAME

    Run 'tare container rename --help' for more information
    ");
    insta::assert_snapshot!(failure("ps x").1, @"
    tare: 'tare ps' accepts no arguments

    Usage:  tare ps [OPTIONS]

    Run 'tare ps --help' for more information
    ");
    insta::assert_snapshot!(failure("port a b c").1, @"
    tare: 'tare port' requires at least 1 and at most 2 arguments

    Usage:  tare port CONTAINER [PRIVATE_PORT[/PROTO]]

    Run 'tare port --help' for more information
    ");
    insta::assert_snapshot!(failure("foo").1, @"
    tare: unknown command: tare foo

    Run 'tare --help' for more information
    ");
    insta::assert_snapshot!(failure("container foo").1, @"
    tare: unknown command: tare container foo

    Usage:  tare container

    Run 'tare container --help' for more information
    ");
    let first = |line: &str| failure(line).1.lines().next().unwrap_or_default().to_owned();
    insta::assert_snapshot!(first("ps -x"), @"unknown shorthand flag: 'x' in -x");
    insta::assert_snapshot!(first("ps -aqx"), @"unknown shorthand flag: 'x' in -x");
    insta::assert_snapshot!(first("ps --last=x"), @r#"invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": invalid syntax"#);
    insta::assert_snapshot!(first("ps -n"), @"flag needs an argument: 'n' in -n");
    insta::assert_snapshot!(first("ps --format"), @"flag needs an argument: --format");
    insta::assert_snapshot!(first("ps --all=maybe"), @r#"invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#);
    insta::assert_snapshot!(first("ps -f x"), @r#"invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)"#);
    insta::assert_snapshot!(first("ps --=x"), @"bad flag syntax: --=x");
    insta::assert_snapshot!(first("--nope"), @"unknown flag: --nope");
    insta::assert_snapshot!(first("help nope"), @"unknown help topic: nope");
}

#[test]
fn ways_to_write_flags() {
    let run = |line: &str| match read(line) {
        Request::Run(m) => m,
        _ => panic!("{line}: does not run"),
    };
    let m = run("ps -aqn5 --no-trunc=false --filter name=x -f label=y --format={{.ID}}");
    assert!(m.bool("all") && m.bool("quiet") && !m.bool("no-trunc") && m.given("no-trunc"));
    assert_eq!((m.int("last"), m.list("filter").len(), m.text("format")), (5, 2, "{{.ID}}"));
    let m = run("ps -n=7");
    assert_eq!(m.int("last"), 7);
    let m = run("rm -vf a -- -b");
    assert_eq!((m.args.as_slice(), m.dash), (["a".to_owned(), "-b".to_owned()].as_slice(), Some(1)));
    let m = run("top c -o pid");
    assert_eq!(m.args, ["c", "-o", "pid"]);
    let m = run("stop a -t 3 b");
    assert_eq!((m.args.len(), m.int("timeout"), m.path.as_str()), (2, 3, "stop"));
    let m = run("stop --time 3 a");
    assert_eq!(m.warnings().collect::<Vec<_>>(), ["Flag --time has been deprecated, use --timeout instead"]);
}

#[test]
fn global_options_come_first() {
    let mut globals = Globals::default();
    let line = "--config /x -H unix:///y --debug ps";
    let request = app::read(line.split(' ').map(str::to_owned).collect(), &mut globals, 80);
    assert!(matches!(request, Request::Run(_)));
    assert_eq!(globals.config_dir, std::path::Path::new("/x"));
    assert_eq!((globals.host.as_deref(), globals.debug), (Some("unix:///y"), true));
    let Request::Print(text) = read("--version") else { panic!("no version") };
    assert!(text.starts_with("Tare version "), "{text}");
    let mut globals = Globals::default();
    let line = "--tlsverify --tlscacert /ca -H tcp://h ps";
    app::read(line.split(' ').map(str::to_owned).collect(), &mut globals, 80);
    let tls = globals.tls.unwrap();
    assert_eq!((tls.verify, tls.authority.as_path()), (true, std::path::Path::new("/ca")));
}

#[test]
fn the_overall_help() {
    for (line, on_request) in [("--help", true), ("", false), ("help", true), ("--help nope", true)] {
        assert!(matches!(read(line), Request::Overview { asked } if asked == on_request), "{line}");
    }
    let text = help::overall_help(&[], &[], 80);
    let common = text.split("Common Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = common.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(
        names,
        ["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"]
    );
}

#[test]
fn help_that_nobody_asked_for_is_no_result() {
    for group in GROUPS {
        let Request::Hint(text) = read(group.name) else { panic!("{}: no hint", group.name) };
        let Request::Print(help) = read(&format!("{} --help", group.name)) else { panic!("{}: no help", group.name) };
        assert_eq!(text, help);
    }
}

#[test]
fn ways_to_ask_for_help() {
    let text = |line: &str| match read(line) {
        Request::Print(text) => text,
        _ => panic!("{line}: no help"),
    };
    for line in ["--help ps", "-h ps", "ps --help x y", "--context x --help ps", "ps --all --help"] {
        assert!(text(line).starts_with("Usage:  tare ps [OPTIONS]\n"), "{line}");
    }
    for line in ["container --help ls", "--help container ls", "help container ls"] {
        assert!(text(line).starts_with("Usage:  tare container ls [OPTIONS]\n"), "{line}");
    }
    for line in ["container foo --help", "--help container foo", "container --help foo"] {
        assert!(text(line).starts_with("Usage:  tare container COMMAND\n"), "{line}");
    }
    for line in ["ps -h", "container -h"] {
        assert!(text(line).starts_with("Flag shorthand -h has been deprecated, use --help\nUsage: "), "{line}");
    }
    let mut globals = Globals::default();
    app::read(vec!["-h".to_owned()], &mut globals, 80);
    assert_eq!(globals.notice, "Flag shorthand -h has been deprecated, use --help\n");
    // What is wrong beside it is wrong.
    for line in ["ps --help --nope", "ps --nope --help", "--help --nope"] {
        assert!(failure(line).1.starts_with("unknown flag: --nope\n"), "{line}");
    }
    assert!(failure("run --help=x").1.starts_with("invalid argument \"x\" for \"--help\" flag: strconv.ParseBool: "));
    assert!(matches!(read("ps --help=false"), Request::Run(_)));
    assert_eq!(failure("help container foo").1, "unknown help topic: foo");
    assert!(matches!(read("foo --help"), Request::Plugin { otherwise, .. }
        if matches!(*otherwise, Request::Overview { asked: true })));
}

#[test]
fn options_before_help_count() {
    for line in ["--config /x --help", "--help --config /x", "--config /x"] {
        let mut globals = Globals::default();
        app::read(line.split(' ').map(str::to_owned).collect(), &mut globals, 80);
        assert_eq!(globals.config_dir, std::path::Path::new("/x"), "{line}");
    }
}

#[test]
fn one_host() {
    for line in ["-H a -H b ps", "-H a --host=b context ls", "--host a -H b ps --help"] {
        let (code, text) = failure(line);
        assert_eq!(code, 125, "{line}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(text, @r#"
            invalid argument "b" for "-H, --host" flag: specify only one -H

            Usage:  tare [OPTIONS] COMMAND [ARG...]

            Run 'tare --help' for more information
            "#);
        }
    }
    assert_eq!(failure("-l loud ps"), (1, "Unable to parse logging level: loud".to_owned()));
    assert!(matches!(read("-l Warning ps"), Request::Run(_)));
    let conflict = "conflicting options: cannot specify both --host and --context";
    for line in ["-H a -c b ps", "-H a -c b --help", "-c b -H a context ls"] {
        assert_eq!(failure(line), (1, conflict.to_owned()), "{line}");
    }
}

#[test]
fn commands_of_docker_that_are_not_there_say_why() {
    let swarm = "Tare runs containers on a single machine and has no Swarm";
    for (line, path, why) in [
        ("swarm init", "swarm", swarm),
        ("node ls", "node", swarm),
        ("service create x", "service", swarm),
        ("stack deploy -c x y", "stack", swarm),
        ("secret", "secret", swarm),
        ("config --help", "config", swarm),
        ("help swarm", "swarm", swarm),
        ("checkpoint create c x", "checkpoint", "Tare does not save the state of running processes"),
        ("trust sign x", "trust", "Tare does not sign images and does not verify their signatures"),
        (
            "plugin install x",
            "plugin",
            "Tare's drivers for volumes, networks and logs are built in, the engine takes no others",
        ),
        ("volume update x", "volume update", "it changes cluster volumes, and Tare has no Swarm"),
    ] {
        assert_eq!(failure(line), (1, format!("tare: 'tare {path}' is not supported: {why}")), "{line}");
    }
    let text = help::overall_help(&[], &[], 80);
    for name in ["swarm", "node", "service", "stack", "secret", "config", "checkpoint", "plugin", "trust"] {
        assert!(!text.lines().any(|line| line.starts_with(&format!("  {name} "))), "{name}");
    }
}

#[test]
fn builds_with_flags_of_buildkit_say_what_they_need() {
    for (line, flag) in [
        ("build --secret id=x .", "secret"),
        ("image build --ssh default .", "ssh"),
        ("builder build -o out .", "output"),
        ("build --cache-to type=inline .", "cache-to"),
    ] {
        let (code, text) = failure(line);
        let start = format!(
            "unknown flag: --{flag}\n\n\"--{flag}\" needs docker's plugin buildx, which is not installed. It is in the packages \
             docker-buildx-plugin"
        );
        assert!(code == 125 && text.starts_with(&start) && text.contains("/docker-buildx.\n\nUsage:  tare "), "{text}");
    }
    assert!(failure("build --nope .").1.starts_with("unknown flag: --nope\n\nUsage:  tare build"));
    assert!(failure("run --secret x").1.starts_with("unknown flag: --secret\n\nUsage:  tare run"));
}
