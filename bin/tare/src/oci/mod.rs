//! `tare oci`: the OCI runtime command line on bundles, without the engine and without a resident process.
//!
//! It takes what other engines and conformance suites pass to a runtime. State lies below `--root`, one directory per
//! container ([`store`]). Between `create` and `start` the container's init waits on a FIFO there.
//!
//! Read in this order: [`arguments`], [`sealed`], [`store`], [`descriptors`], [`create`] (create, run, start), [`exec`],
//! [`control`] (kill, delete, pause, resume, update), [`inspect`] (state, list, ps, events), [`describe`] (spec,
//! features), [`terminal`], [`log`].

mod arguments;
mod control;
mod create;
mod describe;
mod descriptors;
mod exec;
mod inspect;
mod log;
mod sealed;
mod store;
mod terminal;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use rustix::thread::{CpuSet, sched_setaffinity};

use arguments::{Arguments, Command};
use log::{debug, warn};
use store::Store;

/// Its flags and commands.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the command line after `tare oci`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(std::iter::once("tare oci".into()).chain(args)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    log::set_up(&arguments);
    // Runtimes fail with 1; a failed exec is told from the process's own codes by 255.
    let failed = if matches!(arguments.command, Command::Exec(_)) { u8::MAX } else { 1 };
    match run(&arguments) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            log::report(&format!("{error:#}"));
            ExitCode::from(failed)
        }
    }
}

/// Where the state of containers is if nobody says so.
const DEFAULT_ROOT: &str = "/run/tare/oci";

fn run(arguments: &Arguments) -> anyhow::Result<i32> {
    if arguments.systemd_cgroup {
        anyhow::bail!("--systemd-cgroup: not supported, cgroups are managed directly");
    }
    if let Some(pid) = arguments.command.needs_root().then(rustix::process::geteuid).filter(|user| !user.is_root()) {
        anyhow::bail!("containers can be run by root only, not by user {}", pid.as_raw());
    }
    if arguments.command.enters_containers() {
        sealed::execute()?;
        all_cpus();
    }
    let store = Store::new(arguments.root.as_deref().unwrap_or(Path::new(DEFAULT_ROOT)));
    match &arguments.command {
        Command::Create(options) => create::create(&store, options).map(|()| 0),
        Command::Run(options) => create::run(&store, options),
        Command::Start { id } => create::start(&store, id).map(|()| 0),
        Command::Exec(options) => exec::exec(&store, options),
        Command::State { id } => inspect::state(&store, id).map(|()| 0),
        Command::List(options) => {
            // Only one that was asked for has to be there.
            if let Some(root) = &arguments.root {
                root.metadata().with_context(|| format!("list `{}`", root.display()))?;
            }
            inspect::list(&store, options).map(|()| 0)
        }
        Command::Ps(options) => inspect::ps(&store, options).map(|()| 0),
        Command::Events(options) => inspect::events(&store, options).map(|()| 0),
        Command::Kill(options) => control::kill(&store, options).map(|()| 0),
        Command::Delete { id, force } => control::delete(&store, id, *force).map(|()| 0),
        Command::Pause { id } => control::pause(&store, id).map(|()| 0),
        Command::Resume { id } => control::resume(&store, id).map(|()| 0),
        Command::Update(options) => control::update(&store, options).map(|()| 0),
        Command::Spec { bundle, rootless } => describe::write_spec(bundle.as_deref(), *rootless).map(|()| 0),
        Command::Features => describe::features().map(|()| 0),
        Command::Checkpoint { .. } => anyhow::bail!("checkpoint: not supported"),
        Command::Restore { .. } => anyhow::bail!("restore: not supported"),
    }
}

/// What a container may run on is its cgroup's to say, not the caller's affinity.
fn all_cpus() {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    // The kernel takes those that there are; a filter of system calls may forbid it, and then it stays as it is.
    let _ = sched_setaffinity(None, &all);
}

/// What a command is asked for, to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write standard output")
}

/// The same with an end of line.
fn print_line(text: &impl std::fmt::Display) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}
