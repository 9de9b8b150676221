//! Instructions that only say something about the image.

use std::path::Path;

use tare_dockerfile::{CommandLine, Expander, Kind, Pair, Probe};
use tare_engine::{Engine, Error, Result};
use tare_images::oci::{Config, Healthcheck};

use crate::builder::Builder;
use crate::stage::State;
use crate::{blocking, stored};

/// Most ports that one range may name: all there are.
const PORTS: usize = 65536;

impl Builder {
    /// Follows an instruction that makes no layer.
    pub(crate) async fn metadata(&mut self, state: &mut State, kind: &Kind) -> Result<()> {
        let note = self.apply(state, kind).await?;
        if let Kind::Volume(_) = kind {
            self.check_volumes(state).await?;
        }
        let words = state.note(&note, false);
        let key = self.key(state, &words)?;
        if self.cached(state, &words, &key).await? {
            return Ok(());
        }
        self.commit(state, &words, key, None).await
    }

    /// A volume has no place where a file is. BuildKit lets its users find out when they run the image.
    async fn check_volumes(&self, state: &State) -> Result<()> {
        let Some(image) = state.image.clone().filter(|_| self.context.caller().is_none()) else { return Ok(()) };
        let paths: Vec<String> = state.config.volumes.keys().cloned().collect();
        let store = self.engine.image_store().clone();
        blocking(move || {
            for path in paths {
                if store.has_file(&image.config.rootfs.diff_ids, Path::new(&path)).map_err(stored)? {
                    let text = format!("cannot mount volume over existing file, file exists {path}");
                    return Err(Error::internal(text));
                }
            }
            Ok(())
        })
        .await
    }

    /// Changes the configuration; says what the history says.
    async fn apply(&self, state: &mut State, kind: &Kind) -> Result<String> {
        let expander = state.expander(self.escape);
        match kind {
            Kind::Cmd(command) => Ok(set_command(state, command)),
            Kind::Entrypoint(command) => Ok(set_entrypoint(state, command)),
            Kind::Arg(declared) => declare(state, &expander, declared, self.context.caller().is_some()),
            Kind::Env(pairs) => {
                for pair in pairs {
                    state.arguments.show(&word(&expander, &pair.key)?);
                }
                change(&mut state.config, &expander, kind)
            }
            Kind::Maintainer(name) => {
                state.author.clone_from(name);
                Ok(format!("MAINTAINER {name}"))
            }
            Kind::Healthcheck(probe) => {
                let before = state.config.healthcheck.replace(healthcheck(probe));
                if let Some(before) = before.filter(|b| b.test.first().is_some_and(|word| word != "NONE")) {
                    let text = format!("Note: overriding previous HEALTHCHECK: [{}]\n", before.test.join(" "));
                    self.output.say(text).await;
                }
                Ok(probe_note(probe))
            }
            other => change(&mut state.config, &expander, other),
        }
    }
}

fn word(expander: &Expander, text: &str) -> Result<String> {
    expander.word(text).map_err(Error::invalid)
}

/// Instructions that change nothing but the configuration.
fn change(config: &mut Config, expander: &Expander, kind: &Kind) -> Result<String> {
    let word = |text: &str| word(expander, text);
    let pair = |pair: &Pair| Ok::<_, Error>(Pair { key: word(&pair.key)?, value: word(&pair.value)? });
    Ok(match kind {
        Kind::Env(pairs) => {
            let mut note = "ENV".to_owned();
            for given in pairs {
                let variable = pair(given)?.to_string();
                note = format!("{note} {variable}");
                set(&mut config.env, variable);
            }
            note
        }
        Kind::Label(pairs) => {
            let mut note = "LABEL".to_owned();
            for given in pairs {
                let label = pair(given)?;
                note = format!("{note} {label}");
                config.labels.insert(label.key, label.value);
            }
            note
        }
        Kind::Labelled(label) => {
            config.labels.insert(label.key.clone(), label.value.clone());
            format!("LABEL {label}")
        }
        Kind::Expose(ports) => expose(config, expander, ports)?,
        Kind::User(user) => {
            config.user = word(user)?;
            format!("USER {}", config.user)
        }
        Kind::Volume(paths) => {
            let paths = paths.iter().map(|path| word(path)).collect::<Result<Vec<_>>>()?;
            if paths.iter().any(String::is_empty) {
                return Err(Error::internal("VOLUME specified can not be an empty string"));
            }
            config.volumes.extend(paths.iter().map(|path| (path.clone(), serde_json::json!({}))));
            format!("VOLUME [{}]", paths.join(" "))
        }
        Kind::StopSignal(signal) => {
            config.stop_signal = word(signal)?;
            Engine::check_signal(&config.stop_signal)?;
            format!("STOPSIGNAL {}", config.stop_signal)
        }
        Kind::Shell(words) => {
            config.shell = Some(words.clone());
            format!("SHELL [{}]", words.join(" "))
        }
        Kind::OnBuild(instruction) => {
            config.on_build.get_or_insert_default().push(instruction.clone());
            format!("ONBUILD {instruction}")
        }
        _ => return Err(Error::internal("an instruction that does more than change the configuration")),
    })
}

