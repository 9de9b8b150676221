//! Tare's command line: docker's commands, flags, output and exit statuses, spoken to a daemon over its HTTP API.
//!
//! One command is one file in [`commands`], one value in [`commands::TABLE`]; parser, help and completion read that table.
//!
//! * [`app`]: from arguments to a command; [`command`], [`flags`], [`values`], [`help`]: what a command is made of
//! * [`complete`]: what a shell may complete; [`man`]: manual pages
//! * [`cli`]: what a command works with; [`config`]: `config.json`; [`credentials`]; [`context`]; [`tls`]; [`error`]
//! * [`plugins`]: programs that are commands; [`manifests`]: lists of manifests, here and on registries
//! * [`output`]: tables, templates, human sizes
//! * [`opts`], [`streams`], [`progress`], [`copy`]: options of `run`, terminals and attached streams, progress of pulls, `cp`
//! * [`commands`]: the commands
#![forbid(unsafe_code)]

pub mod app;
pub mod cli;
pub mod command;
pub mod commands;
pub mod complete;
pub mod config;
pub mod context;
pub mod copy;
pub mod credentials;
pub mod error;
pub mod flags;
pub mod help;
pub mod man;
pub mod manifests;
pub mod opts;
pub mod output;
pub mod plugins;
pub mod progress;
pub mod streams;
pub mod tls;
pub mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use app::Request;
use cli::{Cli, Globals, Output};

/// The program's name in usage lines and errors.
pub static PROGRAM: Program = Program;
/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What was built: a commit, when the build says so in `TARE_BUILD`.
pub const BUILD: &str = match option_env!("TARE_BUILD") {
    Some(build) => build,
    None => "unknown",
};

/// The name the program goes by: `docker` when it is called so (through a link), else its own.
#[derive(Debug)]
pub struct Program;

/// Set once, before anything is said.
static CALLED_DOCKER: AtomicBool = AtomicBool::new(false);

impl Program {
    /// The name.
    pub fn name(&self) -> &'static str {
        if CALLED_DOCKER.load(Ordering::Relaxed) { "docker" } else { "tare" }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How the program was called.
#[derive(Debug, Default)]
pub struct Invocation {
    /// The program as it was typed.
    pub program: OsString,
    /// Arguments without the program's name.
    pub args: Vec<OsString>,
    /// The program's file: `EXECUTABLE daemon` is run when no daemon is there.
    pub executable: Option<PathBuf>,
    /// Commands that the program has besides ours (`daemon`, `oci`): name, one line of help.
    pub local: &'static [(&'static str, &'static str)],
}

/// Runs a command line to its end; gives the exit status. Starts its own single-threaded runtime.
pub fn main(invocation: Invocation) -> i32 {
    let docker = Path::new(&invocation.program).file_name().is_some_and(|name| name == "docker");
    CALLED_DOCKER.store(docker, Ordering::Relaxed);
    let mut globals = Globals { executable: invocation.executable, local: invocation.local, ..Globals::default() };
    // Everything ends up in JSON or on a terminal: bytes that are not UTF-8 are replaced, as Go's encoder does.
    let args = invocation.args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let out = Output::stdout();
    let request = app::read(args, &mut globals, out.width());
    let cli = Cli::new(globals, out, Output::stderr());
    // A closed stderr is no reason not to go on.
    let _ = cli.err.print(cli.globals.notice);
    answer(&cli, request, invocation.args)
}

/// Does what a command line asks for; gives the exit status.
fn answer(cli: &Cli, request: Request, args: Vec<OsString>) -> i32 {
    let print = |out: &Output, text: String| out.print(text).map_or_else(|e| app::report(cli, &e), |()| 0);
    match request {
        Request::Print(text) => print(&cli.out, text),
        Request::Hint(text) => print(&cli.err, text),
        Request::Overview { asked } => {
            let text = help::overall_help(cli.globals.local, &plugins::all(cli), cli.out.width());
            print(if asked { &cli.out } else { &cli.err }, text)
        }
        Request::Fail(error) => app::report(cli, &error),
        Request::Run(matches) => wait_for(cli, app::run(cli, &matches)),
        Request::Complete(question) => wait_for(cli, app::done(cli, complete::run(cli, &question))),
        Request::Plugin { name, renamed, otherwise } => {
            let Some(plugin) = plugins::find(cli, &name) else { return answer(cli, *otherwise, args) };
            let args = match renamed {
                Some(renamed) => renamed.apply(args),
                None => args,
            };
            wait_for(cli, async { app::report(cli, &plugins::run(cli, &plugin, args).await) })
        }
    }
}

/// Runs what a command line asks for; gives the exit status.
fn wait_for(cli: &Cli, work: impl Future<Output = i32>) -> i32 {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A blocked read of stdin must not hold the program up.
            runtime.shutdown_background();
            code
        }
        Err(error) => app::report(cli, &error.into()),
    }
}
