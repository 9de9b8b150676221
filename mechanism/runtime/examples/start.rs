//! How long a container's start takes: create, start and wait of a bundle's process, again and again.
//!
//! `cargo run --release -p tare-runtime --example start -- BUNDLE [COUNT]`, as root. The bundle's `config.json` decides
//! what is measured; the process joins no cgroup.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use tare_oci_runtime::{NamespaceKind, Spec};
use tare_runtime::{Launch, create};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let bundle = arguments.next().expect("a bundle");
    let count: usize = arguments.next().map_or(100, |count| count.parse().expect("a number"));
    let bundle = Path::new(&bundle);
    let json = std::fs::read(bundle.join("config.json")).expect("config.json");
    let mut spec = Spec::from_slice(&json).expect("a specification");
    // Without a cgroup of its own there is nothing to mount.
    spec.mounts.retain(|mount| mount.kind != "cgroup");
    let kinds: Vec<NamespaceKind> =
        spec.linux.iter().flat_map(|linux| &linux.namespaces).map(|namespace| namespace.kind).collect();
    println!("namespaces: {kinds:?}, {} mounts", spec.mounts.len());
    let mut times: Vec<[Duration; 3]> = (0..count).map(|_| once(bundle, &spec)).collect();
    times.sort();
    for (name, index) in [("created", 0), ("started", 1), ("ended", 2)] {
        let mut all: Vec<Duration> = times.iter().map(|all| all[index]).collect();
        all.sort();
        println!("{name}: median {:?}, best {:?}, worst {:?}", all[count / 2], all[0], all[count - 1]);
    }
}

/// Times since the beginning: created, started, ended.
fn once(bundle: &Path, spec: &Spec) -> [Duration; 3] {
    let start = Instant::now();
    let created = create(Launch::new("bench", bundle, spec)).unwrap_or_else(|error| panic!("create: {error}"));
    let after_create = start.elapsed();
    let init = created.start().unwrap_or_else(|error| panic!("start: {error}"));
    let after_start = start.elapsed();
    waitid(WaitId::PidFd(init.pidfd.as_fd()), WaitIdOptions::EXITED).expect("waitid");
    [after_create, after_start, start.elapsed()]
}
