//! The shim: one small process per container that starts it, owns its terminal or pipes, writes its log, and keeps its
//! exit status, so that the daemon can be killed or replaced at any moment without the container noticing.
//!
//! It is started by the daemon with a control socket (`SOCK_SEQPACKET`, descriptor 3) and waits there for requests of
//! `tare-shim-protocol`; `--spare NAME` and `--cgroup-parent PATH` let it prepare for a container that is yet to come. It
//! takes nothing else from its arguments or environment. One thread and epoll; a second thread only until the container
//! is started ([`launcher`]).
//!
//! Read in this order: [`shim`] (its life), [`request`], [`bundle`], [`launch`], [`exec`], [`session`] with [`client`] and [`pace`],
//! [`container`], [`control`], [`relay`], [`names`]; the rest are tools.
#![forbid(unsafe_code)]

mod bundle;
mod client;
mod clock;
mod container;
mod control;
mod detach;
mod ends;
mod exec;
mod failure;
mod launch;
mod launcher;
mod memory;
mod names;
mod pace;
mod place;
mod poll;
mod process;
mod queue;
mod record;
mod relay;
mod request;
mod session;
mod shim;

use std::io;
use std::process::ExitCode;

use crate::launch::Host;
use crate::place::Place;
use crate::shim::Shim;

/// Parent of containers' cgroups when none is given.
const CGROUP_PARENT: &str = "/tare";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tare-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let control = tare_sys::inherited::take_inherited()?;
    process::prepare()?;
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if arguments.spare.is_some() {
        process::set_name(process::SPARE_NAME);
    }
    let host = Host { boot_id: process::boot_id()?, oom_score: process::lower_oom_score() };
    let place = Place::new(arguments.spare.as_deref(), &arguments.cgroup_parent)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Shim::new(control, place, host)?.run()
}

struct Arguments {
    spare: Option<String>,
    cgroup_parent: String,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let mut parsed = Self { spare: None, cgroup_parent: CGROUP_PARENT.to_owned() };
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or_else(|| invalid(format!("`{argument}` needs a value")))?;
            match argument.as_str() {
                "--spare" if !value.contains('/') => parsed.spare = Some(value),
                "--cgroup-parent" => parsed.cgroup_parent = value,
                _ => return Err(invalid(format!("unknown argument `{argument} {value}`"))),
            }
        }
        Ok(parsed)
    }
}
