//! Changes to an image's configuration, written as Dockerfile instructions (`docker commit --change`, `import`).

use serde_json::Value;
use tare_images::oci::{Config, Healthcheck};

use crate::{Error, Result};

/// Applies instructions in order.
pub fn apply(changes: &[String], config: &mut Config) -> Result<()> {
    for change in changes {
        for line in logical_lines(change) {
            apply_one(&line, config)?;
        }
    }
    Ok(())
}

/// Lines without comments, with continuations joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || current.is_empty() && line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(more) => current.push_str(more),
            None => {
                current.push_str(line);
                lines.push(std::mem::take(&mut current));
            }
        }
    }
    if !current.is_empty() {
        lines.push(current);
    }
    lines
}

fn apply_one(line: &str, config: &mut Config) -> Result<()> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (name, rest) = (word.to_ascii_uppercase(), rest.trim());
    let needs = |what: &str| match rest.is_empty() {
        true => Err(Error::Invalid(format!("{name} requires {what}"))),
        false => Ok(()),
    };
    match name.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            needs("at least one argument")?;
            for (key, value) in pairs(&name, rest)? {
                let value = expand(&value, &config.env);
                set_env(&mut config.env, &key, &value);
            }
        }
        "LABEL" => {
            needs("at least one argument")?;
            for (key, value) in pairs(&name, rest)? {
                config.labels.insert(key, expand(&value, &config.env));
            }
        }
        "EXPOSE" => {
            needs("at least one argument")?;
            for port in words(rest) {
                config.exposed_ports.insert(port_key(&expand(&port, &config.env))?, Value::Object(Default::default()));
            }
        }
        "VOLUME" => {
            needs("at least one argument")?;
            for path in json_list(rest).unwrap_or_else(|| words(rest)) {
                let path = expand(&path, &config.env);
                if path.trim().is_empty() {
                    return Err(Error::Invalid("VOLUME specified can not be an empty string".to_owned()));
                }
                config.volumes.insert(path, Value::Object(Default::default()));
            }
        }
        "USER" => {
            needs("exactly one argument")?;
            config.user = expand(rest, &config.env);
        }
        "WORKDIR" => {
            needs("exactly one argument")?;
            let path = expand(rest, &config.env);
            config.working_dir = join(&config.working_dir, &path);
        }
        "STOPSIGNAL" => {
            needs("exactly one argument")?;
            config.stop_signal = rest.to_owned();
        }
        "ONBUILD" => {
            needs("at least one argument")?;
            config.on_build.get_or_insert_default().push(trigger(rest)?);
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        _ => return Err(Error::Invalid(format!("{word} is not a valid change command"))),
    }
    Ok(())
}

/// An instruction for images on top of this one.
fn trigger(instruction: &str) -> Result<String> {
    let name = instruction.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    match name.as_str() {
        "ONBUILD" => Err(Error::Invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned())),
        "MAINTAINER" | "FROM" => Err(Error::Invalid(format!("{name} isn't allowed as an ONBUILD trigger"))),
        _ => Ok(instruction.to_owned()),
    }
}

/// `["a", "b"]`, or a line for the shell.
fn command(rest: &str) -> Vec<String> {
    json_list(rest).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

fn set_env(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    match env.iter_mut().find(|e| e.split('=').next() == Some(key)) {
        Some(existing) => *existing = entry,
        None => env.push(entry),
    }
}

/// `a=b c="d e"`, or in the old form one key and the rest of the line.
fn pairs(name: &str, rest: &str) -> Result<Vec<(String, String)>> {
    let words = words(rest);
    if !words.first().is_some_and(|w| w.contains('=')) {
        let (key, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::Invalid(format!("{name} must have two arguments")))?;
        return Ok(vec![(unquote(key), unquote(value.trim()))]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Error::Invalid(format!("{name} names can not be blank"))),
            Some((key, value)) => Ok((unquote(key), unquote(value))),
            None => {
                Err(Error::Invalid(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value")))
            }
        })
        .collect()
}

/// Splits at blanks outside quotes; quotes and backslashes stay in the words.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(c);
                word.extend(chars.next());
            }
            (c, Some(open)) => {
                word.push(c);
                if c == open {
                    quote = None;
                }
            }
            ('"' | '\'', None) => {
                word.push(c);
                quote = Some(c);
            }
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, None) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Takes quotes and backslashes away; single-quoted dollars are protected from [`expand`] by staying escaped.
fn unquote(word: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'', None) => quote = Some('\''),
            ('"', None) => quote = Some('"'),
            (c, Some(open)) if c == open => quote = None,
            ('$', Some('\'')) => out.push_str("\\$"),
            ('\\', None | Some('"')) => match chars.next() {
                Some('$') => out.push_str("\\$"),
                Some(next) if quote.is_none() || matches!(next, '"' | '\\') => out.push(next),
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            (c, _) => out.push(c),
        }
    }
    out
}

