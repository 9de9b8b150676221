//! Carrying out a plan: one open, one write, one close per value.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::devices::DeviceFilter;
use crate::group::Cgroup;
use crate::hierarchy::Hierarchy;
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
            Step::Write(write) => self.write(write)?.map_err(|errno| self.failed(write, errno)),
            Step::IfPresent(write) => self.optional(write, true),
            Step::FirstPresent(writes) => self.first_present(writes),
            Step::EitherOrder { first, second, optional } => match self.write(first)? {
                Ok(()) => self.optional(second, *optional),
                Err(Errno::INVAL) => {
                    self.optional(second, *optional)?;
                    self.write(first)?.map_err(|errno| self.failed(first, errno))
                }
                Err(errno) => Err(self.failed(first, errno)),
            },
            Step::RefuseBelowUsage(limit) => self.refuse_below_usage(*limit),
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
        if errno == Errno::NOENT && !self.group.hierarchies.has_controller(&write.controller) {
            return no_controller(&write.controller, &write.file);
        }
        if errno == Errno::BUSY && write.file == "memory.limit_in_bytes" {
            return memory_in_use(&write.value, directory, ["memory.usage_in_bytes", "memory.max_usage_in_bytes"]);
        }
        Error::os("write", format!("{}` = `{}", self.group.display(hierarchy, &write.file), write.value), errno)
    }

    fn refuse_below_usage(&mut self, limit: u64) -> Result<(), Error> {
        let directory = self.directory("memory", "memory.current")?;
        match files::number(directory, "memory.current") {
            Ok(Some(usage)) if usage > limit => {
                Err(memory_in_use(&limit.to_string(), directory, ["memory.current", "memory.peak"]))
            }
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

fn no_controller(controller: &str, file: &str) -> Error {
    Error::NoController { controller: controller.to_owned(), file: file.to_owned() }
}

fn memory_in_use(limit: &str, directory: &OwnedFd, [usage, peak]: [&str; 2]) -> Error {
    let number = |file| files::number(directory, file).ok().flatten().unwrap_or(0);
    Error::MemoryInUse { limit: limit.to_owned(), usage: number(usage), peak: number(peak) }
}
