//! Carrying out a plan: one open, one write, one close per value.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::devices::DeviceFilter;
use crate::group::Cgroup;
use crate::hierarchy::{Hierarchy, Version};
use crate::plan::{Plan, Step, Write};
use crate::{Error, files};

impl Cgroup {
    /// Writes the values of a plan in its order; stops at the first that fails.
    pub fn apply(&self, plan: &Plan) -> Result<(), Error> {
        let mut writer = Writer { group: self, open: None };
        plan.steps.iter().try_for_each(|step| writer.step(step))
    }
}

/// Keeps the directory of the controller written last: values for one controller follow each other.
struct Writer<'c> {
    group: &'c Cgroup,
    open: Option<(&'c Hierarchy, OwnedFd)>,
}

impl<'c> Writer<'c> {
    fn step(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Write(write) => self.optional(write, false),
            Step::IfPresent(write) => self.optional(write, true),
            Step::FirstPresent(writes) => self.first_present(writes),
            Step::EitherOrder { first, second, optional } => {
                let mut later = Vec::new();
                for write in first {
                    match self.write(write)? {
                        Ok(()) => {}
                        Err(Errno::INVAL) => later.push(write),
                        Err(errno) => return Err(self.failed(write, errno)),
                    }
                }
                self.optional(second, *optional)?;
                later.into_iter().try_for_each(|write| self.optional(write, false))
            }
            Step::Period(period) => self.period(*period),
            Step::RefuseBelowUsage { what, limit } => self.refuse_below_usage(what, *limit),
            Step::Devices(filter) => self.devices(filter),
        }
    }

    fn optional(&mut self, write: &Write, optional: bool) -> Result<(), Error> {
        match self.write(write)? {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) if optional => Ok(()),
            Err(errno) => Err(self.failed(write, errno)),
        }
    }

    fn first_present(&mut self, writes: &[Write]) -> Result<(), Error> {
        let mut absent = Ok(());
        for write in writes {
            match self.write(write)? {
                Err(Errno::NOENT) => absent = Err(self.failed(write, Errno::NOENT)),
                result => return result.map_err(|errno| self.failed(write, errno)),
            }
        }
        absent
    }

    /// The outer error: there is no such controller; the inner one: what the kernel thinks of the write.
    fn write(&mut self, write: &Write) -> Result<Result<(), Errno>, Error> {
        match self.directory(&write.controller, &write.file) {
            Ok(directory) => Ok(files::write(directory, &write.file, &write.value)),
            Err(error) => Err(error),
        }
    }

    fn directory(&mut self, controller: &str, file: &str) -> Result<&OwnedFd, Error> {
        let group = self.group;
        let hierarchy = group.hierarchies.controller(controller).ok_or_else(|| no_controller(controller, file))?;
        let open = match self.open.take() {
            Some((known, directory)) if std::ptr::eq(known, hierarchy) => (known, directory),
            _ => {
                let directory = files::directory(&hierarchy.root, group.relative())
                    .map_err(|errno| Error::os("open", group.display(hierarchy, ""), errno))?;
                (hierarchy, directory)
            }
        };
        Ok(&self.open.insert(open).1)
    }

    /// Says what failed; some failures have a better explanation than their number.
    fn failed(&self, write: &Write, errno: Errno) -> Error {
        let Some((hierarchy, directory)) = &self.open else { return Error::NotMounted };
        if errno == Errno::NOENT && self.group.version() == Version::V2 && !is_enabled(directory, &write.controller) {
            return no_controller(&write.controller, &write.file);
        }
        if errno == Errno::BUSY && write.file == "memory.limit_in_bytes" {
            return memory_in_use(&write.value, directory);
        }
        Error::os("write", format!("{}` = `{}", self.group.display(hierarchy, &write.file), write.value), errno)
    }

    fn period(&mut self, period: u64) -> Result<(), Error> {
        const FILE: &str = "cpu.max";
        let mut buffer = [0; files::VALUE_MAX];
        // What cannot be read cannot be written either, which is the error then.
        let read = files::read(self.directory("cpu", FILE)?, FILE, &mut buffer).unwrap_or_default();
        let quota = read.split(' ').next().filter(|quota| !quota.is_empty()).unwrap_or("max");
        self.optional(&Write::new("cpu", FILE, format!("{quota} {period}")), false)
    }

    fn refuse_below_usage(&mut self, what: &'static str, limit: u64) -> Result<(), Error> {
        let directory = self.directory("memory", "memory.current")?;
        match files::number(directory, "memory.current") {
            Ok(Some(usage)) if usage >= limit => Err(Error::BelowUsage { what, limit, usage }),
            // What cannot be read says nothing against the write that follows.
            _ => Ok(()),
        }
    }

    fn devices(&self, filter: &DeviceFilter) -> Result<(), Error> {
        let Some(unified) = self.group.hierarchies.all().first() else { return Err(Error::NotMounted) };
        let failed = |step| move |error| Error::io(step, self.group.display(unified, ""), &error);
        let program =
            tare_sys::bpf::load_cgroup_device_program(&filter.program()).map_err(failed("load device program for"))?;
        let directory = self.group.open_in(unified)?;
        tare_sys::bpf::attach_cgroup_device_program(directory.as_fd(), program.as_fd())
            .map_err(failed("attach device program to"))
    }
}

