//! From a command line to a command: global options, the command's path, its flags, its arguments.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::{Cli, Globals};
use crate::command::{Command, Group};
use crate::commands::{GROUPS, HIDDEN, TABLE, build, foreign};
use crate::complete::{self, Place, Question};
use crate::error::{CliError, EXIT_USAGE};
use crate::flags::{self, Flag, FlagError, Matches, Parsed, Values};
use crate::tls::TlsFiles;
use crate::{PROGRAM, help, values};

/// Options before the command.
pub static GLOBAL_FLAGS: &[Flag] = &[
    Flag::text("config", "Location of client config files").default("~/.docker"),
    Flag::text(
        "context",
        "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set \
         with \"tare context use\")",
    )
    .short('c'),
    Flag::bool("debug", "Enable debug mode").short('D'),
    Flag::list("host", "Daemon socket to connect to").short('H').type_name("string"),
    Flag::text("log-level", "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")")
        .short('l')
        .default("info"),
    Flag::bool("tls", "Use TLS; implied by --tlsverify"),
    Flag::text("tlscacert", "Trust certs signed only by this CA").default("~/.docker/ca.pem"),
    Flag::text("tlscert", "Path to TLS certificate file").default("~/.docker/cert.pem"),
    Flag::text("tlskey", "Path to TLS key file").default("~/.docker/key.pem"),
    Flag::bool("tlsverify", "Use TLS and verify the remote"),
    Flag::bool("version", "Print version information and quit").short('v'),
];

/// What a command line asks for.
pub enum Request {
    /// Print this text on stdout.
    Print(String),
    /// Print this text, which nobody asked for, on stderr.
    Hint(String),
    /// Print this text on stderr, and fail.
    Fail(CliError),
    /// Run this command.
    Run(Matches),
    /// Answer a shell that completes a command line.
    Complete(Question),
    /// Print the overall help: on stdout when it was asked for, else on stderr.
    Overview {
        /// It was asked for.
        asked: bool,
    },
    /// Become a plugin ([`crate::plugins`]).
    Plugin {
        /// The plugin's name.
        name: String,
        /// The command is another one of the plugin's.
        renamed: Option<Renamed>,
        /// What to do when there is no such plugin.
        otherwise: Box<Request>,
    },
}

/// Which arguments are words of a command that a plugin knows by other words.
#[derive(Debug, Clone, Copy)]
pub struct Renamed {
    /// So many words.
    pub words: usize,
    /// So many arguments follow them.
    pub arguments: usize,
    /// The plugin's words.
    pub to: &'static [&'static str],
}

impl Renamed {
    /// The program's arguments with the plugin's words.
    pub fn apply(self, mut arguments: Vec<OsString>) -> Vec<OsString> {
        let end = arguments.len().saturating_sub(self.arguments);
        let words = end.saturating_sub(self.words)..end;
        arguments.splice(words, self.to.iter().map(OsString::from));
        arguments
    }
}

/// How docker's plugin for BuildKit, which `docker build` is, knows that command.
const BUILDX: &[&str] = &["buildx", "build"];

/// Names that `--log-level` takes.
const LEVELS: [&str; 8] = ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"];

/// What docker says before the reason why there is no way to its daemon.
pub const NO_ENDPOINT: &str = "Failed to initialize: unable to resolve docker endpoint: ";

/// Reads a command line (without the program's name). `globals` gets the options before the command.
pub fn read(args: Vec<String>, globals: &mut Globals, width: usize) -> Request {
    let all = args.clone();
    let Parsed { values, args, help, .. } = match flags::parse(GLOBAL_FLAGS, args, false) {
        Ok(parsed) => parsed,
        Err(FlagError::Bad(why)) => {
            return Request::Fail(usage_error(&why));
        }
        Err(FlagError::Unsupported(why)) => return Request::Fail(CliError::new(why)),
    };
    if let Some(error) = conflict(&values) {
        return Request::Fail(error);
    }
    apply(&values, globals);
    globals.notice = help.map_or("", flags::Help::notice);
    if values.given("host") && values.given("context") {
        return Request::Fail(CliError::new("conflicting options: cannot specify both --host and --context"));
    }
    if let Some(request) = completion(&all, &args, globals) {
        return request;
    }
    if help.is_some() {
        return topic(&args, width);
    }
    if values.bool("version") {
        // Scripts look for docker's name where they call it so.
        let name = if PROGRAM.name() == "docker" { "Docker" } else { "Tare" };
        return Request::Print(format!("{name} version {}, build {}\n", crate::VERSION, crate::BUILD));
    }
    route(args, width)
}