/// Replaces `$NAME` and `${NAME}` (with `:-default` and `:+alternative`) by the environment's values.
fn expand(text: &str, env: &[String]) -> String {
    let lookup = |name: &str| env.iter().find_map(|e| e.split_once('=').filter(|(k, _)| *k == name).map(|(_, v)| v));
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        if let Some(escaped) = after.strip_prefix('\\') {
            let dollar = escaped.starts_with('$');
            out.push(if dollar { '$' } else { '\\' });
            rest = escaped.strip_prefix('$').unwrap_or(escaped);
            continue;
        }
        let after = after.strip_prefix('$').unwrap_or(after);
        if let Some((name, tail)) = after.strip_prefix('{').and_then(|a| a.split_once('}')) {
            let value = match (name.split_once(":-"), name.split_once(":+")) {
                (Some((name, default)), _) => lookup(name).filter(|v| !v.is_empty()).unwrap_or(default),
                (None, Some((name, alternative))) => lookup(name).map_or("", |_| alternative),
                (None, None) => lookup(name).unwrap_or(""),
            };
            out.push_str(value);
            rest = tail;
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, tail) = after.split_at(end);
            out.push_str(if name.is_empty() { "$" } else { lookup(name).unwrap_or("") });
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

/// `80` → `80/tcp`.
fn port_key(port: &str) -> Result<String> {
    let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let bad = || Error::Invalid(format!("Invalid containerPort: {port}"));
    let mut ends = range.splitn(2, '-').map(str::parse::<u16>);
    let valid = ends.clone().all(|end| end.is_ok()) && ends.next().is_some();
    let protocol = protocol.to_ascii_lowercase();
    if !valid || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad());
    }
    Ok(format!("{range}/{protocol}"))
}

fn join(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("/{base}/{path}") };
    match tare_archive::path::clean(joined.as_bytes()) {
        Ok(clean) => format!("/{}", String::from_utf8_lossy(&clean)),
        Err(_) => joined,
    }
}

/// `NONE`, or options and `CMD command`.
fn healthcheck(rest: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, tail) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        rest = tail.trim_start();
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "interval" => check.interval = duration(name, value)?,
            "timeout" => check.timeout = duration(name, value)?,
            "start-period" => check.start_period = duration(name, value)?,
            "start-interval" => check.start_interval = duration(name, value)?,
            "retries" => {
                let retries = value.parse().ok().filter(|n| *n >= 0);
                check.retries =
                    retries.ok_or_else(|| Error::Invalid(format!("--retries must be at least 0 (not {value})")))?;
            }
            _ => return Err(Error::Invalid(format!("unknown flag: {name}"))),
        }
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.trim().is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(Error::Invalid("HEALTHCHECK NONE takes no arguments".to_owned())),
        "CMD" if command.trim().is_empty() => {
            return Err(Error::Invalid("missing command after HEALTHCHECK CMD".to_owned()));
        }
        "CMD" => match json_list(command.trim()) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), command.trim().to_owned()],
        },
        "" => return Err(Error::Invalid("HEALTHCHECK requires at least one argument".to_owned())),
        other => return Err(Error::Invalid(format!("unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(check)
}

/// Go's durations: `1h2m3.5s`, `100ms`; in nanoseconds.
fn duration(name: &str, text: &str) -> Result<i64> {
    let bad = || Error::Invalid(format!("time: invalid duration {text:?}"));
    let no_unit = || Error::Invalid(format!("time: missing unit in duration {text:?}"));
    let mut total = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(no_unit)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "h" => 3.6e12,
            "m" => 6e10,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "µs" => 1e3,
            "ns" => 1.0,
            _ => return Err(bad()),
        };
        total += number.parse::<f64>().map_err(|_| bad())? * factor;
        rest = tail;
    }
    // a health check's shortest time is a millisecond
    if total != 0.0 && !(1e6..9e18).contains(&total) {
        return Err(Error::Invalid(format!("--{name} must be at least 1ms (not {text})")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 9e18")]
    Ok(total as i64)
}
