//! From lines to instructions.

use tare_docker_api::time::parse_duration;

use crate::Error;
use crate::flags::{Flags, Takes, meant};
use crate::instruction::{CommandLine, Content, Copy, Dockerfile, Instruction, Kind, Pair, Probe, Run, Stage};
use crate::lines::{Line, lines};
use crate::mount::mount;
use crate::words::{chomp, heredoc, json_list, plain_words, quoted_words};

/// Names of all instructions.
const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
/// Shortest time of a health check, nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Reads a Dockerfile.
pub fn parse(text: &str) -> Result<Dockerfile, Error> {
    let found = lines(text)?;
    let mut file =
        Dockerfile { escape: found.escape, arguments: Vec::new(), stages: Vec::new(), warnings: found.warnings };
    for line in &found.lines {
        let failed = |message| Error::Instruction { line: line.number, message };
        if line.name.eq_ignore_ascii_case("from") {
            file.stages.push(stage(line).map_err(failed)?);
            continue;
        }
        let kind = kind(line, found.escape).map_err(|problem| match problem {
            Problem::Syntax(message) => Error::Syntax { line: line.number, message },
            Problem::Meaning(message) => failed(message),
        })?;
        let instruction = Instruction { line: line.number, source: line.text.trim().to_owned(), kind };
        match file.stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None if matches!(instruction.kind, Kind::Arg(_)) => file.arguments.push(instruction),
            None => return Err(Error::NoStage { line: line.number }),
        }
    }
    Ok(file)
}

/// Reads the one instruction of an `ONBUILD`.
pub fn parse_trigger(text: &str) -> Result<Instruction, Error> {
    let found = lines(text)?;
    let [line] = found.lines.as_slice() else {
        return Err(Error::Syntax { line: 1, message: "onbuild trigger should be a single expression".to_owned() });
    };
    let kind = kind(line, found.escape).map_err(|problem| match problem {
        Problem::Syntax(message) | Problem::Meaning(message) => Error::Syntax { line: 1, message },
    })?;
    Ok(Instruction { line: 1, source: line.text.trim().to_owned(), kind })
}

/// Docker reads the form of lines and the sense of instructions in two passes, and says which one failed.
enum Problem {
    Syntax(String),
    Meaning(String),
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Problem::Meaning(message)
    }
}