/// A question of a shell's, if that is what a command line is. Options for the program come among the words as well.
fn completion(all: &[String], args: &[String], globals: &mut Globals) -> Option<Request> {
    let (first, rest) = args.split_first()?;
    if first != complete::COMMAND && first != complete::COMMAND_WITHOUT_DESCRIPTIONS {
        return None;
    }
    let Some((part, words)) = rest.split_last() else {
        return Some(Request::Fail(CliError::new("requires at least 1 arg(s), only received 0")));
    };
    let before = all.iter().take(all.len() - args.len());
    if let Ok(parsed) = flags::parse(GLOBAL_FLAGS, before.chain(words).cloned().collect(), false) {
        apply(&parsed.values, globals);
    }
    globals.notice = "";
    let described = first == complete::COMMAND;
    let question = Question { words: words.to_vec(), part: part.clone(), described };
    // A plugin completes what is its own.
    let unknown = Place::after(words).filter(|place| place.lost && place.group.is_none());
    let own = Request::Complete(question);
    Some(match unknown.and_then(|place| place.arguments.into_iter().next()) {
        Some(name) => Request::Plugin { name, renamed: None, otherwise: Box::new(own) },
        None => own,
    })
}

/// Why the options before the command cannot be.
fn conflict(values: &Values) -> Option<CliError> {
    let [_, second, ..] = values.list("host") else {
        let level = values.text("log-level");
        let known = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
        return (!known).then(|| CliError::new(format!("Unable to parse logging level: {level}")));
    };
    let value = values::quote(second);
    Some(usage_error(&format!("invalid argument {value} for \"-H, --host\" flag: specify only one -H")))
}

/// A mistake in the options before the command.
fn usage_error(why: &str) -> CliError {
    let usage = format!("Usage:  {PROGRAM} [OPTIONS] COMMAND [ARG...]\n\nRun '{PROGRAM} --help' for more information");
    CliError::with_code(format!("{why}\n\n{usage}"), EXIT_USAGE)
}

/// Takes over the global options and what the environment says where they are silent.
fn apply(values: &Values, globals: &mut Globals) {
    let variable = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
    let home = || env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    globals.config_dir = match values.given("config") {
        true => values.text("config").into(),
        false => variable("DOCKER_CONFIG").map_or_else(|| home().join(".docker"), PathBuf::from),
    };
    globals.debug = values.bool("debug");
    globals.host_variable = ["TARE_HOST", "DOCKER_HOST"].into_iter().find(|name| variable(name).is_some());
    globals.tls = TlsFiles::asked_for(values, &globals.config_dir, variable);
    if values.given("host") {
        globals.host = Some(values.text("host").to_owned());
    } else if values.given("context") {
        globals.context = values.text("context").to_owned();
    } else if let Some(host) = globals.host_variable.and_then(variable) {
        globals.host = Some(host);
    } else if let Some(context) = variable("DOCKER_CONTEXT") {
        globals.context = context;
    }
}

fn route(args: Vec<String>, width: usize) -> Request {
    let wants_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    let mut rest = args.into_iter();
    let Some(first) = rest.next() else { return Request::Overview { asked: false } };
    if first == "help" {
        return help_command(rest.collect(), width);
    }
    if let Some(command) = find(&first) {
        return parse(command, first, rest.collect(), width);
    }
    if let Some(group) = GROUPS.iter().find(|g| g.name == first) {
        return route_group(group, rest.collect(), width);
    }
    let otherwise = match foreign::refusal(&first) {
        Some(refusal) => Request::Fail(refusal),
        None if wants_help => Request::Overview { asked: true },
        None => Request::Fail(CliError::new(format!(
            "{PROGRAM}: unknown command: {PROGRAM} {first}\n\nRun '{PROGRAM} --help' for more information"
        ))),
    };
    Request::Plugin { name: first, renamed: None, otherwise: Box::new(otherwise) }
}

fn route_group(group: &Group, args: Vec<String>, width: usize) -> Request {
    let name = group.name;
    let Some(first) = args.first() else { return Request::Hint(help::group_help(group)) };
    let path = format!("{name} {first}");
    if let Some(command) = find(&path) {
        return parse(command, path, args.into_iter().skip(1).collect(), width);
    }
    if let Some(refusal) = foreign::refusal(&path) {
        return Request::Fail(refusal);
    }
    // Only docker's `manifest` names what it takes there.
    let takes = if name == "manifest" { " COMMAND" } else { "" };
    let usage = format!("Usage:  {PROGRAM} {name}{takes}\n\nRun '{PROGRAM} {name} --help' for more information");
    Request::Fail(match flags::parse(&[], args.clone(), true) {
        Ok(Parsed { help: Some(help), args, .. }) => {
            let command = args.first().and_then(|word| find(&format!("{name} {word}")).zip(Some(word)));
            let text = match command {
                Some((command, word)) => help::command_help(command, &format!("{name} {word}"), width),
                None => help::group_help(group),
            };
            return Request::Print(format!("{}{text}", help.notice()));
        }
        Err(FlagError::Bad(why)) if first.starts_with('-') => {
            CliError::with_code(format!("{why}\n\n{usage}"), EXIT_USAGE)
        }
        _ => CliError::new(format!("{PROGRAM}: unknown command: {PROGRAM} {name} {first}\n\n{usage}")),
    })
}

