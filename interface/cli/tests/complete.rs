//! What a shell is told may come next, for lines that docker's client completes, and the same.

mod support;

use std::process::Command;

use serde_json::json;
use support::{Answer, Daemon, tare};

fn daemon() -> Daemon {
    Daemon::start(|_, seen| {
        let container = |name: &str, state: &str, network: &str| {
            json!({"Id": format!("id-{name}"), "Names": [format!("/agent/{name}"), format!("/{name}")], "State": state,
                "NetworkSettings": {"Networks": {network: {}}}})
        };
        match seen.line.as_str() {
            "GET /containers/json" => {
                Answer::Json(200, json!([container("web", "running", "front"), container("ice", "paused", "back")]))
            }
            "GET /containers/json?all=1" => Answer::Json(
                200,
                json!([
                    container("web", "running", "front"),
                    container("ice", "paused", "back"),
                    container("old", "exited", "front")
                ]),
            ),
            "GET /images/json" => Answer::Json(
                200,
                json!([{"Id": "a", "RepoTags": ["nginx:1", "nginx:2"]}, {"Id": "b", "RepoTags": ["r.example/x:1"]}, {"Id": "c", "RepoTags": null}]),
            ),
            "GET /networks" => Answer::Json(200, json!([{"Name": "front"}, {"Name": "back"}])),
            "GET /volumes" => Answer::Json(200, json!({"Volumes": [{"Name": "data"}, {"Name": "logs"}]})),
            "GET /info" => Answer::Json(
                200,
                json!({"Name": "host", "ID": "X:Y", "Plugins": {"Log": ["json-file", "local"], "Volume": ["local"]}}),
            ),
            _ => Answer::Json(404, json!({"message": "page not found"})),
        }
    })
}

/// Proposals and directive, on one line; `_` stands for an empty word.
fn proposed(daemon: &Daemon, line: &str) -> String {
    let mut words = vec!["__completeNoDesc"];
    words.extend(line.split(' ').map(|word| if word == "_" { "" } else { word }));
    let run = tare(daemon, &words, b"");
    assert_eq!(run.code, 0, "{line}: {}", run.err);
    run.out.trim_end().replace('\n', " ")
}

#[test]
fn names_of_what_there_is() {
    let daemon = daemon();
    let images = "nginx:1 nginx:2 r.example/x:1 :4";
    for (line, expected) in [
        ("run _", images),
        ("run -it --rm ng", images),
        ("run nginx _", ":4"),
        ("run nginx --", ":4"),
        ("rmi nginx:1 _", "nginx:2 r.example/x:1 :4"),
        ("images _", "nginx:1 nginx:2 r.example/x:1 nginx :6"),
        ("tag a _", images),
        ("tag a b _", ":4"),
        ("exec _", "web :4"),
        ("exec web _", ":4"),
        ("pause _", "web :4"),
        ("unpause _", "ice :4"),
        ("stop _", "web ice :4"),
        ("start _", "old :4"),
        ("container rm _", "old :4"),
        ("rm --force _", "web ice old :4"),
        ("rm -fv web _", "ice old :4"),
        ("top web _", "ice :4"),
        ("logs _", "web ice old :4"),
        ("cp _", ":4"),
        ("inspect _", ":4"),
        ("inspect --type image _", images),
        ("network connect _", "front back :4"),
        ("network connect front _", "web ice old :4"),
        ("network disconnect front _", "web old :4"),
        ("volume rm data _", "logs :4"),
        ("run --network fr", "front back :4"),
        ("run --volumes-from _", "web ice old :4"),
        ("run --link _", "web: ice: old: :2"),
        ("run --ipc container:", "container:web container:ice container:old :4"),
        ("run --log-driver _", "json-file local :4"),
        ("run --volume-driver _", "local :4"),
        ("events --filter volume=", "volume=data volume=logs :4"),
        ("events --filter daemon=", "daemon=host daemon=X:Y :4"),
        ("context use _", "default :4"),
    ] {
        assert_eq!(proposed(&daemon, line), expected, "{line}");
    }
}

