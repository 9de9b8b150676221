//! Control groups, both versions: where they are, making and removing them, their processes, limits and statistics.
//!
//! Every operation takes a [`Cgroup`] (a path in all hierarchies) and reaches its files relative to descriptors of the
//! mount points, opened once in [`Hierarchies::detect`]. Limits are planned as data ([`plan()`]) and then written
//! ([`Cgroup::apply`]). The driver is "cgroupfs": nobody else is asked.
//!
//! Read in this order: [`hierarchy`](Hierarchies), `group`, `plan` (with `v1`, `v2`, `devices`), `apply`, `processes`,
//! `stats`, `oom`, `mounts`, `support`; `files` and `tree` are the tools below them.
#![forbid(unsafe_code)]

mod apply;
mod common;
mod devices;
mod error;
mod files;
mod group;
mod hierarchy;
#[cfg(test)]
mod live_tests;
mod mounts;
mod oom;
mod plan;
mod processes;
mod stats;
mod support;
mod tree;
mod v1;
mod v2;

pub use devices::DeviceFilter;
pub use error::Error;
pub use group::Cgroup;
pub use hierarchy::{Hierarchies, Version};
pub use mounts::{MountSource, MountSources};
pub use plan::{Plan, Step, Write, plan, plan_update};
pub use stats::{BlkioEntry, BlkioStats, CpuStats, MemoryStats, PidsStats, Stats};
pub use support::Support;