fn help_command(words: Vec<String>, width: usize) -> Request {
    let Some(first) = words.first() else { return Request::Overview { asked: true } };
    let path = words.join(" ");
    if let Some(command) = find(&path) {
        return Request::Print(help::command_help(command, &path, width));
    }
    if let Some(group) = GROUPS.iter().find(|g| g.name == path) {
        return Request::Print(help::group_help(group));
    }
    let refusal = foreign::refusal(first).or_else(|| foreign::refusal(&path));
    // What is not known begins after the command, or after the group that there is.
    let known = (1..words.len()).rev().find(|n| {
        let path = words[..*n].join(" ");
        find(&path).is_some() || GROUPS.iter().any(|g| g.name == path)
    });
    let known = known.unwrap_or(0);
    let unknown = || CliError::new(format!("unknown help topic: {}", words[known..].join(" ")));
    let otherwise = Request::Fail(refusal.unwrap_or_else(unknown));
    Request::Plugin { name: first.clone(), renamed: None, otherwise: Box::new(otherwise) }
}

/// The help that `--help` before a command asks for: the command's, else that of everything.
fn topic(words: &[String], width: usize) -> Request {
    let pairs = words.first().zip(words.get(1)).map(|(group, name)| format!("{group} {name}"));
    let path = pairs.filter(|path| find(path).is_some()).or_else(|| words.first().cloned());
    let Some(path) = path else { return Request::Overview { asked: true } };
    if let Some(command) = find(&path) {
        return Request::Print(help::command_help(command, &path, width));
    }
    match GROUPS.iter().find(|g| g.name == path) {
        Some(group) => Request::Print(help::group_help(group)),
        None => Request::Overview { asked: true },
    }
}

/// Whether builds may go to the plugin: `DOCKER_BUILDKIT=0` says no.
fn uses_buildkit() -> bool {
    !env::var("DOCKER_BUILDKIT").is_ok_and(|value| values::parse_bool(&value) == Ok(false))
}

/// The command reached by `path`.
pub fn find(path: &str) -> Option<&'static Command> {
    TABLE.iter().chain(HIDDEN).copied().find(|c| c.names.contains(&path))
}

fn parse(command: &'static Command, path: String, args: Vec<String>, width: usize) -> Request {
    let usage = help::usage_line(command, &path);
    let arguments = args.len();
    let matches = match Matches::parse(command, path.clone(), args) {
        Ok(matches) => matches,
        Err(FlagError::Bad(why)) => {
            let fail = |why: &str| {
                let text = format!("{why}\n\nUsage:  {usage}\n\nRun '{PROGRAM} {path} --help' for more information");
                Request::Fail(CliError::with_code(text, EXIT_USAGE))
            };
            if !std::ptr::eq(command, &build::COMMAND) {
                return fail(&why);
            }
            let needs_plugin = build::buildkit_flag(&why);
            if !uses_buildkit() {
                return fail(&needs_plugin.map_or(why, build::refuse_classic));
            }
            // Flags that are BuildKit's alone: `--secret`, `--output`, ….
            let otherwise = fail(&needs_plugin.map_or(why, build::refuse_without_plugin));
            let renamed = Some(Renamed { words: path.split(' ').count(), arguments, to: BUILDX });
            return Request::Plugin { name: BUILDX[0].to_owned(), renamed, otherwise: Box::new(otherwise) };
        }
        Err(FlagError::Unsupported(why)) => return Request::Fail(CliError::with_code(why, EXIT_USAGE)),
    };
    if let Some(help) = matches.help {
        return Request::Print(format!("{}{}", help.notice(), help::command_help(command, &path, width)));
    }
    match command.arity.complaint(matches.args.len()) {
        None => Request::Run(matches),
        Some((complaint, verb)) => Request::Fail(CliError::new(format!(
            "{PROGRAM}: '{PROGRAM} {path}' {complaint}\n\nUsage:  {usage}\n\n{verb} '{PROGRAM} {path} --help' for more information"
        ))),
    }
}

/// Runs a command and reports its failure; gives the exit status.
pub async fn run(cli: &Cli, matches: &Matches) -> i32 {
    for warning in matches.warnings() {
        // A closed stdout is no reason not to do the work.
        let _ = cli.out.println(warning);
    }
    done(cli, (matches.command.run)(cli, matches)).await
}

/// Waits for some work and reports its failure; gives the exit status.
pub async fn done(cli: &Cli, work: impl Future<Output = Result<i32, CliError>>) -> i32 {
    work.await.unwrap_or_else(|error| report(cli, &error))
}

/// Prints an error; gives the exit status.
pub fn report(cli: &Cli, error: &CliError) -> i32 {
    if !error.message.is_empty() {
        let _ = cli.err.println(&error.message);
    }
    error.code
}