fn stage(line: &Line) -> Result<Stage, String> {
    let words = plain_words(&line.rest);
    let (base, name) = match words.as_slice() {
        [base] => (base, String::new()),
        [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => {
            let lower = name.to_lowercase();
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
            if !lower.starts_with(|c: char| c.is_ascii_lowercase()) || !lower.chars().all(good) {
                return Err(format!(
                    "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
                ));
            }
            (base, lower)
        }
        _ => return Err("FROM requires either one or three arguments".to_owned()),
    };
    let flags = Flags::read(&line.flags, &[("platform", Takes::Text)])?;
    Ok(Stage {
        name,
        base: base.clone(),
        platform: flags.text("platform"),
        source: line.text.trim().to_owned(),
        line: line.number,
        instructions: Vec::new(),
    })
}

fn kind(line: &Line, escape: char) -> Result<Kind, Problem> {
    let name = line.name.to_ascii_uppercase();
    let rest = line.rest.as_str();
    Ok(match name.as_str() {
        "ENV" | "LABEL" => variables(&name, line, escape)?,
        "ARG" => Kind::Arg(arguments(rest, escape)?),
        "COPY" | "ADD" => copy(&name, line)?,
        "RUN" => Kind::Run(run(line)?),
        "CMD" | "ENTRYPOINT" => {
            let command = command(rest).map_err(Problem::Syntax)?;
            no_flags(line)?;
            if name == "CMD" { Kind::Cmd(command) } else { Kind::Entrypoint(command) }
        }
        "EXPOSE" => {
            let mut ports = plain_words(rest);
            at_least_one(&name, ports.is_empty())?;
            no_flags(line)?;
            ports.sort();
            Kind::Expose(ports)
        }
        "VOLUME" => Kind::Volume(volumes(line)?),
        "USER" => Kind::User(one_text(&name, line)?),
        "WORKDIR" => Kind::Workdir(one_text(&name, line)?),
        "STOPSIGNAL" => Kind::StopSignal(one_text(&name, line)?),
        "MAINTAINER" => Kind::Maintainer(one_text(&name, line)?),
        "SHELL" => {
            let words = json_list(rest).map_err(Problem::Syntax)?;
            no_flags(line)?;
            at_least_one(&name, rest.is_empty() || words.as_ref().is_some_and(Vec::is_empty))?;
            Kind::Shell(words.ok_or_else(|| "SHELL requires the arguments to be in JSON form".to_owned())?)
        }
        "HEALTHCHECK" => Kind::Healthcheck(probe(line)?),
        "ONBUILD" => Kind::OnBuild(trigger(line)?),
        _ => {
            let hint = meant(&line.name, NAMES.into_iter(), false);
            return Err(Problem::Meaning(format!("unknown instruction: {}{hint}", line.name)));
        }
    })
}

fn no_flags(line: &Line) -> Result<(), String> {
    Flags::read(&line.flags, &[]).map(drop)
}

fn one_text(name: &str, line: &Line) -> Result<String, String> {
    if line.rest.is_empty() {
        return Err(format!("{name} requires exactly one argument"));
    }
    no_flags(line)?;
    Ok(line.rest.clone())
}

fn variables(name: &str, line: &Line, escape: char) -> Result<Kind, Problem> {
    let pairs = pairs(name, &line.rest, escape).map_err(Problem::Syntax)?;
    no_flags(line)?;
    at_least_one(name, pairs.is_empty())?;
    if pairs.iter().any(|pair| pair.key.is_empty()) {
        return Err(Problem::Meaning(format!("{name} names can not be blank")));
    }
    Ok(if name == "ENV" { Kind::Env(pairs) } else { Kind::Label(pairs) })
}

fn volumes(line: &Line) -> Result<Vec<String>, Problem> {
    let paths = json_list(&line.rest).map_err(Problem::Syntax)?.unwrap_or_else(|| plain_words(&line.rest));
    at_least_one("VOLUME", paths.is_empty())?;
    no_flags(line)?;
    let paths: Vec<String> = paths.iter().map(|path| path.trim().to_owned()).collect();
    if paths.iter().any(String::is_empty) {
        return Err(Problem::Meaning("VOLUME specified can not be an empty string".to_owned()));
    }
    Ok(paths)
}

fn at_least_one(name: &str, none: bool) -> Result<(), String> {
    if none { Err(format!("{name} requires at least one argument")) } else { Ok(()) }
}

/// `a=b c="d e"`, or in the old form one key and the rest of the line.
fn pairs(name: &str, rest: &str, escape: char) -> Result<Vec<Pair>, String> {
    let words = quoted_words(rest, escape);
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (key, value) =
            rest.split_once(char::is_whitespace).ok_or_else(|| format!("{name} must have two arguments"))?;
        return Ok(vec![Pair { key: key.to_owned(), value: value.trim_start().to_owned() }]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) => Ok(Pair { key: key.to_owned(), value: value.to_owned() }),
        None => Err(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value")),
    };
    words.iter().map(pair).collect()
}

fn arguments(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>, String> {
    let words = quoted_words(rest, escape);
    at_least_one("ARG", words.is_empty())?;
    let argument = |word: String| match word.split_once('=') {
        Some(("", _)) => Err("ARG names can not be blank".to_owned()),
        Some((key, value)) => Ok((key.to_owned(), Some(value.to_owned()))),
        None => Ok((word, None)),
    };
    words.into_iter().map(argument).collect()
}

fn command(rest: &str) -> Result<CommandLine, String> {
    Ok(match json_list(rest)? {
        Some(words) => CommandLine { words, shell: false },
        None if rest.is_empty() => CommandLine { words: Vec::new(), shell: true },
        None => CommandLine { words: vec![rest.to_owned()], shell: true },
    })
}

fn copy(name: &str, line: &Line) -> Result<Kind, Problem> {
    let mut words =
        json_list(&line.rest).map_err(Problem::Syntax)?.unwrap_or_else(|| plain_words(&join_marks(&line.rest)));
    let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        format!(
            "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
    })?;
    let mut known = vec![("chown", Takes::Text), ("chmod", Takes::Text), ("link", Takes::Flag)];
    known.push(("exclude", Takes::Texts));
    if name == "COPY" {
        known.extend([("from", Takes::Text), ("parents", Takes::Flag)]);
    } else {
        known.extend([("keep-git-dir", Takes::Flag), ("checksum", Takes::Text), ("unpack", Takes::Flag)]);
    }
    let flags = Flags::read(&line.flags, &known)?;
    if heredoc(&destination).is_some() {
        return Err(Problem::Meaning(format!("{name} cannot accept a heredoc as a destination")));
    }
    let mut copy = Copy {
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        checksum: flags.text("checksum"),
        exclude: flags.all("exclude").cloned().collect(),
        parents: flags.is_set("parents"),
        keep_git: flags.is_set("keep-git-dir"),
        unpack: flags.has("unpack").then(|| flags.is_set("unpack")),
        flags: known.iter().map(|(name, _)| *name).filter(|name| flags.is_set(name)).collect(),
        ..Copy::default()
    };
    for word in words {
        let found = heredoc(&word).and_then(|word| line.heredocs.iter().find(|given| given.name == word.name));
        match found {
            Some(given) => copy.contents.push(Content {
                name: given.name.clone(),
                text: if given.chomp { chomp(&given.content) } else { given.content.clone() },
                expand: given.expand,
            }),
            None => copy.sources.push(word),
        }
    }
    Ok(if name == "COPY" { Kind::Copy(copy) } else { Kind::Add(copy) })
}

fn join_marks(text: &str) -> String {
    text.replace("<< ", "<<")
}

fn run(line: &Line) -> Result<Run, Problem> {
    let mut command = command(&line.rest).map_err(Problem::Syntax)?;
    let known = [("mount", Takes::Texts), ("network", Takes::Text), ("security", Takes::Text)];
    let flags = Flags::read(&line.flags, &known)?;
    if let (true, Some(text)) = (command.shell, command.words.first_mut()) {
        add_heredocs(text, line);
    }
    let mounts = flags.all("mount").map(|text| mount(text)).collect::<Result<_, _>>()?;
    let network = flags.text("network");
    if !matches!(network.as_str(), "" | "default" | "none" | "host") {
        return Err(Problem::Meaning(format!("invalid network mode {network:?}")));
    }
    Ok(Run { command, mounts, network, security: flags.text("security") })
}

/// A command that is nothing but one here-document is its text; otherwise the shell reads them.
fn add_heredocs(text: &mut String, line: &Line) {
    if let [only] = line.heredocs.as_slice()
        && heredoc(&join_marks(text)).is_some_and(|word| word.name == only.name)
    {
        *text = if only.chomp { chomp(&only.content) } else { only.content.clone() };
        return;
    }
    for given in &line.heredocs {
        text.push('\n');
        text.push_str(&given.content);
        text.push_str(&given.name);
    }
}

fn trigger(line: &Line) -> Result<String, String> {
    at_least_one("ONBUILD", line.rest.is_empty())?;
    no_flags(line)?;
    let name = line.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match name.as_str() {
        "ONBUILD" => return Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        "MAINTAINER" | "FROM" => return Err(format!("{name} isn't allowed as an ONBUILD trigger")),
        _ => {}
    }
    let mut text = line.rest.clone();
    for given in &line.heredocs {
        text.push('\n');
        text.push_str(&given.content);
        text.push_str(&given.name);
    }
    Ok(text)
}

fn probe(line: &Line) -> Result<Probe, Problem> {
    let (kind, rest) = line.rest.split_once(char::is_whitespace).unwrap_or((&line.rest, ""));
    let command = command(rest.trim()).map_err(Problem::Syntax)?;
    at_least_one("HEALTHCHECK", kind.is_empty())?;
    let upper = kind.to_uppercase();
    if upper == "NONE" {
        if !rest.trim().is_empty() {
            return Err(Problem::Meaning("HEALTHCHECK NONE takes no arguments".to_owned()));
        }
        return Ok(Probe { test: vec![upper], ..Probe::default() });
    }
    let known = ["interval", "timeout", "start-period", "start-interval", "retries"].map(|name| (name, Takes::Text));
    let flags = Flags::read(&line.flags, &known)?;
    if upper != "CMD" {
        return Err(Problem::Meaning(format!("Unknown type {upper:?} in HEALTHCHECK (try CMD)")));
    }
    if command.words.is_empty() {
        return Err(Problem::Meaning("Missing command after HEALTHCHECK CMD".to_owned()));
    }
    let time = |name: &str| -> Result<i64, String> {
        let text = flags.text(name);
        let time = if text.is_empty() { 0 } else { parse_duration(&text).map_err(|error| error.to_string())? };
        if time != 0 && time < SHORTEST {
            return Err(format!("Interval {name:?} cannot be less than 1ms"));
        }
        Ok(time)
    };
    let text = flags.text("retries");
    let retries: i64 = match text.as_str() {
        "" => 0,
        text => text.parse::<i32>().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))?.into(),
    };
    if retries < 0 {
        return Err(Problem::Meaning(format!("--retries cannot be negative ({retries})")));
    }
    let word = if command.shell { "CMD-SHELL" } else { "CMD" };
    Ok(Probe {
        test: std::iter::once(word.to_owned()).chain(command.words).collect(),
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries,
    })
}