/// Whether a v2 group has a controller from its parent; files of the group itself (`cgroup.…`) belong to none.
fn is_enabled(directory: &OwnedFd, controller: &str) -> bool {
    let mut buffer = [0; files::VALUE_MAX];
    let enabled = files::read(directory, "cgroup.controllers", &mut buffer).unwrap_or_default();
    controller == "cgroup" || enabled.split(' ').any(|own| own == controller)
}

fn no_controller(controller: &str, file: &str) -> Error {
    Error::NoController { controller: controller.to_owned(), file: file.to_owned() }
}

fn memory_in_use(limit: &str, directory: &OwnedFd) -> Error {
    let number = |file| files::number(directory, file).ok().flatten().unwrap_or(0);
    let (usage, peak) = (number("memory.usage_in_bytes"), number("memory.max_usage_in_bytes"));
    Error::MemoryInUse { limit: limit.to_owned(), usage, peak }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tare_oci_runtime::{BlockIo, Memory, Pids, Resources};

    use super::*;
    use crate::{Hierarchies, plan_update};

    /// Applies limits to a fake group and returns what its files say then.
    fn apply(resources: &Resources, files: &[(&str, &str)]) -> String {
        let root = tempfile::tempdir().unwrap();
        let hierarchies = Hierarchies::fake_v2(root.path(), "memory io", files);
        let result = Cgroup::open(&hierarchies, "/g").apply(&plan_update(resources, Version::V2).unwrap());
        let read = |name: &str| fs::read_to_string(root.path().join("g").join(name)).unwrap();
        let mut lines: Vec<String> = files.iter().map(|(name, _)| format!("{name}: {}", read(name))).collect();
        if let Err(error) = result {
            lines.push(error.to_string().replace(root.path().to_str().unwrap(), "ROOT"));
        }
        lines.join("\n")
    }

    fn memory(check_before_update: Option<bool>) -> Resources {
        let memory = Memory { limit: Some(1000), swap: Some(1000), check_before_update, ..Memory::default() };
        Resources { memory: Some(memory), ..Resources::default() }
    }

    #[test]
    fn a_period_leaves_the_quota() {
        let cpu = tare_oci_runtime::Cpu { period: Some(900_000), ..tare_oci_runtime::Cpu::default() };
        let resources = Resources { cpu: Some(cpu), ..Resources::default() };
        assert_eq!(apply(&resources, &[("cpu.max", "500000 10000")]), "cpu.max: 500000 900000");
        assert_eq!(apply(&resources, &[("cpu.max", "max 10000")]), "cpu.max: max 900000");
    }

    #[test]
    fn values_arrive_and_what_is_optional_may_be_missing() {
        insta::assert_snapshot!(apply(&memory(None), &[("memory.max", ""), ("memory.swap.max", "")]), @r"
        memory.max: 1000
        memory.swap.max: 0
        ");
        insta::assert_snapshot!(apply(&memory(None), &[("memory.max", "")]), @"memory.max: 1000");
    }

    #[test]
    fn the_first_file_present_is_written() {
        let io = BlockIo { weight: Some(1000), ..BlockIo::default() };
        let resources = Resources { block_io: Some(io), ..Resources::default() };
        insta::assert_snapshot!(apply(&resources, &[("io.bfq.weight", ""), ("io.weight", "")]), @r"
        io.bfq.weight: default 1000
        io.weight:
        ");
        insta::assert_snapshot!(apply(&resources, &[("io.weight", "")]), @"io.weight: default 10000");
        insta::assert_snapshot!(apply(&resources, &[]), @"write `ROOT/g/io.weight` = `default 10000`: ENOENT");
    }

    #[test]
    fn failures_say_what_is_missing() {
        let pids = Resources { pids: Some(Pids { limit: Some(5) }), ..Resources::default() };
        insta::assert_snapshot!(apply(&pids, &[]), @"the requested cgroup controller `pids` is not available (needed for `pids.max`)");
        insta::assert_snapshot!(apply(&memory(None), &[]), @"write `ROOT/g/memory.max` = `1000`: ENOENT");
    }

    #[test]
    fn a_limit_below_the_usage_can_be_refused() {
        let files = [("memory.max", ""), ("memory.current", "1001")];
        insta::assert_snapshot!(apply(&memory(Some(true)), &files), @r"
        memory.max: 
        memory.current: 1001
        rejecting memory+swap limit 1000 <= usage 1001
        ");
        let files = [("memory.max", ""), ("memory.current", "999")];
        insta::assert_snapshot!(apply(&memory(Some(true)), &files), @r"
        memory.max: 1000
        memory.current: 999
        ");
    }
}
