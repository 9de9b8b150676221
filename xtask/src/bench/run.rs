//! A whole `run --rm IMAGE true`, and the same without an engine: `oci run` of a bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::sample::{Contender, Sample, seconds, turns};
use super::table::{Budget, Row};
use super::{Bench, IMAGE};
use crate::output;

/// Runs that count.
const ROUNDS: usize = 30;

/// Runs a command with nothing on its standard streams; returns its seconds.
fn time(command: &mut Command) -> Result<f64, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    seconds(|| match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    })
}

/// A program, measured as a whole. `words` name it and its first arguments.
fn program<'a>(words: &'a [String], arguments: &'a [&'a str], host: Option<String>) -> Contender<'a> {
    Box::new(move || {
        let (name, first) = words.split_first().ok_or("no command")?;
        let mut command = Command::new(name);
        command.args(first).args(arguments);
        if let Some(host) = &host {
            command.env("DOCKER_HOST", host).env("DOCKER_CLI_HINTS", "false");
        }
        time(&mut command)
    })
}

/// `cargo xtask bench run`.
pub fn run(bench: &Bench) -> Result<Vec<Row>, String> {
    let arguments = ["run", "--rm", IMAGE, "true"];
    let words = |path: &Path| vec![path.display().to_string()];
    let bare = vec![busybox()?.display().to_string()];
    let tare = words(&bench.dist.join("tare"));
    let client = bench.client.as_deref().map(words);
    let podman = bench.options.podman.clone();
    let mut names = vec!["bare", "tare"];
    let mut contenders = vec![program(&bare, &["true"], None), program(&tare, &arguments, Some(bench.ours().host()))];
    if let Some(client) = &client {
        names.push("client");
        contenders.push(program(client, &arguments, Some(bench.ours().host())));
    }
    if let (Some(client), Some(docker)) = (&client, &bench.docker) {
        names.push("docker");
        contenders.push(program(client, &arguments, Some(docker.host())));
    }
    if let Some(podman) = &podman {
        names.push("podman");
        contenders.push(program(podman, &arguments, None));
    }
    let samples = turns(bench.options.rounds(ROUNDS), &mut contenders)?;
    let of = |name: &str| names.iter().position(|other| *other == name).and_then(|place| samples.get(place).cloned());
    let tare = of("tare").unwrap_or_default();
    let share = tare.less(of("bare").unwrap_or_default().median());
    let mut rows = vec![
        Row::time("`run --rm IMAGE true` on the bridge, less the payload", share).promised(Budget::AtMost(0.015)),
        Row::time("`run --rm IMAGE true` on the bridge", tare.clone())
            .beside("docker", of("docker"))
            .promised(Budget::Faster(20.0)),
    ];
    rows.extend(
        of("client").map(|client| Row::time("the same, by docker's client", client).beside("docker", of("docker"))),
    );
    rows.extend(of("podman").map(|podman| Row::time("`run --rm IMAGE true`", tare).beside("podman", Some(podman))));
    Ok(rows)
}

/// `cargo xtask bench oci`.
pub fn oci(bench: &Bench) -> Result<Vec<Row>, String> {
    let bundle = match &bench.options.bundle {
        Some(bundle) => bundle.clone(),
        None => make_bundle(bench)?,
    };
    let bundle = bundle.display().to_string();
    let state = bench.engine.exec_root().join("oci").display().to_string();
    let id = format!("tare-bench-{}", std::process::id());
    let ours = vec![bench.dist.join("tare").display().to_string(), "oci".to_owned(), "--root".to_owned(), state];
    let arguments = ["run", "--bundle", &bundle, &id];
    let peers = [("crun", &bench.options.crun), ("runc", &bench.options.runc)];
    let peers: Vec<(&str, &Vec<String>)> =
        peers.iter().filter_map(|(name, words)| Some((*name, words.as_ref()?))).collect();
    // What leads to a peer, with a program that does nothing in the peer's place.
    let wrappers: Vec<Vec<String>> = peers
        .iter()
        .map(|(_, words)| match words.split_last() {
            Some((_, wrapper)) if !wrapper.is_empty() => [wrapper, &["true".to_owned()]].concat(),
            _ => Vec::new(),
        })
        .collect();
    let mut contenders = vec![program(&ours, &arguments, None)];
    for ((_, words), wrapper) in peers.iter().zip(&wrappers) {
        contenders.push(program(words, &arguments, None));
        contenders.push(match wrapper.is_empty() {
            true => Box::new(|| Ok(0.0)),
            false => program(wrapper, &[], None),
        });
    }
    let samples = turns(bench.options.rounds(2 * ROUNDS), &mut contenders)?;
    let (ours, theirs) = samples.split_first().ok_or("nothing measured")?;
    let row = || Row::time("`oci run` of a bundle", ours.clone()).promised(Budget::Ratio(1.0));
    let beside = |((name, _), samples): (&(&str, _), &[Sample])| match samples {
        [peer, wrapper] => row().beside(name, Some(peer.less(wrapper.median()))),
        _ => row(),
    };
    match peers.is_empty() {
        true => Ok(vec![row()]),
        false => Ok(peers.iter().zip(theirs.chunks(2)).map(beside).collect()),
    }
}

/// `cargo xtask bench cli`.
pub fn cli(bench: &Bench) -> Result<Vec<Row>, String> {
    let tare = vec![bench.dist.join("tare").display().to_string()];
    let client = bench.client.as_ref().map(|client| vec![client.display().to_string()]);
    let mut contenders = vec![program(&tare, &["--version"], None)];
    contenders.extend(client.as_ref().map(|client| program(client, &["--version"], None)));
    let samples = turns(bench.options.rounds(ROUNDS), &mut contenders)?;
    let ours = samples.first().cloned().unwrap_or_default();
    Ok(vec![Row::time("`--version`", ours).beside("docker", samples.get(1).cloned()).promised(Budget::AtMost(0.002))])
}

/// A static busybox of this machine.
pub fn busybox() -> Result<PathBuf, String> {
    let places = ["/usr/bin/busybox", "/bin/busybox"].into_iter().map(PathBuf::from);
    places.into_iter().find(|path| path.exists()).ok_or_else(|| "no busybox here (Debian: busybox-static)".to_owned())
}

/// A bundle as `oci spec` describes it, whose process does nothing.
fn make_bundle(bench: &Bench) -> Result<PathBuf, String> {
    let bundle = bench.engine.directory().join("bundle");
    let bin = bundle.join("rootfs/bin");
    let failed = |error: std::io::Error| format!("`{}`: {error}", bundle.display());
    fs::create_dir_all(&bin).map_err(failed)?;
    fs::copy(busybox()?, bin.join("true")).map_err(failed)?;
    output(Command::new(bench.dist.join("tare")).args(["oci", "spec", "--bundle"]).arg(&bundle))?;
    let path = bundle.join("config.json");
    let text = fs::read_to_string(&path).map_err(failed)?;
    let mut spec: Value = serde_json::from_str(&text).map_err(|error| format!("`{}`: {error}", path.display()))?;
    for (place, value) in [("/process/terminal", json!(false)), ("/process/args", json!(["/bin/true"]))] {
        *spec.pointer_mut(place).ok_or_else(|| format!("`{}`: no {place}", path.display()))? = value;
    }
    fs::write(&path, spec.to_string()).map_err(failed)?;
    Ok(bundle)
}