fn set_command(state: &mut State, command: &CommandLine) -> String {
    let words = state.command(command);
    state.has_command |= !command.words.is_empty();
    let note = format!("CMD {}", quoted(&words));
    state.config.cmd = Some(words);
    note
}

/// An entrypoint takes the command of the image below away.
fn set_entrypoint(state: &mut State, command: &CommandLine) -> String {
    let words = state.command(command);
    let note = format!("ENTRYPOINT {}", quoted(&words));
    state.config.entrypoint = Some(words).filter(|words| !words.is_empty());
    if !state.has_command {
        state.config.cmd = None;
    }
    note
}

/// `ARG`; to BuildKit, what is said last holds, whether it is that or `ENV`.
fn declare(
    state: &mut State,
    expander: &Expander,
    declared: &[(String, Option<String>)],
    last_holds: bool,
) -> Result<String> {
    let mut shown = Vec::new();
    for (name, default) in declared {
        let name = word(expander, name)?;
        let default = default.as_deref().map(|text| word(expander, text)).transpose()?;
        shown.push(default.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
        state.arguments.declare(&name, default);
        if last_holds {
            state.arguments.hide(&name);
        }
    }
    Ok(format!("ARG {}", shown.join(" ")))
}

fn expose(config: &mut Config, expander: &Expander, ports: &[String]) -> Result<String> {
    let mut all = Vec::new();
    for port in ports {
        all.extend(expander.words(port).map_err(Error::internal)?);
    }
    for port in &all {
        for key in exposed(port)? {
            config.exposed_ports.insert(key, serde_json::json!({}));
        }
    }
    Ok(format!("EXPOSE {}", all.join(" ")))
}

fn probe_note(probe: &Probe) -> String {
    format!(
        "HEALTHCHECK &{{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        probe.test.join(" "),
        go_duration(probe.interval),
        go_duration(probe.timeout),
        go_duration(probe.start_period),
        go_duration(probe.start_interval),
        probe.retries
    )
}

/// Go's `%v` of a duration, where it is whole seconds or milliseconds; a health check's are.
fn go_duration(nanos: i64) -> String {
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    match (seconds, rest) {
        (0, 0) => "0s".to_owned(),
        (0, rest) => format!("{}ms", rest / 1_000_000),
        (seconds, _) if seconds >= 3600 => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
        (seconds, _) if seconds >= 60 => format!("{}m{}s", seconds / 60, seconds % 60),
        (seconds, _) => format!("{seconds}s"),
    }
}

fn healthcheck(probe: &Probe) -> Healthcheck {
    Healthcheck {
        test: probe.test.clone(),
        interval: probe.interval,
        timeout: probe.timeout,
        start_period: probe.start_period,
        start_interval: probe.start_interval,
        retries: probe.retries,
    }
}

/// Go's `%q` of a list.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// Sets a variable in place of one with its name.
fn set(env: &mut Vec<String>, variable: String) {
    let name = variable.split('=').next().unwrap_or_default();
    match env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
        Some(known) => *known = variable,
        None => env.push(variable),
    }
}

/// `8080`, `8000-8010/udp`, `80:8080`: the container's ports.
fn exposed(text: &str) -> Result<Vec<String>> {
    let container = text.rsplit(':').next().unwrap_or_default();
    let (range, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    if range.is_empty() {
        return Err(Error::internal(format!("no port specified: {text}<empty>")));
    }
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::internal(format!("invalid proto: {protocol}")));
    }
    let bad = || Error::internal(format!("invalid containerPort: {range}"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if last < first {
        return Err(bad());
    }
    Ok((first..=last).take(PORTS).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(exposed("80").unwrap(), ["80/tcp"]);
        assert_eq!(exposed("127.0.0.1:80:8080-8081/UDP").unwrap(), ["8080/udp", "8081/udp"]);
        assert_eq!(exposed("x").unwrap_err().message, "invalid containerPort: x");
        assert_eq!(exposed("80/icmp").unwrap_err().message, "invalid proto: icmp");
        assert!(exposed("2-1").is_err());
    }
}