#[test]
fn words_and_flags() {
    let daemon = daemon();
    for (line, expected) in [
        ("run --pull _", "always missing never :4"),
        ("run --restart=al", "no always on-failure unless-stopped on-unhealthy :4"),
        ("run --security-opt label=", "label=disable label=level: label=role: label=type: label=user: :6"),
        ("run --security-opt se", "seccomp= :2"),
        ("run --log-driver local --log-opt _", "max-buffer-size= mode= compress= max-file= max-size= :6"),
        ("run --pid co", "container: :2"),
        ("run --env-file _", ":0"),
        ("run --name _", ":4"),
        ("build _", ":16"),
        ("context import _", ":0"),
        ("completion _", "bash fish zsh :4"),
        ("-l _", "debug info warn error fatal panic :4"),
        ("ps -", "--all -a --filter -f --format --last -n --latest -l --no-trunc --quiet -q --size -s :4"),
        ("ps --all --filter a=b --", "--filter --format --last --latest --no-trunc --quiet --size :4"),
        ("run --rm --re", "--read-only --restart :4"),
        (
            "run --he",
            "--health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --help :4",
        ),
        ("ps --he", ":4"),
        ("ps --nosuch _", ":0"),
        ("volume _", "create inspect ls prune rm :4"),
        ("image hi", "history :4"),
        ("volume nosuch _", ":4"),
        ("ps -- _", ":4"),
    ] {
        assert_eq!(proposed(&daemon, line), expected, "{line}");
    }
    let run = tare(&daemon, &["__complete", "volume", "r"], b"");
    assert_eq!(run.out, "rm\tRemove one or more volumes\n:4\n");
    assert_eq!(run.err, "Completion ended with directive: ShellCompDirectiveNoFileComp\n");
    let run = tare(&daemon, &["__complete"], b"");
    assert_eq!((run.code, run.err.as_str()), (1, "requires at least 1 arg(s), only received 0\n"));
}

#[test]
fn without_a_daemon_there_are_no_names() {
    let daemon = daemon();
    assert_eq!(proposed(&daemon, "-H unix:///nosuch.sock rm _"), ":1");
    assert_eq!(
        proposed(&daemon, "-H unix:///nosuch.sock run --log-driver _"),
        "gelf journald json-file local none syslog :4"
    );
    assert!(daemon.lines().is_empty());
}

/// Runs bash's function on a line that ends where the cursor is, with a program that proposes `answer`.
fn in_bash(line: &str, words: &[&str], answer: &str) -> String {
    let script = tare_cli::commands::completion::script("bash").unwrap();
    let test = r#"
        tare() { printf '%s\n' "$*" >&2; printf '%s\n' $ANSWER; }
        compopt() { printf '[%s]' "$*"; }
        COMP_LINE=$1 COMP_POINT=${#1}
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _tare
        printf '<%s>' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{script}\n{test}"), "bash", line]).args(words).env("ANSWER", answer);
    let output = bash.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    text(output.stdout)
}

#[test]
fn bash_goes_on_after_its_own_separators() {
    let answer = "nginx:1 nginx:2 other:1 :4";
    assert_eq!(in_bash("tare run ng", &["tare", "run", "ng"], answer), "<nginx:1><nginx:2>");
    assert_eq!(in_bash("tare run nginx:", &["tare", "run", "nginx", ":"], answer), "<1><2>");
    assert_eq!(in_bash("tare run nginx:2", &["tare", "run", "nginx", ":", "2"], answer), "<2>");
    assert_eq!(in_bash("tare run ", &["tare", "run", ""], answer), "<nginx:1><nginx:2><other:1>");
    let restart = "no always :4";
    assert_eq!(in_bash("tare run --restart=", &["tare", "run", "--restart", "="], restart), "<no><always>");
    assert_eq!(in_bash("tare run --restart=a", &["tare", "run", "--restart", "=", "a"], restart), "<always>");
    let filters = "event=create event=die :4";
    let words = ["tare", "events", "--filter", "event", "=", "d"];
    assert_eq!(in_bash("tare events --filter event=d", &words, filters), "<die>");
    assert_eq!(in_bash("tare build ", &["tare", "build", ""], ":16"), "[-o dirnames]<>");
    assert_eq!(in_bash("tare load -i ", &["tare", "load", "-i", ""], ":0"), "[-o default]<>");
    assert_eq!(
        in_bash("tare run --storage-opt ", &["tare", "run", "--storage-opt", ""], "size= :6"),
        "[-o nospace]<size=>"
    );
    assert_eq!(in_bash("tare rm ", &["tare", "rm", ""], "nonsense :1"), "<>");
}
